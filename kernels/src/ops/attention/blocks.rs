//! Attention of a few queries of one head to the blocks of keys before them: the one definition
//! that training, prefill and decoding share.

use crate::cpu::isa::versions;
use crate::cpu::math::{LANES, exp, greater, ln, tree, tree_max};
use crate::dtype::Real;
use crate::machine::Isa;
use crate::ops::matmul::Start;
use crate::ops::matmul::pack::{Operand, panel};
use crate::ops::matmul::tile::{ROWS, Tile, WIDTH, tile};

use super::BLOCK;

/// A block of keys and values, as panels.
#[derive(Clone, Copy)]
pub(crate) struct KeyValue<'a> {
    /// `[dim][BLOCK]`: a panel whose columns are the keys.
    pub(crate) keys: &'a [f32],
    /// `[parts][BLOCK][WIDTH]`: panels whose columns are the values' elements.
    pub(crate) values: &'a [f32],
}

/// Writes the panel of up to [`BLOCK`] keys: `rows` lines of `dim` at `stride`.
pub(crate) fn pack_keys<E: Real>(isa: Isa, from: (&[E], usize), rows: usize, to: &mut [f32]) {
    let dim = to.len() / BLOCK;
    let from = Operand { data: from.0, line: from.1, step: 1 };
    panel(isa, from, 0..rows, 0..dim, BLOCK, to);
}

/// Writes the panels of up to [`BLOCK`] values, zeros where there are none.
pub(crate) fn pack_values<E: Real>(
    isa: Isa,
    from: (&[E], usize),
    rows: usize,
    dim: usize,
    to: &mut [f32],
) {
    let from = Operand { data: from.0, line: 1, step: from.1 };
    for (part, to) in to.chunks_exact_mut(BLOCK * WIDTH).enumerate() {
        let first = part * WIDTH;
        let (used, rest) = to.split_at_mut(rows * WIDTH);
        panel(isa, from, first..dim.min(first + WIDTH), 0..rows, WIDTH, used);
        rest.fill(0.0);
    }
}

/// The queries of one head, or of heads that share their keys.
#[derive(Clone, Copy)]
pub(crate) struct Queries<'a> {
    /// `[n][dim]`.
    pub(crate) data: &'a [f32],
    pub(crate) dim: usize,
    /// The position of query `i` is `first + i · step`.
    pub(crate) first: usize,
    pub(crate) step: usize,
    pub(crate) scale: f32,
}

/// What is kept of queries while blocks go by. All slices have room for `n` rows.
pub(crate) struct Running<'a> {
    /// `[n][BLOCK]`.
    pub(crate) scores: &'a mut [f32],
    /// `[n][parts · WIDTH]`: results so far, not yet divided.
    pub(crate) sums: &'a mut [f32],
    /// `[n]`: the greatest score so far.
    pub(crate) greatest: &'a mut [f32],
    /// `[n]`: the sum of the weights so far.
    pub(crate) weight: &'a mut [f32],
}

impl<'a> Running<'a> {
    /// How many numbers `n` queries need.
    pub(crate) fn len(n: usize, dim: usize) -> usize {
        n * (BLOCK + dim.div_ceil(WIDTH) * WIDTH + 2)
    }

    /// The parts of a piece of memory of [`Running::len`] numbers.
    pub(crate) fn new(memory: &'a mut [f32], n: usize, dim: usize) -> Self {
        let (scores, rest) = memory.split_at_mut(n * BLOCK);
        let (sums, rest) = rest.split_at_mut(n * dim.div_ceil(WIDTH) * WIDTH);
        let (greatest, weight) = rest.split_at_mut(n);
        Self { scores, sums, greatest, weight: &mut weight[..n] }
    }

    /// The result of query `i`, and the logarithm of its sum.
    pub(crate) fn finish<E: Real>(&self, i: usize, out: &mut [E]) -> f32 {
        let width = self.sums.len() / self.weight.len();
        let sums = &self.sums[i * width..i * width + out.len()];
        let weight = self.weight[i];
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = E::round_from(sum / weight));
        (f64::from(self.greatest[i]) + ln(f64::from(weight))) as f32
    }
}

/// Attends from all queries to the blocks up to the last query's own.
pub(crate) fn attend<'k>(
    isa: Isa,
    queries: Queries<'_>,
    block: impl Fn(usize) -> KeyValue<'k>,
    running: &mut Running<'_>,
) {
    let Queries { data, dim, first, step, scale } = queries;
    let n = data.len() / dim;
    running.sums.fill(0.0);
    running.greatest.fill(f32::NEG_INFINITY);
    running.weight.fill(0.0);
    let width = dim.div_ceil(WIDTH) * WIDTH;
    let last = first + (n - 1) * step;
    for it in 0..=last / BLOCK {
        let KeyValue { keys, values } = block(it);
        assert!(keys.len() >= dim * BLOCK && values.len() >= width * BLOCK);
        for row in (0..n).step_by(ROWS) {
            let rows = (n - row).min(ROWS);
            let (a, c) = (data[row * dim..].as_ptr(), running.scores[row * BLOCK..].as_mut_ptr());
            let (panel, columns) = (keys.as_ptr(), BLOCK);
            let start = Start::Zero;
            let (a_row, a_step, c_row) = (dim, 1, BLOCK);
            let it = Tile { rows, steps: dim, a, a_row, a_step, panel, c, c_row, columns, start };
            // SAFETY: `data` has `n` rows of `dim`, `keys` a panel of `dim` steps (asserted), and
            // `scores` `n` rows of a block, borrowed mutably.
            unsafe { tile(isa, it) };
        }
        let visible = (first, step, it * BLOCK);
        softmax(
            isa,
            visible,
            scale,
            running.scores,
            running.greatest,
            running.weight,
            running.sums,
        );
        for row in (0..n).step_by(ROWS) {
            let rows = (n - row).min(ROWS);
            for part in 0..width / WIDTH {
                let a = running.scores[row * BLOCK..].as_ptr();
                let panel = values[part * BLOCK * WIDTH..].as_ptr();
                let c = running.sums[row * width + part * WIDTH..].as_mut_ptr();
                let (a_row, a_step, c_row) = (BLOCK, 1, width);
                let (steps, columns, start) = (BLOCK, WIDTH, Start::Add);
                let it = Tile { rows, steps, a, a_row, a_step, panel, c, c_row, columns, start };
                // SAFETY: `scores` has `n` rows of a block, `values` a panel of `BLOCK` steps for
                // each part (asserted), and `sums` `n` rows of `width`, borrowed mutably.
                unsafe { tile(isa, it) };
            }
        }
    }
}

versions! {
    /// Turns a block of scores into weights and brings what runs up to date. A query at `position`
    /// sees the keys from `first_key` to itself.
    fn softmax(
        visible: (usize, usize, usize),
        scale: f32,
        scores: &mut [f32],
        greatest: &mut [f32],
        weight: &mut [f32],
        sums: &mut [f32],
    ) {
        let (first, step, first_key) = visible;
        let width = sums.len() / weight.len();
        let rows = scores.chunks_exact_mut(BLOCK).zip(sums.chunks_exact_mut(width));
        let state = greatest.iter_mut().zip(weight.iter_mut());
        for (i, ((scores, sums), (greatest, weight))) in rows.zip(state).enumerate() {
            let position = first + i * step;
            let visible = (position + 1).saturating_sub(first_key).min(BLOCK);
            if visible == 0 {
                scores.fill(0.0);
                continue;
            }
            for it in scores.iter_mut() {
                *it *= scale;
            }
            scores[visible..].fill(f32::NEG_INFINITY);
            let mut high = [f32::NEG_INFINITY; LANES];
            for lane in 0..LANES {
                high[lane] = greater(scores[lane], scores[lane + LANES]);
            }
            let now = greater(tree_max(high), *greatest);
            let shrink = exp(*greatest - now);
            *greatest = now;
            for it in scores.iter_mut() {
                *it = exp(*it - now);
            }
            let mut low = [0.0; LANES];
            for lane in 0..LANES {
                low[lane] = scores[lane] + scores[lane + LANES];
            }
            *weight = weight.mul_add(shrink, tree(low));
            if shrink != 1.0 {
                sums.iter_mut().for_each(|it| *it *= shrink);
            }
        }
    }
}
