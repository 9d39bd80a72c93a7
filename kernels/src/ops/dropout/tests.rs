//! How much is dropped, and that places decide, not calls.

use half::bf16;

use super::{Dropout, dropout};
use crate::random::Random;

fn given(first: u64, p: f64) -> Dropout {
    Dropout { random: Random::new(1, 2), first, p }
}

#[test]
fn about_p_is_dropped_and_the_mean_stays() {
    for p in [0.0, 0.1, 0.5] {
        let mut x = vec![1.0f32; 40_000];
        dropout(given(0, p), &mut x);
        let out = x.iter().filter(|it| **it == 0.0).count() as f64 / x.len() as f64;
        assert!((out - p).abs() < 0.01, "{out} and not {p}");
        let kept = (1.0 / (1.0 - p)) as f32;
        assert!(x.iter().all(|it| *it == 0.0 || *it == kept));
    }
}

#[test]
fn calls_may_be_cut_anywhere() {
    let mut whole = vec![bf16::ONE; 10_000];
    dropout(given(3, 0.3), &mut whole);
    for cut in [1, 2, 5, 4096, 9_999] {
        let mut parts = vec![bf16::ONE; 10_000];
        dropout(given(3, 0.3), &mut parts[..cut]);
        dropout(given(3 + cut as u64, 0.3), &mut parts[cut..]);
        assert!(parts == whole, "cut at {cut}");
    }
}
