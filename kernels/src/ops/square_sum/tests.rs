//! Sums of small whole numbers, which are exact.

use super::square_sum;
use crate::machine::Isa;

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
