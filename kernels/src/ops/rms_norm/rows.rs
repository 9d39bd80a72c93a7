//! Launches of `rows.cu`: a block for each row, where sums need not be the processor's.

use crate::cuda::{Arg, Cuda, Grid, Kernel, Pointer, Source, Variant, pointer};
use crate::{Dtype, Result};

const SOURCE: Source = Source::new("rms_norm.rows", include_str!("rows.cu"));
const THREADS: u32 = 256; // rows.cu: THREADS
const WARPS: usize = THREADS as usize / 32; // rows.cu: WARPS
const EACH: usize = 8; // rows.cu: EACH
const ROWS: usize = 16; // rows.cu: ROWS
const COLUMNS: usize = 32; // rows.cu: COLUMNS
const MOST_CHUNKS: usize = 4; // more has no room in registers

/// How the file is compiled: for rows of 4,096 numbers, and for the shortest.
pub(super) fn variants() -> Vec<Variant> {
    let all = ["float", "bf16"].map(|g| ["1", "2"].map(|chunks| (g, chunks)));
    let all = all.into_iter().flatten();
    all.flat_map(|it| ["0", "1"].map(|gain| Variant::new(&SOURCE, &defines(it.0, it.1, gain))))
        .collect()
}

fn defines<'a>(g: &'a str, chunks: &'a str, gain: &'a str) -> [(&'static str, &'a str); 3] {
    [("G", g), ("CHUNKS", chunks), ("GAIN", gain)]
}

/// How many times eight numbers of a row a thread has.
fn chunks(width: usize) -> usize {
    width.div_ceil(THREADS as usize * EACH)
}

/// Whether it can be used: it depends on the model alone. `pointers` are of rows and of the gain.
pub(super) fn can(cuda: &Cuda, width: usize, dtype: Dtype, pointers: &[Pointer]) -> bool {
    cuda.has_tensor_cores()
        && dtype == Dtype::Bf16
        && width.is_multiple_of(EACH)
        && (1..=MOST_CHUNKS).contains(&chunks(width))
        && pointers.iter().all(|it| it.is_multiple_of(16))
}

/// `pointers` are of `x`, gain, result and scale.
///
/// # Safety
///
/// They have the lengths of the contract, and [`can`] said so.
pub(super) unsafe fn forward(
    cuda: &Cuda,
    (rows, width): (usize, usize),
    g: &str,
    (pointers, eps): ([Pointer; 4], f32),
) -> Result<()> {
    let chunks = chunks(width).to_string();
    let defines = defines(g, &chunks, "0");
    let kernel = Kernel { source: &SOURCE, function: "forward", defines: &defines };
    let grid = Grid { shared_bytes: WARPS * size_of::<f32>(), ..Grid::blocks(rows, THREADS) };
    let args = [&pointers.map(Arg::Pointer)[..], &[Arg::Size(width), Arg::F32(eps)]].concat();
    // SAFETY: `forward(const bf16*, const G*, bf16*, float*, size_t, float)`; the caller's promise.
    unsafe { cuda.launch(kernel, grid, &args) }
}

/// `pointers` are of the gradient of the result, `x`, gain, scale and the gradient of `x`; the other one of
/// the gain's gradient.
///
/// # Safety
///
/// As for [`forward`].
pub(super) unsafe fn backward(
    cuda: &Cuda,
    (rows, width): (usize, usize),
    g: &str,
    (pointers, d_gain): ([Pointer; 5], Option<Pointer>),
) -> Result<()> {
    let chunks = chunks(width).to_string();
    let defines = defines(g, &chunks, if d_gain.is_some() { "1" } else { "0" });
    let kernel = |function| Kernel { source: &SOURCE, function, defines: &defines };
    let blocks = rows.div_ceil(ROWS);
    let sums = cuda.scratch(
        Dtype::F32,
        if d_gain.is_some() { cuda.at_least(rows).div_ceil(ROWS) * width } else { 0 },
    )?;
    let sums_at = pointer(&sums.view());
    let shared_bytes = 2 * WARPS * size_of::<f32>();
    let grid = Grid { shared_bytes, ..Grid::blocks(blocks, THREADS) };
    let sizes = [rows, width].map(Arg::Size);
    let args = [&pointers.map(Arg::Pointer)[..], &[Arg::Pointer(sums_at)], &sizes].concat();
    // SAFETY: `backward(const bf16*, const bf16*, const G*, const float*, bf16*, float*, size_t, size_t)`;
    // there is a sum for each block, the rest is the caller's promise.
    unsafe { cuda.launch(kernel("backward"), grid, &args) }?;
    let Some(d_gain) = d_gain else { return Ok(()) };
    let shared_bytes = THREADS as usize * size_of::<f32>();
    let grid = Grid { shared_bytes, ..Grid::blocks(width.div_ceil(COLUMNS), THREADS) };
    let args = [[sums_at, d_gain].map(Arg::Pointer), [blocks, width].map(Arg::Size)].concat();
    // SAFETY: `add_sums(const float*, float*, size_t, size_t)`; as above.
    unsafe { cuda.launch(kernel("add_sums"), grid, &args) }
}
