//! The processor's twin.

use half::bf16;
use rayon::prelude::*;

use super::AdamW;
use crate::cpu::isa::versions;
use crate::dtype::Real;
use crate::machine::Isa;

/// Elements of a task.
const TASK: usize = 1 << 14;

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

/// Changes weights, moments; all of one length.
pub(crate) fn step(
    isa: Isa,
    numbers: Numbers,
    weight: &mut [f32],
    (m, v): (&mut [f32], &mut [f32]),
    gradient: &[f32],
) {
    weight
        .par_chunks_mut(TASK)
        .zip(m.par_chunks_mut(TASK).zip(v.par_chunks_mut(TASK)))
        .zip(gradient.par_chunks(TASK))
        .for_each(|((weight, (m, v)), gradient)| part(isa, numbers, weight, m, v, gradient));
}

/// The same on the master weights, which are then rounded.
pub(crate) fn step_master(
    isa: Isa,
    numbers: Numbers,
    (weight, master): (&mut [bf16], &mut [f32]),
    moments: (&mut [f32], &mut [f32]),
    gradient: &[f32],
) {
    step(isa, numbers, master, moments, gradient);
    weight.par_chunks_mut(TASK).zip(master.par_chunks(TASK)).for_each(|(weight, master)| {
        weight.iter_mut().zip(master).for_each(|(to, from)| *to = bf16::near(*from));
    });
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
