//! The twin, with the other operations of whatever device: what decoding is, where nothing is cut.
//!
//! It reads places back and makes memory as it goes; it defines results and is not made to be fast.

use super::{Attending, DecodeQkv, NOBODY, Norm, Parts, Places};
use crate::cpu::math::exp;
use crate::device::{Device, Matrix, View, ViewMut};
use crate::error::check_len;
use crate::ops::attention::Heads;
use crate::ops::matmul::Start;
use crate::ops::paged::{Run, Tokens};
use crate::ops::rms_norm::Forward;
use crate::ops::rope::Rope;
use crate::{Buffer, Dtype, Error, Result};

/// The rows of somebody, and a run for each: the run's row is its place among these.
fn present<D: Device>(device: &D, places: Places<'_, D::Buffer>) -> Result<(Vec<usize>, Vec<Run>)> {
    let positions: Vec<u32> = device.read(places.positions)?;
    let blocks: Vec<u32> = device.read(places.blocks)?;
    let stride = places.stride();
    let (mut rows, mut runs) = (Vec::new(), Vec::new());
    for (row, position) in positions.into_iter().enumerate().filter(|it| it.1 != NOBODY) {
        let past = position as usize;
        let n_blocks = past / D::BLOCK + 1;
        if n_blocks > stride {
            let (op, buffer) = ("decode", "positions");
            return Err(Error::Index { op, buffer, index: past, len: stride * D::BLOCK });
        }
        let blocks = blocks[row * stride..][..n_blocks].to_vec();
        runs.push(Run { first_row: rows.len(), rows: 1, past, blocks });
        rows.push(row);
    }
    Ok((rows, runs))
}

/// Reads rows of real numbers as f32.
fn wide<D: Device>(device: &D, from: View<'_, D::Buffer>) -> Result<Vec<f32>> {
    if from.dtype() == Dtype::F32 {
        return device.read(from);
    }
    let mut copy = device.zeros(Dtype::F32, from.len())?;
    device.copy(from, ViewMut::all(&mut copy))?;
    device.read(View::all(&copy))
}

/// New memory of a type with these numbers.
fn rounded<D: Device>(device: &D, dtype: Dtype, numbers: &[f32]) -> Result<D::Buffer> {
    let mut buffer = device.zeros(dtype, numbers.len())?;
    put(device, numbers, ViewMut::all(&mut buffer))?;
    Ok(buffer)
}

fn put<D: Device>(device: &D, numbers: &[f32], to: ViewMut<'_, D::Buffer>) -> Result<()> {
    check_len("decode", "out", to.len(), numbers.len())?;
    let from = device.upload(numbers)?;
    device.copy(View::all(&from), to)
}

/// The sums of parts, in their order.
fn sums<D: Device>(device: &D, parts: Parts<'_, D::Buffer>) -> Result<Vec<f32>> {
    let all: Vec<f32> = device.read(parts.numbers)?;
    let (first, others) = all.split_at(parts.len());
    let mut sums = first.to_vec();
    for part in others.chunks_exact(parts.len().max(1)) {
        sums.iter_mut().zip(part).for_each(|(sum, it)| *sum += it);
    }
    Ok(sums)
}

/// A product in one part.
pub(crate) fn product<D: Device>(
    device: &D,
    x: Matrix<'_, D::Buffer>,
    weight: &D::Packed,
    parts: ViewMut<'_, D::Buffer>,
) -> Result<()> {
    let features = parts.len() / x.rows.max(1);
    device.linear(x, weight, parts.rows(features), Start::Zero)
}

/// The sums of parts.
pub(crate) fn total<D: Device>(
    device: &D,
    parts: Parts<'_, D::Buffer>,
    out: ViewMut<'_, D::Buffer>,
) -> Result<()> {
    put(device, &sums(device, parts)?, out)
}

/// `silu(gate) · up` of rows that are `gate | up`.
pub(crate) fn gate<D: Device>(
    device: &D,
    parts: Parts<'_, D::Buffer>,
    width: usize,
    out: ViewMut<'_, D::Buffer>,
) -> Result<()> {
    let sums = sums(device, parts)?;
    let one = |(gate, up): (&f32, &f32)| gate / (1.0 + exp(-gate)) * up;
    let rows = sums.chunks_exact(2 * width).map(|it| it.split_at(width));
    let gated: Vec<f32> = rows.flat_map(|(gate, up)| gate.iter().zip(up).map(one)).collect();
    put(device, &gated, out)
}

/// The residual stream with what is added, and its norm.
pub(crate) fn norm<D: Device>(
    device: &D,
    given: Norm<'_, D::Buffer>,
    mut x: ViewMut<'_, D::Buffer>,
    out: ViewMut<'_, D::Buffer>,
) -> Result<()> {
    let Norm { parts, gain, eps } = given;
    if let Some(parts) = parts {
        let mut all = wide(device, x.read())?;
        check_len("decode_norm", "parts", parts.len(), all.len())?;
        all.iter_mut().zip(sums(device, parts)?).for_each(|(x, it)| *x += it);
        put(device, &all, x.again())?;
    }
    let mut scale = device.zeros(Dtype::F32, x.len() / gain.len().max(1))?;
    device.rms_norm(Forward { x: x.read(), gain, eps }, out, ViewMut::all(&mut scale))
}

/// Rows of queries, keys and values of those who are there.
fn gathered(all: &[f32], width: usize, rows: &[usize]) -> Vec<f32> {
    rows.iter().flat_map(|row| &all[row * width..][..width]).copied().collect()
}

/// Queries, and keys and values into the cache.
pub(crate) fn qkv<D: Device>(
    device: &D,
    given: DecodeQkv<'_, D::Buffer>,
    (cache, layer): (&mut D::Cache, usize),
    mut queries: ViewMut<'_, D::Buffer>,
) -> Result<()> {
    let DecodeQkv { parts, rope, places } = given;
    let (heads, dtype) = (rope.heads, queries.dtype());
    let (rows, runs) = present(device, places)?;
    let some = gathered(&sums(device, parts)?, heads.row(), &rows);
    let mut qkv = device.upload(&some)?;
    let positions: Vec<u32> = runs.iter().map(|it| it.past as u32).collect();
    let positions = device.upload(&positions)?;
    let Rope { cosines, sines, heads, direction } = rope;
    let rope = Rope { cosines, sines, heads, direction };
    device.rope(ViewMut::all(&mut qkv), View::all(&positions), rope)?;
    let rotated: Vec<f32> = device.read(View::all(&qkv))?;
    let rounded_qkv = rounded(device, dtype, &rotated)?;
    let tokens = Tokens { qkv: View::all(&rounded_qkv), heads, runs: &runs };
    device.cache_append(cache, layer, tokens)?;
    for (row, rotated) in rows.iter().zip(rotated.chunks_exact(heads.row())) {
        let to = row * heads.out()..(row + 1) * heads.out();
        put(device, &rotated[..heads.out()], queries.again().part(to))?;
    }
    Ok(())
}

/// Attention of each row to its sequence.
pub(crate) fn attention<D: Device>(
    device: &D,
    (cache, layer): (&D::Cache, usize),
    given: Attending<'_, D::Buffer>,
    mut out: ViewMut<'_, D::Buffer>,
) -> Result<()> {
    let Attending { queries, heads, places, workspace: _ } = given;
    let (rows, runs) = present(device, places)?;
    let all = wide(device, queries)?;
    let qkv = with_room_for_keys(&gathered(&all, heads.out(), &rows), heads);
    let qkv = rounded(device, queries.dtype(), &qkv)?;
    let mut found = device.zeros(queries.dtype(), rows.len() * heads.out())?;
    let tokens = Tokens { qkv: View::all(&qkv), heads, runs: &runs };
    device.attention_paged(cache, layer, tokens, ViewMut::all(&mut found))?;
    for (n, row) in rows.iter().enumerate() {
        let from = View::all(&found).part(n * heads.out()..(n + 1) * heads.out());
        device.copy(from, out.again().part(row * heads.out()..(row + 1) * heads.out()))?;
    }
    debug_assert!(found.len() <= out.len());
    Ok(())
}

/// Queries as rows that have keys and values too, which nobody looks at.
fn with_room_for_keys(queries: &[f32], heads: Heads) -> Vec<f32> {
    let rest = vec![0.0; heads.row() - heads.out()];
    queries.chunks_exact(heads.out()).flat_map(|it| [it, &rest].concat()).collect()
}
