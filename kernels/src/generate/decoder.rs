//! Steps in a device's way of decoding: one row for each token that was sampled before.
//!
//! Several tokens of a sequence may be rows of one step, as after a sequence gave its blocks back: each sees
//! the cache up to itself. All that a step needs is made once, for the most rows; what changes from step to
//! step lies in the device's memory before the first launch.

use std::collections::BTreeMap;

use super::Error;
use super::model::Model;
use crate::decode::Decode;
use crate::device::{View, ViewMut};
use crate::ops::decode::{
    Attending, DecodeQkv, NOBODY, Norm, Parts, Places, splits, workspace_len,
};
use crate::ops::rope::Direction;
use crate::ops::sample::{Given, Pick, SampleError};
use crate::{Dtype, Result};

/// The most rows of a step; more are computed in several.
const MOST_ROWS: usize = 256;

/// A token that was sampled.
pub(crate) struct Row<'a> {
    pub(crate) id: u32,
    pub(crate) position: usize,
    /// Its sequence's blocks.
    pub(crate) blocks: &'a [u32],
    /// What the next token depends on, where one is to be sampled.
    pub(crate) given: Option<Given<'a>>,
}

/// A pick, or why there is none.
pub(crate) type Picked = Result<Pick, SampleError>;

/// Memory of a step, for a number of rows.
struct Memory<B> {
    places: B,    // u32: ids [rows], positions [rows], blocks [rows, stride]
    x: B,         // [rows, hidden]: the residual stream
    normed: B,    // [rows, hidden]
    queries: B,   // [rows, heads dim]
    attended: B,  // [rows, heads dim]
    gated: B,     // [rows, intermediate]
    parts: B,     // f32: those of the widest product
    workspace: B, // f32: attention's
    logits: B,    // f32 [rows, vocab]
}

/// Decodes with a model.
pub(crate) struct Decoder<D: Decode> {
    memory: Memory<D::Buffer>,
    rows: usize,
    /// Blocks of the longest sequence.
    stride: usize,
    /// The launches of steps, by their size.
    graphs: BTreeMap<Size, D::Graph>,
}

/// Rows of a step as they are computed: few different numbers of them.
fn padded(rows: usize) -> usize {
    rows.next_multiple_of(if rows <= 64 { 8 } else { 32 })
}

/// The size of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Size {
    rows: usize,
    splits: usize,
}

impl<D: Decode> Decoder<D> {
    /// For steps of this many rows, where the device has a way of its own.
    pub(crate) fn new(model: &Model<D>, rows: usize) -> Result<Option<Self>, Error> {
        let (config, heads, device) = (model.config(), model.heads(), &**model.device());
        if !device.decodes(heads) {
            return Ok(None);
        }
        let rows = padded(rows.clamp(1, MOST_ROWS));
        let stride = model.context().div_ceil(D::BLOCK);
        let real = device.activations();
        let new = |dtype, width: usize| device.zeros(dtype, rows * width);
        let most_splits = splits(model.context()).next_power_of_two();
        let memory = Memory {
            places: new(Dtype::U32, 2 + stride)?,
            x: new(real, config.hidden)?,
            normed: new(real, config.hidden)?,
            queries: new(real, heads.out())?,
            attended: new(real, heads.out())?,
            gated: new(real, config.intermediate)?,
            parts: new(Dtype::F32, model.widest_parts())?,
            workspace: device.zeros(Dtype::F32, workspace_len(rows, heads, most_splits))?,
            logits: new(Dtype::F32, config.vocab)?,
        };
        Ok(Some(Self { memory, rows, stride, graphs: BTreeMap::new() }))
    }

    /// Computes rows, some at a time, and picks for those that want it.
    pub(crate) fn step(
        &mut self,
        model: &Model<D>,
        cache: &mut D::Cache,
        rows: &[Row<'_>],
    ) -> Result<Vec<Option<Picked>>, Error> {
        let mut all = Vec::with_capacity(rows.len());
        for some in rows.chunks(self.rows) {
            let size = self.place(model, some)?;
            let mut graph = self.graphs.remove(&size).unwrap_or_default();
            let launches = || self.compute(model, cache, size);
            // SAFETY: steps use the memory of model, cache and this decoder, all of the stage's that owns
            // the graphs too. A step of one size launches the same things on the same memory each time:
            // what differs is in `places`.
            unsafe { model.device().repeat(&mut graph, launches) }?;
            self.graphs.insert(size, graph);
            all.extend(self.pick_some(model, some)?);
        }
        Ok(all)
    }

    /// Says where the rows stand; those that are added to make few sizes are nobody's.
    fn place(&mut self, model: &Model<D>, rows: &[Row<'_>]) -> Result<Size, Error> {
        let n = padded(rows.len());
        let mut places = vec![0; n * (2 + self.stride)];
        let (ids, others) = places.split_at_mut(n);
        let (positions, blocks) = others.split_at_mut(n);
        positions.fill(NOBODY);
        for (i, row) in rows.iter().enumerate() {
            ids[i] = row.id;
            positions[i] = row.position as u32;
            let used = row.position / D::BLOCK + 1;
            blocks[i * self.stride..][..used].copy_from_slice(&row.blocks[..used]);
        }
        let to = ViewMut::all(&mut self.memory.places).part(0..places.len());
        model.device().write(to, &places)?;
        let longest = rows.iter().map(|it| it.position + 1).max().unwrap_or(0);
        Ok(Size { rows: n, splits: splits(longest).next_power_of_two() })
    }

    /// All layers, and the logits of all rows.
    fn compute(&mut self, model: &Model<D>, cache: &mut D::Cache, size: Size) -> Result<()> {
        let (n, hidden) = (size.rows, model.config().hidden);
        let device = &**model.device();
        let Memory { places, x, normed, .. } = &mut self.memory;
        let table = View::all(&model.embedding).rows(hidden);
        let ids = View::all(places).part(0..n);
        device.embed(table, ids, ViewMut::all(x).part(0..n * hidden))?;
        let first = model.layers.first().map_or(&model.norm, |it| &it.input_norm);
        let (x, out) =
            (ViewMut::all(x).part(0..n * hidden), ViewMut::all(normed).part(0..n * hidden));
        device.decode_norm(model.norm_of(first, None), x, out)?;
        (0..model.layers.len()).try_for_each(|it| self.layer(model, cache, (it, size)))?;
        self.head(model, n)
    }

    /// One layer, from the norm of its input to that of the next one's.
    fn layer(
        &mut self,
        model: &Model<D>,
        cache: &mut D::Cache,
        (layer, size): (usize, Size),
    ) -> Result<()> {
        let (n, heads, config) = (size.rows, model.heads(), model.config());
        let (hidden, wide, device) = (config.hidden, config.intermediate, &**model.device());
        let weights = &model.layers[layer];
        let Memory {
            places, x, normed, queries, attended, gated, parts, workspace: memory, ..
        } = &mut self.memory;
        let places = Places {
            positions: View::all(places).part(n..2 * n),
            blocks: View::all(places).part(2 * n..n * (2 + self.stride)),
            splits: size.splits,
        };
        let from = View::all(normed).part(0..n * hidden);
        let product = multiply(device, from.rows(hidden), &weights.qkv, (heads.row(), parts))?;
        let rope = model.rope.with_heads(heads, Direction::Forward);
        let given = DecodeQkv { parts: product, rope, places };
        let to = ViewMut::all(queries).part(0..n * heads.out());
        device.decode_qkv(given, (&mut *cache, layer), to)?;
        let given = Attending {
            queries: View::all(queries).part(0..n * heads.out()),
            heads,
            places,
            workspace: ViewMut::all(memory).part(0..workspace_len(n, heads, size.splits)),
        };
        device.decode_attention(
            (&*cache, layer),
            given,
            ViewMut::all(attended).part(0..n * heads.out()),
        )?;
        let from = View::all(attended).part(0..n * heads.out()).rows(heads.out());
        let product = multiply(device, from, &weights.o, (hidden, parts))?;
        let stream = ViewMut::all(x).part(0..n * hidden);
        let out = ViewMut::all(normed).part(0..n * hidden);
        device.decode_norm(model.norm_of(&weights.post_norm, Some(product)), stream, out)?;
        let from = View::all(normed).part(0..n * hidden).rows(hidden);
        let product = multiply(device, from, &weights.gate_up, (2 * wide, parts))?;
        device.decode_gate(product, wide, ViewMut::all(gated).part(0..n * wide))?;
        let from = View::all(gated).part(0..n * wide).rows(wide);
        let product = multiply(device, from, &weights.down, (hidden, parts))?;
        let gain = model.layers.get(layer + 1).map_or(&model.norm, |it| &it.input_norm);
        let stream = ViewMut::all(x).part(0..n * hidden);
        let out = ViewMut::all(normed).part(0..n * hidden);
        device.decode_norm(model.norm_of(gain, Some(product)), stream, out)
    }

    /// The logits of rows whose norm is there.
    fn head(&mut self, model: &Model<D>, n: usize) -> Result<()> {
        let (hidden, vocab) = (model.config().hidden, model.config().vocab);
        let device = &**model.device();
        let Memory { normed, parts, logits, .. } = &mut self.memory;
        let from = View::all(normed).part(0..n * hidden).rows(hidden);
        if device.decode_parts(&model.head) == 1 {
            return device.decode_product(
                from,
                &model.head,
                ViewMut::all(logits).part(0..n * vocab),
            );
        }
        let product = multiply(device, from, &model.head, (vocab, parts))?;
        device.decode_total(product, ViewMut::all(logits).part(0..n * vocab))
    }

    /// Picks for those of the first rows that want it.
    fn pick_some(
        &mut self,
        model: &Model<D>,
        rows: &[Row<'_>],
    ) -> Result<Vec<Option<Picked>>, Error> {
        let mut picks: Vec<Option<Picked>> = Vec::with_capacity(rows.len());
        let vocab = model.config().vocab;
        // Mostly all rows want one; else those that do are sampled for run by run.
        for run in rows.chunk_by(|a, b| a.given.is_some() == b.given.is_some()) {
            let first = picks.len();
            let given: Vec<Given<'_>> = run.iter().filter_map(|it| it.given).collect();
            if given.is_empty() {
                picks.extend(run.iter().map(|_| None));
                continue;
            }
            let logits =
                View::all(&self.memory.logits).part(first * vocab..(first + run.len()) * vocab);
            picks.extend(model.device().pick(logits, &given)?.into_iter().map(Some));
        }
        Ok(picks)
    }

    /// Picks from rows of a residual stream that prompts left, through the same head.
    pub(crate) fn pick(
        &mut self,
        model: &Model<D>,
        stream: View<'_, D::Buffer>,
        (rows, given): (&[u32], &[Given<'_>]),
    ) -> Result<Vec<Picked>, Error> {
        let (hidden, vocab, device) = (model.config().hidden, model.config().vocab, model.device());
        let mut all = Vec::with_capacity(rows.len());
        for (rows, given) in rows.chunks(self.rows).zip(given.chunks(self.rows)) {
            let n = rows.len();
            let Memory { places, x, normed, .. } = &mut self.memory;
            device.write(ViewMut::all(places).part(0..n), rows)?;
            let sampled = View::all(places).part(0..n);
            device.embed(stream.rows(hidden), sampled, ViewMut::all(x).part(0..n * hidden))?;
            let (x, out) =
                (ViewMut::all(x).part(0..n * hidden), ViewMut::all(normed).part(0..n * hidden));
            device.decode_norm(model.norm_of(&model.norm, None), x, out)?;
            self.head(model, n)?;
            all.extend(device.pick(View::all(&self.memory.logits).part(0..n * vocab), given)?);
        }
        Ok(all)
    }
}

/// A product with its parts in the front of `parts`, for this many features.
fn multiply<'a, D: Decode>(
    device: &D,
    x: crate::Matrix<'_, D::Buffer>,
    weight: &D::Packed,
    (features, parts): (usize, &'a mut D::Buffer),
) -> Result<Parts<'a, D::Buffer>> {
    let n_parts = device.decode_parts(weight);
    let n = n_parts * x.rows * features;
    device.decode_product(x, weight, ViewMut::all(parts).part(0..n))?;
    Ok(Parts { numbers: View::all(parts).part(0..n), parts: n_parts })
}

impl<D: Decode> Model<D> {
    /// How many numbers the parts of one row's widest product have, the head's included where it has more
    /// than one.
    fn widest_parts(&self) -> usize {
        let (config, heads) = (self.config(), self.heads());
        let of =
            |weight: &D::Packed, features: usize| self.device().decode_parts(weight) * features;
        let layer = |it: &super::model::Layer<D>| {
            let widths = [heads.row(), config.hidden, 2 * config.intermediate, config.hidden];
            let weights = [&it.qkv, &it.o, &it.gate_up, &it.down];
            weights.into_iter().zip(widths).map(|it| of(it.0, it.1)).max().unwrap_or(0)
        };
        let head = self.device().decode_parts(&self.head);
        let of_head = if head > 1 { head * config.vocab } else { 0 };
        self.layers.iter().map(layer).chain([of_head]).max().unwrap_or(0)
    }

    fn norm_of<'a>(
        &self,
        gain: &'a D::Buffer,
        parts: Option<Parts<'a, D::Buffer>>,
    ) -> Norm<'a, D::Buffer> {
        Norm { parts, gain: View::all(gain), eps: self.config().rms_norm_eps as f32 }
    }
}
