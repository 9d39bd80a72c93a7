//! A model with a cache: what generation and scoring both stand on.

use std::sync::Arc;

use rayon::prelude::*;

use super::Error;
use super::blocks::Copy;
use super::decoder::{Decoder, Picked, Row};
use super::model::{Batch, Model, Work};
use super::sequence::Way;
use crate::decode::Decode;
use crate::ops::sample::Given;

/// How many rows have logits at a time.
const LOGIT_ROWS: usize = 64;

/// A model with a cache and the memory of its steps.
pub(crate) struct Stage<D: Decode> {
    model: Arc<Model<D>>,
    cache: D::Cache,
    work: Work<D::Buffer>,
    /// Where tokens are generated, and the device has a way of its own for those that were sampled.
    decoder: Option<Decoder<D>>,
}

impl<D: Decode> Stage<D> {
    /// For steps of at most this many tokens, and this many blocks of keys and values.
    pub(crate) fn new(model: Arc<Model<D>>, tokens: usize, blocks: usize) -> Result<Self, Error> {
        let cache = model.cache(blocks)?;
        let work = Work::new(&model, tokens, tokens.min(LOGIT_ROWS))?;
        Ok(Self { model, cache, work, decoder: None })
    }

    /// The same, for generation of this many rows at once.
    pub(crate) fn generating(
        model: Arc<Model<D>>,
        (tokens, rows): (usize, usize),
        blocks: usize,
    ) -> Result<Self, Error> {
        let decoder = Decoder::new(&model, rows)?;
        Ok(Self { decoder, ..Self::new(model, tokens, blocks)? })
    }

    /// How tokens that were sampled are computed.
    pub(crate) fn sampled(&self) -> Way {
        if self.decoder.is_some() { Way::Decode } else { Way::Prefill }
    }

    pub(crate) fn model(&self) -> &Model<D> {
        &self.model
    }

    /// Copies blocks, in this order.
    pub(crate) fn copy(&mut self, copies: &[Copy]) -> Result<(), Error> {
        for it in copies {
            self.model.device().cache_copy(&mut self.cache, it.from, it.to)?;
        }
        Ok(())
    }

    /// Computes new tokens.
    pub(crate) fn forward(&mut self, batch: &Batch) -> Result<(), Error> {
        self.model.forward(batch, &mut self.cache, &mut self.work)
    }

    /// Computes tokens that were sampled, in the device's way of decoding; nothing where it has none.
    pub(crate) fn decode(&mut self, rows: &[Row<'_>]) -> Result<Vec<Option<Picked>>, Error> {
        match &mut self.decoder {
            Some(it) => it.step(&self.model, &mut self.cache, rows),
            None => Ok(Vec::new()),
        }
    }

    /// Picks a token after each of these rows of the last forward pass.
    pub(crate) fn pick(&mut self, rows: &[u32], given: &[Given<'_>]) -> Result<Vec<Picked>, Error> {
        if let Some(it) = &mut self.decoder {
            return it.pick(&self.model, self.work.left(), (rows, given));
        }
        let mut all = Vec::with_capacity(rows.len());
        let most = LOGIT_ROWS.min(self.work.rows());
        for (rows, given) in rows.chunks(most).zip(given.chunks(most)) {
            let logits = self.model.logits(rows, &mut self.work)?;
            all.extend(self.model.device().pick(logits, given)?);
        }
        Ok(all)
    }

    /// Does something with the logits of rows of the last forward pass, some rows at a time, each
    /// in parallel. `each` gets the row's place in `rows`.
    pub(crate) fn each_row<S, R: Send>(
        &mut self,
        rows: &[u32],
        state: impl Fn() -> S + Sync + Send,
        each: impl Fn(&mut S, usize, &[f32]) -> R + Sync + Send,
    ) -> Result<Vec<R>, Error> {
        let vocab = self.model.config().vocab;
        let mut all = Vec::with_capacity(rows.len());
        let most = LOGIT_ROWS.min(self.work.rows());
        for (n, some) in rows.chunks(most).enumerate() {
            let logits = self.model.logits(some, &mut self.work)?;
            let logits: Vec<f32> = self.model.device().read(logits)?;
            let rows = logits.par_chunks_exact(vocab).enumerate();
            all.par_extend(rows.map_init(&state, |s, (i, it)| each(s, n * most + i, it)));
        }
        Ok(all)
    }
}
