//! One step of AdamW: decoupled weight decay, moments and master weights in f32.
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
//! | `m`, `v`, `gradient` | f32 |
//! | corrections | the two powers of beta in f64 |
//!
//! The order of the operations is that of PyTorch's `AdamW`.

mod cpu;
pub(crate) mod cuda;
#[cfg(test)]
mod tests;

pub(crate) use cpu::{Numbers, joined, split, step, step_low, step_master};

use crate::device::{View, ViewMut};

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
}

/// What a step reads and writes; all of one length.
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
