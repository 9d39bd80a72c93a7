//! Where the exact weights of a step are, and the two halves that one may lie in.

use half::bf16;

use crate::dtype::Real;

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
    /// Those of so many weights each.
    pub(super) fn tasks(self, task: usize) -> Vec<Self> {
        let halves = |it: &'a mut [bf16]| it.chunks_mut(task);
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
    pub(super) fn open<'s>(&'s mut self, own: &'s mut Vec<f32>) -> &'s mut [f32] {
        match self {
            Exact::Whole(all) | Exact::Beside(_, all) => all,
            Exact::Halves(high, low) => {
                own.extend(high.iter().zip(low.iter()).map(|(high, low)| joined(*high, *low)));
                own
            }
        }
    }

    /// Rounds what was changed, and splits what was joined.
    pub(super) fn close(&mut self, own: &[f32]) {
        match self {
            Exact::Whole(_) => (),
            Exact::Beside(rounded, all) => {
                rounded
                    .iter_mut()
                    .zip(all.iter())
                    .for_each(|(to, from)| *to = bf16::round_from(*from));
            }
            Exact::Halves(high, low) => {
                for ((high, low), exact) in high.iter_mut().zip(low.iter_mut()).zip(own) {
                    (*high, *low) = split(*exact);
                }
            }
        }
    }
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
