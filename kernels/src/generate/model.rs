//! A model made ready for inference, written once for all devices.
//!
//! Weights go tensor by tensor from the file into the form that the device multiplies with, query,
//! key and value rows as one matrix, gate and up rows as another; there is never a second copy of
//! the model. Activations are of the type that the device says; weights stay bf16 where the file has
//! bf16.

use std::ops::Range;
use std::sync::Arc;

use half::bf16;
use rayon::prelude::*;

use super::Error;
use crate::decoder::layout::Tensor;
use crate::decoder::save::Weights;
use crate::decoder::{Config, Layout, Part, UniformWeights, WeightDtype, WeightFiles};
use crate::device::{Buffer, Device, View, ViewMut};
use crate::ops::attention::Heads;
use crate::ops::matmul::Start;
use crate::ops::paged::{CacheShape, Run, Tokens};
use crate::ops::rms_norm::Forward;
use crate::ops::rope::{Direction, RopeTable};
use crate::{Dtype, Element, decoder};

/// A model made ready for inference.
pub struct Model<D: Device> {
    device: Arc<D>,
    config: Config,
    /// How many positions it has a table for.
    context: usize,
    pub(super) embedding: D::Buffer, // [vocab, hidden]
    pub(super) layers: Vec<Layer<D>>,
    pub(super) norm: D::Buffer, // [hidden]
    pub(super) head: D::Packed, // [vocab, hidden]
    pub(super) rope: RopeTable<D::Buffer>,
}

pub(super) struct Layer<D: Device> {
    pub(super) input_norm: D::Buffer, // [hidden]
    pub(super) qkv: D::Packed,        // [(heads + 2 kv) dim, hidden]
    pub(super) o: D::Packed,          // [hidden, heads dim]
    pub(super) post_norm: D::Buffer,  // [hidden]
    pub(super) gate_up: D::Packed,    // [2 intermediate, hidden]
    pub(super) down: D::Packed,       // [hidden, intermediate]
}

impl<D: Device> Model<D> {
    /// Loads the weights, for contexts of at most this many tokens.
    pub fn load(
        device: Arc<D>,
        config: &Config,
        files: &WeightFiles,
        context: usize,
    ) -> Result<Self, Error> {
        Self::of(device, (config, files.dtype()), files, context)
    }

    /// The same with weights that come from anywhere, and are kept as if a file had them in this type.
    pub fn of<W: Weights + Sync + ?Sized>(
        device: Arc<D>,
        (config, dtype): (&Config, WeightDtype),
        weights: &W,
        context: usize,
    ) -> Result<Self, Error> {
        let context = context.min(config.max_positions);
        let loader = Loader { device: &*device, weights, dtype, layout: Layout::new(config) };
        device.run(|| {
            let layers = (0..config.layers).map(|it| loader.layer(it)).collect::<Result<_, _>>()?;
            Ok(Self {
                config: config.clone(),
                context,
                embedding: loader.buffer(Part::Embed)?,
                layers,
                norm: loader.buffer(Part::Norm)?,
                head: loader.packed(Part::Head)?,
                rope: RopeTable::new(&*device, config.rope_theta, config.head_dim, context)?,
                device: Arc::clone(&device),
            })
        })
    }

    /// Its sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How many tokens a sequence may have.
    pub fn context(&self) -> usize {
        self.context
    }

    /// What it runs on.
    pub fn device(&self) -> &Arc<D> {
        &self.device
    }

    /// Room for keys and values in this many blocks.
    pub(crate) fn cache(&self, blocks: usize) -> Result<D::Cache, Error> {
        let Config { layers, kv_heads, head_dim, .. } = self.config;
        Ok(self.device.cache(CacheShape { layers, blocks, kv_heads, head_dim })?)
    }

    pub(super) fn heads(&self) -> Heads {
        Heads { query: self.config.heads, kv: self.config.kv_heads, dim: self.config.head_dim }
    }

    /// Computes new tokens: keys and values go into the cache, what the last layer leaves stays in
    /// `work`. `ids` and `positions` are those of the runs' rows, one run after another.
    pub(crate) fn forward(
        &self,
        batch: &Batch,
        cache: &mut D::Cache,
        work: &mut Work<D::Buffer>,
    ) -> Result<(), Error> {
        self.embed(batch, work)?;
        (0..self.layers.len()).try_for_each(|it| self.layer(it, batch, cache, work))
    }

    /// One layer.
    pub(crate) fn layer(
        &self,
        layer: usize,
        batch: &Batch,
        cache: &mut D::Cache,
        work: &mut Work<D::Buffer>,
    ) -> Result<(), Error> {
        self.attend(layer, batch, cache, work)?;
        self.feed_forward(&self.layers[layer], batch.ids.len(), work)
    }

    /// Token ids into the residual stream.
    pub(crate) fn embed(&self, batch: &Batch, work: &mut Work<D::Buffer>) -> Result<(), Error> {
        let (n, hidden) = (batch.ids.len(), self.config.hidden);
        self.device.write(ViewMut::all(&mut work.ids).part(0..n), &batch.ids)?;
        self.device.write(ViewMut::all(&mut work.positions).part(0..n), &batch.positions)?;
        let table = View::all(&self.embedding).rows(hidden);
        let ids = View::all(&work.ids).part(0..n);
        self.device.embed(table, ids, ViewMut::all(&mut work.x).part(0..n * hidden))?;
        Ok(())
    }

    /// The attention half of a layer, added to the residual stream.
    fn attend(
        &self,
        layer: usize,
        batch: &Batch,
        cache: &mut D::Cache,
        work: &mut Work<D::Buffer>,
    ) -> Result<(), Error> {
        let (n, heads, device) = (batch.ids.len(), self.heads(), &*self.device);
        let weights = &self.layers[layer];
        self.norm(&weights.input_norm, n, work)?;
        let Work { positions, x, normed, qkv, attended, .. } = work;
        let (hidden, row, out) = (self.config.hidden, heads.row(), heads.out());
        let normed = View::all(normed).part(0..n * hidden).rows(hidden);
        let to = ViewMut::all(qkv).part(0..n * row).rows(row);
        device.linear(normed, &weights.qkv, to, Start::Zero)?;
        let rope = self.rope.with_heads(heads, Direction::Forward);
        let positions = View::all(positions).part(0..n);
        device.rope(ViewMut::all(qkv).part(0..n * row), positions, rope)?;
        let qkv = View::all(qkv).part(0..n * row);
        device.cache_append(cache, layer, Tokens { qkv, heads, runs: &batch.runs })?;
        let to = ViewMut::all(attended).part(0..n * out);
        device.attention_paged(cache, layer, Tokens { qkv, heads, runs: &batch.runs }, to)?;
        let attended = View::all(attended).part(0..n * out).rows(out);
        let to = ViewMut::all(x).part(0..n * hidden).rows(hidden);
        Ok(device.linear(attended, &weights.o, to, Start::Add)?)
    }

    /// The feed-forward half of a layer, added to the residual stream.
    fn feed_forward(
        &self,
        weights: &Layer<D>,
        n: usize,
        work: &mut Work<D::Buffer>,
    ) -> Result<(), Error> {
        let (hidden, wide, device) = (self.config.hidden, self.config.intermediate, &*self.device);
        self.norm(&weights.post_norm, n, work)?;
        let Work { x, normed, gate_up, gated, .. } = work;
        let normed = View::all(normed).part(0..n * hidden).rows(hidden);
        let to = ViewMut::all(gate_up).part(0..n * 2 * wide).rows(2 * wide);
        device.linear(normed, &weights.gate_up, to, Start::Zero)?;
        let from = View::all(gate_up).part(0..n * 2 * wide);
        device.swiglu(from, wide, ViewMut::all(gated).part(0..n * wide))?;
        let gated = View::all(gated).part(0..n * wide).rows(wide);
        let to = ViewMut::all(x).part(0..n * hidden).rows(hidden);
        Ok(device.linear(gated, &weights.down, to, Start::Add)?)
    }

    /// The residual stream's norm into `normed`.
    fn norm(&self, gain: &D::Buffer, n: usize, work: &mut Work<D::Buffer>) -> Result<(), Error> {
        let hidden = self.config.hidden;
        let x = View::all(&work.x).part(0..n * hidden);
        let out = ViewMut::all(&mut work.normed).part(0..n * hidden);
        let scale = ViewMut::all(&mut work.scale).part(0..n);
        let eps = self.config.rms_norm_eps as f32;
        Ok(self.device.rms_norm(Forward { x, gain: View::all(gain), eps }, out, scale)?)
    }

    /// The logits of some rows of the last forward pass: `[rows, vocab]`, in `work`. At most as many rows as
    /// that has room for.
    pub(crate) fn logits<'a>(
        &self,
        rows: &[u32],
        work: &'a mut Work<D::Buffer>,
    ) -> Result<View<'a, D::Buffer>, Error> {
        let (n, hidden, vocab) = (rows.len(), self.config.hidden, self.config.vocab);
        let device = &*self.device;
        let Work { x, wanted, wanted_hidden, normed, scale, logits, .. } = work;
        device.write(ViewMut::all(wanted).part(0..n), rows)?;
        let (stream, wanted) = (View::all(x).rows(hidden), View::all(wanted).part(0..n));
        device.embed(stream, wanted, ViewMut::all(wanted_hidden).part(0..n * hidden))?;
        let x = View::all(wanted_hidden).part(0..n * hidden);
        let (gain, eps) = (View::all(&self.norm), self.config.rms_norm_eps as f32);
        let to = ViewMut::all(normed).part(0..n * hidden);
        device.rms_norm(Forward { x, gain, eps }, to, ViewMut::all(scale).part(0..n))?;
        let normed = View::all(normed).part(0..n * hidden).rows(hidden);
        let to = ViewMut::all(logits).part(0..n * vocab).rows(vocab);
        device.linear(normed, &self.head, to, Start::Zero)?;
        Ok(View::all(logits).part(0..n * vocab))
    }

    /// What the residual stream holds.
    #[cfg(test)]
    pub(crate) fn stream(&self, n: usize, work: &Work<D::Buffer>) -> Vec<f32> {
        self.device.read(View::all(&work.x).part(0..n * self.config.hidden)).unwrap()
    }

    /// What the head saw last.
    #[cfg(test)]
    pub(crate) fn normed(&self, n: usize, work: &Work<D::Buffer>) -> Vec<f32> {
        self.device.read(View::all(&work.normed).part(0..n * self.config.hidden)).unwrap()
    }
}

/// New tokens of some sequences.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) ids: Vec<u32>,
    pub(crate) positions: Vec<u32>,
    pub(crate) runs: Vec<Run>,
}

impl Batch {
    /// Adds tokens that come after `past` others in these blocks.
    pub(crate) fn push(&mut self, ids: &[u32], past: usize, blocks: &[u32]) {
        let first_row = self.ids.len();
        self.ids.extend_from_slice(ids);
        self.positions.extend((past..past + ids.len()).map(|it| it as u32));
        self.runs.push(Run { first_row, rows: ids.len(), past, blocks: blocks.to_vec() });
    }
}

/// Memory of a step, for a number of tokens and a number of rows with logits.
pub(crate) struct Work<B> {
    ids: B,           // u32 [tokens]
    positions: B,     // u32 [tokens]
    x: B,             // [tokens, hidden]: the residual stream
    normed: B,        // [tokens, hidden]
    scale: B,         // [tokens]
    qkv: B,           // [tokens, (heads + 2 kv) dim]
    attended: B,      // [tokens, heads dim]
    gate_up: B,       // [tokens, 2 intermediate]
    gated: B,         // [tokens, intermediate]
    wanted: B,        // u32 [rows]
    wanted_hidden: B, // [rows, hidden]
    logits: B,        // [rows, vocab]
}

impl<B: Buffer> Work<B> {
    /// What the last layer left of all tokens: `[tokens, hidden]`.
    pub(crate) fn left(&self) -> View<'_, B> {
        View::all(&self.x)
    }

    /// How many rows may have logits at once.
    pub(crate) fn rows(&self) -> usize {
        self.wanted.len()
    }

    /// Room for this many tokens, and logits of this many of them.
    pub(crate) fn new<D: Device<Buffer = B>>(
        model: &Model<D>,
        tokens: usize,
        rows: usize,
    ) -> Result<Self, Error> {
        let (config, heads) = (&model.config, model.heads());
        let real = model.device.activations();
        let new = |dtype, n: usize, width: usize| model.device.zeros(dtype, n * width);
        Ok(Self {
            ids: new(Dtype::U32, tokens, 1)?,
            positions: new(Dtype::U32, tokens, 1)?,
            x: new(real, tokens, config.hidden)?,
            normed: new(real, tokens.max(rows), config.hidden)?,
            scale: new(Dtype::F32, tokens.max(rows), 1)?,
            qkv: new(real, tokens, heads.row())?,
            attended: new(real, tokens, heads.out())?,
            gate_up: new(real, tokens, 2 * config.intermediate)?,
            gated: new(real, tokens, config.intermediate)?,
            wanted: new(Dtype::U32, rows, 1)?,
            wanted_hidden: new(real, rows, config.hidden)?,
            logits: new(Dtype::F32, rows, config.vocab)?,
        })
    }
}

/// Brings weights from files to a device.
struct Loader<'a, D, W: ?Sized> {
    device: &'a D,
    weights: &'a W,
    dtype: WeightDtype,
    layout: Layout,
}

impl<D: Device, W: Weights + Sync + ?Sized> Loader<'_, D, W> {
    fn layer(&self, layer: usize) -> Result<Layer<D>, Error> {
        Ok(Layer {
            input_norm: self.buffer(Part::InputNorm(layer))?,
            qkv: self.packed(Part::Qkv(layer))?,
            o: self.packed(Part::O(layer))?,
            post_norm: self.buffer(Part::PostNorm(layer))?,
            gate_up: self.packed(Part::GateUp(layer))?,
            down: self.packed(Part::Down(layer))?,
        })
    }

    fn packed(&self, part: Part) -> Result<D::Packed, Error> {
        let weight = self.buffer(part)?;
        let columns = self.layout.slot(part).columns;
        Ok(self.device.pack(View::all(&weight).rows(columns))?)
    }

    /// The rows of a slot, from the tensors that make it.
    fn buffer(&self, part: Part) -> Result<D::Buffer, Error> {
        let weights = self.weights;
        if let Some(uniform) = weights.uniform() {
            return Ok(self.made(part, uniform)?);
        }
        if self.layout.slot(part).decay && self.dtype == WeightDtype::Bf16 {
            self.read(part, bf16::ZERO, |(i, it), rows, out| weights.read_bf16(i, it, rows, out))
        } else {
            self.read(part, 0.0, |(i, it), rows, out| weights.read(i, it, rows, out))
        }
    }

    /// The rows of a slot, made where they are wanted.
    fn made(&self, part: Part, uniform: &UniformWeights) -> crate::Result<D::Buffer> {
        let slot = self.layout.slot(part);
        let is_bf16 = slot.decay && self.dtype == WeightDtype::Bf16;
        let dtype = if is_bf16 { Dtype::Bf16 } else { Dtype::F32 };
        let mut buffer = self.device.zeros(dtype, slot.len())?;
        let tensors = self.layout.tensors().iter().enumerate();
        for (index, tensor) in tensors.filter(|it| it.1.part == slot.part) {
            let at = tensor.start - slot.start;
            let to = ViewMut::all(&mut buffer).part(at..at + tensor.len());
            uniform.fill(self.device, index, tensor, to)?;
        }
        Ok(buffer)
    }

    /// Reads a few megabytes at a time, rows in parallel.
    fn read<E: Element>(
        &self,
        part: Part,
        zero: E,
        read: impl Fn((usize, &Tensor), Range<usize>, &mut [E]) -> decoder::Result<()> + Sync,
    ) -> Result<D::Buffer, Error> {
        let slot = self.layout.slot(part);
        let mut buffer = self.device.zeros(E::DTYPE, slot.len())?;
        let mut piece = vec![zero; slot.len().min(PIECE.max(slot.columns))];
        let tensors = self.layout.tensors().iter().enumerate();
        for (i, tensor) in tensors.filter(|it| it.1.part == slot.part) {
            let (n_rows, width) = (tensor.shape[0], tensor.len() / tensor.shape[0]);
            let most = piece.len() / width;
            for first in (0..n_rows).step_by(most) {
                let rows = first..n_rows.min(first + most);
                let piece = &mut piece[..rows.len() * width];
                let some = (TASK / width).max(1);
                piece.par_chunks_mut(some * width).enumerate().try_for_each(|(n, out)| {
                    let first = first + n * some;
                    read((i, tensor), first..first + out.len() / width, out)
                })?;
                let at = tensor.start - slot.start + first * width;
                let to = ViewMut::all(&mut buffer).part(at..at + piece.len());
                self.device.write(to, piece)?;
            }
        }
        Ok(buffer)
    }
}

/// Numbers that are read before they go to the device.
const PIECE: usize = 1 << 20;
/// Numbers that are worth a task.
const TASK: usize = 1 << 15;
