//! The learning rate of each step, with the meaning that `transformers` gives to it.
//!
//! The first of `w` warm-up steps has the rate 0, step `w` the full one; the step after the last
//! would have the least one.

use serde::{Deserialize, Serialize};

use crate::cpu::math::sin_cos;

/// The curve after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Curve {
    /// Always the full rate.
    Constant,
    /// A straight line down.
    Linear,
    /// Half a cosine down.
    Cosine,
}

/// How long the rate rises.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warmup {
    /// This many steps.
    Steps(u64),
    /// This share of all steps, rounded up.
    Ratio(f64),
}

/// The shape of the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The curve after the warm-up.
    pub curve: Curve,
    /// The warm-up.
    pub warmup: Warmup,
    /// What a falling curve ends at, as a share of the full rate.
    pub min_ratio: f64,
}

impl Schedule {
    /// Always the full rate.
    pub const CONSTANT: Self =
        Self { curve: Curve::Constant, warmup: Warmup::Steps(0), min_ratio: 0.0 };

    /// How many of `total` steps are warm-up.
    pub fn warmup_steps(&self, total: u64) -> u64 {
        match self.warmup {
            Warmup::Steps(steps) => steps,
            Warmup::Ratio(ratio) => (ratio * total as f64).ceil() as u64,
        }
    }

    /// What the full rate is multiplied by in step `step` of `total`, counted from 0.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        let warmup = self.warmup_steps(total);
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let span = total.saturating_sub(warmup).max(1) as f64;
        let share = match self.curve {
            Curve::Constant => return 1.0,
            Curve::Linear => total.saturating_sub(step) as f64 / span,
            Curve::Cosine => {
                let rope = ((step - warmup) as f64 / span).min(1.0) * std::f64::consts::PI;
                0.5 * (1.0 + sin_cos(rope).1)
            }
        };
        (share * (1.0 - self.min_ratio) + self.min_ratio).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(curve: Curve, warmup: Warmup, min_ratio: f64) -> Vec<f64> {
        let schedule = Schedule { curve, warmup, min_ratio };
        (0..=10).map(|it| schedule.factor(it, 10)).collect()
    }

    /// To ten digits, against values of `transformers.optimization`.
    fn assert_near(got: &[f64], want: &[f64]) {
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-10), "{got:?}");
    }

    #[test]
    fn warm_up_begins_at_nothing_and_ends_at_the_full_rate() {
        let got = factors(Curve::Constant, Warmup::Steps(4), 0.0);
        assert_near(&got, &[0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        let got = factors(Curve::Constant, Warmup::Ratio(0.11), 0.0);
        assert_near(&got, &[0.0, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn a_line_ends_at_nothing_or_at_the_least_rate() {
        let got = factors(Curve::Linear, Warmup::Steps(2), 0.0);
        assert_near(&got, &[0.0, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0]);
        let got = factors(Curve::Linear, Warmup::Steps(0), 0.5);
        assert_near(&got[..3], &[1.0, 0.95, 0.9]);
        assert_eq!(got[10], 0.5);
    }

    #[test]
    fn a_cosine_is_that_of_transformers() {
        let got = factors(Curve::Cosine, Warmup::Steps(2), 0.0);
        assert_near(
            &got,
            &[
                0.0,
                0.5,
                1.0,
                0.961_939_766_255_643_4,
                0.853_553_390_593_273_8,
                0.691_341_716_182_544_9,
                0.5,
                0.308_658_283_817_455_1,
                0.146_446_609_406_726_2,
                0.038_060_233_744_356_6,
                0.0,
            ],
        );
        let got = factors(Curve::Cosine, Warmup::Steps(2), 0.1);
        assert_near(&got[2..], &[1.0, 0.965_745_789_630_079, 0.868_198_051_533_946_4]);
    }

    #[test]
    fn a_warm_up_longer_than_the_run_never_falls() {
        let got = factors(Curve::Cosine, Warmup::Steps(20), 0.0);
        assert!(got.windows(2).all(|it| it[0] < it[1]) && got[10] == 0.5);
    }
}
