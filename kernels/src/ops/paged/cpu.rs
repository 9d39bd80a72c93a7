//! The processor's cache: for each layer, block and head the panels that attention reads.

use rayon::prelude::*;

use super::{CacheShape, Run};
use crate::cpu::Cpu;
use crate::cpu::scratch::Shared;
use crate::device::Buffer;
use crate::dtype::Real;
use crate::ops::attention::blocks::{Queries, Running};
use crate::ops::attention::{BLOCK, Heads, KeyValue, QUERIES, attend};
use crate::ops::elementwise::copy;
use crate::ops::matmul::tile::WIDTH;
use crate::{CpuBuffer, Dtype, Error, Result};

/// Keys and values of all layers.
pub struct CpuCache {
    shape: CacheShape,
    keys: CpuBuffer,   // [layers, blocks, heads][dim][BLOCK]
    values: CpuBuffer, // [layers, blocks, heads][parts][BLOCK][WIDTH]
}

impl CpuCache {
    fn key_len(&self) -> usize {
        self.shape.head_dim * BLOCK
    }

    fn value_len(&self) -> usize {
        self.shape.head_dim.div_ceil(WIDTH) * WIDTH * BLOCK
    }

    /// Which piece a block's head is.
    fn piece(&self, layer: usize, block: u32, head: usize) -> usize {
        (layer * self.shape.blocks + block as usize) * self.shape.kv_heads + head
    }

    /// What it was made for.
    pub(crate) fn shape(&self) -> CacheShape {
        self.shape
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        (self.keys.len() + self.values.len()) * size_of::<f32>()
    }
}

/// An empty cache.
pub(crate) fn new(shape: CacheShape) -> Result<CpuCache> {
    let pieces = [shape.layers, shape.blocks, shape.kv_heads]
        .iter()
        .try_fold(1usize, |product, it| product.checked_mul(*it))
        .ok_or(Error::Memory { bytes: usize::MAX })?;
    let zeros = |len: usize| {
        let len = pieces.checked_mul(len).ok_or(Error::Memory { bytes: usize::MAX })?;
        CpuBuffer::zeros(Dtype::F32, len)
    };
    let parts = shape.head_dim.div_ceil(WIDTH);
    let (keys, values) = (zeros(shape.head_dim * BLOCK)?, zeros(parts * WIDTH * BLOCK)?);
    Ok(CpuCache { shape, keys, values })
}

/// That runs lie in the batch and have blocks enough, and that the cache is made for these heads.
pub(crate) fn check_runs(
    op: &'static str,
    shape: CacheShape,
    (layer, heads): (usize, Heads),
    rows: usize,
    runs: &[Run],
) -> Result<()> {
    let index = |buffer, index, len| Error::Index { op, buffer, index, len };
    crate::error::check_len(op, "heads of the cache", shape.kv_heads, heads.kv)?;
    crate::error::check_len(op, "head width of the cache", shape.head_dim, heads.dim)?;
    if layer >= shape.layers {
        return Err(index("layer", layer, shape.layers));
    }
    for run in runs {
        if run.rows == 0 || run.first_row + run.rows > rows {
            return Err(index("rows of a run", run.first_row + run.rows, rows));
        }
        let needed = (run.past + run.rows).div_ceil(BLOCK);
        if run.blocks.len() < needed {
            return Err(index("blocks of a run", needed, run.blocks.len()));
        }
        if let Some(it) = run.blocks.iter().find(|it| **it as usize >= shape.blocks) {
            return Err(index("block", *it as usize, shape.blocks));
        }
    }
    Ok(())
}

/// Writes keys and values of new tokens; the runs are checked.
pub(crate) fn append<E: Real>(
    cache: &mut CpuCache,
    layer: usize,
    qkv: &[E],
    heads: Heads,
    runs: &[Run],
) {
    for run in runs {
        for i in 0..run.rows {
            let position = run.past + i;
            let (block, at) = (run.blocks[position / BLOCK], position % BLOCK);
            let row = &qkv[(run.first_row + i) * heads.row()..][..heads.row()];
            for head in 0..heads.kv {
                let piece = cache.piece(layer, block, head);
                let (key_len, value_len) = (cache.key_len(), cache.value_len());
                if let Some(all) = cache.keys.as_mut_slice::<f32>() {
                    let keys = &mut all[piece * key_len..][..key_len];
                    let from = &row[heads.key(head)..][..heads.dim];
                    for (to, from) in keys[at..].iter_mut().step_by(BLOCK).zip(from) {
                        *to = from.to_f32();
                    }
                }
                if let Some(all) = cache.values.as_mut_slice::<f32>() {
                    let values = &mut all[piece * value_len..][..value_len];
                    let from = row[heads.value(head)..][..heads.dim].chunks(WIDTH);
                    for (to, from) in values.chunks_exact_mut(BLOCK * WIDTH).zip(from) {
                        let to = to[at * WIDTH..].iter_mut();
                        to.zip(from).for_each(|(to, from)| *to = from.to_f32());
                    }
                }
            }
        }
    }
}

/// Copies a block of all layers.
pub(crate) fn copy_block(cache: &mut CpuCache, from: u32, to: u32) -> Result<()> {
    let blocks = cache.shape.blocks;
    if let Some(it) = [from, to].into_iter().find(|it| *it as usize >= blocks) {
        let index = it as usize;
        return Err(Error::Index { op: "cache_copy", buffer: "block", index, len: blocks });
    }
    for layer in 0..cache.shape.layers {
        let (source, target) = (cache.piece(layer, from, 0), cache.piece(layer, to, 0));
        let lens = [cache.key_len(), cache.value_len()].map(|it| it * cache.shape.kv_heads);
        for (buffer, len) in [&mut cache.keys, &mut cache.values].into_iter().zip(lens) {
            let (source, target) =
                (source / cache.shape.kv_heads * len, target / cache.shape.kv_heads * len);
            if let Some(all) = buffer.as_mut_slice::<f32>() {
                all.copy_within(source..source + len, target);
            }
        }
    }
    Ok(())
}

/// Queries of one run that attend together.
struct Task<'a> {
    run: &'a Run,
    /// The head of keys.
    head: usize,
    /// The query head, where the queries are rows; none where they are the heads of a group.
    query: Option<usize>,
    /// The first of the run's rows, and how many.
    first: usize,
    n: usize,
}

/// One row attends with all heads of a group at once, many rows head by head.
fn tasks(heads: Heads, runs: &[Run]) -> Vec<Task<'_>> {
    let mut tasks = Vec::new();
    for run in runs {
        for head in 0..heads.kv {
            if run.rows == 1 {
                tasks.push(Task { run, head, query: None, first: 0, n: 1 });
                continue;
            }
            for first in (0..run.rows).step_by(QUERIES) {
                let n = (run.rows - first).min(QUERIES);
                let group = head * heads.group()..(head + 1) * heads.group();
                tasks.extend(group.map(|it| Task { run, head, query: Some(it), first, n }));
            }
        }
    }
    tasks
}

/// Attends from new tokens, whose keys and values are appended already; the runs are checked.
pub(crate) fn attention<E: Real>(
    cpu: &Cpu,
    (cache, layer): (&CpuCache, usize),
    (qkv, heads): (&[E], Heads),
    runs: &[Run],
    out: &mut [E],
) -> Result<()> {
    let out = Shared::new(out);
    tasks(heads, runs).par_iter().try_for_each(|task| {
        let (keys, values) = (cache.keys.as_slice::<f32>(), cache.values.as_slice::<f32>());
        let (keys, values) = (keys.unwrap_or_default(), values.unwrap_or_default());
        let (key_len, value_len) = (cache.key_len(), cache.value_len());
        let block = |n: usize| {
            let piece = cache.piece(layer, task.run.blocks[n], task.head);
            KeyValue {
                keys: &keys[piece * key_len..][..key_len],
                values: &values[piece * value_len..][..value_len],
            }
        };
        one(cpu, qkv, heads, (task, block), out)
    })
}

/// Attends from the queries of a task and writes their results.
fn one<'k, E: Real>(
    cpu: &Cpu,
    qkv: &[E],
    heads: Heads,
    (task, block): (&Task<'_>, impl Fn(usize) -> KeyValue<'k>),
    out: Shared<E>,
) -> Result<()> {
    let dim = heads.dim;
    // Query `i` of the task: its row in the batch and its head.
    let place = |i: usize| match task.query {
        Some(head) => (task.run.first_row + task.first + i, head),
        None => (task.run.first_row + task.first, task.head * heads.group() + i),
    };
    let (n, step) = if task.query.is_some() { (task.n, 1) } else { (heads.group(), 0) };
    let mut memory = cpu.scratch.take(n * dim + Running::len(n, dim))?;
    let (data, memory) = memory.split_at_mut(n * dim);
    for (i, to) in data.chunks_exact_mut(dim).enumerate() {
        let (row, head) = place(i);
        copy(cpu.isa, &qkv[row * heads.row() + head * dim..][..dim], to);
    }
    let first = task.run.past + task.first;
    let queries = Queries { data, dim, first, step, scale: heads.score_scale() };
    let mut running = Running::new(memory, n, dim);
    attend(cpu.isa, queries, block, &mut running);
    for i in 0..n {
        let (row, head) = place(i);
        // SAFETY: each task has rows and heads of its own, within `out`, whose length is checked and
        // which the caller keeps borrowed.
        let to = unsafe { out.part(row * heads.out() + head * dim, dim) };
        running.finish(i, to);
    }
    Ok(())
}
