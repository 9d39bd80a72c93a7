//! Launches of `kernel.cu`.

use super::{Direction, Turn};
use crate::cuda::{
    Arg, Cuda, CudaBuffer, Fault, Grid, Kernel, Source, Variant, pointer, pointer_mut, type_name,
};
use crate::device::{View, ViewMut};
use crate::error::{check_dtype, check_len};
use crate::{Dtype, Result};

const SOURCE: Source = Source::new("rope", include_str!("kernel.cu"));

/// How the file is compiled.
pub(crate) fn variants(e: &str) -> Vec<Variant> {
    ["1", "-1"].map(|sign| Variant::new(&SOURCE, &[("E", e), ("SIGN", sign)])).into()
}

pub(crate) fn turn(
    cuda: &Cuda,
    qkv: ViewMut<'_, CudaBuffer>,
    positions: View<'_, CudaBuffer>,
    turn: Turn<'_, CudaBuffer>,
) -> Result<()> {
    const OP: &str = "rope";
    let (heads, rows, half) = (turn.heads, positions.len(), turn.heads.dim / 2);
    check_len(OP, "qkv", qkv.len(), rows * heads.row())?;
    check_len(OP, "sines", turn.sines.len(), turn.cosines.len())?;
    let table = turn.cosines.len() / half.max(1);
    check_dtype(OP, "positions", positions.dtype(), Dtype::U32)?;
    check_dtype(OP, "cosines", turn.cosines.dtype(), Dtype::F32)?;
    check_dtype(OP, "sines", turn.sines.dtype(), Dtype::F32)?;
    let e = type_name(qkv.dtype(), OP, "qkv")?;
    let sign = if turn.direction == Direction::Forward { "1" } else { "-1" };
    let defines = [("E", e), ("SIGN", sign)];
    let kernel = Kernel { source: &SOURCE, function: "turn", defines: &defines };
    let turned = heads.query + heads.kv;
    let given = [pointer(&positions), pointer(&turn.cosines), pointer(&turn.sines)];
    let sizes = [rows, heads.row(), turned, half, table].map(Arg::Size);
    let mut args = vec![Arg::Pointer(pointer_mut(&qkv))];
    args.extend(given.map(Arg::Pointer));
    args.extend(sizes);
    args.push(cuda.fault(Fault::Rope));
    // SAFETY: `turn(E*, const u32*, const float*, const float*, five sizes, u32*)`; lengths and types
    // were checked, and the kernel looks at each position before it uses it.
    unsafe { cuda.launch(kernel, Grid::each(rows * turned * half), &args) }
}
