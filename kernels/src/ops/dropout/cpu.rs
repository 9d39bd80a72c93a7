//! The processor's twin.

use rayon::prelude::*;

use super::Dropout;
use crate::dtype::Real;

/// Numbers of one task; a multiple of a block's words.
const PART: usize = 1 << 12;
/// Words of a block.
const WORDS: u64 = 4;

pub(crate) fn dropout<E: Real>(given: Dropout, to: &mut [E]) {
    let limit = (given.p * (1u64 << 32) as f64) as u64;
    let factor = (1.0 / (1.0 - given.p)) as f32;
    to.par_chunks_mut(PART).enumerate().for_each(|(part, to)| {
        let first = given.first + (part * PART) as u64;
        let mut block = given.random.block(first / WORDS);
        for (place, to) in (first..).zip(to) {
            if place % WORDS == 0 {
                block = given.random.block(place / WORDS);
            }
            let kept = u64::from(block[(place % WORDS) as usize]) >= limit;
            *to = E::round_from(if kept { to.to_f32() * factor } else { 0.0 });
        }
    });
}
