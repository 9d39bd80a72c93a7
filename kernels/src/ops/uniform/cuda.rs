//! Launches of `kernel.cu`.

use super::Uniform;
use crate::Result;
use crate::cuda::{Arg, Cuda, CudaBuffer, Grid, Kernel, Source, Variant, pointer_mut, type_name};
use crate::device::ViewMut;

const SOURCE: Source = Source::new("uniform", include_str!("kernel.cu"));
const WORDS: usize = 4; // of a block of random bits

/// How the file is compiled.
pub(crate) fn variants(e: &str) -> Vec<Variant> {
    vec![Variant::new(&SOURCE, &[("E", e)])]
}

pub(crate) fn uniform(cuda: &Cuda, given: Uniform, to: ViewMut<'_, CudaBuffer>) -> Result<()> {
    let defines = [("E", type_name(to.dtype(), "uniform", "to")?)];
    let kernel = Kernel { source: &SOURCE, function: "uniform", defines: &defines };
    let (key, stream) = given.random.words();
    let mut args = vec![Arg::Pointer(pointer_mut(&to)), Arg::Size(to.len())];
    args.extend([given.first, key, stream].map(Arg::U64));
    args.push(Arg::F32(given.bound));
    // SAFETY: `uniform(E*, size_t, three u64, float)` with a view of that many numbers of that type.
    unsafe { cuda.launch(kernel, Grid::each(to.len().div_ceil(WORDS) + 1), &args) }
}
