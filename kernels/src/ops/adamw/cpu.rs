//! The processor's twin.

use rayon::prelude::*;

use super::AdamW;
use super::masters::Exact;
use super::moments::{Format, Kept, chances};
use crate::cpu::isa::versions;
use crate::machine::Isa;

/// Elements of a task; a multiple of a block of bytes.
const TASK: usize = 1 << 14;
/// Of a block of random bits.
const WORDS: u64 = 4;
const SIGNED: Format = Format::Signed;
const POSITIVE: Format = Format::Positive;

/// A step's numbers, ready for f32.
#[derive(Clone, Copy)]
pub(crate) struct Numbers {
    keep: f32,
    one_less_beta1: f32,
    beta2: f32,
    one_less_beta2: f32,
    eps: f32,
    size: f32,
    root: f32,
    factor: f32,
}

impl From<AdamW> for Numbers {
    fn from(it: AdamW) -> Self {
        let power = i32::try_from(it.step).unwrap_or(i32::MAX);
        let first = 1.0 - it.beta1.powi(power);
        let second = 1.0 - it.beta2.powi(power);
        Self {
            keep: (1.0 - it.learning_rate * it.weight_decay) as f32,
            one_less_beta1: (1.0 - it.beta1) as f32,
            beta2: it.beta2 as f32,
            one_less_beta2: (1.0 - it.beta2) as f32,
            eps: it.eps as f32,
            size: (it.learning_rate / first) as f32,
            root: second.sqrt() as f32,
            factor: it.factor,
        }
    }
}

impl Numbers {
    /// In the order of the parameters of `kernel.cu`.
    pub(crate) fn in_order(self) -> [f32; 8] {
        let Self { keep, one_less_beta1, beta2, one_less_beta2, eps, size, root, factor } = self;
        [factor, keep, one_less_beta1, beta2, one_less_beta2, eps, size, root]
    }
}

/// Changes weights and moments; all of one length.
pub(crate) fn step(
    isa: Isa,
    step: AdamW,
    exact: Exact<'_>,
    [m, v]: [Kept<'_>; 2],
    gradient: &[f32],
) {
    let numbers = Numbers::from(step);
    let exact = exact.tasks(TASK).into_par_iter();
    let moments: Vec<_> = m.tasks(TASK).into_iter().zip(v.tasks(TASK)).collect();
    let tasks = exact.zip(moments).zip(gradient.par_chunks(TASK)).enumerate();
    tasks.for_each(|(task, ((mut exact, (mut m, mut v)), gradient))| {
        let mut own = [Vec::new(), Vec::new(), Vec::new()];
        let [weights, firsts, seconds] = &mut own;
        let (first, second) = (m.open(SIGNED, firsts), v.open(POSITIVE, seconds));
        part(isa, numbers, exact.open(weights), first, second, gradient);
        exact.close(weights);
        if matches!(m, Kept::Whole(_)) {
            return;
        }
        let words = words(step, step.first + (task * TASK) as u64, gradient.len());
        m.close(SIGNED, firsts, |i| chances(words[i])[0]);
        v.close(POSITIVE, seconds, |i| chances(words[i])[1]);
    });
}

/// Random words from a place on.
fn words(step: AdamW, first: u64, n: usize) -> Vec<u32> {
    let blocks = first / WORDS..(first + n as u64).div_ceil(WORDS);
    let all = blocks.flat_map(|it| step.random.block(it));
    all.skip((first % WORDS) as usize).take(n).collect()
}

versions! {
    fn part(
        numbers: Numbers,
        weight: &mut [f32],
        m: &mut [f32],
        v: &mut [f32],
        gradient: &[f32],
    ) {
        let state = weight.iter_mut().zip(m.iter_mut().zip(v.iter_mut()));
        for ((weight, (m, v)), gradient) in state.zip(gradient) {
            let g = gradient * numbers.factor;
            *m += (g - *m) * numbers.one_less_beta1;
            *v = (g * g).mul_add(numbers.one_less_beta2, *v * numbers.beta2);
            let below = v.sqrt() / numbers.root + numbers.eps;
            *weight = *weight * numbers.keep - numbers.size * (*m / below);
        }
    }
}
