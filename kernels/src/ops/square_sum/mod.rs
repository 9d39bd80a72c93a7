//! The sum of squares, for the norm of all gradients.
//!
//! # Contract
//!
//! | | |
//! |---|---|
//! | `x` | f32 or bf16 |
//! | sum | f64: blocks of 4,096 elements, each over eight lanes and a fixed tree; blocks in order |
//! | not a number, infinite | so is the sum |

mod cpu;
pub(crate) mod cuda;
#[cfg(test)]
mod tests;

pub(crate) use cpu::square_sum;
