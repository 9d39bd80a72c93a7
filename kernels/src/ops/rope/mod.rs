//! Rotary positions: pairs `(i, i + dim / 2)` of each query and key are turned by an angle that
//! grows with the token's position.
//!
//! # Contract
//!
//! | | |
//! |---|---|
//! | `qkv` | `[rows, (query + 2 · kv) · dim]`, f32 or bf16, in place; values are left alone |
//! | `positions` | `[rows]`, u32, each within the table |
//! | table | f32 cosines and sines of `position · theta^(−2i / dim)`; the angle rounded to f32 as in `transformers`, its cosine and sine taken in f64 and rounded |
//! | arithmetic | f32: `a cos − b sin`, `b cos + a sin`; one product rounded, the other fused |
//! | backward | the same by the opposite angle |

mod cpu;
pub(crate) mod cuda;
#[cfg(test)]
mod tests;

pub(crate) use cpu::{Given, rope};

use super::attention::Heads;
use crate::cpu::math::{power, sin_cos};
use crate::device::Device;
use crate::{Result, device::View};

/// Cosines and sines for positions from 0.
pub struct RopeTable<B> {
    pub(crate) cosines: B, // [positions, dim / 2]
    pub(crate) sines: B,   // [positions, dim / 2]
    pub(crate) positions: usize,
}

impl<B> RopeTable<B> {
    /// The table for a base, a head width and this many positions.
    pub fn new<D: Device<Buffer = B>>(
        device: &D,
        theta: f64,
        dim: usize,
        positions: usize,
    ) -> Result<Self> {
        let half = dim / 2;
        let frequency = |i: usize| (1.0 / power(theta, 2.0 * i as f64 / dim as f64)) as f32;
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let angles =
            (0..positions).flat_map(|it| frequencies.iter().map(move |f| f64::from(it as f32 * f)));
        let both = |(sin, cos): (f64, f64)| (cos as f32, sin as f32);
        let (cosines, sines): (Vec<f32>, Vec<f32>) = angles.map(|it| both(sin_cos(it))).unzip();
        let (cosines, sines) = (device.upload(&cosines)?, device.upload(&sines)?);
        Ok(Self { cosines, sines, positions })
    }

    /// For how many positions.
    pub fn positions(&self) -> usize {
        self.positions
    }
}

/// Rotary position embedding of some heads, by a table of angles.
#[derive(Debug)]
pub struct Rope<'a, B> {
    /// Cosines: `[positions, dim / 2]`.
    pub(crate) cosines: View<'a, B>,
    /// Sines: `[positions, dim / 2]`.
    pub(crate) sines: View<'a, B>,
    /// The heads of a row.
    pub heads: Heads,
    /// Which way.
    pub direction: Direction,
}

/// Forward, or back for gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As the forward pass does.
    Forward,
    /// Back, as gradients are.
    Backward,
}

impl<B: crate::device::Buffer> RopeTable<B> {
    /// RoPE by this table, for these heads.
    pub fn with_heads(&self, heads: Heads, direction: Direction) -> Rope<'_, B> {
        let (cosines, sines) = (View::all(&self.cosines), View::all(&self.sines));
        Rope { cosines, sines, heads, direction }
    }
}
