//! Products with what comes right after them. Here they are spelled out, which is their definition; a device
//! may do it at once, with the same bits.

use super::{Form, Product, Start};
use crate::device::{Device, Matrix, View, ViewMut};
use crate::ops::rope::Rope;
use crate::{Buffer, Result};

/// The operands of `x wᵀ`.
pub type Pair<'a, B> = (Matrix<'a, B>, Matrix<'a, B>);

fn plain<D: Device>(
    device: &D,
    (a, b): Pair<'_, D::Buffer>,
    out: ViewMut<'_, D::Buffer>,
    start: Start,
) -> Result<()> {
    device.matmul(Product { form: Form::Xwt, a, b, start }, out.rows(b.rows))
}

/// `out = from + x wᵀ`.
pub(crate) fn residual<D: Device>(
    device: &D,
    from: View<'_, D::Buffer>,
    pair: Pair<'_, D::Buffer>,
    mut out: ViewMut<'_, D::Buffer>,
) -> Result<()> {
    device.copy(from, out.again())?;
    plain(device, pair, out, Start::Add)
}

/// `qkv = x wᵀ`, and RoPE of queries and keys.
pub(crate) fn rope<D: Device>(
    device: &D,
    pair: Pair<'_, D::Buffer>,
    mut qkv: ViewMut<'_, D::Buffer>,
    (positions, rope): (View<'_, D::Buffer>, Rope<'_, D::Buffer>),
) -> Result<()> {
    plain(device, pair, qkv.again(), Start::Zero)?;
    device.rope(qkv, positions, rope)
}

/// `gate | up = x wᵀ`, and `out = silu(gate) · up`.
pub(crate) fn swiglu<D: Device>(
    device: &D,
    pair: Pair<'_, D::Buffer>,
    mut gate_up: ViewMut<'_, D::Buffer>,
    out: ViewMut<'_, D::Buffer>,
) -> Result<()> {
    plain(device, pair, gate_up.again(), Start::Zero)?;
    device.swiglu(gate_up.read(), pair.1.rows / 2, out)
}

/// Whether lengths are those of `x wᵀ` in rows without gaps.
pub(crate) fn fits<B: Buffer>((a, b): &Pair<'_, B>, out: usize) -> bool {
    a.columns == b.columns && out == a.rows * b.rows
}
