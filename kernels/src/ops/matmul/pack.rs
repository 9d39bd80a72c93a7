//! Operands laid out for the tile: panels in which the numbers of a step lie side by side.

use std::ops::Range;

use crate::cpu::isa::versions;
use crate::dtype::Real;

/// An operand as the product sees it: the number of line `i` (a row of the left one, a column of
/// the right one) at step `s` of the sum lies at `i · line + s · step`. One of the two is 1.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a, E> {
    pub(crate) data: &'a [E],
    pub(crate) line: usize,
    pub(crate) step: usize,
}

versions! {
    /// Writes the panel of `lines` (at most `width`) for `steps`: `to` is `[steps][width]`, zero
    /// where there is no line.
    pub(crate) fn panel<E: Real>(
        from: Operand<'_, E>,
        lines: Range<usize>,
        steps: Range<usize>,
        width: usize,
        to: &mut [f32],
    ) {
        if from.step == 1 {
            across(from, lines, steps, width, to);
        } else {
            along(from, lines, steps, width, to);
        }
    }
}

/// The lines lie side by side: rows are copied.
#[inline(always)]
fn along<E: Real>(
    from: Operand<'_, E>,
    lines: Range<usize>,
    steps: Range<usize>,
    width: usize,
    to: &mut [f32],
) {
    for (step, to) in steps.zip(to.chunks_exact_mut(width)) {
        let start = step * from.step + lines.start * from.line;
        let row = &from.data[start..start + lines.len()];
        let (used, rest) = to.split_at_mut(row.len());
        for (to, it) in used.iter_mut().zip(row) {
            *to = it.to_f32();
        }
        rest.fill(0.0);
    }
}

/// The steps of a line lie side by side: a transposition, sixteen steps at a time, so that what is
/// written stays in the nearest cache.
#[inline(always)]
fn across<E: Real>(
    from: Operand<'_, E>,
    lines: Range<usize>,
    steps: Range<usize>,
    width: usize,
    to: &mut [f32],
) {
    const BLOCK: usize = 16;
    let n_lines = lines.len();
    let mut first = steps.start;
    for to in to[..steps.len() * width].chunks_mut(BLOCK * width) {
        let n = to.len() / width;
        for (j, line) in lines.clone().enumerate() {
            let start = line * from.line + first;
            let row = &from.data[start..start + n];
            for (it, to) in row.iter().zip(to[j..].iter_mut().step_by(width)) {
                *to = it.to_f32();
            }
        }
        if n_lines < width {
            for to in to.chunks_exact_mut(width) {
                to[n_lines..].fill(0.0);
            }
        }
        first += n;
    }
}
