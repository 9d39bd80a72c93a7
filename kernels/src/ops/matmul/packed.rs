//! Weights kept in panels, for inference: `x wᵀ` of few rows reads each weight once, in order.

use rayon::prelude::*;

use super::pack::{Operand, panel};
use super::tile::{PanelElement, ROWS, Tile, WIDTH, tile};
use super::{Start, cpu::Rows};
use crate::cpu::Cpu;
use crate::cpu::scratch::Shared;
use crate::dtype::Real;
use crate::{CpuBuffer, Dtype, Result};

/// A weight matrix `[columns, depth]` as panels `[panels][depth][WIDTH]`.
pub struct Packed {
    pub(crate) panels: CpuBuffer,
    /// Outputs.
    pub(crate) columns: usize,
    /// Inputs.
    pub(crate) depth: usize,
}

/// Packs a weight; the numbers keep their type.
pub(crate) fn pack<E: Real>(
    cpu: &Cpu,
    weight: Rows<'_, E>,
    (columns, depth): (usize, usize),
) -> Result<Packed> {
    let n_panels = columns.div_ceil(WIDTH);
    let mut panels = CpuBuffer::zeros(E::DTYPE, n_panels * WIDTH * depth)?;
    let from = Operand { data: weight.data, line: weight.stride, step: 1 };
    if let Some(all) = panels.as_mut_slice::<E>() {
        all.par_chunks_exact_mut((WIDTH * depth).max(1)).enumerate().try_for_each(|(n, to)| {
            let mut wide = cpu.scratch.take(to.len())?;
            let lines = n * WIDTH..columns.min((n + 1) * WIDTH);
            panel(cpu.isa, from, lines, 0..depth, WIDTH, &mut wide);
            crate::ops::elementwise::copy(cpu.isa, &wide, to);
            Ok(())
        })?;
    }
    Ok(Packed { panels, columns, depth })
}

/// `out = x wᵀ` for f32 rows; `out` is f32 as well. Rows of `out` are `out_stride` apart.
pub(crate) fn linear(
    cpu: &Cpu,
    x: Rows<'_, f32>,
    weight: &Packed,
    (out, out_stride, rows): (&mut [f32], usize, usize),
    start: Start,
) {
    let task = Few { cpu, x, weight, out: Shared::new(out), out_stride, rows, start };
    match weight.panels.as_slice::<f32>() {
        Some(panels) => task.run(panels),
        None => task.run(weight.panels.as_slice::<half::bf16>().unwrap_or_default()),
    }
}

struct Few<'a> {
    cpu: &'a Cpu,
    x: Rows<'a, f32>,
    weight: &'a Packed,
    out: Shared<f32>,
    out_stride: usize,
    rows: usize,
    start: Start,
}

/// Rows of a task where there are many.
const TASK_ROWS: usize = 8 * ROWS;
/// Numbers of a weight that are worth a task.
const TASK_WEIGHTS: usize = 1 << 14;

impl Few<'_> {
    fn run<P: PanelElement>(&self, panels: &[P]) {
        let Packed { columns, depth, .. } = *self.weight;
        if self.rows == 0 || columns == 0 || depth == 0 {
            return;
        }
        let per_task = (TASK_WEIGHTS / (depth * WIDTH)).max(1);
        let column_tasks = columns.div_ceil(WIDTH).div_ceil(per_task);
        let row_tasks = self.rows.div_ceil(TASK_ROWS);
        (0..column_tasks * row_tasks).into_par_iter().for_each(|it| {
            let (column_task, row_task) = (it % column_tasks, it / column_tasks);
            let first_row = row_task * TASK_ROWS;
            let rows = first_row..self.rows.min(first_row + TASK_ROWS);
            let first = column_task * per_task;
            for n in first..columns.div_ceil(WIDTH).min(first + per_task) {
                let panel = &panels[n * depth * WIDTH..(n + 1) * depth * WIDTH];
                for row in rows.clone().step_by(ROWS) {
                    self.one(panel, (row, (rows.end - row).min(ROWS)), n * WIDTH);
                }
            }
        });
    }

    /// One tile over the whole depth.
    fn one<P: PanelElement>(&self, panel: &[P], (row, rows): (usize, usize), column: usize) {
        let depth = self.weight.depth;
        let a_row = self.x.stride;
        let a = &self.x.data[row * a_row..(row + rows - 1) * a_row + depth];
        let it = Tile {
            rows,
            steps: depth,
            a: a.as_ptr(),
            a_row,
            a_step: 1,
            panel: panel.as_ptr(),
            c: self.out.at(row * self.out_stride + column),
            c_row: self.out_stride,
            columns: (self.weight.columns - column).min(WIDTH),
            start: self.start,
        };
        // SAFETY: `a` and `panel` are slices of what the tile reads. `c` lies in `out`, whose length
        // `Device::linear` has checked and which is borrowed by `linear`; each task has rows and
        // columns of its own.
        unsafe { tile(self.cpu.isa, it) };
    }
}

impl Packed {
    /// What the weights are kept as.
    pub fn dtype(&self) -> Dtype {
        use crate::device::Buffer;
        self.panels.dtype()
    }
}
