//! Launches of `tensor.cu` and `tensor_backward.cu`: bf16 by tensor cores.

use super::Heads;
use super::cuda::{At, Cached, Sequence, in_heads, list, tiles};
use crate::cuda::{Arg, Cuda, Grid, Kernel, Pointer, Source, Variant, pointer};
use crate::{Dtype, Result};

const SOURCE: Source = Source::new("attention.tensor", include_str!("tensor.cu"));
const BACK: Source = Source::new("attention.tensor_backward", include_str!("tensor_backward.cu"));
const ROWS: usize = 64; // tensor.cu: ROWS, tensor_backward.cu: MANY_ROWS
const FEW_ROWS: usize = 32; // tensor_backward.cu: FEW_ROWS
const KEYS: usize = 64; // tensor.cu, tensor_backward.cu: KEYS
const THREADS: u32 = 128; // tensor.cuh: THREADS
const WIDEST: usize = 128; // a wider head's sums have no room in registers

/// How the files are compiled.
pub(super) fn variants() -> Vec<Variant> {
    let forward = ["0", "1"].map(|it| Variant::new(&SOURCE, &[("PAGED", it), ("DIM", "128")]));
    let back = Variant::new(&BACK, &[("DIM", "128")]);
    forward.into_iter().chain([back]).collect()
}

/// Whether tensor cores can be used: it depends on the model alone, not on what is computed.
pub(super) fn can(cuda: &Cuda, heads: Heads, dtypes: [Dtype; 2], pointers: &[Pointer]) -> bool {
    cuda.has_tensor_cores()
        && dtypes == [Dtype::Bf16; 2]
        && heads.dim.is_multiple_of(16)
        && heads.dim <= WIDEST
        && heads.group() <= FEW_ROWS
        && pointers.iter().all(|it| it.is_multiple_of(16))
}

/// The bytes of lines of a head's numbers in shared memory; tensor.cuh: `LENGTH`.
fn bytes(lines: usize, heads: Heads) -> usize {
    lines * heads.dim.next_multiple_of(64) * size_of::<u16>()
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
    let tokens = (ROWS / heads.group()) as u32;
    let tiles = list(&tiles(sequences, |_| tokens));
    let n = tiles.len() / 4;
    let tiles = cuda.table(tiles)?;
    let dim = heads.dim.to_string();
    let paged = if cached.is_some() { "1" } else { "0" };
    let [keys, values, table] = cached.map_or([0; 3], |it| [it.keys, it.values, it.table]);
    let pointers = [at.qkv, pointer(&tiles.view()), keys, values, table, at.out, at.lse];
    let args = [&pointers.map(Arg::Pointer)[..], &in_heads(heads)].concat();
    let shared_bytes = bytes(ROWS + 2 * KEYS, heads);
    let grid = Grid { blocks: (n, heads.kv), threads: THREADS, shared_bytes };
    let defines = [("PAGED", paged), ("DIM", &*dim)];
    let kernel = Kernel { source: &SOURCE, function: "forward", defines: &defines };
    // SAFETY: `forward(const bf16*, const u32*, const bf16*, const bf16*, const u32*, bf16*, float*, u32,
    // u32, float)`; the rest is the caller's promise.
    unsafe { cuda.launch(kernel, grid, &args) }
}

/// Spans cut into steps: the first row of each, and the start and end of its span.
pub(super) fn steps(spans: &[u32], step: usize) -> Vec<(u32, u32, u32)> {
    let cut = |it: &[u32]| {
        let (start, end) = (it[0], it[1]);
        (start..end).step_by(step).map(move |first| (first, start, end))
    };
    spans.windows(2).flat_map(cut).collect()
}

/// Writes the gradient. `first` are the four operands that both kernels begin with.
///
/// # Safety
///
/// Operands and result have the lengths of the contract for these spans, and [`can`] said so.
pub(super) unsafe fn backward(
    cuda: &Cuda,
    first: [Arg; 4],
    (spans, heads): (&[u32], Heads),
    d_qkv: Pointer,
) -> Result<()> {
    let blocks = steps(spans, KEYS);
    let blocks: Vec<u32> = blocks.iter().flat_map(|(first, _, end)| [*first, *end]).collect();
    let tiles = steps(spans, ROWS / heads.group());
    let tiles: Vec<u32> =
        tiles.iter().flat_map(|(first, start, end)| [*first, *start, *end]).collect();
    let of_rows = 2 * FEW_ROWS * size_of::<f32>(); // tensor_backward.cu: `lses` and `deltas`
    let shared = [bytes(2 * (KEYS + FEW_ROWS), heads) + of_rows, bytes(2 * (KEYS + ROWS), heads)];
    let dim = heads.dim.to_string();
    let parts = [("backward_keys", blocks, 2), ("backward_queries", tiles, 3)];
    for ((function, list, each), shared_bytes) in parts.into_iter().zip(shared) {
        let n = list.len() / each;
        let list = cuda.table(list)?;
        let second = [Arg::Pointer(pointer(&list.view())), Arg::Pointer(d_qkv)];
        let args = [&first[..], &second, &in_heads(heads)].concat();
        let grid = Grid { blocks: (n, heads.kv), threads: THREADS, shared_bytes };
        let kernel = Kernel { source: &BACK, function, defines: &[("DIM", &dim)] };
        // SAFETY: `(const bf16*, const bf16*, const float*, const float*, const u32*, bf16*, u32, u32,
        // float)`; the rest is the caller's promise, and the lists name rows of spans.
        unsafe { cuda.launch(kernel, grid, &args) }?;
    }
    Ok(())
}
