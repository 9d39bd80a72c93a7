//! Launches of `kernel.cu`.

use crate::cuda::{Arg, Cuda, CudaBuffer, Grid, Kernel, Source, Variant, pointer, type_name};
use crate::device::View;
use crate::{Dtype, Result};

const SOURCE: Source = Source::new("square_sum", include_str!("kernel.cu"));
const THREADS: u32 = 256; // kernel.cu: __launch_bounds__
const BLOCK: usize = 4096; // kernel.cu: BLOCK
const SQUARES: usize = 8; // kernel.cu: SQUARES
const ADDERS: u32 = 1024; // kernel.cu: THREADS

/// How the file is compiled.
pub(crate) fn variants(e: &str) -> Vec<Variant> {
    vec![Variant::new(&SOURCE, &[("E", e)])]
}

/// Waits for the device.
pub(crate) fn square_sum(cuda: &Cuda, x: View<'_, CudaBuffer>) -> Result<f64> {
    let defines = [("E", type_name(x.dtype(), "square_sum", "x")?)];
    let kernel = Kernel { source: &SOURCE, function: "square_sum", defines: &defines };
    let blocks = x.len().div_ceil(BLOCK);
    // A double is two words.
    let sums = cuda.scratch(Dtype::U32, 2 * blocks)?;
    let args = [Arg::Pointer(pointer(&x)), Arg::Pointer(pointer(&sums.view())), Arg::Size(x.len())];
    let grid = Grid::blocks((blocks * SQUARES).div_ceil(THREADS as usize), THREADS);
    // SAFETY: `square_sum(const E*, double*, size_t)`; there is room for a sum of each block.
    unsafe { cuda.launch(kernel, grid, &args) }?;
    if cuda.has_tensor_cores() && blocks > 0 {
        let total = cuda.scratch(Dtype::U32, 2)?;
        let kernel = Kernel { function: "add_sums", ..kernel };
        let pointers = [&sums, &total].map(|it| Arg::Pointer(pointer(&it.view())));
        let shared_bytes = ADDERS as usize / 32 * size_of::<f64>();
        let grid = Grid { shared_bytes, ..Grid::blocks(1, ADDERS) };
        // SAFETY: `add_sums(const double*, double*, size_t)`: a sum of each block, and room for one.
        unsafe { cuda.launch(kernel, grid, &[&pointers[..], &[Arg::Size(blocks)]].concat()) }?;
        return Ok(added(&cuda.read_words(&total)?));
    }
    Ok(added(&cuda.read_words(&sums)?))
}

/// The sum of doubles, in order, of two words each.
fn added(words: &[u32]) -> f64 {
    let sum = |it: &[u32]| f64::from_bits(u64::from(it[0]) | u64::from(it[1]) << 32);
    words.chunks_exact(2).map(sum).sum()
}
