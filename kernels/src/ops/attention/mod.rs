//! Causal attention with grouped heads, forward and backward, within spans of rows.
//!
//! # Contract
//!
//! | | |
//! |---|---|
//! | `qkv`, `d_qkv` | `[rows, (query + 2 · kv) · dim]`: all query heads, then keys, then values; f32 or bf16 |
//! | `spans` | borders of the sequences, rising, from 0 to `rows`; a row sees the rows of its span up to itself |
//! | `out`, `d_out` | `[rows, query · dim]`, of the type of `qkv` |
//! | `lse` | `[rows, query]`, f32: the logarithm of the sum of exponentials |
//! | memory | no more than a block of scores at a time |
//! | arithmetic | f32. A score is a chain over `dim`, then times 1/√dim. Keys come in blocks of 32, counted from the start of the span: each block's greatest score joins the running one, sums and results so far shrink by the difference, the block's 32 weights are summed over lanes and a tree, and the values are added by a chain over the keys in rising order |
//! | backward | weights are made again from `lse`. The chains of keys and values go over the query heads of a group, then over queries; those of queries over keys; all rising |
//! | rounding | once, where the result is bf16 |
//!
//! What a row gets depends on its own span alone, and attention over cached keys
//! ([`super::paged`]) works in the same blocks: the bits are the same.

pub(crate) mod backward;
pub(crate) mod blocks;
pub(crate) mod cuda;
pub(crate) mod forward;
mod hopper;
mod tensor;
#[cfg(test)]
mod tests;

pub(crate) use blocks::{KeyValue, attend, pack_keys, pack_values};

use crate::device::View;
use crate::{Error, Result};

/// Keys that are looked at together.
pub(crate) const BLOCK: usize = 32;
/// Queries that are looked at together; does not show in the bits of the forward pass.
pub(crate) const QUERIES: usize = 56;

/// The heads of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads; a multiple of `kv`.
    pub query: usize,
    /// Heads of keys and of values.
    pub kv: usize,
    /// The width of a head; even.
    pub dim: usize,
}

impl Heads {
    /// The width of a row of queries, keys and values.
    pub fn row(self) -> usize {
        (self.query + 2 * self.kv) * self.dim
    }

    /// Query heads that share a head of keys.
    pub fn group(self) -> usize {
        self.query / self.kv
    }

    /// The width of a row of results.
    pub fn out(self) -> usize {
        self.query * self.dim
    }

    /// Where a head's keys begin in a row.
    pub(crate) fn key(self, head: usize) -> usize {
        (self.query + head) * self.dim
    }

    /// Where a head's values begin in a row.
    pub(crate) fn value(self, head: usize) -> usize {
        (self.query + self.kv + head) * self.dim
    }

    /// Panels of [`super::matmul::tile::WIDTH`] columns that a head's values fill.
    pub(crate) fn parts(self) -> usize {
        self.dim.div_ceil(super::matmul::tile::WIDTH)
    }

    /// What scores are multiplied by.
    pub(crate) fn score_scale(self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }
}

/// What the forward pass is given.
#[derive(Debug)]
pub struct Forward<'a, B> {
    /// Queries, keys and values.
    pub qkv: View<'a, B>,
    /// The borders of the sequences: `[0, 5, 9]` are rows 0 to 4 and 5 to 8.
    pub spans: &'a [u32],
    /// The heads.
    pub heads: Heads,
}

/// What the backward pass is given.
#[derive(Debug)]
pub struct Backward<'a, B> {
    /// The gradient of the result.
    pub d_out: View<'a, B>,
    /// The result.
    pub out: View<'a, B>,
    /// Queries, keys and values.
    pub qkv: View<'a, B>,
    /// What the forward pass kept.
    pub lse: View<'a, B>,
    /// The borders of the sequences.
    pub spans: &'a [u32],
    /// The heads.
    pub heads: Heads,
}

/// That spans are borders that rise from 0 to the number of rows.
pub(crate) fn check_spans(op: &'static str, spans: &[u32], rows: usize) -> Result<()> {
    let wrong = |index: u32| Error::Index { op, buffer: "spans", index: index as usize, len: rows };
    let (first, last) = (spans.first().copied(), spans.last().copied());
    if first != Some(0) || last != u32::try_from(rows).ok() {
        return Err(wrong(last.unwrap_or(0)));
    }
    match spans.windows(2).find(|it| it[0] > it[1]) {
        Some(it) => Err(wrong(it[1])),
        None => Ok(()),
    }
}
