//! Rows of a table by token id, and the gradient of the table.
//!
//! # Contract
//!
//! | | |
//! |---|---|
//! | `table` | `[vocabulary, width]`, f32 or bf16, at any stride |
//! | `ids` | `[rows]`, u32, each below the vocabulary |
//! | `out`, `d_out` | `[rows, width]`, f32 or bf16 |
//! | `d_table` | f32; each row's gradient is added in the order of the rows |

mod cpu;
pub(crate) mod cuda;
#[cfg(test)]
mod tests;

pub(crate) use cpu::{backward, forward};
