//! The processor's twin.

use rayon::prelude::*;

use super::Uniform;
use crate::dtype::Real;

/// Numbers of one task; a multiple of a block's words.
const PART: usize = 1 << 12;
/// Words of a block.
const WORDS: u64 = 4;

pub(crate) fn uniform<E: Real>(given: Uniform, to: &mut [E]) {
    to.par_chunks_mut(PART).enumerate().for_each(|(part, to)| {
        let first = given.first + (part * PART) as u64;
        let mut block = given.random.block(first / WORDS);
        for (place, to) in (first..).zip(to) {
            if place % WORDS == 0 {
                block = given.random.block(place / WORDS);
            }
            let upper = block[(place % WORDS) as usize] >> 8;
            // 2⁻²³: 24 bits from 0 to 2, all of them exact.
            *to = E::round_from((upper as f32 * f32::from_bits(0x3400_0000) - 1.0) * given.bound);
        }
    });
}
