//! The device's cache, and launches of `kernel.cu`.

use super::{CacheShape, Run, Tokens, check_runs};
use crate::cuda::{
    Arg, Cuda, CudaBuffer, Grid, Kernel, Pointer, Source, Variant, pointer, type_name,
};
use crate::device::ViewMut;
use crate::error::{check_dtype, check_len};
use crate::ops::attention::BLOCK;
use crate::ops::attention::cuda::{Cached, Queries, Sequence, attend};
use crate::{Buffer, Device, Dtype, Error, Result};

const SOURCE: Source = Source::new("paged", include_str!("kernel.cu"));

/// How the file is compiled.
pub(crate) fn variants(e: &str) -> Vec<Variant> {
    vec![Variant::new(&SOURCE, &[("E", e), ("K", e)])]
}

/// Keys and values of all layers: `[layers][blocks][kv heads][BLOCK][dim]` each.
pub struct CudaCache {
    shape: CacheShape,
    keys: CudaBuffer,
    values: CudaBuffer,
}

impl CudaCache {
    /// Numbers of a block of one layer.
    fn block_len(&self) -> usize {
        self.shape.kv_heads * BLOCK * self.shape.head_dim
    }

    /// What it was made for.
    pub(crate) fn shape(&self) -> CacheShape {
        self.shape
    }

    /// What it holds.
    pub(crate) fn dtype(&self) -> Dtype {
        self.keys.dtype()
    }

    /// Where a layer's keys and values begin.
    pub(crate) fn layer(&self, layer: usize) -> [Pointer; 2] {
        let start = layer * self.shape.blocks * self.block_len() * self.keys.dtype().bytes();
        [&self.keys, &self.values].map(|it| pointer(&it.view()) + start as u64)
    }
}

/// An empty cache.
pub(crate) fn new(cuda: &Cuda, shape: CacheShape) -> Result<CudaCache> {
    let CacheShape { layers, blocks, kv_heads, head_dim } = shape;
    let len = [layers, blocks, kv_heads, BLOCK, head_dim]
        .iter()
        .try_fold(1usize, |product, it| product.checked_mul(*it))
        .ok_or(Error::Memory { bytes: usize::MAX })?;
    let dtype = cuda.activations();
    Ok(CudaCache { shape, keys: cuda.zeros(dtype, len)?, values: cuda.zeros(dtype, len)? })
}

/// The sequences of runs, and the blocks of all of them.
fn sequences(runs: &[Run]) -> (Vec<Sequence>, Vec<u32>) {
    let mut table = Vec::new();
    let mut sequence = |run: &Run| {
        let [row, position, n] = [run.first_row, run.past, run.rows].map(|it| it as u32);
        let start = table.len() as u32;
        let needed = (run.past + run.rows).div_ceil(BLOCK);
        table.extend_from_slice(&run.blocks[..needed]);
        Sequence { row, position, n, start }
    };
    let sequences = runs.iter().map(&mut sequence).collect();
    (sequences, table)
}

/// That tokens and cache fit; how many rows there are.
fn check(
    op: &'static str,
    cache: &CudaCache,
    layer: usize,
    tokens: &Tokens<'_, CudaBuffer>,
) -> Result<usize> {
    let Tokens { qkv, heads, runs } = tokens;
    let rows = qkv.len() / heads.row().max(1);
    check_len(op, "qkv", qkv.len(), rows * heads.row())?;
    check_runs(op, cache.shape, (layer, *heads), rows, runs)?;
    Ok(rows)
}

pub(crate) fn append(
    cuda: &Cuda,
    cache: &mut CudaCache,
    layer: usize,
    tokens: Tokens<'_, CudaBuffer>,
) -> Result<()> {
    const OP: &str = "cache_append";
    check(OP, cache, layer, &tokens)?;
    let Tokens { qkv, heads, runs } = tokens;
    let (sequences, table) = sequences(runs);
    let place = |it: &Sequence| {
        let it = *it;
        (0..it.n).flat_map(move |n| [it.row + n, it.position + n, it.start])
    };
    let places: Vec<u32> = sequences.iter().flat_map(place).collect();
    let tokens = places.len() / 3;
    let (places, table) = (cuda.table(places)?, cuda.table(table)?);
    let k = type_name(cache.keys.dtype(), OP, "cache")?;
    let defines = [("E", type_name(qkv.dtype(), OP, "qkv")?), ("K", k)];
    let kernel = Kernel { source: &SOURCE, function: "append", defines: &defines };
    let [keys, values] = cache.layer(layer);
    let pointers = [pointer(&qkv), pointer(&places.view()), pointer(&table.view()), keys, values];
    let sizes = [heads.query, heads.kv, heads.dim].map(|it| Arg::U32(it as u32));
    let args = [&pointers.map(Arg::Pointer)[..], &[Arg::Size(tokens)], &sizes].concat();
    // SAFETY: `append(const E*, const u32*, const u32*, K*, K*, size_t, u32, u32, u32)`; the runs name
    // rows and blocks that exist, and the cache is made for these heads.
    unsafe { cuda.launch(kernel, Grid::each(tokens * heads.kv * heads.dim), &args) }
}

pub(crate) fn copy_block(cuda: &Cuda, cache: &mut CudaCache, from: u32, to: u32) -> Result<()> {
    let blocks = cache.shape.blocks;
    if let Some(it) = [from, to].into_iter().find(|it| *it as usize >= blocks) {
        let index = it as usize;
        return Err(Error::Index { op: "cache_copy", buffer: "block", index, len: blocks });
    }
    let len = cache.block_len();
    for layer in 0..cache.shape.layers {
        let [from, to] = [from, to].map(|it| (layer * blocks + it as usize) * len);
        for buffer in [&cache.keys, &cache.values] {
            cuda.copy_bytes(buffer, from..from + len, (buffer, to))?;
        }
    }
    Ok(())
}

pub(crate) fn attention(
    cuda: &Cuda,
    cache: &CudaCache,
    layer: usize,
    tokens: Tokens<'_, CudaBuffer>,
    out: ViewMut<'_, CudaBuffer>,
) -> Result<()> {
    const OP: &str = "attention_paged";
    let rows = check(OP, cache, layer, &tokens)?;
    let Tokens { qkv, heads, runs } = tokens;
    check_len(OP, "out", out.len(), rows * heads.out())?;
    check_dtype(OP, "out", out.dtype(), qkv.dtype())?;
    let (sequences, table) = sequences(runs);
    let table = cuda.table(table)?;
    let [keys, values] = cache.layer(layer);
    let dtype = cache.keys.dtype();
    let blocks = cache.shape.blocks;
    let cached = Cached { keys, values, table: pointer(&table.view()), blocks, dtype };
    let given = Queries { qkv, sequences: &sequences, heads, lse: Pointer::MIN };
    // SAFETY: the runs name rows and blocks that exist, and the cache is made for these heads.
    unsafe { attend(cuda, given, Some(cached), out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_begin_where_their_blocks_do() {
        let run = |first_row, rows, past, blocks: &[u32]| Run {
            first_row,
            rows,
            past,
            blocks: blocks.to_vec(),
        };
        let runs = [run(0, 1, 32, &[7, 3, 9]), run(1, 2, 0, &[5])];
        let (sequences, table) = sequences(&runs);
        let sequence = |row, position, n, start| Sequence { row, position, n, start };
        assert_eq!(sequences, [sequence(0, 32, 1, 0), sequence(1, 0, 2, 2)]);
        assert_eq!(table, [7, 3, 5]);
    }
}
