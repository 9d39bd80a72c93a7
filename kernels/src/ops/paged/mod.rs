//! Keys and values of earlier tokens, in blocks that sequences may share, and attention to them.
//!
//! # Contract
//!
//! | | |
//! |---|---|
//! | block | 32 tokens of one sequence, from a position that is a multiple of it; all layers |
//! | a new block | zero: what nobody wrote is never a number that matters |
//! | `qkv` | `[rows, (query + 2 · kv) · dim]`, keys and queries already turned by their positions |
//! | arithmetic | that of [`super::attention`], bit for bit |
//!
//! The processor keeps the panels that attention reads, in f32; a CUDA device rows, of the type of its
//! activations.

mod cpu;
pub(crate) mod cuda;
#[cfg(test)]
mod tests;

pub use cpu::CpuCache;
pub(crate) use cpu::{append, attention, check_runs, copy_block, new};
pub use cuda::CudaCache;

use super::attention::Heads;
use crate::device::View;

/// The size of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    /// Layers.
    pub layers: usize,
    /// Blocks of each layer.
    pub blocks: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// The width of a head.
    pub head_dim: usize,
}

/// New tokens of several sequences.
#[derive(Debug)]
pub struct Tokens<'a, B> {
    /// Their queries, keys and values.
    pub qkv: View<'a, B>,
    /// The heads of a row.
    pub heads: Heads,
    /// Which rows are whose.
    pub runs: &'a [Run],
}

/// New tokens of one sequence: some rows of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its first row in the batch.
    pub first_row: usize,
    /// How many rows; at least 1.
    pub rows: usize,
    /// How many tokens of the sequence are in the cache before these.
    pub past: usize,
    /// The sequence's blocks in order, enough for `past + rows` tokens.
    pub blocks: Vec<u32>,
}
