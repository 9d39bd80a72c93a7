//! The number types of buffers. What a file may hold besides, such as f16, is the reader's matter.

use std::fmt;

use bytemuck::Pod;
use half::bf16;

/// What a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// The upper half of an `f32`.
    Bf16,
    /// Token ids and positions.
    U32,
    /// Numbers in a form of their own, such as [`crate::ops::adamw::OptimStates::EightBit`].
    U8,
}

impl Dtype {
    /// The size of one element in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Dtype::F32 | Dtype::U32 => 4,
            Dtype::Bf16 => 2,
            Dtype::U8 => 1,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dtype::F32 => "f32",
            Dtype::Bf16 => "bf16",
            Dtype::U32 => "u32",
            Dtype::U8 => "u8",
        })
    }
}

/// A type that buffers are made of.
pub trait Element: Pod + Send + Sync {
    /// Its name at run time.
    const DTYPE: Dtype;
}

impl Element for f32 {
    const DTYPE: Dtype = Dtype::F32;
}

impl Element for bf16 {
    const DTYPE: Dtype = Dtype::Bf16;
}

impl Element for u32 {
    const DTYPE: Dtype = Dtype::U32;
}

impl Element for u8 {
    const DTYPE: Dtype = Dtype::U8;
}

/// An element that stands for a real number: arithmetic on it is done in `f32`.
pub trait Real: Element {
    /// The number; exact.
    fn to_f32(self) -> f32;
    /// The nearest one, ties to even.
    fn round_from(value: f32) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn round_from(value: f32) -> Self {
        value
    }
}

impl Real for bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    // By hand, without a branch, so that loops over it become vector code.
    #[inline(always)]
    fn round_from(value: f32) -> Self {
        let bits = value.to_bits();
        let even = 0x7fff + (bits >> 16 & 1);
        let rounded = (bits.wrapping_add(even) >> 16) as u16;
        let quiet = (bits >> 16) as u16 | 0x0040;
        bf16::from_bits(if value.is_nan() { quiet } else { rounded })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_crate_half_for_every_upper_half() {
        for upper in 0..=u16::MAX {
            for lower in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let value = f32::from_bits(u32::from(upper) << 16 | lower);
                let (ours, theirs) = (bf16::round_from(value), bf16::from_f32(value));
                assert_eq!(ours.to_bits(), theirs.to_bits(), "{value:?}");
            }
        }
    }
}
