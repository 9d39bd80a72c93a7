//! The processor's twin.

use rayon::prelude::*;

use super::Direction;
use crate::cpu::isa::versions;
use crate::dtype::Real;
use crate::machine::Isa;
use crate::ops::attention::Heads;

/// Cosines, sines, heads and direction.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) cosines: &'a [f32],
    pub(crate) sines: &'a [f32],
    pub(crate) heads: Heads,
    pub(crate) direction: Direction,
}

/// Turns every row's queries and keys; positions are within the table.
pub(crate) fn rope<E: Real>(isa: Isa, qkv: &mut [E], positions: &[u32], given: Given<'_>) {
    let Given { cosines, sines, heads, direction } = given;
    let half = heads.dim / 2;
    qkv.par_chunks_exact_mut(heads.row()).zip(positions).for_each(|(row, &position)| {
        let at = position as usize * half;
        let (cosines, sines) = (&cosines[at..at + half], &sines[at..at + half]);
        let rotated = &mut row[..(heads.query + heads.kv) * heads.dim];
        match direction {
            Direction::Forward => forward(isa, rotated, cosines, sines),
            Direction::Backward => backward(isa, rotated, cosines, sines),
        }
    });
}

versions! {
    fn forward<E: Real>(heads: &mut [E], cosines: &[f32], sines: &[f32]) {
        let half = cosines.len();
        for head in heads.chunks_exact_mut(2 * half) {
            let (a, b) = head.split_at_mut(half);
            for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cosines).zip(sines) {
                let (x, y) = (a.to_f32(), b.to_f32());
                *a = E::round_from(x.mul_add(*cos, -(y * sin)));
                *b = E::round_from(y.mul_add(*cos, x * sin));
            }
        }
    }
}

versions! {
    fn backward<E: Real>(heads: &mut [E], cosines: &[f32], sines: &[f32]) {
        let half = cosines.len();
        for head in heads.chunks_exact_mut(2 * half) {
            let (a, b) = head.split_at_mut(half);
            for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cosines).zip(sines) {
                let (x, y) = (a.to_f32(), b.to_f32());
                *a = E::round_from(x.mul_add(*cos, y * sin));
                *b = E::round_from(y.mul_add(*cos, -(x * sin)));
            }
        }
    }
}
