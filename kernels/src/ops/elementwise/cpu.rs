//! The processor's twin.

use crate::cpu::isa::versions;
use crate::dtype::Real;

versions! {
    pub(crate) fn copy<A: Real, B: Real>(from: &[A], to: &mut [B]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = B::round_from(from.to_f32());
        }
    }
}

versions! {
    pub(crate) fn add<A: Real, B: Real>(x: &[A], to: &mut [B]) {
        for (to, x) in to.iter_mut().zip(x) {
            *to = B::round_from(to.to_f32() + x.to_f32());
        }
    }
}

versions! {
    pub(crate) fn scale<A: Real>(factor: f32, to: &mut [A]) {
        for to in to.iter_mut() {
            *to = A::round_from(to.to_f32() * factor);
        }
    }
}
