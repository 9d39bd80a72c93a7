//! Launches of `kernel.cu`.

use super::rows;
use super::{Backward, Forward};
use crate::cuda::{
    Arg, Cuda, CudaBuffer, Grid, Kernel, Source, Variant, pointer, pointer_mut, type_name,
};
use crate::device::ViewMut;
use crate::error::{check_dtype, check_len};
use crate::{Dtype, Result};

const SOURCE: Source = Source::new("rms_norm", include_str!("kernel.cu"));
const THREADS: u32 = 128; // kernel.cu: THREADS
const LANES: usize = 16; // ../../cuda/number.cuh: LANES
const COLUMNS: usize = 32; // kernel.cu: COLUMNS
const TILE: usize = 64; // kernel.cu: TILE

/// How the file is compiled.
pub(crate) fn variants(e: &str) -> Vec<Variant> {
    let all = ["float", "bf16"].map(|g| Variant::new(&SOURCE, &[("E", e), ("G", g)]));
    let rows = if e == "bf16" { rows::variants() } else { Vec::new() };
    all.into_iter().chain(rows).collect()
}

pub(crate) fn forward(
    cuda: &Cuda,
    given: Forward<'_, CudaBuffer>,
    out: ViewMut<'_, CudaBuffer>,
    scale: ViewMut<'_, CudaBuffer>,
) -> Result<()> {
    const OP: &str = "rms_norm";
    let Forward { x, gain, eps } = given;
    let (rows, width) = (scale.len(), gain.len());
    check_len(OP, "x", x.len(), rows * width)?;
    check_len(OP, "out", out.len(), rows * width)?;
    check_dtype(OP, "out", out.dtype(), x.dtype())?;
    check_dtype(OP, "scale", scale.dtype(), Dtype::F32)?;
    let defines =
        [("E", type_name(x.dtype(), OP, "x")?), ("G", type_name(gain.dtype(), OP, "gain")?)];
    let kernel = Kernel { source: &SOURCE, function: "forward", defines: &defines };
    let pointers = [pointer(&x), pointer(&gain), pointer_mut(&out), pointer_mut(&scale)];
    if rows::can(cuda, width, x.dtype(), &pointers[..3]) {
        // SAFETY: lengths and types were checked.
        return unsafe { rows::forward(cuda, (rows, width), defines[1].1, (pointers, eps)) };
    }
    let sizes = [Arg::Size(rows), Arg::Size(width), Arg::F32(eps)];
    let grid = Grid::blocks((rows * LANES).div_ceil(THREADS as usize), THREADS);
    // SAFETY: `forward(const E*, const G*, E*, float*, size_t, size_t, float)`; checked above.
    unsafe { cuda.launch(kernel, grid, &[&pointers.map(Arg::Pointer)[..], &sizes].concat()) }
}

pub(crate) fn backward(
    cuda: &Cuda,
    given: Backward<'_, CudaBuffer>,
    d_x: ViewMut<'_, CudaBuffer>,
    d_gain: Option<ViewMut<'_, CudaBuffer>>,
) -> Result<()> {
    const OP: &str = "rms_norm_backward";
    let Backward { d_out, x, gain, scale } = given;
    let (rows, width) = (scale.len(), gain.len());
    for (name, got) in [("d_out", d_out.len()), ("x", x.len()), ("d_x", d_x.len())] {
        check_len(OP, name, got, rows * width)?;
    }
    check_dtype(OP, "d_out", d_out.dtype(), x.dtype())?;
    check_dtype(OP, "d_x", d_x.dtype(), x.dtype())?;
    check_dtype(OP, "scale", scale.dtype(), Dtype::F32)?;
    let defines =
        [("E", type_name(x.dtype(), OP, "x")?), ("G", type_name(gain.dtype(), OP, "gain")?)];
    let kernel = |function| Kernel { source: &SOURCE, function, defines: &defines };
    let sizes = [rows, width].map(Arg::Size);
    let pointers =
        [pointer(&d_out), pointer(&x), pointer(&gain), pointer(&scale), pointer_mut(&d_x)];
    if let Some(d_gain) = &d_gain {
        check_len(OP, "d_gain", d_gain.len(), width)?;
        check_dtype(OP, "d_gain", d_gain.dtype(), Dtype::F32)?;
    }
    if rows::can(cuda, width, x.dtype(), &[pointers[0], pointers[1], pointers[2], pointers[4]]) {
        let d_gain = d_gain.as_ref().map(pointer_mut);
        // SAFETY: lengths and types were checked.
        return unsafe { rows::backward(cuda, (rows, width), defines[1].1, (pointers, d_gain)) };
    }
    let args = [&pointers.map(Arg::Pointer)[..], &sizes].concat();
    let grid = Grid::blocks((rows * LANES).div_ceil(THREADS as usize), THREADS);
    // SAFETY: `backward(const E*, const E*, const G*, const float*, E*, size_t, size_t)`; checked above.
    unsafe { cuda.launch(kernel("backward"), grid, &args) }?;
    let Some(d_gain) = d_gain else { return Ok(()) };
    let pointers = [pointer(&d_out), pointer(&x), pointer(&scale), pointer_mut(&d_gain)];
    let args = [&pointers.map(Arg::Pointer)[..], &sizes].concat();
    let shared_bytes = TILE * COLUMNS * 2 * size_of::<f32>();
    let grid = Grid { shared_bytes, ..Grid::blocks(width.div_ceil(COLUMNS), THREADS) };
    // SAFETY: `backward_gain(const E*, const E*, const float*, float*, size_t, size_t)`; checked above.
    unsafe { cuda.launch(kernel("backward_gain"), grid, &args) }
}
