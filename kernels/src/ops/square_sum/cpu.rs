//! The processor's twin.

use rayon::prelude::*;

use crate::cpu::isa::versions;
use crate::dtype::Real;
use crate::machine::Isa;

const BLOCK: usize = 4096;
const LANES: usize = 8;

/// The sum over all blocks.
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
                let x = f64::from(x.to_f32());
                *lane = x.mul_add(x, *lane);
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            let x = f64::from(x.to_f32());
            *lane = x.mul_add(x, *lane);
        }
        let four = [0, 1, 2, 3].map(|i| lanes[i] + lanes[i + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
}
