//! The sum of squares, for the norm of all gradients.
//!
//! # Contract
//!
//! | | |
//! |---|---|
//! | `x` | f32 or bf16 |
//! | sum | f64: blocks of 4,096 elements, each over eight lanes and a fixed tree; blocks in order |
//! | not a number, infinite | so is the sum |

use rayon::prelude::*;

use crate::cpu::isa::versions;
use crate::dtype::Real;
use crate::machine::Isa;

const BLOCK: usize = 4096;
const LANES: usize = 8;

pub(crate) fn square_sum<E: Real>(isa: Isa, x: &[E]) -> f64 {
    let blocks: Vec<f64> = x.par_chunks(BLOCK).map(|it| block(isa, it)).collect();
    blocks.iter().sum()
}

versions! {
    fn block<E: Real>(x: &[E]) -> f64 {
        let mut lanes = [0.0f64; LANES];
        let (whole, rest) = x.split_at(x.len() / LANES * LANES);
        for chunk in whole.chunks_exact(LANES) {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                let x = f64::from(x.wide());
                *lane = x.mul_add(x, *lane);
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            let x = f64::from(x.wide());
            *lane = x.mul_add(x, *lane);
        }
        let four = [0, 1, 2, 3].map(|i| lanes[i] + lanes[i + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_sum_and_carries_what_is_not_a_number() {
        for n in [0, 1, 7, 8, 9, 4096, 10_001] {
            let mut x: Vec<f32> = (0..n).map(|it| (it % 17) as f32 - 8.0).collect();
            let want: f32 = x.iter().map(|it| it * it).sum();
            assert_eq!(square_sum(Isa::here(), &x), f64::from(want));
            if let Some(it) = x.last_mut() {
                *it = f32::NAN;
                assert!(square_sum(Isa::here(), &x).is_nan());
            }
        }
    }
}
