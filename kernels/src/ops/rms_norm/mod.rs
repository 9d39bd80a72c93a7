//! `out = x / √(mean(x²) + eps) · gain`, row by row.
//!
//! # Contract
//!
//! | | |
//! |---|---|
//! | `x`, `out` | `[rows, width]`, f32 or bf16, of one type |
//! | `gain` | `[width]`, f32 or bf16 |
//! | `scale` | `[rows]`, f32: 1 / √(mean + eps) |
//! | sum | f32, over sixteen lanes and a fixed tree |
//! | rounding | bf16: **before** the product with `gain`, and again after it, as `transformers` does |
//! | backward | adds to `d_x`, in f32, rounded once; `d_gain` (f32) is a chain over the rows in rising order, continued from what it held |
//! | aliasing | none |

mod cpu;
pub(crate) mod cuda;
mod rows;
#[cfg(test)]
mod tests;

pub(crate) use cpu::{Given, backward, backward_gain, forward};

use crate::device::View;

/// What the forward pass is given.
#[derive(Debug)]
pub struct Forward<'a, B> {
    /// What is normalised: `[rows, width]`.
    pub x: View<'a, B>,
    /// The gain: `[width]`.
    pub gain: View<'a, B>,
    /// Added to the mean of the squares.
    pub eps: f32,
}

/// What the backward pass is given.
#[derive(Debug)]
pub struct Backward<'a, B> {
    /// The gradient of the result: `[rows, width]`.
    pub d_out: View<'a, B>,
    /// What was normalised: `[rows, width]`.
    pub x: View<'a, B>,
    /// The gain: `[width]`.
    pub gain: View<'a, B>,
    /// What the forward pass kept: `[rows]`.
    pub scale: View<'a, B>,
}
