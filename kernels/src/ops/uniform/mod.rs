//! Fills memory with uniform random numbers, on the device itself.
//!
//! # Contract
//!
//! | | |
//! |---|---|
//! | `to` | any length, f32 or bf16, overwritten |
//! | value | number `i` of the call is `(w · 2⁻²³ − 1) · bound` in f32, rounded once to the type, where `w` is the upper 24 bits of word `first + i` of the stream; a word is a quarter of a block of [`crate::random`] |
//! | range | from `−bound` up to, but not including, `bound` |
//!
//! A number is a function of the stream and its place, so a call may be cut anywhere. This is what makes six
//! billion weights in milliseconds, where sending them from the host takes half a minute.

mod cpu;
pub(crate) mod cuda;
#[cfg(test)]
mod tests;

pub(crate) use cpu::uniform;

use crate::random::Random;

/// Which numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Uniform {
    /// The stream they are drawn from.
    pub random: Random,
    /// The place in it of the call's first number.
    pub first: u64,
    /// The largest magnitude.
    pub bound: f32,
}
