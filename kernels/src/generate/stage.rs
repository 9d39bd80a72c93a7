//! A model with a cache: what generation and scoring both stand on.

use std::sync::Arc;

use rayon::prelude::*;

use super::Error;
use super::blocks::Copy;
use super::model::{Batch, Model, Work};
use crate::device::Device;

/// How many rows have logits at a time.
const LOGIT_ROWS: usize = 64;

/// A model with a cache and the memory of its steps.
pub(crate) struct Stage<D: Device> {
    model: Arc<Model<D>>,
    cache: D::Cache,
    work: Work<D::Buffer>,
}

impl<D: Device> Stage<D> {
    /// For steps of at most this many tokens, and this many blocks of keys and values.
    pub(crate) fn new(model: Arc<Model<D>>, tokens: usize, blocks: usize) -> Result<Self, Error> {
        let cache = model.cache(blocks)?;
        let work = Work::new(&model, tokens, tokens.min(LOGIT_ROWS))?;
        Ok(Self { model, cache, work })
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
            let rows = logits.par_chunks_exact(vocab).enumerate();
            all.par_extend(rows.map_init(&state, |s, (i, it)| each(s, n * most + i, it)));
        }
        Ok(all)
    }
}
