//! Launches of `kernel.cu`.

use super::{Direction, Rope};
use crate::cuda::{
    Arg, Cuda, CudaBuffer, Fault, Grid, Kernel, Source, Variant, pointer, pointer_mut, type_name,
};
use crate::device::{View, ViewMut};
use crate::error::{check_dtype, check_len};
use crate::{Dtype, Result};

const SOURCE: Source = Source::new("rope", include_str!("kernel.cu"));

/// How the file is compiled.
pub(crate) fn variants(e: &str) -> Vec<Variant> {
    let all = ["1", "-1"].map(|sign| ["1", "8"].map(|each| (sign, each)));
    let all = all.into_iter().flatten();
    all.map(|it| Variant::new(&SOURCE, &[("E", e), ("SIGN", it.0), ("EACH", it.1)])).collect()
}

pub(crate) fn rope(
    cuda: &Cuda,
    qkv: ViewMut<'_, CudaBuffer>,
    positions: View<'_, CudaBuffer>,
    rope: Rope<'_, CudaBuffer>,
) -> Result<()> {
    const OP: &str = "rope";
    let (heads, rows, half) = (rope.heads, positions.len(), rope.heads.dim / 2);
    check_len(OP, "qkv", qkv.len(), rows * heads.row())?;
    check_len(OP, "sines", rope.sines.len(), rope.cosines.len())?;
    let table = rope.cosines.len() / half.max(1);
    check_dtype(OP, "positions", positions.dtype(), Dtype::U32)?;
    check_dtype(OP, "cosines", rope.cosines.dtype(), Dtype::F32)?;
    check_dtype(OP, "sines", rope.sines.dtype(), Dtype::F32)?;
    let e = type_name(qkv.dtype(), OP, "qkv")?;
    let sign = if rope.direction == Direction::Forward { "1" } else { "-1" };
    let given = [pointer(&positions), pointer(&rope.cosines), pointer(&rope.sines)];
    let to = pointer_mut(&qkv);
    // Whether eight pairs lie at multiples of 16 bytes; it does not show in the bits.
    let is_aligned =
        half.is_multiple_of(8) && [to, given[1], given[2]].iter().all(|it| it.is_multiple_of(16));
    let (each, each_text) = if is_aligned { (8, "8") } else { (1, "1") };
    let defines = [("E", e), ("SIGN", sign), ("EACH", each_text)];
    let kernel = Kernel { source: &SOURCE, function: "rope", defines: &defines };
    let rotated = heads.query + heads.kv;
    let sizes = [rows, heads.row(), rotated, half, table].map(Arg::Size);
    let mut args = vec![Arg::Pointer(to)];
    args.extend(given.map(Arg::Pointer));
    args.extend(sizes);
    args.push(cuda.fault(Fault::Rope));
    // SAFETY: `rope(E*, const u32*, const float*, const float*, five sizes, u32*)`; lengths and types
    // were checked, and the kernel looks at each position before it uses it.
    unsafe { cuda.launch(kernel, Grid::each(rows * rotated * half / each), &args) }
}
