//! Negative log-likelihoods under a linear head, and their gradients, without the logits of a batch.
//!
//! # Contract
//!
//! | | |
//! |---|---|
//! | `hidden`, `d_hidden` | `[rows, width]`, f32 or bf16 |
//! | `head`, `d_head` | `[vocabulary, width]`; `d_head` is f32 and is added to |
//! | `targets` | `[rows]`, u32; [`IGNORE`] marks rows that do not count |
//! | `nll` | `[rows]`, f32; 0 where ignored |
//! | logits | f32 chains as in [`super::matmul`], for a chunk of rows at a time |
//! | sum of exponentials | f32, of differences to the greatest logit, over sixteen lanes and a fixed tree; its logarithm in f64 |
//! | gradient of a logit | `(softmax − target) · scale`, f32 |
//! | `d_hidden` | written; 0 where ignored |
//! | chunks | rows that count are brought together; how they are cut does not show in the bits |

mod cpu;
pub(crate) mod cuda;
#[cfg(test)]
mod tests;

pub(crate) use cpu::{Numbers, NumbersOut, chunk_rows, cross_entropy};
pub(crate) use cuda::rows_at_once;

use crate::device::{Matrix, MatrixMut, View, ViewMut};

/// The target of a row that does not count.
pub const IGNORE: u32 = u32::MAX;

/// What is given.
#[derive(Debug)]
pub struct LinearCrossEntropy<'a, B> {
    /// The last hidden states: `[rows, width]`.
    pub hidden: View<'a, B>,
    /// The head: `[vocabulary, width]`.
    pub head: Matrix<'a, B>,
    /// The token that each row should name, or [`IGNORE`].
    pub targets: View<'a, B>,
    /// What gradients are multiplied by: one over the number of targets of the whole step.
    pub scale: f32,
}

/// Where gradients go.
#[derive(Debug)]
pub struct Gradients<'a, B> {
    /// Written: `[rows, width]`.
    pub d_hidden: ViewMut<'a, B>,
    /// Added to, where it is wanted: `[vocabulary, width]`.
    pub d_head: Option<MatrixMut<'a, B>>,
}
