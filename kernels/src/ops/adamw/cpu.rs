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

/// The same on weights of which `weight` is the upper half and `low` the bits that are left.
pub(crate) fn step_low(
    isa: Isa,
    numbers: Numbers,
    (weight, low): (&mut [bf16], &mut [bf16]),
    (m, v): (&mut [f32], &mut [f32]),
    gradient: &[f32],
) {
    weight
        .par_chunks_mut(TASK)
        .zip(low.par_chunks_mut(TASK))
        .zip(m.par_chunks_mut(TASK).zip(v.par_chunks_mut(TASK)))
        .zip(gradient.par_chunks(TASK))
        .for_each(|(((weight, low), (m, v)), gradient)| {
            let halves = weight.iter().zip(low.iter());
            let mut exact: Vec<f32> = halves.map(|(high, low)| joined(*high, *low)).collect();
            part(isa, numbers, &mut exact, m, v, gradient);
            for ((high, low), exact) in weight.iter_mut().zip(low).zip(exact) {
                (*high, *low) = split(exact);
            }
        });
}

/// A weight in two halves of 16 bits: the nearest bf16, of two the one further from zero, and what has to be
/// added to its bits, as bits.
pub(crate) fn split(exact: f32) -> (bf16, bf16) {
    let bits = exact.to_bits();
    let high = (bits.wrapping_add(0x8000) >> 16) as u16;
    (bf16::from_bits(high), bf16::from_bits(bits as u16))
}

/// The weight of two halves.
pub(crate) fn joined(high: bf16, low: bf16) -> f32 {
    let high = u32::from(high.to_bits()) << 16;
    f32::from_bits(high.wrapping_add_signed(i32::from(low.to_bits() as i16)))
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
