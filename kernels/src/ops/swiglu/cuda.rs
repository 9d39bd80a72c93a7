//! Launches of `kernel.cu`.

use crate::Result;
use crate::cuda::{
    Arg, Cuda, CudaBuffer, Grid, Kernel, Pointer, Source, Variant, pointer, pointer_mut, type_name,
};
use crate::device::{View, ViewMut};
use crate::error::{check_dtype, check_len};

const SOURCE: Source = Source::new("swiglu", include_str!("kernel.cu"));

/// How the file is compiled.
pub(crate) fn variants(e: &str) -> Vec<Variant> {
    ["1", "8"].map(|each| Variant::new(&SOURCE, &[("E", e), ("EACH", each)])).into()
}

/// How many numbers a thread takes, in two forms: eight where all rows begin at multiples of 16 bytes. It
/// does not show in the bits.
fn several(width: usize, pointers: &[Pointer]) -> (usize, &'static str) {
    let is_aligned = width.is_multiple_of(8) && pointers.iter().all(|it| it.is_multiple_of(16));
    if is_aligned { (8, "8") } else { (1, "1") }
}

pub(crate) fn forward(
    cuda: &Cuda,
    gate_up: View<'_, CudaBuffer>,
    width: usize,
    out: ViewMut<'_, CudaBuffer>,
) -> Result<()> {
    const OP: &str = "swiglu";
    check_len(OP, "gate_up", gate_up.len(), 2 * out.len())?;
    check_len(OP, "out", out.len() % width.max(1), 0)?;
    check_dtype(OP, "out", out.dtype(), gate_up.dtype())?;
    let pointers = [pointer(&gate_up), pointer_mut(&out)];
    let (each, each_text) = several(width, &pointers);
    let defines = [("E", type_name(gate_up.dtype(), OP, "gate_up")?), ("EACH", each_text)];
    let kernel = Kernel { source: &SOURCE, function: "forward", defines: &defines };
    let pointers = pointers.map(Arg::Pointer);
    let sizes = [width, out.len()].map(Arg::Size);
    // SAFETY: `forward(const E*, E*, size_t, size_t)`; the lengths and types were checked.
    unsafe { cuda.launch(kernel, Grid::each(out.len() / each), &[&pointers[..], &sizes].concat()) }
}

pub(crate) fn backward(
    cuda: &Cuda,
    (d_out, gate_up): (View<'_, CudaBuffer>, View<'_, CudaBuffer>),
    width: usize,
    d_gate_up: ViewMut<'_, CudaBuffer>,
) -> Result<()> {
    const OP: &str = "swiglu_backward";
    check_len(OP, "gate_up", gate_up.len(), 2 * d_out.len())?;
    check_len(OP, "d_gate_up", d_gate_up.len(), 2 * d_out.len())?;
    check_len(OP, "d_out", d_out.len() % width.max(1), 0)?;
    check_dtype(OP, "d_out", d_out.dtype(), gate_up.dtype())?;
    check_dtype(OP, "d_gate_up", d_gate_up.dtype(), gate_up.dtype())?;
    let pointers = [pointer(&d_out), pointer(&gate_up), pointer_mut(&d_gate_up)];
    let (each, each_text) = several(width, &pointers);
    let defines = [("E", type_name(gate_up.dtype(), OP, "gate_up")?), ("EACH", each_text)];
    let kernel = Kernel { source: &SOURCE, function: "backward", defines: &defines };
    let pointers = pointers.map(Arg::Pointer);
    let sizes = [width, d_out.len()].map(Arg::Size);
    // SAFETY: `backward(const E*, const E*, E*, size_t, size_t)`; lengths and types were checked.
    unsafe {
        cuda.launch(kernel, Grid::each(d_out.len() / each), &[&pointers[..], &sizes].concat())
    }
}
