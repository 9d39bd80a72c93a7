//! Launches of `kernel.cu`. Forward, ids are looked at on the device and a wrong one is told at the next
//! wait; backward they are sorted here.

use crate::cuda::{
    Arg, Cuda, CudaBuffer, Fault, Grid, Kernel, Source, Variant, pointer, pointer_mut, type_name,
};
use crate::device::{Device, Matrix, MatrixMut, View, ViewMut};
use crate::error::{check_dtype, check_len, check_matrix};
use crate::{Dtype, Error, Result};

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
    let ids: Vec<u32> = cuda.read(ids)?;
    let (lists, order) = by_id(&ids);
    if let Some(id) = lists.last_chunk().map(|it: &[u32; 3]| it[0] as usize)
        && id >= d_table.rows
    {
        let (buffer, len) = ("ids", d_table.rows);
        return Err(Error::Index { op: OP, buffer, index: id, len });
    }
    let n = lists.len() / 3;
    let (lists, order) = (cuda.table(lists)?, cuda.table(order)?);
    let pointers = [pointer(&d_out), pointer(&lists.view()), pointer(&order.view())];
    let mut args: Vec<Arg> = pointers.map(Arg::Pointer).into();
    args.push(Arg::Pointer(pointer_mut(&d_table.view)));
    args.extend([d_table.columns, d_table.stride].map(Arg::Size));
    let blocks = (n, d_table.columns.div_ceil(THREADS as usize));
    // SAFETY: `backward(const A*, const u32*, const u32*, float*, two sizes)`: the lists name rows of
    // `d_out` and of the table; the greatest id was looked at, lengths and types were checked.
    unsafe { cuda.launch(kernel, Grid { blocks, threads: THREADS, shared_bytes: 0 }, &args) }
}

/// For each id that there is, in rising order, itself and where its rows lie in the second list: all rows by
/// their ids, and of one id in their order.
fn by_id(ids: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|it| ids[*it as usize]);
    let mut first = 0;
    let list = |rows: &[u32]| {
        let start = first;
        first += rows.len() as u32;
        [ids[rows[0] as usize], start, first]
    };
    let same = |a: &u32, b: &u32| ids[*a as usize] == ids[*b as usize];
    (order.chunk_by(same).flat_map(list).collect(), order)
}
