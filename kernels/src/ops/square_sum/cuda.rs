//! Launches of `kernel.cu`.

use crate::cuda::{Arg, Cuda, CudaBuffer, Grid, Kernel, Source, Variant, pointer, type_name};
use crate::device::View;
use crate::{Dtype, Result};

const SOURCE: Source = Source::new("square_sum", include_str!("kernel.cu"));
const THREADS: u32 = 256; // kernel.cu: __launch_bounds__
const BLOCK: usize = 4096; // kernel.cu: BLOCK
const SQUARES: usize = 8; // kernel.cu: SQUARES

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
    let words: Vec<u32> = cuda.read_words(&sums)?;
    let sum = |it: &[u32]| f64::from_bits(u64::from(it[0]) | u64::from(it[1]) << 32);
    Ok(words.chunks_exact(2).map(sum).sum())
}
