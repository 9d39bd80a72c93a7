//! What AdamW's moments are kept in, and how a step's new ones are rounded: stochastically, so that small updates
//! survive on average. Rounding to nearest would not do: the second moment changes by a thousandth in a step, which
//! is less than half the distance between two neighbours, so it would never change at all.

use half::bf16;
use serde::{Deserialize, Serialize};

use crate::Dtype;

/// Numbers that share an exponent in [`OptimStates::EightBit`].
pub(crate) const BLOCK: usize = 256;
/// A slot of bytes begins at a multiple of this.
const ALIGNMENT: usize = 16;

/// What AdamW's two moments of each weight are kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimStates {
    /// f32.
    #[default]
    F32,
    /// bf16.
    Bf16,
    /// A byte each, and after all of them one for every 256: the exponent that these share.
    #[serde(rename = "8bit")]
    EightBit,
}

impl OptimStates {
    /// What a buffer of them holds.
    pub fn dtype(self) -> Dtype {
        match self {
            OptimStates::F32 => Dtype::F32,
            OptimStates::Bf16 => Dtype::Bf16,
            OptimStates::EightBit => Dtype::U8,
        }
    }

    /// Which these are.
    pub(crate) fn of(dtype: Dtype) -> Option<Self> {
        [OptimStates::F32, OptimStates::Bf16, OptimStates::EightBit]
            .into_iter()
            .find(|it| it.dtype() == dtype)
    }

    /// How many elements of a buffer hold one moment of so many weights.
    pub fn len(self, weights: usize) -> usize {
        match self {
            OptimStates::F32 | OptimStates::Bf16 => weights,
            OptimStates::EightBit => {
                (weights + weights.div_ceil(BLOCK)).next_multiple_of(ALIGNMENT)
            }
        }
    }
}

/// The 16 random bits that each moment of a weight is rounded with.
pub(super) fn chances(word: u32) -> [u32; 2] {
    [word & 0xffff, word >> 16]
}

/// One of the two neighbours in bf16: the upper one with the share of the way to it.
pub(super) fn half(exact: f32, chance: u32) -> bf16 {
    bf16::from_bits((exact.to_bits().wrapping_add(chance) >> 16) as u16)
}

/// How a number becomes a byte beside the exponent of its block: perhaps a sign, then an exponent that counts
/// down from the block's, then three bits of mantissa; with exponent 0 the leading one is missing, as in IEEE's
/// own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A first moment: a sign and four bits of exponent.
    Signed,
    /// A second moment: five bits of exponent. What is not zero does not become zero: a step divides by it.
    Positive,
}

const MANTISSA: u32 = 23;
const KEPT: u32 = 3;
const LEADING: u32 = 1 << MANTISSA;
const SIGN: u32 = 1 << 31;
/// Of a finite number.
const MOST_EXPONENT: u32 = 254;
/// A greater shift leaves nothing of a number.
const MOST_SHIFT: u32 = 31;

impl Format {
    /// The greatest exponent of a byte.
    fn top(self) -> u32 {
        match self {
            Format::Signed => 15,
            Format::Positive => 31,
        }
    }

    /// The exponent of a block of numbers: such that the greatest is not too great for a byte where it is
    /// rounded up.
    pub(super) fn exponent(block: &[f32]) -> u8 {
        let greatest = block.iter().map(|it| it.to_bits() & !SIGN).max().unwrap_or(0);
        let rounded_up = (greatest + (1 << (MANTISSA - KEPT)) - 1) >> MANTISSA;
        rounded_up.min(MOST_EXPONENT) as u8
    }

    /// The greatest code, without a sign.
    fn most(self) -> u32 {
        ((self.top() + 1) << KEPT) - 1
    }

    /// A number's byte.
    pub(super) fn byte(self, exact: f32, exponent: u8, chance: u32) -> u8 {
        let bits = exact.to_bits() & !SIGN;
        let (own, exponent) = (bits >> MANTISSA, u32::from(exponent));
        if own == 0 || exponent == 0 {
            return 0;
        }
        let (below, last) = (exponent.saturating_sub(own), self.top() - 1);
        let shift = MANTISSA - KEPT + below.saturating_sub(last);
        let mut code = 0;
        if shift <= MOST_SHIFT {
            let mantissa = bits & (LEADING - 1) | LEADING;
            code = (last - below.min(last)) << KEPT;
            code += (mantissa + (chance << (shift - 16))) >> shift;
            code = code.min(self.most());
        }
        match self {
            Format::Signed if exact.is_sign_negative() => (code | 0x80) as u8,
            Format::Signed => code as u8,
            Format::Positive => code.max(1) as u8,
        }
    }

    /// A byte's number.
    pub(super) fn number(self, byte: u8, exponent: u8) -> f32 {
        if exponent == 0 {
            return 0.0;
        }
        let is_negative = self == Format::Signed && byte & 0x80 != 0;
        let code = u32::from(if self == Format::Signed { byte & 0x7f } else { byte });
        let (own, mantissa) = (code >> KEPT, code & ((1 << KEPT) - 1));
        let mantissa = if own == 0 { mantissa } else { mantissa | 1 << KEPT };
        let power = 127 - KEPT - (self.top() - own.max(1));
        let size = mantissa as f32 * f32::from_bits(power << MANTISSA);
        let size = size * f32::from_bits(u32::from(exponent) << MANTISSA);
        if is_negative { -size } else { size }
    }
}

/// A moment of each weight.
pub(crate) enum Kept<'a> {
    Whole(&'a mut [f32]),
    Halves(&'a mut [bf16]),
    Bytes { codes: &'a mut [u8], exponents: &'a mut [u8] },
}

impl<'a> Kept<'a> {
    /// Those of so many weights, as [`OptimStates::EightBit`] has them.
    pub(crate) fn of_bytes(all: &'a mut [u8], weights: usize) -> Self {
        let (codes, rest) = all.split_at_mut(weights);
        Kept::Bytes { codes, exponents: &mut rest[..weights.div_ceil(BLOCK)] }
    }

    /// Those of so many weights each, whole blocks of bytes.
    pub(super) fn tasks(self, task: usize) -> Vec<Self> {
        match self {
            Kept::Whole(all) => all.chunks_mut(task).map(Kept::Whole).collect(),
            Kept::Halves(all) => all.chunks_mut(task).map(Kept::Halves).collect(),
            Kept::Bytes { codes, exponents } => codes
                .chunks_mut(task)
                .zip(exponents.chunks_mut(task / BLOCK))
                .map(|(codes, exponents)| Kept::Bytes { codes, exponents })
                .collect(),
        }
    }

    /// The numbers, in `own` where they have to be made.
    pub(super) fn open<'s>(&'s mut self, format: Format, own: &'s mut Vec<f32>) -> &'s mut [f32] {
        match self {
            Kept::Whole(all) => return all,
            Kept::Halves(all) => own.extend(all.iter().map(|it| it.to_f32())),
            Kept::Bytes { codes, exponents } => {
                for (codes, exponent) in codes.chunks(BLOCK).zip(exponents.iter()) {
                    own.extend(codes.iter().map(|it| format.number(*it, *exponent)));
                }
            }
        }
        own
    }

    /// Rounds what was made.
    pub(super) fn close(&mut self, format: Format, own: &[f32], chance: impl Fn(usize) -> u32) {
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
