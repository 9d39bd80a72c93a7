//! The processor's product: operands packed into panels chunk by chunk, tiles made in parallel.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;

use std::ops::Range;

use rayon::prelude::*;

use super::pack::{Operand, panel};
use super::tile::{ROWS, Tile, WIDTH, tile};
use super::{Form, Shape, Start};
use crate::Result;
use crate::cpu::Cpu;
use crate::cpu::scratch::Shared;
use crate::dtype::{Dtype, Real};
use crate::machine::Isa;

/// Steps of a sum that are packed at a time: a panel of them fits the nearest cache.
const STEPS: usize = 256;
/// Columns that are packed at a time.
const STRIP: usize = 32 * WIDTH;
/// Rows of a task.
const TASK_ROWS: usize = 8 * ROWS;
/// Columns of a task.
const TASK_COLUMNS: usize = 8 * WIDTH;

/// The longest stride at which rows of the left operand are read where they lie. Farther apart, a
/// tile's rows fall into the same few sets of the nearest cache.
const DIRECT: usize = 1536;

/// Rows of numbers at a stride.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, E> {
    pub(crate) data: &'a [E],
    pub(crate) stride: usize,
}

/// Rows of numbers at a stride, to be written.
pub(crate) struct RowsMut<'a, E> {
    pub(crate) data: &'a mut [E],
    pub(crate) stride: usize,
}

/// What is multiplied, and how.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a, A, B> {
    pub(crate) form: Form,
    pub(crate) shape: Shape,
    pub(crate) start: Start,
    pub(crate) a: Rows<'a, A>,
    pub(crate) b: Rows<'a, B>,
}

/// Writes `out`. The slices cover what the shape and the strides say; [`crate::Device::matmul`] checks.
pub(crate) fn matmul<A: Real, B: Real, C: Real>(
    cpu: &Cpu,
    product: Product<'_, A, B>,
    out: RowsMut<'_, C>,
) -> Result<()> {
    let Shape { rows, columns, depth } = product.shape;
    if rows == 0 || columns == 0 {
        return Ok(());
    }
    if depth == 0 {
        if product.start == Start::Zero {
            each_row(out, rows, columns).for_each(|it| it.fill(C::round_from(0.0)));
        }
        return Ok(());
    }
    if C::DTYPE == Dtype::F32 {
        let stride = out.stride;
        let data: &mut [f32] = bytemuck::cast_slice_mut(out.data);
        return strips(cpu, product, Shared::new(data), stride);
    }
    // Sums in f32 beside the result, rounded once at the end.
    let mut sums = cpu.scratch.take(rows * columns)?;
    let sums = sums.as_mut_slice();
    if product.start == Start::Add {
        let from = out.data.chunks(out.stride);
        for (sums, from) in sums.chunks_exact_mut(columns).zip(from) {
            sums.iter_mut().zip(from).for_each(|(sum, it)| *sum = it.to_f32());
        }
    }
    strips(cpu, product, Shared::new(sums), columns)?;
    for (sums, to) in sums.chunks_exact(columns).zip(each_row(out, rows, columns)) {
        to.iter_mut().zip(sums).for_each(|(to, sum)| *to = C::round_from(*sum));
    }
    Ok(())
}

fn each_row<E>(out: RowsMut<'_, E>, rows: usize, columns: usize) -> impl Iterator<Item = &mut [E]> {
    out.data.chunks_mut(out.stride).take(rows).map(move |it| &mut it[..columns])
}

/// Goes over the columns strip by strip and over the sums chunk by chunk.
fn strips<A: Real, B: Real>(
    cpu: &Cpu,
    product: Product<'_, A, B>,
    out: Shared<f32>,
    stride: usize,
) -> Result<()> {
    let Product { form, shape, start, a, b } = product;
    let a = match form {
        Form::Xwt | Form::Dyw => Operand { data: a.data, line: a.stride, step: 1 },
        Form::Dytx => Operand { data: a.data, line: 1, step: a.stride },
    };
    let b = match form {
        Form::Xwt => Operand { data: b.data, line: b.stride, step: 1 },
        Form::Dyw | Form::Dytx => Operand { data: b.data, line: 1, step: b.stride },
    };
    let n_steps = shape.depth.min(STEPS);
    let panels = shape.columns.min(STRIP).div_ceil(WIDTH);
    let mut packed_b = cpu.scratch.take(panels * WIDTH * n_steps)?;
    let direct = A::DTYPE == Dtype::F32 && a.step == 1 && a.line <= DIRECT;
    let a_len = if direct { 0 } else { shape.rows.div_ceil(ROWS) * ROWS * n_steps };
    let mut packed_a = cpu.scratch.take(a_len)?;
    for first in (0..shape.columns).step_by(STRIP) {
        let columns = first..shape.columns.min(first + STRIP);
        for from in (0..shape.depth).step_by(STEPS) {
            let steps = from..shape.depth.min(from + STEPS);
            let b_panels = packed_b.as_mut_slice();
            pack_all(cpu.isa, b, columns.clone(), steps.clone(), (WIDTH, b_panels));
            let left = if direct {
                let data: &[f32] = bytemuck::cast_slice(a.data);
                Left::Rows { data: &data[from..], stride: a.line }
            } else {
                let a_panels = packed_a.as_mut_slice();
                pack_all(cpu.isa, a, 0..shape.rows, steps.clone(), (ROWS, a_panels));
                Left::Panels(packed_a.as_slice())
            };
            let start = if from == 0 { start } else { Start::Add };
            let n_steps = steps.len();
            let chunk = Chunk { isa: cpu.isa, left, panels: packed_b.as_slice(), n_steps, start };
            tasks(&chunk, shape.rows, columns.clone(), (out, stride));
        }
    }
    Ok(())
}

/// Packs all lines into panels of a width, in parallel.
fn pack_all<E: Real>(
    isa: Isa,
    from: Operand<'_, E>,
    lines: Range<usize>,
    steps: Range<usize>,
    (width, to): (usize, &mut [f32]),
) {
    let n_panels = lines.len().div_ceil(width);
    let len = width * steps.len();
    to[..n_panels * len].par_chunks_exact_mut(len).enumerate().for_each(|(n, to)| {
        let first = lines.start + n * width;
        let lines = first..lines.end.min(first + width);
        panel(isa, from, lines, steps.clone(), width, to);
    });
}

/// The left operand of a chunk.
#[derive(Clone, Copy)]
enum Left<'a> {
    /// As it lies, from the chunk's first step on.
    Rows { data: &'a [f32], stride: usize },
    /// Panels of [`ROWS`].
    Panels(&'a [f32]),
}

/// One chunk of the sums, packed.
struct Chunk<'a> {
    isa: Isa,
    left: Left<'a>,
    panels: &'a [f32],
    n_steps: usize,
    start: Start,
}

/// Makes the tiles of a chunk, blocks of them in parallel.
fn tasks(chunk: &Chunk<'_>, rows: usize, columns: Range<usize>, out: (Shared<f32>, usize)) {
    let row_blocks = rows.div_ceil(TASK_ROWS);
    let column_blocks = columns.len().div_ceil(TASK_COLUMNS);
    (0..row_blocks * column_blocks).into_par_iter().for_each(|it| {
        let (row_block, column_block) = (it % row_blocks, it / row_blocks);
        let first_row = row_block * TASK_ROWS;
        let rows = first_row..rows.min(first_row + TASK_ROWS);
        let first = column_block * TASK_COLUMNS;
        let last = columns.len().min(first + TASK_COLUMNS);
        for column in (first..last).step_by(WIDTH) {
            for row in rows.clone().step_by(ROWS) {
                let n_rows = (rows.end - row).min(ROWS);
                let n_columns = (last - column).min(WIDTH);
                let to = (row, columns.start + column);
                one(
                    chunk,
                    (row, n_rows),
                    (column, n_columns),
                    out.0.at(to.0 * out.1 + to.1),
                    out.1,
                );
            }
        }
    });
}

/// Makes one tile of a chunk.
fn one(
    chunk: &Chunk<'_>,
    (row, rows): (usize, usize),
    (column, columns): (usize, usize),
    c: *mut f32,
    c_row: usize,
) {
    let n_steps = chunk.n_steps;
    let panel = &chunk.panels[column * n_steps..(column + WIDTH) * n_steps];
    let (a, a_row, a_step) = match chunk.left {
        Left::Rows { data, stride } => {
            (&data[row * stride..(row + rows - 1) * stride + n_steps], stride, 1)
        }
        Left::Panels(all) => (&all[row * n_steps..(row + ROWS) * n_steps], 1, ROWS),
    };
    let (a, panel) = (a.as_ptr(), panel.as_ptr());
    let it = Tile {
        rows,
        steps: n_steps,
        a,
        a_row,
        a_step,
        panel,
        c,
        c_row,
        columns,
        start: chunk.start,
    };
    // SAFETY: the two slices above cover what the tile reads. `c` lies in the result at a row and a
    // column within its shape, whose memory the caller of `strips` owns alone; each task writes rows
    // and columns of its own. `chunk.isa` comes from the device.
    unsafe { tile(chunk.isa, it) };
}

const _: () = assert!(TASK_COLUMNS.is_multiple_of(WIDTH) && STRIP.is_multiple_of(TASK_COLUMNS));
