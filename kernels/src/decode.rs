//! What generation asks of a device beyond [`Device`]: decoding, launches that are repeated, and picks.
//!
//! Whether a device decodes in a way of its own is its matter ([`Decode::decodes`]). Where it does, the
//! tokens that were sampled go through these operations, one row for each, and the tokens of prompts through
//! those of [`Device`]; where it does not, all go together. Every operation has a definition here, the
//! twin, that stands for a device without an own one.

use crate::Result;
use crate::device::{Device, Matrix, View, ViewMut};
use crate::ops::attention::Heads;
use crate::ops::decode::{Attending, DecodeQkv, Norm, Parts, cpu};
use crate::ops::sample::{self, Given, Pick, SampleError};

/// A device that generates.
pub trait Decode: Device {
    /// Launches that are kept to be done again.
    type Graph: Default + Send;

    /// Whether tokens that were sampled go a way of their own, for a model with these heads. Then their bits
    /// differ from those of the same tokens in a prompt.
    fn decodes(&self, _heads: Heads) -> bool {
        false
    }

    /// In how many parts it makes the sums of a product with this weight: [`crate::ops::decode`].
    fn decode_parts(&self, _weight: &Self::Packed) -> usize {
        1
    }

    /// `x wᵀ` in parts.
    fn decode_product(
        &self,
        x: Matrix<'_, Self::Buffer>,
        weight: &Self::Packed,
        parts: ViewMut<'_, Self::Buffer>,
    ) -> Result<()> {
        cpu::product(self, x, weight, parts)
    }

    /// The sums of parts.
    fn decode_total(
        &self,
        parts: Parts<'_, Self::Buffer>,
        out: ViewMut<'_, Self::Buffer>,
    ) -> Result<()> {
        cpu::total(self, parts, out)
    }

    /// `silu(gate) · up` of rows that are `gate | up`, each of this width.
    fn decode_gate(
        &self,
        parts: Parts<'_, Self::Buffer>,
        width: usize,
        out: ViewMut<'_, Self::Buffer>,
    ) -> Result<()> {
        cpu::gate(self, parts, width, out)
    }

    /// Adds to the residual stream and takes its norm.
    fn decode_norm(
        &self,
        given: Norm<'_, Self::Buffer>,
        x: ViewMut<'_, Self::Buffer>,
        out: ViewMut<'_, Self::Buffer>,
    ) -> Result<()> {
        cpu::norm(self, given, x, out)
    }

    /// Queries, and keys and values into their places in a layer of the cache.
    fn decode_qkv(
        &self,
        given: DecodeQkv<'_, Self::Buffer>,
        cache: (&mut Self::Cache, usize),
        queries: ViewMut<'_, Self::Buffer>,
    ) -> Result<()> {
        cpu::qkv(self, given, cache, queries)
    }

    /// Attention of each row to the cached tokens of its sequence, its own included.
    fn decode_attention(
        &self,
        cache: (&Self::Cache, usize),
        given: Attending<'_, Self::Buffer>,
        out: ViewMut<'_, Self::Buffer>,
    ) -> Result<()> {
        cpu::attention(self, cache, given, out)
    }

    /// Does `work`, which launches the same things whenever it is called with this graph: once they are known,
    /// they are launched as one, and `work` is not called any more. It neither waits, nor reads or writes
    /// from the host's side, nor makes memory.
    ///
    /// # Safety
    ///
    /// All memory that `work` touched is there as long as this is called with the same graph.
    unsafe fn repeat(
        &self,
        _graph: &mut Self::Graph,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        work()
    }

    /// Picks a token for each row of logits, `[rows, vocab]` f32: [`crate::ops::sample`].
    fn pick(
        &self,
        logits: View<'_, Self::Buffer>,
        given: &[Given<'_>],
    ) -> Result<Vec<Result<Pick, SampleError>>> {
        Ok(sample::cpu::pick_rows(&self.read(logits)?, given))
    }
}

impl Decode for crate::Cpu {
    type Graph = ();
}
