//! The processor's twin: rows that count are gathered, chunk by chunk.

use rayon::prelude::*;

use super::IGNORE;
use crate::Result;
use crate::cpu::Cpu;
use crate::cpu::isa::versions;
use crate::cpu::math::{exp, ln, max, sum};
use crate::dtype::Real;
use crate::ops::elementwise::copy;
use crate::ops::matmul::cpu::{Product, Rows, RowsMut, matmul};
use crate::ops::matmul::{Form, Shape, Start};

/// Logits that exist at a time, as long as that is enough for [`FEWEST`] rows.
const LOGITS: usize = 1 << 22;
/// Rows that make packing the head worth while.
const FEWEST: usize = 384;

/// Rows of a chunk.
pub(crate) fn chunk_rows(vocabulary: usize) -> usize {
    (LOGITS / vocabulary.max(1)).max(FEWEST)
}

/// What is read.
#[derive(Clone, Copy)]
pub(crate) struct Numbers<'a, E, W> {
    pub(crate) hidden: &'a [E],
    pub(crate) width: usize,
    pub(crate) head: Rows<'a, W>,
    pub(crate) vocabulary: usize,
    pub(crate) targets: &'a [u32],
    pub(crate) scale: f32,
}

/// What is written.
pub(crate) struct NumbersOut<'a, E> {
    pub(crate) nll: &'a mut [f32],
    pub(crate) d_hidden: Option<&'a mut [E]>,
    pub(crate) d_head: Option<RowsMut<'a, f32>>,
}

/// Lengths are those of the contract, targets within the vocabulary.
pub(crate) fn cross_entropy<E: Real, W: Real>(
    cpu: &Cpu,
    given: Numbers<'_, E, W>,
    mut out: NumbersOut<'_, E>,
) -> Result<()> {
    out.nll.fill(0.0);
    if let Some(d_hidden) = &mut out.d_hidden {
        d_hidden.fill(E::round_from(0.0));
    }
    let counted: Vec<usize> =
        (0..given.targets.len()).filter(|it| given.targets[*it] != IGNORE).collect();
    let rows = chunk_rows(given.vocabulary).min(counted.len());
    let mut memory = Memory {
        hidden: cpu.scratch.take(rows * given.width)?,
        logits: cpu.scratch.take(rows * given.vocabulary)?,
        d_hidden: cpu.scratch.take(if out.d_hidden.is_some() { rows * given.width } else { 0 })?,
    };
    counted.chunks(rows.max(1)).try_for_each(|it| chunk(cpu, given, it, &mut out, &mut memory))
}

struct Memory<'a> {
    hidden: crate::cpu::scratch::Piece<'a>,   // [rows, width]
    logits: crate::cpu::scratch::Piece<'a>,   // [rows, vocabulary]
    d_hidden: crate::cpu::scratch::Piece<'a>, // [rows, width]
}

/// The rows of one chunk.
fn chunk<E: Real, W: Real>(
    cpu: &Cpu,
    given: Numbers<'_, E, W>,
    counted: &[usize],
    out: &mut NumbersOut<'_, E>,
    memory: &mut Memory<'_>,
) -> Result<()> {
    let Numbers { hidden, width, head, vocabulary, targets, scale } = given;
    let rows = counted.len();
    for (to, &row) in memory.hidden.chunks_exact_mut(width).zip(counted) {
        copy(cpu.isa, &hidden[row * width..(row + 1) * width], to);
    }
    let some = Rows { data: &memory.hidden[..rows * width], stride: width };
    let logits = &mut memory.logits[..rows * vocabulary];
    let shape = Shape { rows, columns: vocabulary, depth: width };
    let product = Product { form: Form::Xwt, shape, start: Start::Zero, a: some, b: head };
    matmul(cpu, product, RowsMut { data: logits, stride: vocabulary })?;
    let back = out.d_hidden.is_some().then_some(scale);
    let losses: Vec<f32> = logits
        .par_chunks_exact_mut(vocabulary)
        .zip(counted)
        .map(|(logits, &row)| loss(cpu.isa, logits, targets[row] as usize, back))
        .collect();
    losses.iter().zip(counted).for_each(|(loss, &row)| out.nll[row] = *loss);
    let d_logits = Rows { data: &memory.logits[..rows * vocabulary], stride: vocabulary };
    if let Some(d_head) = &mut out.d_head {
        let shape = Shape { rows: vocabulary, columns: width, depth: rows };
        let product = Product { form: Form::Dytx, shape, start: Start::Add, a: d_logits, b: some };
        let to = RowsMut { data: &mut *d_head.data, stride: d_head.stride };
        matmul(cpu, product, to)?;
    }
    if let Some(all) = &mut out.d_hidden {
        let shape = Shape { rows, columns: width, depth: vocabulary };
        let product = Product { form: Form::Dyw, shape, start: Start::Zero, a: d_logits, b: head };
        let d_hidden = &mut memory.d_hidden[..rows * width];
        matmul(cpu, product, RowsMut { data: d_hidden, stride: width })?;
        for (from, &row) in d_hidden.chunks_exact(width).zip(counted) {
            copy(cpu.isa, from, &mut all[row * width..(row + 1) * width]);
        }
    }
    Ok(())
}

versions! {
    /// The loss of one row; with a scale the logits become their gradients.
    fn loss(logits: &mut [f32], target: usize, back: Option<f32>) -> f32 {
        let greatest = max(logits);
        let at_target = logits[target];
        let total = match back {
            None => sum(logits.len(), |i, acc| acc + exp(logits[i] - greatest)),
            Some(scale) => {
                for it in logits.iter_mut() {
                    *it = exp(*it - greatest);
                }
                let total = sum(logits.len(), |i, acc| acc + logits[i]);
                let factor = scale / total;
                for it in logits.iter_mut() {
                    *it *= factor;
                }
                logits[target] -= scale;
                total
            }
        };
        (ln(f64::from(total)) + f64::from(greatest) - f64::from(at_target)) as f32
    }
}
