//! Copies, sums and multiples, number by number.
//!
//! # Contract
//!
//! | | |
//! |---|---|
//! | copy | between f32 and bf16 the nearest number; other types only to themselves |
//! | add, scale | in f32, rounded once where the result is bf16 |
//! | tolerance | none: both devices give the same bits |

mod cpu;
pub(crate) mod cuda;
#[cfg(test)]
mod tests;

pub(crate) use cpu::{add, copy, scale};
