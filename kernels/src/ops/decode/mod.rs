//! One new token for each of some sequences: products of few rows, and attention in splits.
//!
//! Where a prompt's tokens have their sums in one chain, these are cut into parts, so that all of a
//! device works on one token. **The cut depends on the sizes of a weight and on the length of a
//! sequence, and never on the rows that come along**: a row's bits are the same for every batch. They are
//! not those that the prompt's way gives, so [`crate::generate`] computes a token that was sampled here
//! whenever it is computed, and a token of a prompt there.
//!
//! # Contract
//!
//! | | |
//! |---|---|
//! | rows | as many as [`Places`] has positions; one whose position is [`NOBODY`] is computed as far as that costs nothing, and writes to no cache |
//! | product | `x wᵀ` in parts: `[parts, rows, features]`, f32. A part is a range of the sum, a multiple of 64 long but for the last one; `cut` says how many |
//! | a number of a part | a chain over its range in rising order, begun at zero; with tensor cores sixteen steps at a time |
//! | sums of parts | f32, in the order of the parts; then once rounded |
//! | norm | the residual stream gets the sum and is rounded; the norm is that of [`super::rms_norm`] but for the order of its sum |
//! | gate | `silu(gate) · up` of the sums of `gate \| up`, f32, rounded once |
//! | queries, keys, values | the sums, RoPE of queries and keys by their positions, rounded once; keys and values go to their places in the cache |
//! | attention | keys are cut into splits of 256, counted from the start of the sequence, which are added in order; weights are rounded to bf16 before they meet values |
//! | tolerance | device against twin: 8e-3 of the norm of a result in bf16, 1e-5 in f32; a row against itself in another batch: none |
//!
//! The twin (`cpu.rs`) is written with the other operations of a device and stands for every device that
//! has no way of its own: there a product has one part.

pub(crate) mod cpu;
pub(crate) mod cuda;
#[cfg(test)]
mod tests;

use super::attention::Heads;
use super::rope::Rope;
use crate::device::{View, ViewMut};

/// The position of a row that has no token.
pub const NOBODY: u32 = u32::MAX; // kernel.cu, attention.cu: NOBODY

/// Keys that are attended to together.
pub(crate) const SPLIT: usize = 256; // attention.cu: SPLIT

/// Features of a block of threads.
const FEATURES: usize = 64; // product.cu, hopper.cu: FEATURES
/// Steps of a sum that are in shared memory together.
const STEP: usize = 64; // product.cu, hopper.cu: STEP
/// How many blocks of threads a product should have, at least: about as many as a device has
/// multiprocessors.
const BLOCKS: usize = 128;
/// How long a part is, at least.
const LEAST: usize = 256;

/// In how many parts a product's sums are cut, and how long each is.
pub(crate) fn cut(features: usize, depth: usize) -> (usize, usize) {
    let wanted = BLOCKS.div_ceil(features.div_ceil(FEATURES).max(1));
    let parts = wanted.min(depth / LEAST).max(1);
    let each = depth.div_ceil(parts).next_multiple_of(STEP).max(STEP);
    (depth.div_ceil(each).max(1), each)
}

/// Where the tokens of a step stand.
#[derive(Debug)]
pub struct Places<'a, B> {
    /// The position of each row, or [`NOBODY`]: u32 `[rows]`.
    pub positions: View<'a, B>,
    /// The blocks of each row's sequence: u32 `[rows, stride]`.
    pub blocks: View<'a, B>,
    /// At least as many splits as the longest sequence has.
    pub splits: usize,
}

impl<B> Clone for Places<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Places<'_, B> {}

impl<B: crate::Buffer> Places<'_, B> {
    /// How many rows.
    pub fn rows(&self) -> usize {
        self.positions.len()
    }

    /// Blocks that a row of the table has room for.
    pub fn stride(&self) -> usize {
        self.blocks.len() / self.rows().max(1)
    }
}

/// Parts of products: `[parts, rows, features]`.
#[derive(Debug)]
pub struct Parts<'a, B> {
    /// The numbers, f32.
    pub numbers: View<'a, B>,
    /// How many parts.
    pub parts: usize,
}

impl<B> Clone for Parts<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Parts<'_, B> {}

impl<B> Parts<'_, B> {
    /// How many numbers their sum has.
    pub fn len(&self) -> usize {
        self.numbers.len.checked_div(self.parts).unwrap_or(0)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the norm of the residual stream is given.
#[derive(Debug)]
pub struct Norm<'a, B> {
    /// What is added to the stream before, where there is something.
    pub parts: Option<Parts<'a, B>>,
    /// The gain.
    pub gain: View<'a, B>,
    /// Added to the mean square.
    pub eps: f32,
}

/// What becomes of the product that is queries, keys and values.
#[derive(Debug)]
pub struct DecodeQkv<'a, B> {
    /// The product.
    pub parts: Parts<'a, B>,
    /// RoPE of queries and keys.
    pub rope: Rope<'a, B>,
    /// Whose they are.
    pub places: Places<'a, B>,
}

/// What attends.
#[derive(Debug)]
pub struct Attending<'a, B> {
    /// The queries: `[rows, query · dim]`.
    pub queries: View<'a, B>,
    /// Their heads.
    pub heads: Heads,
    /// Whose they are.
    pub places: Places<'a, B>,
    /// Memory for the splits' results, f32: as many numbers as `room` says.
    pub workspace: ViewMut<'a, B>,
}

/// How many numbers attention keeps for a moment.
pub(crate) fn workspace_len(rows: usize, heads: Heads, splits: usize) -> usize {
    rows * heads.query * splits * (heads.dim + 2)
}

/// How many splits a sequence of this length has.
pub(crate) fn splits(tokens: usize) -> usize {
    tokens.div_ceil(SPLIT).max(1)
}
