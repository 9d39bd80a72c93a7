//! Launches of `hopper.cu` and `hopper_backward.cu`: bf16 by Hopper's warpgroups, over keys in the rows or in
//! a cache.

use std::cmp::Reverse;

use super::cuda::{At, Cached, Sequence, in_heads, list, tiles};
use super::tensor::{self, steps};
use super::{BLOCK, Heads};
use crate::cuda::{Arg, Boxed, Cuda, Grid, Kernel, Piece, Pointer, Source, Variant, pointer};
use crate::{Dtype, Result};

const SOURCE: Source = Source::hopper("attention.hopper", include_str!("hopper.cu"));
const BACK: Source =
    Source::hopper("attention.hopper_backward", include_str!("hopper_backward.cu"));
const CONSUMERS: usize = 2; // hopper.cuh: CONSUMERS
const THREADS: u32 = 128 * (CONSUMERS as u32 + 1); // hopper.cuh: THREADS
const TILE: usize = 64 * CONSUMERS; // hopper.cuh: TILE
const STAGES: usize = 2; // hopper.cu: STAGES
const BACK_STAGES: usize = 3; // hopper_backward.cu: STAGES
const STEP: usize = 64; // hopper_backward.cu: STEP; of a box, in both directions
const DELTA_THREADS: u32 = 256; // hopper_backward.cu: `delta`
const WORD: usize = size_of::<u64>();

/// How the files are compiled.
pub(super) fn variants() -> Vec<Variant> {
    let forward = ["0", "1"].map(|it| Variant::new(&SOURCE, &[("PAGED", it), ("DIM", "128")]));
    forward.into_iter().chain([Variant::new(&BACK, &[("DIM", "128")])]).collect()
}

/// Whether warpgroups can be used: it depends on the model alone, not on what is computed.
pub(super) fn can(cuda: &Cuda, heads: Heads, dtypes: [Dtype; 2], pointers: &[Pointer]) -> bool {
    cuda.is_hopper() && heads.dim.is_multiple_of(STEP) && tensor::can(cuda, heads, dtypes, pointers)
}

/// Rows of which boxes of 64 by 64 are copied.
fn boxed(at: Pointer, rows: usize, columns: usize) -> Boxed {
    Boxed { at, rows, columns, stride: columns, lines: STEP as u32, length: STEP as u32 }
}

/// The bytes of lines of a head.
fn bytes(lines: usize, heads: Heads) -> usize {
    lines * heads.dim * Dtype::Bf16.bytes()
}

/// # Safety
///
/// As for [`super::cuda::attend`]; and [`can`] said so.
pub(super) unsafe fn forward(
    cuda: &Cuda,
    sequences: &[Sequence],
    heads: Heads,
    cached: Option<Cached>,
    at: At,
) -> Result<()> {
    let tile = TILE as u32;
    let mut tiles = tiles(sequences, |position| tile - position % tile);
    if tiles.is_empty() {
        return Ok(());
    }
    tiles.sort_by_key(|it| Reverse(it.position)); // what takes longest is begun first
    let n = tiles.len();
    let tiles = cuda.table(list(&tiles))?;
    let rows = sequences.iter().map(|it| it.row + it.n).max().unwrap_or(0) as usize;
    let queries = boxed(at.qkv, rows, heads.row());
    // A line's number has 31 bits, since a layer of more lines would be of 256 GiB.
    let page = |at, blocks| {
        let lines = BLOCK as u32;
        Boxed { lines, ..boxed(at, blocks * heads.kv * BLOCK, heads.dim) }
    };
    let maps = match cached {
        Some(it) => [queries, page(it.keys, it.blocks), page(it.values, it.blocks)],
        None => [queries; 3],
    };
    let table = cached.map_or(0, |it| it.table);
    let mut args = maps.iter().map(|it| cuda.map(*it).map(Arg::Map)).collect::<Result<Vec<_>>>()?;
    args.extend([pointer(&tiles.view()), table, at.out, at.lse].map(Arg::Pointer));
    args.extend(in_heads(heads));
    let shared_bytes = bytes(TILE + 2 * STAGES * TILE, heads) + (1 + 4 * STAGES) * WORD;
    let grid = Grid { blocks: (heads.query, n), threads: THREADS, shared_bytes };
    let (dim, paged) = (heads.dim.to_string(), if cached.is_some() { "1" } else { "0" });
    let defines = [("PAGED", paged), ("DIM", &*dim)];
    let kernel = Kernel { source: &SOURCE, function: "forward", defines: &defines };
    // SAFETY: `forward(three TensorMaps, const u32*, const u32*, bf16*, float*, u32, u32, float)`; the first
    // map is of all rows that tiles name, the others are of the same or of the whole layer of a cache, and
    // the rest is the caller's promise.
    unsafe { cuda.launch(kernel, grid, &args) }
}

/// The products of results and their gradients: `[rows, query heads]`.
///
/// # Safety
///
/// Both have `rows` rows of heads, and [`can`] said so.
pub(super) unsafe fn delta<'a>(
    cuda: &'a Cuda,
    (d_out, out): (Pointer, Pointer),
    (rows, heads): (usize, Heads),
) -> Result<Piece<'a>> {
    let n = rows * heads.query;
    let delta = cuda.scratch(Dtype::F32, cuda.at_least(rows) * heads.query)?;
    let dim = heads.dim.to_string();
    let kernel = Kernel { source: &BACK, function: "delta", defines: &[("DIM", &dim)] };
    let pointers = [d_out, out, pointer(&delta.view())].map(Arg::Pointer);
    let grid = Grid::blocks((n * heads.dim / 8).div_ceil(DELTA_THREADS as usize), DELTA_THREADS);
    // SAFETY: `delta(const bf16*, const bf16*, float*, size_t)`; the first two are the caller's promise,
    // the third was made for them.
    unsafe { cuda.launch(kernel, grid, &[&pointers[..], &[Arg::Size(n)]].concat()) }?;
    Ok(delta)
}

/// What the backward pass reads.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) d_out: Pointer,
    pub(super) qkv: Pointer,
    pub(super) lse: Pointer,
    pub(super) delta: Pointer,
    pub(super) spans: &'a [u32],
    pub(super) heads: Heads,
}

/// Writes the gradient.
///
/// # Safety
///
/// Operands and result have the lengths of the contract for these spans, and [`can`] said so.
pub(super) unsafe fn backward(cuda: &Cuda, given: Given<'_>, d_qkv: Pointer) -> Result<()> {
    let Given { d_out, qkv, lse, delta, spans, heads } = given;
    let rows = spans.last().copied().unwrap_or(0) as usize;
    let (mut blocks, mut tiles) = (steps(spans, TILE), steps(spans, TILE));
    blocks.sort_by_key(|(first, _, end)| Reverse(end - first));
    tiles.sort_by_key(|(first, start, _)| Reverse(first - start));
    if blocks.is_empty() {
        return Ok(());
    }
    let blocks: Vec<u32> = blocks.iter().flat_map(|(first, _, end)| [*first, *end]).collect();
    let tiles: Vec<u32> = tiles.iter().flat_map(|it| [it.0, it.1, it.2]).collect();
    let maps = [
        Arg::Map(cuda.map(boxed(qkv, rows, heads.row()))?),
        Arg::Map(cuda.map(boxed(d_out, rows, heads.out()))?),
    ];
    let dim = heads.dim.to_string();
    let numbers = BACK_STAGES * 2 * STEP * size_of::<f32>();
    let shared = bytes(2 * TILE + BACK_STAGES * 2 * STEP, heads) + (1 + 2 * BACK_STAGES) * WORD;
    let parts = [
        ("backward_keys", blocks, 2, heads.kv, shared + numbers),
        ("backward_queries", tiles, 3, heads.query, shared),
    ];
    for (function, list, each, n_heads, shared_bytes) in parts {
        let n = list.len() / each;
        let list = cuda.table(list)?;
        let pointers = [lse, delta, pointer(&list.view()), d_qkv].map(Arg::Pointer);
        let args = [&maps[..], &pointers, &in_heads(heads)].concat();
        let grid = Grid { blocks: (n_heads, n), threads: THREADS, shared_bytes };
        let kernel = Kernel { source: &BACK, function, defines: &[("DIM", &dim)] };
        // SAFETY: `(TensorMap, TensorMap, const float*, const float*, const u32*, bf16*, u32, u32, float)`;
        // the maps are of the operands, the lists name rows of spans, the rest is the caller's promise.
        unsafe { cuda.launch(kernel, grid, &args) }?;
    }
    Ok(())
}
