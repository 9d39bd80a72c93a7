//! Copies, sums and multiples, number by number.
//!
//! # Contract
//!
//! | | |
//! |---|---|
//! | copy | between f32 and bf16 the nearest number; other types only to themselves |
//! | add, scale | in f32, rounded once where the result is bf16 |

use crate::cpu::isa::versions;
use crate::dtype::Real;

versions! {
    pub(crate) fn copy<A: Real, B: Real>(from: &[A], to: &mut [B]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = B::near(from.wide());
        }
    }
}

versions! {
    pub(crate) fn add<A: Real, B: Real>(x: &[A], to: &mut [B]) {
        for (to, x) in to.iter_mut().zip(x) {
            *to = B::near(to.wide() + x.wide());
        }
    }
}

versions! {
    pub(crate) fn scale<A: Real>(factor: f32, to: &mut [A]) {
        for to in to.iter_mut() {
            *to = A::near(to.wide() * factor);
        }
    }
}
