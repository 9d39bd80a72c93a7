//! For the tests of operations: fixed inputs, devices of every kind, and comparisons.

use crate::cpu::Cpu;
use crate::machine::Isa;

/// Numbers between -1 and 1 that look random and are the same everywhere.
pub(crate) fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// A device for each instruction set of this machine, with different numbers of threads.
pub(crate) fn devices() -> Vec<Cpu> {
    let sets = [Isa::Portable, Isa::Avx2, Isa::Avx512];
    let here = sets.into_iter().filter(|it| *it <= Isa::here());
    let one = |isa| [Cpu::with_isa(1, isa).unwrap(), Cpu::with_isa(3, isa).unwrap()];
    here.flat_map(one).collect()
}

/// The same numbers, to the bit.
#[track_caller]
pub(crate) fn assert_same(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!(got.to_bits(), want.to_bits(), "element {i}: {got} and {want}");
    }
}

/// ‖got − want‖ ≤ tolerance · ‖want‖.
#[track_caller]
pub(crate) fn assert_near(got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    let square = |it: f64| it * it;
    let off: f64 = got.iter().zip(want).map(|(got, want)| square(f64::from(*got) - want)).sum();
    let size: f64 = want.iter().map(|it| square(*it)).sum();
    let error = (off / size.max(1e-300)).sqrt();
    assert!(error <= tolerance, "relative error {error:e}");
}

/// The derivative of a function of many numbers by central differences, in f64.
pub(crate) fn slopes(at: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut x = at.to_vec();
    let mut one = |i: usize| {
        x[i] = at[i] + STEP;
        let above = f(&x);
        x[i] = at[i] - STEP;
        let below = f(&x);
        x[i] = at[i];
        (above - below) / (2.0 * STEP)
    };
    (0..at.len()).map(&mut one).collect()
}

/// As f64.
pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|it| f64::from(*it)).collect()
}

/// Σ aᵢ bᵢ.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
