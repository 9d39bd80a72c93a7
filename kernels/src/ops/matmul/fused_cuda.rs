//! Products by tensor cores with what comes right after them: [`super::fused`] at once.

use super::after::{After, FEWEST_ROWS};
use super::cuda::{Fast, Operand};
use super::fused::{self, Pair};
use super::{Form, Shape};
use crate::cuda::{Cuda, CudaBuffer, pointer, pointer_mut};
use crate::device::{View, ViewMut};
use crate::ops::attention::Heads;
use crate::ops::rope::{Direction, Rope};
use crate::{Dtype, Result};

/// The width of a head that lies in a tile as its threads need it.
const DIM: usize = 128; // hopper.cu, tensor.cu: `rope`

type In<'a> = View<'a, CudaBuffer>;
type Out<'a> = ViewMut<'a, CudaBuffer>;

/// The operands, where tensor cores can have them.
fn operands(
    cuda: &Cuda,
    pair: &Pair<'_, CudaBuffer>,
    out: &Out<'_>,
) -> Result<Option<[Operand; 3]>> {
    let (a, b) = (Operand::new(&pair.0, "a")?, Operand::new(&pair.1, "b")?);
    let out_operand = Operand { at: pointer_mut(out), stride: pair.1.rows, dtype: out.dtype() };
    let can = cuda.has_tensor_cores()
        && a.is_aligned()
        && b.is_aligned()
        && pair.0.columns > 0
        && fused::fits(pair, out.len());
    Ok(can.then_some([a, b, out_operand]))
}

fn shape(pair: &Pair<'_, CudaBuffer>, columns: usize) -> Shape {
    Shape { rows: pair.0.rows, columns, depth: pair.0.columns }
}

pub(crate) fn residual(
    cuda: &Cuda,
    from: In<'_>,
    pair: Pair<'_, CudaBuffer>,
    out: Out<'_>,
) -> Result<()> {
    let Some(operands) = operands(cuda, &pair, &out)? else {
        return fused::residual(cuda, from, pair, out);
    };
    if from.len() != out.len() || from.dtype() != out.dtype() {
        return fused::residual(cuda, from, pair, out);
    }
    let (shape, from) = (shape(&pair, pair.1.rows), pointer(&from));
    let it = Fast { form: Form::Xwt, shape, operands, from, after: After::Nothing };
    // SAFETY: the operands have these sizes, `out` and `from` are of one type and length, as was asked.
    unsafe { it.multiply(cuda) }
}

pub(crate) fn rope(
    cuda: &Cuda,
    pair: Pair<'_, CudaBuffer>,
    qkv: Out<'_>,
    (positions, rope): (In<'_>, Rope<'_, CudaBuffer>),
) -> Result<()> {
    let Heads { query, kv, dim } = rope.heads;
    let half = DIM / 2;
    let tables = [&positions, &rope.cosines, &rope.sines].map(pointer);
    let fits = pair.0.rows >= FEWEST_ROWS
        && pointer_mut(&qkv).is_multiple_of(16)
        && tables[1..].iter().all(|it| it.is_multiple_of(16))
        && dim == DIM
        && rope.direction == Direction::Forward
        && qkv.dtype() == Dtype::Bf16
        && pair.1.rows == rope.heads.row()
        && positions.len() == pair.0.rows
        && positions.dtype() == Dtype::U32
        && [&rope.cosines, &rope.sines].iter().all(|it| it.dtype() == Dtype::F32)
        && rope.cosines.len() == rope.sines.len();
    let operands = if fits { operands(cuda, &pair, &qkv)? } else { None };
    let Some(operands) = operands else {
        return fused::rope(cuda, pair, qkv, (positions, rope));
    };
    let after = After::Rope { tables, table: rope.cosines.len() / half, heads: query + kv };
    let shape = shape(&pair, pair.1.rows);
    let it = Fast { form: Form::Xwt, shape, operands, from: 0, after };
    // SAFETY: the operands have these sizes, and there is a position for each row.
    unsafe { it.multiply(cuda) }
}

pub(crate) fn swiglu(
    cuda: &Cuda,
    pair: Pair<'_, CudaBuffer>,
    gate_up: Out<'_>,
    out: Out<'_>,
) -> Result<()> {
    let width = pair.1.rows / 2;
    let fits = pair.0.rows >= FEWEST_ROWS
        && width.is_multiple_of(8)
        && [pointer_mut(&gate_up), pointer_mut(&out)].iter().all(|it| it.is_multiple_of(16))
        && [gate_up.dtype(), out.dtype()] == [Dtype::Bf16; 2]
        && pair.1.rows == 2 * width
        && out.len() == pair.0.rows * width;
    let operands = if fits { operands(cuda, &pair, &gate_up)? } else { None };
    let Some(operands) = operands else { return fused::swiglu(cuda, pair, gate_up, out) };
    let after = After::Gates { products: pointer_mut(&out) };
    let shape = shape(&pair, width);
    let it = Fast { form: Form::Xwt, shape, operands, from: 0, after };
    // SAFETY: the operands have these sizes, and `out` has a number for each gate.
    unsafe { it.multiply(cuda) }
}
