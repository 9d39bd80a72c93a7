//! The processor's forward pass: keys and values become panels, then queries attend to them.

use rayon::prelude::*;

use super::blocks::{Queries, Running};
use super::{BLOCK, Heads, KeyValue, QUERIES, attend, pack_keys, pack_values};
use crate::Result;
use crate::cpu::Cpu;
use crate::cpu::scratch::Shared;
use crate::dtype::Real;
use crate::ops::elementwise::copy;
use crate::ops::matmul::tile::WIDTH;

/// Where the panels of the blocks of all spans lie: block `n` of span `s` is `first[s] + n`.
pub(crate) struct Blocks {
    /// For each span its first block; one more at the end.
    first: Vec<usize>,
}

impl Blocks {
    pub(crate) fn of(spans: &[u32]) -> Self {
        let mut first = vec![0];
        let mut n = 0;
        for it in spans.windows(2) {
            n += ((it[1] - it[0]) as usize).div_ceil(BLOCK);
            first.push(n);
        }
        Self { first }
    }

    fn count(&self) -> usize {
        self.first.last().copied().unwrap_or(0)
    }

    /// The span of a block, and which of its blocks it is.
    fn span(&self, block: usize) -> (usize, usize) {
        let span = self.first.partition_point(|it| *it <= block) - 1;
        (span, block - self.first[span])
    }
}

/// Writes `out` and `lse`; lengths and spans are those of the contract.
pub(crate) fn forward<E: Real>(
    cpu: &Cpu,
    qkv: &[E],
    (spans, heads): (&[u32], Heads),
    out: &mut [E],
    lse: &mut [f32],
) -> Result<()> {
    let blocks = Blocks::of(spans);
    let (key_len, value_len) = (heads.dim * BLOCK, heads.parts() * WIDTH * BLOCK);
    let mut keys = cpu.scratch.take(blocks.count() * heads.kv * key_len)?;
    let mut values = cpu.scratch.take(blocks.count() * heads.kv * value_len)?;
    keys.par_chunks_exact_mut(key_len)
        .zip(values.par_chunks_exact_mut(value_len))
        .enumerate()
        .for_each(|(it, (keys, values))| {
            let (block, head) = (it / heads.kv, it % heads.kv);
            let (span, n) = blocks.span(block);
            let first = spans[span] as usize + n * BLOCK;
            let rows = (spans[span + 1] as usize - first).min(BLOCK);
            let row = &qkv[first * heads.row()..];
            pack_keys(cpu.isa, (&row[heads.key(head)..], heads.row()), rows, keys);
            let from = (&row[heads.value(head)..], heads.row());
            pack_values(cpu.isa, from, rows, heads.dim, values);
        });
    let (keys, values) = (keys.as_slice(), values.as_slice());
    let task = |it: &Task, to: (Shared<E>, Shared<f32>)| -> Result<()> {
        let block = |n: usize| {
            let at = (blocks.first[it.span] + n) * heads.kv + it.head / heads.group();
            let keys = &keys[at * key_len..(at + 1) * key_len];
            KeyValue { keys, values: &values[at * value_len..(at + 1) * value_len] }
        };
        some(cpu, (qkv, heads), (it, spans[it.span] as usize), block, to)
    };
    let tasks = Task::all(spans, heads);
    let to = (Shared::new(out), Shared::new(lse));
    tasks.par_iter().try_for_each(|it| task(it, to))
}

/// Some queries of one head.
struct Task {
    span: usize,
    head: usize,
    /// The first query, counted from the span's start.
    first: usize,
    n: usize,
}

impl Task {
    fn all(spans: &[u32], heads: Heads) -> Vec<Self> {
        let mut tasks = Vec::new();
        for (span, it) in spans.windows(2).enumerate() {
            let len = (it[1] - it[0]) as usize;
            for first in (0..len).step_by(QUERIES) {
                let n = (len - first).min(QUERIES);
                tasks.extend((0..heads.query).map(|head| Self { span, head, first, n }));
            }
        }
        tasks
    }
}

/// Attends from some queries and writes their results.
fn some<'k, E: Real>(
    cpu: &Cpu,
    (qkv, heads): (&[E], Heads),
    (task, start): (&Task, usize),
    block: impl Fn(usize) -> KeyValue<'k>,
    (out, lse): (Shared<E>, Shared<f32>),
) -> Result<()> {
    let (dim, n) = (heads.dim, task.n);
    let mut memory = cpu.scratch.take(n * dim + Running::len(n, dim))?;
    let (data, memory) = memory.as_mut_slice().split_at_mut(n * dim);
    let first_row = start + task.first;
    for (i, to) in data.chunks_exact_mut(dim).enumerate() {
        let at = (first_row + i) * heads.row() + task.head * dim;
        copy(cpu.isa, &qkv[at..at + dim], to);
    }
    let scale = heads.score_scale();
    let queries = Queries { data, dim, first: task.first, step: 1, scale };
    let mut running = Running::new(memory, n, dim);
    attend(cpu.isa, queries, block, &mut running);
    for i in 0..n {
        let row = (first_row + i) * heads.query + task.head;
        // SAFETY: each task has rows and a head of its own, within the lengths that were checked;
        // `out` and `lse` are borrowed by the caller for as long as the tasks run.
        let (out, lse) = unsafe { (out.part(row * dim, dim), lse.part(row, 1)) };
        lse[0] = running.finish(i, out);
    }
    Ok(())
}
