//! Dropout: zeroes numbers with probability `p`, and scales the others up by as much.
//!
//! # Contract
//!
//! | | |
//! |---|---|
//! | `to` | any length, f32 or bf16, in place |
//! | which | number `i` of the call is dropped if word `first + i` of the stream is less than `p · 2³²`; a word is a quarter of a block of [`crate::random`] |
//! | value | 0, or `x · 1 / (1 − p)`, f32, rounded once |
//! | backward | the same call on the gradient |
//!
//! What is dropped is a function of the stream and the place alone, so it does not depend on how a
//! batch is cut into calls.

mod cpu;
pub(crate) mod cuda;
#[cfg(test)]
mod tests;

pub(crate) use cpu::dropout;

use crate::random::Random;

/// What is dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The stream that decides.
    pub random: Random,
    /// The place in it of the call's first number.
    pub first: u64,
    /// The probability that a number is dropped, from 0 to below 1.
    pub p: f64,
}
