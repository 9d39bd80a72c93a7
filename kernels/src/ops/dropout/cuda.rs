//! Launches of `kernel.cu`.

use super::Dropout;
use crate::Result;
use crate::cuda::{Arg, Cuda, CudaBuffer, Grid, Kernel, Source, Variant, pointer_mut, type_name};
use crate::device::ViewMut;

const SOURCE: Source = Source::new("dropout", include_str!("kernel.cu"));
const WORDS: usize = 4; // of a block of random bits

/// How the file is compiled.
pub(crate) fn variants(e: &str) -> Vec<Variant> {
    vec![Variant::new(&SOURCE, &[("E", e)])]
}

pub(crate) fn dropout(cuda: &Cuda, given: Dropout, to: ViewMut<'_, CudaBuffer>) -> Result<()> {
    let defines = [("E", type_name(to.dtype(), "dropout", "to")?)];
    let kernel = Kernel { source: &SOURCE, function: "dropout", defines: &defines };
    let limit = (given.p * (1u64 << 32) as f64) as u64;
    let factor = (1.0 / (1.0 - given.p)) as f32;
    let (key, stream) = given.random.words();
    let mut args = vec![Arg::Pointer(pointer_mut(&to)), Arg::Size(to.len())];
    args.extend([given.first, key, stream, limit].map(Arg::U64));
    args.push(Arg::F32(factor));
    // SAFETY: `dropout(E*, size_t, four u64, float)` with a view of that many numbers of that type.
    unsafe { cuda.launch(kernel, Grid::each(to.len().div_ceil(WORDS) + 1), &args) }
}
