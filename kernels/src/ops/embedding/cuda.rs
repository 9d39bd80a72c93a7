//! Launches of `kernel.cu`. Ids are looked at on the device; a wrong one is told at the next wait.

use crate::cuda::{
    Arg, Cuda, CudaBuffer, Fault, Grid, Kernel, Source, Variant, pointer, pointer_mut, type_name,
};
use crate::device::{Matrix, MatrixMut, View, ViewMut};
use crate::error::{check_dtype, check_len, check_matrix};
use crate::{Dtype, Result};

const SOURCE: Source = Source::new("embedding", include_str!("kernel.cu"));
const THREADS: u32 = 128; // kernel.cu: __launch_bounds__

/// How the file is compiled.
pub(crate) fn variants(e: &str) -> Vec<Variant> {
    let pairs = [(e, e), ("float", e), ("bf16", e)];
    pairs.map(|(a, b)| Variant::new(&SOURCE, &[("A", a), ("B", b)])).into()
}

pub(crate) fn forward(
    cuda: &Cuda,
    table: Matrix<'_, CudaBuffer>,
    ids: View<'_, CudaBuffer>,
    out: ViewMut<'_, CudaBuffer>,
) -> Result<()> {
    const OP: &str = "embed";
    check_dtype(OP, "ids", ids.dtype(), Dtype::U32)?;
    check_len(OP, "out", out.len(), ids.len() * table.columns)?;
    check_matrix(OP, "table", (table.rows, table.columns, table.stride), table.view.len())?;
    let a = type_name(table.view.dtype(), OP, "table")?;
    let defines = [("A", a), ("B", type_name(out.dtype(), OP, "out")?)];
    let kernel = Kernel { source: &SOURCE, function: "forward", defines: &defines };
    let pointers = [pointer(&table.view), pointer(&ids), pointer_mut(&out)].map(Arg::Pointer);
    let sizes = [table.columns, table.stride, table.rows].map(Arg::Size);
    let args = [&pointers[..], &sizes, &[cuda.fault(Fault::Embed)]].concat();
    // SAFETY: `forward(const A*, const u32*, B*, three sizes, u32*)`; lengths and types were checked,
    // and the kernel looks at each id before it uses it.
    unsafe { cuda.launch(kernel, Grid::blocks(ids.len(), THREADS), &args) }
}

pub(crate) fn backward(
    cuda: &Cuda,
    d_out: View<'_, CudaBuffer>,
    ids: View<'_, CudaBuffer>,
    d_table: MatrixMut<'_, CudaBuffer>,
) -> Result<()> {
    const OP: &str = "embed_backward";
    check_dtype(OP, "ids", ids.dtype(), Dtype::U32)?;
    check_dtype(OP, "d_table", d_table.view.dtype(), Dtype::F32)?;
    check_len(OP, "d_out", d_out.len(), ids.len() * d_table.columns)?;
    let size = (d_table.rows, d_table.columns, d_table.stride);
    check_matrix(OP, "d_table", size, d_table.view.len())?;
    let a = type_name(d_out.dtype(), OP, "d_out")?;
    let kernel = Kernel { source: &SOURCE, function: "backward", defines: &[("A", a), ("B", a)] };
    let pointers = [pointer(&d_out), pointer(&ids), pointer_mut(&d_table.view)].map(Arg::Pointer);
    let sizes = [ids.len(), d_table.columns, d_table.stride, d_table.rows].map(Arg::Size);
    let args = [&pointers[..], &sizes, &[cuda.fault(Fault::EmbedBackward)]].concat();
    // SAFETY: `backward(const A*, const u32*, float*, four sizes, u32*)`; as above.
    unsafe { cuda.launch(kernel, Grid::blocks(ids.len(), THREADS), &args) }
}
