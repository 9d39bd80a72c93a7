//! Two shares over the same items: how much they differ, and whether that could be chance.

use kernels::random::Random;

use super::share::rounded;

/// How two lists of verdicts over the same items compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    /// How many items there are.
    pub n: u64,
    /// Right in the first only.
    pub only_first: u64,
    /// Right in the second only.
    pub only_second: u64,
    /// The second share less the first.
    pub difference: f64,
    /// Where the interval of the difference with 95 % confidence begins, from resampled items.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
    /// McNemar's exact test: how likely a split at least so uneven is where neither is better.
    pub p: f64,
}

/// So many samples are drawn.
const N_SAMPLES: u64 = 10_000;
const SEED: u64 = 20_240_112;

/// Compares verdicts over the same items, in the same order.
pub(crate) fn paired(first: &[bool], second: &[bool]) -> Paired {
    let pairs = || first.iter().zip(second);
    let only_first = pairs().filter(|it| *it.0 && !*it.1).count() as u64;
    let only_second = pairs().filter(|it| !*it.0 && *it.1).count() as u64;
    let n = first.len().min(second.len()) as u64;
    let share = |it: i64| if n == 0 { 0.0 } else { it as f64 / n as f64 };
    let (low, high) = resampled(n, only_first, only_second);
    Paired {
        n,
        only_first,
        only_second,
        difference: rounded(share(only_second as i64 - only_first as i64)),
        low: rounded(share(low)),
        high: rounded(share(high)),
        p: rounded(mcnemar(only_first, only_second)),
    }
}

/// The 2.5th and 97.5th percent of the sum of differences over items that are drawn again.
fn resampled(n: u64, only_first: u64, only_second: u64) -> (i64, i64) {
    if n == 0 {
        return (0, 0);
    }
    let mut sums: Vec<i64> = (0..N_SAMPLES)
        .map(|sample| {
            let random = Random::of(SEED, &[n, only_first, only_second, sample]);
            let item = |i| match random.below(i, n) {
                it if it < only_first => -1,
                it if it < only_first + only_second => 1,
                _ => 0,
            };
            (0..n).map(item).sum()
        })
        .collect();
    sums.sort_unstable();
    let at = |share: f64| sums[(share * (N_SAMPLES - 1) as f64).round() as usize];
    (at(0.025), at(0.975))
}

/// Twice the probability of the smaller side or less of a fair coin's throws.
fn mcnemar(b: u64, c: u64) -> f64 {
    let n = b + c;
    // Logarithms of binomial coefficients, one from the other.
    let (mut log, mut sum) = (-(n as f64) * std::f64::consts::LN_2, 0.0);
    for k in 0..=b.min(c) {
        sum += log.exp();
        log += ((n - k) as f64).ln() - ((k + 1) as f64).ln();
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mcnemar_is_the_exact_test() {
        let near = |it: f64, want: f64| assert!((it - want).abs() < 1e-9, "{it}");
        near(mcnemar(3, 10), 0.092_285_156_25);
        near(mcnemar(0, 5), 0.0625);
        near(mcnemar(40, 60), 0.056_887_933_640_980_99);
        near(mcnemar(0, 0), 1.0);
    }

    #[test]
    fn a_difference_has_an_interval_around_it_and_always_the_same() {
        let first: Vec<bool> = (0..200).map(|it| it % 2 == 0).collect();
        let second: Vec<bool> = (0..200).map(|it| it % 2 == 0 || it < 60).collect();
        let it = paired(&first, &second);
        assert_eq!((it.n, it.only_first, it.only_second, it.difference), (200, 0, 30, 0.15));
        // The deviation of a share of 0.15 of 200 is 0.025.
        assert!((it.low - 0.10).abs() < 0.011 && (it.high - 0.20).abs() < 0.011, "{it:?}");
        assert_eq!(paired(&first, &second), it);
        assert_eq!(paired(&second, &first).difference, -0.15);
        assert_eq!(paired(&[], &[]).p, 1.0);
    }
}
