//! The processor's twin.

use half::bf16;
use rayon::prelude::*;

use super::AdamW;
use super::moments::{BLOCK, Format, chances, half};
use crate::cpu::isa::versions;
use crate::dtype::Real;
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

/// Where the exact weights are.
pub(crate) enum Exact<'a> {
    /// In the weights themselves.
    Whole(&'a mut [f32]),
    /// Beside the weights, which are these, rounded.
    Beside(&'a mut [bf16], &'a mut [f32]),
    /// In the weights, and the bits that these lack.
    Halves(&'a mut [bf16], &'a mut [bf16]),
}

impl<'a> Exact<'a> {
    fn tasks(self) -> Vec<Self> {
        let (task, halves) = (TASK, |it: &'a mut [bf16]| it.chunks_mut(TASK));
        match self {
            Exact::Whole(all) => all.chunks_mut(task).map(Exact::Whole).collect(),
            Exact::Beside(rounded, all) => {
                let all = halves(rounded).zip(all.chunks_mut(task));
                all.map(|it| Exact::Beside(it.0, it.1)).collect()
            }
            Exact::Halves(high, low) => {
                halves(high).zip(halves(low)).map(|it| Exact::Halves(it.0, it.1)).collect()
            }
        }
    }

    /// The weights, in `own` where they have to be joined.
    fn open<'s>(&'s mut self, own: &'s mut Vec<f32>) -> &'s mut [f32] {
        match self {
            Exact::Whole(all) | Exact::Beside(_, all) => all,
            Exact::Halves(high, low) => {
                own.extend(high.iter().zip(low.iter()).map(|(high, low)| joined(*high, *low)));
                own
            }
        }
    }

    /// Rounds what was changed, and splits what was joined.
    fn close(&mut self, own: &[f32]) {
        match self {
            Exact::Whole(_) => (),
            Exact::Beside(rounded, all) => {
                rounded.iter_mut().zip(all.iter()).for_each(|(to, from)| *to = bf16::near(*from));
            }
            Exact::Halves(high, low) => {
                for ((high, low), exact) in high.iter_mut().zip(low.iter_mut()).zip(own) {
                    (*high, *low) = split(*exact);
                }
            }
        }
    }
}

/// A moment of each weight.
pub(crate) enum Kept<'a> {
    Whole(&'a mut [f32]),
    Halves(&'a mut [bf16]),
    Bytes { codes: &'a mut [u8], exponents: &'a mut [u8] },
}

impl<'a> Kept<'a> {
    /// Those of so many weights, as [`Moments::Bytes`] has them.
    pub(crate) fn of_bytes(all: &'a mut [u8], weights: usize) -> Self {
        let (codes, rest) = all.split_at_mut(weights);
        Kept::Bytes { codes, exponents: &mut rest[..weights.div_ceil(BLOCK)] }
    }

    fn tasks(self) -> Vec<Self> {
        match self {
            Kept::Whole(all) => all.chunks_mut(TASK).map(Kept::Whole).collect(),
            Kept::Halves(all) => all.chunks_mut(TASK).map(Kept::Halves).collect(),
            Kept::Bytes { codes, exponents } => codes
                .chunks_mut(TASK)
                .zip(exponents.chunks_mut(TASK / BLOCK))
                .map(|(codes, exponents)| Kept::Bytes { codes, exponents })
                .collect(),
        }
    }

    /// The numbers, in `own` where they have to be made.
    fn open<'s>(&'s mut self, format: Format, own: &'s mut Vec<f32>) -> &'s mut [f32] {
        match self {
            Kept::Whole(all) => return all,
            Kept::Halves(all) => own.extend(all.iter().map(|it| it.wide())),
            Kept::Bytes { codes, exponents } => {
                for (codes, exponent) in codes.chunks(BLOCK).zip(exponents.iter()) {
                    own.extend(codes.iter().map(|it| format.number(*it, *exponent)));
                }
            }
        }
        own
    }

    /// Rounds what was made.
    fn close(&mut self, format: Format, own: &[f32], chance: impl Fn(usize) -> u32) {
        match self {
            Kept::Whole(_) => (),
            Kept::Halves(all) => {
                for (i, (to, from)) in all.iter_mut().zip(own).enumerate() {
                    *to = half(*from, chance(i));
                }
            }
            Kept::Bytes { codes, exponents } => {
                let blocks = codes.chunks_mut(BLOCK).zip(exponents.iter_mut()).enumerate();
                for (block, (codes, exponent)) in blocks {
                    let own = &own[block * BLOCK..][..codes.len()];
                    *exponent = Format::exponent(own);
                    for (i, (to, from)) in codes.iter_mut().zip(own).enumerate() {
                        *to = format.byte(*from, *exponent, chance(block * BLOCK + i));
                    }
                }
            }
        }
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
    let moments: Vec<_> = m.tasks().into_iter().zip(v.tasks()).collect();
    exact.tasks().into_par_iter().zip(moments).zip(gradient.par_chunks(TASK)).enumerate().for_each(
        |(task, ((mut exact, (mut m, mut v)), gradient))| {
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
        },
    );
}

/// Random words from a place on.
fn words(step: AdamW, first: u64, n: usize) -> Vec<u32> {
    let blocks = first / WORDS..(first + n as u64).div_ceil(WORDS);
    let all = blocks.flat_map(|it| step.random.block(it));
    all.skip((first % WORDS) as usize).take(n).collect()
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
