//! The processor's backward pass: one task for each span and head of keys, which walks over query
//! heads, queries and blocks of keys in a fixed order and owns all that it adds to.

use std::ops::Range;

use rayon::prelude::*;

use super::{BLOCK, Heads, QUERIES, pack_keys, pack_values};
use crate::Result;
use crate::cpu::Cpu;
use crate::cpu::isa::versions;
use crate::cpu::math::{exp, sum};
use crate::cpu::scratch::Shared;
use crate::dtype::Real;
use crate::machine::Isa;
use crate::ops::matmul::Start;
use crate::ops::matmul::tile::{ROWS, Tile, WIDTH, tile};

/// What is read; slices of the contract's lengths.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a, E> {
    pub(crate) d_out: &'a [E],
    pub(crate) out: &'a [E],
    pub(crate) qkv: &'a [E],
    pub(crate) lse: &'a [f32],
    pub(crate) spans: &'a [u32],
    pub(crate) heads: Heads,
}

/// Writes `d_qkv`.
pub(crate) fn backward<E: Real>(cpu: &Cpu, given: Given<'_, E>, d_qkv: &mut [E]) -> Result<()> {
    let shared = Shared::new(d_qkv);
    let n_spans = given.spans.len() - 1;
    (0..n_spans * given.heads.kv).into_par_iter().try_for_each(|it| {
        let (span, head) = (it / given.heads.kv, it % given.heads.kv);
        let rows = given.spans[span] as usize..given.spans[span + 1] as usize;
        if rows.is_empty() {
            return Ok(());
        }
        let mut memory = cpu.scratch.take(Work::len(rows.len(), given.heads))?;
        let mut work = Work::new(&mut memory, rows.len(), given.heads);
        work.pack(cpu.isa, given, rows.start, head);
        for group in 0..given.heads.group() {
            let query = head * given.heads.group() + group;
            work.query_head(cpu.isa, given, rows.start, query);
            work.write_queries(shared, rows.start, query);
        }
        work.write_keys_values(shared, rows.start, head);
        Ok(())
    })
}

/// The memory of a task. `padded` is the width of a head in whole panels; panels of a part lie
/// together: `[parts][rows][WIDTH]`.
struct Work<'a> {
    n: usize,
    heads: Heads,
    key_columns: &'a mut [f32],   // [blocks][dim][BLOCK]
    value_columns: &'a mut [f32], // [blocks][dim][BLOCK]
    key_rows: &'a mut [f32],      // [blocks][parts][BLOCK][WIDTH]
    d_key: &'a mut [f32],         // [blocks · BLOCK][padded]
    d_value: &'a mut [f32],       // [blocks · BLOCK][padded]
    query: &'a mut [f32],         // [parts][n][WIDTH]
    d_out: &'a mut [f32],         // [parts][n][WIDTH]
    d_query: &'a mut [f32],       // [n][padded]
    delta: &'a mut [f32],         // [n]
    weights: &'a mut [f32],       // [QUERIES][BLOCK]
    d_scores: &'a mut [f32],      // [QUERIES][BLOCK]
}

/// The lengths of the pieces of [`Work`], in order.
fn lengths(n: usize, heads: Heads) -> [usize; 11] {
    let blocks = n.div_ceil(BLOCK);
    let columns = blocks * BLOCK * heads.dim;
    let padded = heads.parts() * WIDTH;
    let (keys, queries) = (blocks * BLOCK * padded, n * padded);
    let block = QUERIES * BLOCK;
    [columns, columns, keys, keys, keys, queries, queries, queries, n, block, block]
}

impl<'a> Work<'a> {
    fn len(n: usize, heads: Heads) -> usize {
        lengths(n, heads).iter().sum()
    }

    fn new(memory: &'a mut [f32], n: usize, heads: Heads) -> Self {
        let mut rest = memory;
        let mut lengths = lengths(n, heads).into_iter();
        let mut next = || {
            let (piece, left) = std::mem::take(&mut rest).split_at_mut(lengths.next().unwrap_or(0));
            rest = left;
            piece
        };
        Self {
            n,
            heads,
            key_columns: next(),
            value_columns: next(),
            key_rows: next(),
            d_key: next(),
            d_value: next(),
            query: next(),
            d_out: next(),
            d_query: next(),
            delta: next(),
            weights: next(),
            d_scores: next(),
        }
    }

    fn padded(&self) -> usize {
        self.heads.parts() * WIDTH
    }

    /// The panels of the span's keys and values of one head; its gradients begin at zero.
    fn pack<E: Real>(&mut self, isa: Isa, given: Given<'_, E>, start: usize, head: usize) {
        let heads = self.heads;
        let (columns, rows) = (heads.dim * BLOCK, self.padded() * BLOCK);
        for (block, first) in (0..self.n).step_by(BLOCK).enumerate() {
            let n = (self.n - first).min(BLOCK);
            let row = &given.qkv[(start + first) * heads.row()..];
            let keys = (&row[heads.key(head)..], heads.row());
            let values = (&row[heads.value(head)..], heads.row());
            let columns = block * columns..(block + 1) * columns;
            pack_keys(isa, keys, n, &mut self.key_columns[columns.clone()]);
            pack_keys(isa, values, n, &mut self.value_columns[columns]);
            let rows = &mut self.key_rows[block * rows..(block + 1) * rows];
            pack_values(isa, keys, n, heads.dim, rows);
        }
        self.d_key.fill(0.0);
        self.d_value.fill(0.0);
    }

    /// All gradients that come through one query head.
    fn query_head<E: Real>(&mut self, isa: Isa, given: Given<'_, E>, start: usize, head: usize) {
        let (heads, n) = (self.heads, self.n);
        let at = |width: usize, row: usize| (start + row) * width + head * heads.dim;
        for row in 0..n {
            let query = &given.qkv[at(heads.row(), row)..][..heads.dim];
            let d_out = &given.d_out[at(heads.out(), row)..][..heads.dim];
            let out = &given.out[at(heads.out(), row)..][..heads.dim];
            spread(isa, query, (n, row), self.query);
            spread(isa, d_out, (n, row), self.d_out);
            self.delta[row] = dot(isa, d_out, out);
        }
        self.d_query.fill(0.0);
        for first in (0..n).step_by(QUERIES) {
            let queries = first..n.min(first + QUERIES);
            for block in 0..=(queries.end - 1) / BLOCK {
                self.scores(isa, &queries, block);
                let lse = |row: usize| given.lse[(start + row) * heads.query + head];
                let lse: [f32; QUERIES] =
                    std::array::from_fn(|i| if i < queries.len() { lse(first + i) } else { 0.0 });
                let n = queries.len();
                weigh(
                    isa,
                    (first, block * BLOCK),
                    heads.score_scale(),
                    &lse[..n],
                    &self.delta[queries.clone()],
                    &mut self.weights[..n * BLOCK],
                    &mut self.d_scores[..n * BLOCK],
                );
                self.spread_gradients(isa, &queries, block);
            }
        }
    }

    /// Scores of queries and a block of keys into `weights`, and the gradients of the weights into
    /// `d_scores`.
    fn scores(&mut self, isa: Isa, queries: &Range<usize>, block: usize) {
        let columns = block * self.heads.dim * BLOCK;
        let pairs = [
            (&*self.query, &self.key_columns[columns..], &mut *self.weights),
            (&*self.d_out, &self.value_columns[columns..], &mut *self.d_scores),
        ];
        for (left, panels, to) in pairs {
            for part in 0..self.heads.parts() {
                let steps = (self.heads.dim - part * WIDTH).min(WIDTH);
                let product = Product {
                    left: &left[(part * self.n + queries.start) * WIDTH..],
                    left_row: WIDTH,
                    left_step: 1,
                    rows: queries.len(),
                    steps,
                    panel: &panels[part * WIDTH * BLOCK..],
                    start: if part == 0 { Start::Zero } else { Start::Add },
                };
                product.make(isa, to, BLOCK);
            }
        }
    }

    /// From weights and `d_scores` on to queries, keys and values.
    fn spread_gradients(&mut self, isa: Isa, queries: &Range<usize>, block: usize) {
        let (padded, n, start) = (self.padded(), queries.len(), Start::Add);
        for part in 0..self.heads.parts() {
            let column = part * WIDTH;
            let of_queries = (part * self.n + queries.start) * WIDTH;
            let to_keys = block * BLOCK * padded + column;
            let values = Product {
                left: self.weights,
                left_row: 1,
                left_step: BLOCK,
                rows: BLOCK,
                steps: n,
                panel: &self.d_out[of_queries..],
                start,
            };
            values.make(isa, &mut self.d_value[to_keys..], padded);
            let keys = Product { left: self.d_scores, panel: &self.query[of_queries..], ..values };
            keys.make(isa, &mut self.d_key[to_keys..], padded);
            let to_queries = Product {
                left: self.d_scores,
                left_row: BLOCK,
                left_step: 1,
                rows: n,
                steps: BLOCK,
                panel: &self.key_rows[block * BLOCK * padded + part * BLOCK * WIDTH..],
                start,
            };
            to_queries.make(isa, &mut self.d_query[queries.start * padded + column..], padded);
        }
    }

    fn write_queries<E: Real>(&self, to: Shared<E>, start: usize, head: usize) {
        self.write(to, self.d_query, start, head * self.heads.dim);
    }

    fn write_keys_values<E: Real>(&self, to: Shared<E>, start: usize, head: usize) {
        self.write(to, self.d_key, start, self.heads.key(head));
        self.write(to, self.d_value, start, self.heads.value(head));
    }

    /// Writes rows of `padded` to the columns of a head.
    fn write<E: Real>(&self, to: Shared<E>, from: &[f32], start: usize, column: usize) {
        let dim = self.heads.dim;
        for (row, from) in from.chunks_exact(self.padded()).enumerate().take(self.n) {
            let at = (start + row) * self.heads.row() + column;
            // SAFETY: the columns of this head in the rows of this span are this task's alone, and
            // `d_qkv` is borrowed by `backward` while tasks run.
            let to = unsafe { to.part(at, dim) };
            to.iter_mut().zip(from).for_each(|(to, from)| *to = E::round_from(*from));
        }
    }
}

/// A product of some rows and one panel.
#[derive(Clone, Copy)]
struct Product<'a> {
    left: &'a [f32],
    left_row: usize,
    left_step: usize,
    rows: usize,
    steps: usize,
    panel: &'a [f32],
    start: Start,
}

impl Product<'_> {
    /// Makes it in rows of `to` that are `stride` apart, a panel wide.
    fn make(&self, isa: Isa, to: &mut [f32], stride: usize) {
        let Self { left_row: a_row, left_step: a_step, steps, start, .. } = *self;
        let (rows, end) = (self.rows, (self.rows - 1) * a_row + (steps - 1) * a_step);
        assert!(end < self.left.len() && steps * WIDTH <= self.panel.len());
        assert!((rows - 1) * stride + WIDTH <= to.len());
        for row in (0..rows).step_by(ROWS) {
            let it = Tile {
                rows: (rows - row).min(ROWS),
                steps,
                a: self.left[row * a_row..].as_ptr(),
                a_row,
                a_step,
                panel: self.panel.as_ptr(),
                c: to[row * stride..].as_mut_ptr(),
                c_row: stride,
                columns: WIDTH,
                start,
            };
            // SAFETY: the assertions above cover all that the tiles read and write; `to` is
            // borrowed mutably.
            unsafe { tile(isa, it) };
        }
    }
}

versions! {
    /// Puts a row into panels of `n` rows.
    fn spread<E: Real>(from: &[E], place: (usize, usize), to: &mut [f32]) {
        let (n, row) = place;
        for (part, from) in from.chunks(WIDTH).enumerate() {
            let to = &mut to[(part * n + row) * WIDTH..][..WIDTH];
            let (used, rest) = to.split_at_mut(from.len());
            used.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f32());
            rest.fill(0.0);
        }
    }
}

versions! {
    fn dot<E: Real>(a: &[E], b: &[E]) -> f32 {
        sum(a.len(), |i, acc| a[i].to_f32().mul_add(b[i].to_f32(), acc))
    }
}

versions! {
    /// Scores become weights, gradients of weights become gradients of scores.
    fn weigh(
        visible: (usize, usize),
        scale: f32,
        lse: &[f32],
        delta: &[f32],
        weights: &mut [f32],
        d_scores: &mut [f32],
    ) {
        let (first, first_key) = visible;
        let rows = weights.chunks_exact_mut(BLOCK).zip(d_scores.chunks_exact_mut(BLOCK));
        for (i, ((weights, d_scores), (lse, delta))) in rows.zip(lse.iter().zip(delta)).enumerate() {
            let visible = (first + i + 1).saturating_sub(first_key).min(BLOCK);
            for it in weights.iter_mut() {
                *it = exp(*it * scale - lse);
            }
            weights[visible..].fill(0.0);
            for (d, weight) in d_scores.iter_mut().zip(weights.iter()) {
                *d = weight * (*d - delta) * scale;
            }
            d_scores[visible..].fill(0.0);
        }
    }
}
