//! Products of matrices, in the three forms that a linear layer needs.
//!
//! # Contract
//!
//! | form | `a` | `b` | `out` | what |
//! |---|---|---|---|---|
//! | [`Form::Xwt`] | `x [m, k]` | `w [n, k]` | `[m, n]` | `x wᵀ`, forward |
//! | [`Form::Dyw`] | `dy [m, n]` | `w [n, k]` | `[m, k]` | `dy w`, gradient of the input |
//! | [`Form::Dytx`] | `dy [m, n]` | `x [m, k]` | `[n, k]` | `dyᵀ x`, gradient of the weight |
//!
//! | | |
//! |---|---|
//! | operands | f32 or bf16 each, rows at any stride |
//! | arithmetic | f32; each element is **one chain of fused multiply-adds**, over the summed index in rising order, from 0 or ([`Start::Add`]) from what `out` held |
//! | rounding | once, where `out` is bf16 |
//! | aliasing | `out` overlaps neither operand |
//! | tolerance | processor: none, all instruction sets and thread counts give the same bits |
//!
//! Since a chain can be continued, a sum over tokens may be cut into calls at will: gradients do
//! not depend on how a batch is split. The same chains are used where weights lie packed
//! (`packed.rs`) and inside attention, so a token's numbers do not depend on its company.

mod after;
pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod fused;
pub(crate) mod fused_cuda;
mod hopper;
pub(crate) mod pack;
pub(crate) mod packed;
#[cfg(test)]
mod tests;
pub(crate) mod tile;

pub use fused::Pair;

use crate::Result;
use crate::device::Matrix;
use crate::error::check_len;

/// Which product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `x wᵀ`.
    Xwt,
    /// `dy w`.
    Dyw,
    /// `dyᵀ x`.
    Dytx,
}

/// What the sums begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With zero; what `out` held is gone.
    Zero,
    /// With what `out` holds.
    Add,
}

/// A product.
#[derive(Debug)]
pub struct Product<'a, B> {
    /// Which.
    pub form: Form,
    /// The left operand.
    pub a: Matrix<'a, B>,
    /// The right operand.
    pub b: Matrix<'a, B>,
    /// What the sums begin with.
    pub start: Start,
}

const OP: &str = "matmul";

/// The sizes of a product: `out` is `[rows, columns]`, `depth` is summed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) depth: usize,
}

/// The sizes that operands of `(rows, columns)` make, or which of them does not fit.
pub(crate) fn shape(
    form: Form,
    a: (usize, usize),
    b: (usize, usize),
    out: (usize, usize),
) -> Result<Shape> {
    let (rows, columns, depth, other) = match form {
        Form::Xwt => (a.0, b.0, a.1, b.1),
        Form::Dyw => (a.0, b.1, a.1, b.0),
        Form::Dytx => (a.1, b.1, a.0, b.0),
    };
    check_len(OP, "b", other, depth)?;
    check_len(OP, "out rows", out.0, rows)?;
    check_len(OP, "out columns", out.1, columns)?;
    Ok(Shape { rows, columns, depth })
}
