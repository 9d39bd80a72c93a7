//! The range, the moments, and that calls may be cut anywhere.

use half::bf16;

use super::{Uniform, uniform};
use crate::random::Random;

fn given(first: u64) -> Uniform {
    Uniform { random: Random::new(1, 2), first, bound: 0.5 }
}

#[test]
fn numbers_fill_the_range_evenly() {
    let mut x = vec![f32::NAN; 100_000];
    uniform(given(5), &mut x);
    assert!(x.iter().all(|it| (-0.5..0.5).contains(it)));
    let mean = |of: fn(f64) -> f64| x.iter().map(|it| of(f64::from(*it))).sum::<f64>() / 1e5;
    assert!(mean(|it| it).abs() < 0.003);
    // The variance of a range of one.
    assert!((mean(|it| it * it) - 1.0 / 12.0).abs() < 0.001);
}

#[test]
fn calls_may_be_cut_anywhere() {
    let mut whole = vec![bf16::ZERO; 10_000];
    uniform(given(3), &mut whole);
    for cut in [1, 2, 5, 4096, 9_999] {
        let mut parts = vec![bf16::ZERO; 10_000];
        uniform(given(3), &mut parts[..cut]);
        uniform(given(3 + cut as u64), &mut parts[cut..]);
        assert!(parts == whole, "cut at {cut}");
    }
}
