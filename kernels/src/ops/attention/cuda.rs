//! Launches of `kernel.cu` and `backward.cu`, and which of the ways is taken.

use super::hopper;
use super::tensor::{self, steps};
use super::{BLOCK, Backward, Forward, Heads, check_spans};
use crate::cuda::{
    Arg, Cuda, CudaBuffer, Grid, Kernel, Piece, Pointer, Source, Variant, pointer, pointer_mut,
    type_name,
};
use crate::device::{View, ViewMut};
use crate::error::{check_dtype, check_len};
use crate::{Dtype, Result};

const SOURCE: Source = Source::new("attention", include_str!("kernel.cu"));
const BACK: Source = Source::new("attention.backward", include_str!("backward.cu"));
const WARPS: usize = 4; // kernel.cu: WARPS
const WARP: u32 = 32;
const QUERIES: usize = 8; // backward.cu: QUERIES
const THREADS: u32 = 256; // backward.cu: THREADS
const LANES: usize = 16; // ../../cuda/number.cuh: LANES
const DELTA_THREADS: u32 = 128; // backward.cu: `delta`

/// How the files are compiled.
pub(crate) fn variants(e: &str) -> Vec<Variant> {
    let forward = ["0", "1"].map(|paged| Variant::new(&SOURCE, &defines(e, e, paged, "128")));
    let back = Variant::new(&BACK, &[("E", e), ("DIM", "128")]);
    let tensor = if e == "bf16" { tensor::variants() } else { Vec::new() };
    let hopper = if e == "bf16" { hopper::variants() } else { Vec::new() };
    forward.into_iter().chain([back]).chain(tensor).chain(hopper).collect()
}

fn defines<'a>(
    e: &'a str,
    k: &'a str,
    paged: &'a str,
    dim: &'a str,
) -> [(&'static str, &'a str); 4] {
    [("E", e), ("K", k), ("PAGED", paged), ("DIM", dim)]
}

/// Keys and values that do not lie in the rows: one layer of a cache.
#[derive(Clone, Copy)]
pub(crate) struct Cached {
    pub(crate) keys: Pointer,
    pub(crate) values: Pointer,
    /// The blocks of all sequences.
    pub(crate) table: Pointer,
    /// How many blocks the layer has.
    pub(crate) blocks: usize,
    pub(crate) dtype: Dtype,
}

pub(crate) fn forward(
    cuda: &Cuda,
    given: Forward<'_, CudaBuffer>,
    out: ViewMut<'_, CudaBuffer>,
    lse: ViewMut<'_, CudaBuffer>,
) -> Result<()> {
    const OP: &str = "attention";
    let Forward { qkv, spans, heads } = given;
    let rows = qkv.len() / heads.row().max(1);
    check_len(OP, "qkv", qkv.len(), rows * heads.row())?;
    check_len(OP, "out", out.len(), rows * heads.out())?;
    check_len(OP, "lse", lse.len(), rows * heads.query)?;
    check_dtype(OP, "out", out.dtype(), qkv.dtype())?;
    check_dtype(OP, "lse", lse.dtype(), Dtype::F32)?;
    check_spans(OP, spans, rows)?;
    let sequence =
        |it: &[u32]| Sequence { row: it[0], position: 0, n: it[1] - it[0], start: it[0] };
    let sequences: Vec<Sequence> = spans.windows(2).map(sequence).collect();
    let given = Queries { qkv, sequences: &sequences, heads, lse: pointer_mut(&lse) };
    // SAFETY: the sequences are spans of the rows; lengths and types were checked.
    unsafe { attend(cuda, given, None, out) }
}

/// Tokens of a sequence that attend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// The first one's row.
    pub(crate) row: u32,
    /// Its position in the sequence.
    pub(crate) position: u32,
    /// How many.
    pub(crate) n: u32,
    /// Where the sequence begins: its first row, or the place of its first block in the table.
    pub(crate) start: u32,
}

/// Sequences cut into tiles of as many tokens as `most` says of the first one's position.
pub(super) fn tiles(sequences: &[Sequence], most: impl Fn(u32) -> u32) -> Vec<Sequence> {
    let mut tiles = Vec::new();
    for it in sequences {
        let mut done = 0;
        while done < it.n {
            let (row, position) = (it.row + done, it.position + done);
            let n = most(position).min(it.n - done);
            tiles.push(Sequence { row, position, n, ..*it });
            done += n;
        }
    }
    tiles
}

/// A list of tiles as kernels take it: four numbers each.
pub(super) fn list(tiles: &[Sequence]) -> Vec<u32> {
    tiles.iter().flat_map(|it| [it.row, it.position, it.n, it.start]).collect()
}

/// Where things lie in the forward pass.
pub(super) struct At {
    pub(super) qkv: Pointer,
    pub(super) out: Pointer,
    /// Not looked at where keys lie in a cache.
    pub(super) lse: Pointer,
}

/// Queries that attend.
pub(crate) struct Queries<'a> {
    pub(crate) qkv: View<'a, CudaBuffer>,
    pub(crate) sequences: &'a [Sequence],
    pub(crate) heads: Heads,
    /// Not looked at where keys lie in a cache.
    pub(crate) lse: Pointer,
}

/// Attends from queries to keys in the rows or in a cache.
///
/// # Safety
///
/// The sequences name rows of `qkv`, `out` and `lse`, and rows or cached blocks that exist.
pub(crate) unsafe fn attend(
    cuda: &Cuda,
    given: Queries<'_>,
    cached: Option<Cached>,
    out: ViewMut<'_, CudaBuffer>,
) -> Result<()> {
    const OP: &str = "attention";
    let Queries { qkv, sequences, heads, lse } = given;
    let nothing = Cached { keys: 0, values: 0, table: 0, blocks: 0, dtype: qkv.dtype() };
    let it = cached.unwrap_or(nothing);
    let at = At { qkv: pointer(&qkv), out: pointer_mut(&out), lse };
    let (dtypes, pointers) = ([qkv.dtype(), it.dtype], [at.qkv, at.out, it.keys, it.values]);
    if hopper::can(cuda, heads, dtypes, &pointers) {
        // SAFETY: the caller's promise.
        return unsafe { hopper::forward(cuda, sequences, heads, cached, at) };
    }
    if tensor::can(cuda, heads, dtypes, &pointers) {
        // SAFETY: the caller's promise.
        return unsafe { tensor::forward(cuda, sequences, heads, cached, at) };
    }
    let (e, dim) = (type_name(qkv.dtype(), OP, "qkv")?, heads.dim.to_string());
    let place = |it: &Sequence| {
        let it = *it;
        (0..it.n).flat_map(move |n| [it.row + n, it.position + n, it.start])
    };
    let places: Vec<u32> = sequences.iter().flat_map(place).collect();
    let n = places.len() / 3;
    let places = cuda.table(places)?;
    let paged = if cached.is_some() { "1" } else { "0" };
    let defines = defines(e, type_name(it.dtype, OP, "keys")?, paged, &dim);
    let kernel = Kernel { source: &SOURCE, function: "forward", defines: &defines };
    let places = pointer(&places.view());
    let pointers = [at.qkv, places, it.keys, it.values, it.table, at.out, lse];
    let mut args: Vec<Arg> = pointers.map(Arg::Pointer).into();
    args.extend(in_heads(heads));
    let grid = Grid {
        blocks: (n, heads.query.div_ceil(WARPS)),
        threads: WARPS as u32 * WARP,
        shared_bytes: WARPS * heads.dim * size_of::<f32>(),
    };
    // SAFETY: `forward(const E*, const u32*, const K*, const K*, const u32*, E*, float*, u32, u32,
    // float)`; the rest is the caller's promise.
    unsafe { cuda.launch(kernel, grid, &args) }
}

/// The last parameters of all kernels here.
pub(super) fn in_heads(heads: Heads) -> [Arg; 3] {
    [Arg::U32(heads.query as u32), Arg::U32(heads.kv as u32), Arg::F32(heads.score_scale())]
}

pub(crate) fn backward(
    cuda: &Cuda,
    given: Backward<'_, CudaBuffer>,
    d_qkv: ViewMut<'_, CudaBuffer>,
) -> Result<()> {
    let rows = check_backward(&given, &d_qkv)?;
    let Backward { d_out, out, qkv, lse, spans, heads } = given;
    let to = pointer_mut(&d_qkv);
    let places = [pointer(&d_out), pointer(&qkv), pointer(&out), to];
    if hopper::can(cuda, heads, [qkv.dtype(); 2], &places) {
        let [d_out, qkv, out, _] = places;
        // SAFETY: lengths and types were checked.
        let delta = unsafe { hopper::delta(cuda, (d_out, out), (rows, heads)) }?;
        let (lse, delta_at) = (pointer(&lse), pointer(&delta.view()));
        let given = hopper::Given { d_out, qkv, lse, delta: delta_at, spans, heads };
        // SAFETY: as above.
        return unsafe { hopper::backward(cuda, given, to) };
    }
    let (e, dim) = (type_name(qkv.dtype(), BACKWARD, "qkv")?, heads.dim.to_string());
    let defines = [("E", e), ("DIM", &*dim)];
    let delta = delta(cuda, &defines, (&d_out, &out), (rows, heads))?;
    let pointers = [pointer(&d_out), pointer(&qkv), pointer(&lse), pointer(&delta.view())];
    let first = pointers.map(Arg::Pointer);
    if tensor::can(cuda, heads, [qkv.dtype(); 2], &[pointers[0], pointers[1], to]) {
        // SAFETY: lengths and types were checked.
        return unsafe { tensor::backward(cuda, first, (spans, heads), to) };
    }
    let (blocks, tiles) = (steps(spans, BLOCK), steps(spans, QUERIES));
    let blocks: Vec<u32> = blocks.iter().flat_map(|(first, _, end)| [*first, *end]).collect();
    let tiles: Vec<u32> =
        tiles.iter().flat_map(|(first, start, end)| [*first, *start, *end]).collect();
    let shared = 2 * (QUERIES + BLOCK) * (heads.dim + 1) + 2 * QUERIES * BLOCK;
    let parts =
        [("backward_keys", blocks, 2, heads.kv), ("backward_queries", tiles, 3, heads.query)];
    for (function, list, each, n_heads) in parts {
        let n = list.len() / each;
        let list = cuda.table(list)?;
        let second = [pointer(&list.view()), to].map(Arg::Pointer);
        let args = [&first[..], &second, &in_heads(heads)].concat();
        let shared_bytes = shared * size_of::<f32>(); // backward.cu: `tile_in`
        let grid = Grid { blocks: (n, n_heads), threads: THREADS, shared_bytes };
        let kernel = Kernel { source: &BACK, function, defines: &defines };
        // SAFETY: `(const E*, const E*, const float*, const float*, const u32*, E*, u32, u32, float)`;
        // lengths and types were checked, and the list names rows of spans.
        unsafe { cuda.launch(kernel, grid, &args) }?;
    }
    Ok(())
}

const BACKWARD: &str = "attention_backward";

/// How many rows there are, where all operands fit.
fn check_backward(
    given: &Backward<'_, CudaBuffer>,
    d_qkv: &ViewMut<'_, CudaBuffer>,
) -> Result<usize> {
    let Backward { d_out, out, qkv, lse, spans, heads } = given;
    let rows = qkv.len() / heads.row().max(1);
    check_len(BACKWARD, "qkv", qkv.len(), rows * heads.row())?;
    check_len(BACKWARD, "d_qkv", d_qkv.len(), rows * heads.row())?;
    check_len(BACKWARD, "out", out.len(), rows * heads.out())?;
    check_len(BACKWARD, "d_out", d_out.len(), rows * heads.out())?;
    check_len(BACKWARD, "lse", lse.len(), rows * heads.query)?;
    for (name, dtype) in [("d_qkv", d_qkv.dtype()), ("out", out.dtype()), ("d_out", d_out.dtype())]
    {
        check_dtype(BACKWARD, name, dtype, qkv.dtype())?;
    }
    check_dtype(BACKWARD, "lse", lse.dtype(), Dtype::F32)?;
    check_spans(BACKWARD, spans, rows)?;
    Ok(rows)
}

/// The products of results and their gradients: `[rows, query heads]`.
fn delta<'a>(
    cuda: &'a Cuda,
    defines: &[(&'static str, &str)],
    (d_out, out): (&View<'_, CudaBuffer>, &View<'_, CudaBuffer>),
    (rows, heads): (usize, Heads),
) -> Result<Piece<'a>> {
    let n = rows * heads.query;
    let delta = cuda.scratch(Dtype::F32, cuda.at_least(rows) * heads.query)?;
    let kernel = Kernel { source: &BACK, function: "delta", defines };
    let pointers = [pointer(d_out), pointer(out), pointer(&delta.view())].map(Arg::Pointer);
    let grid = Grid::blocks((n * LANES).div_ceil(DELTA_THREADS as usize), DELTA_THREADS);
    // SAFETY: `delta(const E*, const E*, float*, size_t)`; the first two have `n` heads, as was checked,
    // the third was made for them.
    unsafe { cuda.launch(kernel, grid, &[&pointers[..], &[Arg::Size(n)]].concat()) }?;
    Ok(delta)
}
