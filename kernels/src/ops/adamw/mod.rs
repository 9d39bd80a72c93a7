//! One step of AdamW: decoupled weight decay, arithmetic in f32.
//!
//! # Contract
//!
//! With `g = gradient · factor` and `t` counted from 1, for each element, in f32:
//!
//! ```text
//! w ← w · (1 − lr · decay)
//! m ← m + (g − m) · (1 − beta1)
//! v ← v · beta2 + g · g · (1 − beta2)     (fused)
//! w ← w − lr / (1 − beta1ᵗ) · m / (√v / √(1 − beta2ᵗ) + eps)
//! ```
//!
//! | | |
//! |---|---|
//! | `weight` | f32, or bf16 with `master` in f32: then the step is made on `master` and rounded |
//! | `master` of bf16 | not numbers, but the lower 16 bits of the exact weights, whose bits are those of `weight`, as the upper half, and these, as a number with a sign, added: the bf16 is the nearest, of two equally near ones the one further from zero. To the nearest even one would not do: two weights would have the same halves |
//! | `gradient` | f32 |
//! | `m`, `v` | f32; or bf16; or a byte each, and an exponent for every 256 of them, as [`OptimStates`] has it: read as f32, and written rounded by chance, `m` with the lower and `v` with the upper half of word `first + i` of the stream |
//! | corrections | the two powers of beta in f64 |
//!
//! The order of the operations is that of PyTorch's `AdamW`.

mod cpu;
pub(crate) mod cuda;
mod masters;
mod moments;
#[cfg(test)]
mod tests;

pub(crate) use cpu::{Numbers, step};
pub(crate) use masters::{Exact, joined, split};
pub(crate) use moments::Kept;
pub use moments::OptimStates;

use crate::device::{Buffer, View, ViewMut};
use crate::error::{check_dtype, check_len};
use crate::random::Random;
use crate::{Dtype, Error, Result};

/// The numbers of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// How slowly the first moment forgets.
    pub beta1: f64,
    /// How slowly the second moment forgets.
    pub beta2: f64,
    /// Keeps the quotient finite.
    pub eps: f64,
    /// Decoupled weight decay; 0 for what is not a matrix.
    pub weight_decay: f64,
    /// Which step this is, from 1.
    pub step: u64,
    /// What each gradient is multiplied by: clipping.
    pub factor: f32,
    /// The stream of this step, by which moments are rounded that are not f32.
    pub random: Random,
    /// The place in it of the first weight.
    pub first: u64,
}

/// What a step reads and writes; all of one length, but for moments of bytes: see [`OptimStates::len`].
#[derive(Debug)]
pub struct State<'a, B> {
    /// The weights that the model uses.
    pub weight: ViewMut<'a, B>,
    /// The weights in f32, where `weight` is bf16; or, as bf16, the bits that `weight` lacks.
    pub master: Option<ViewMut<'a, B>>,
    /// The first moment.
    pub m: ViewMut<'a, B>,
    /// The second moment.
    pub v: ViewMut<'a, B>,
    /// The gradient.
    pub gradient: View<'a, B>,
}

impl<B: Buffer> State<'_, B> {
    /// That lengths and types are those of the contract.
    pub(crate) fn check(&self) -> Result<()> {
        const OP: &str = "adamw";
        let len = self.weight.len();
        check_len(OP, "gradient", self.gradient.len(), len)?;
        check_dtype(OP, "gradient", self.gradient.dtype(), Dtype::F32)?;
        let dtype = self.m.dtype();
        let wrong = Error::Dtype { op: OP, buffer: "m", got: dtype };
        let moments = OptimStates::of(dtype).ok_or(wrong)?;
        check_dtype(OP, "v", self.v.dtype(), dtype)?;
        for (name, it) in [("m", &self.m), ("v", &self.v)] {
            check_len(OP, name, it.len(), moments.len(len))?;
        }
        let Some(master) = &self.master else {
            return check_dtype(OP, "weight", self.weight.dtype(), Dtype::F32);
        };
        check_dtype(OP, "weight", self.weight.dtype(), Dtype::Bf16)?;
        check_len(OP, "master", master.len(), len)?;
        match master.dtype() {
            Dtype::F32 | Dtype::Bf16 => Ok(()),
            got => Err(Error::Dtype { op: OP, buffer: "master", got }),
        }
    }
}
