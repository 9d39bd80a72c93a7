//! How far several people say the same of the same things.
//!
//! Each item is a list of counts: how many people chose each category. What chance alone would give is taken
//! out by kappa (Fleiss, "Measuring nominal scale agreement among many raters", 1971) and by alpha
//! (Krippendorff, "Computing Krippendorff's alpha-reliability", 2011), which takes items that were
//! rated by different numbers of people.

use std::collections::BTreeMap;

use kernels::random::Random;

use super::share::rounded;

/// How far people agree about items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Agreement {
    /// Items that two people or more rated.
    pub(crate) n: u64,
    /// Of these, where all said the same.
    pub(crate) all_same: u64,
    /// Where some did, and not all; with three people, two.
    pub(crate) some_same: u64,
    /// Where no two did.
    pub(crate) all_different: u64,
    /// Over the items that the most common number of people rated; nothing where it is not defined.
    pub(crate) fleiss: Option<f64>,
    /// Nominal; nothing where it is not defined, as where only one category was ever chosen.
    pub(crate) alpha: Option<f64>,
    /// The interval of alpha with 95 % confidence, from items drawn again.
    pub(crate) interval: Option<(f64, f64)>,
}

const N_SAMPLES: u64 = 2_000;
const SEED: u64 = 20_240_113;

/// How far people agree; `items` holds counts of categories, equally many for each.
pub(crate) fn agreement(items: &[Vec<u64>]) -> Agreement {
    let shared = |it: &&Vec<u64>| it.iter().sum::<u64>() >= 2;
    let items: Vec<&Vec<u64>> = items.iter().filter(shared).collect();
    let most = |it: &&&Vec<u64>| it.iter().max().copied().unwrap_or(0);
    let total = |it: &&&Vec<u64>| it.iter().sum::<u64>();
    let n = items.len() as u64;
    let all_same = items.iter().filter(|it| most(it) == total(it)).count() as u64;
    let all_different = items.iter().filter(|it| most(it) == 1).count() as u64;
    Agreement {
        n,
        all_same,
        some_same: n - all_same - all_different,
        all_different,
        fleiss: fleiss(&items).map(rounded),
        alpha: alpha(&items).map(rounded),
        interval: resampled(&items),
    }
}

/// Cohen's kappa ("A coefficient of agreement for nominal scales", 1960) of two who said each of two
/// categories together so often; nothing where it is not defined.
pub(crate) fn cohen(pairs: &BTreeMap<(usize, usize), u64>) -> Option<f64> {
    let n = pairs.values().sum::<u64>() as f64;
    let sum = |wanted: &dyn Fn(&(usize, usize)) -> bool| {
        pairs.iter().filter(|it| wanted(it.0)).map(|it| it.1).sum::<u64>() as f64 / n
    };
    let observed = sum(&|it| it.0 == it.1);
    let categories = pairs.keys().map(|it| it.0.max(it.1) + 1).max()?;
    let expected: f64 = (0..categories).map(|c| sum(&|it| it.0 == c) * sum(&|it| it.1 == c)).sum();
    (expected < 1.0).then(|| (observed - expected) / (1.0 - expected))
}

fn fleiss(items: &[&Vec<u64>]) -> Option<f64> {
    let total = |it: &&Vec<u64>| it.iter().sum::<u64>();
    let mut sizes: Vec<u64> = items.iter().map(total).collect();
    sizes.sort_unstable();
    let common = |size: &&u64| sizes.iter().filter(|it| it == size).count();
    let raters = *sizes.iter().rev().max_by_key(common)?;
    let items: Vec<&&Vec<u64>> = items.iter().filter(|it| total(it) == raters).collect();
    let (n, raters) = (items.len() as f64, raters as f64);
    let pairs = |it: &&&Vec<u64>| it.iter().map(|it| it * it.saturating_sub(1)).sum::<u64>() as f64;
    let observed = items.iter().map(pairs).sum::<f64>() / (n * raters * (raters - 1.0));
    let share =
        |category: usize| items.iter().map(|it| it[category]).sum::<u64>() as f64 / (n * raters);
    let expected: f64 = (0..items[0].len()).map(|it| share(it).powi(2)).sum();
    (expected < 1.0).then(|| (observed - expected) / (1.0 - expected))
}

fn alpha(items: &[&Vec<u64>]) -> Option<f64> {
    let mut categories = vec![0.0; items.first()?.len()];
    let mut disagreed = 0.0;
    for it in items {
        let m = it.iter().sum::<u64>() as f64;
        let same: f64 = it.iter().map(|it| (*it as f64).powi(2)).sum();
        disagreed += (m * m - same) / (m - 1.0);
        for (all, it) in categories.iter_mut().zip(it.iter()) {
            *all += *it as f64;
        }
    }
    let n: f64 = categories.iter().sum();
    let same: f64 = categories.iter().map(|it| it * it).sum();
    let expected = (n * n - same) / (n - 1.0);
    (expected > 0.0).then(|| 1.0 - disagreed / expected)
}

fn resampled(items: &[&Vec<u64>]) -> Option<(f64, f64)> {
    let n = items.len() as u64;
    alpha(items)?;
    let mut all: Vec<f64> = (0..N_SAMPLES)
        .map(|sample| {
            let random = Random::of(SEED, &[n, sample]);
            let drawn: Vec<&Vec<u64>> =
                (0..n).map(|i| items[random.below(i, n) as usize]).collect();
            // A sample with one category only agrees in everything there is.
            alpha(&drawn).unwrap_or(1.0)
        })
        .collect();
    Some(middle(&mut all))
}

/// The 2.5th and 97.5th percent of what was drawn.
pub(super) fn middle(all: &mut [f64]) -> (f64, f64) {
    all.sort_by(f64::total_cmp);
    let at = |share: f64| rounded(all[(share * (all.len() - 1) as f64).round() as usize]);
    (at(0.025), at(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(it: Option<f64>, want: f64, within: f64) {
        assert!((it.unwrap() - want).abs() < within, "{it:?}");
    }

    #[test]
    fn kappa_is_that_of_fleiss() {
        // Ten subjects, fourteen raters, five categories: the textbook table; 0.210.
        let table = [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ];
        let items: Vec<Vec<u64>> = table.iter().map(|it| it.to_vec()).collect();
        near(agreement(&items).fleiss, 0.210, 5e-4);
    }

    #[test]
    fn kappa_and_alpha_are_those_of_two_libraries() {
        // `statsmodels.stats.inter_rater.fleiss_kappa` 0.15.0, `krippendorff.alpha` 0.9.0.
        let rows = |all: &[[u64; 3]]| all.iter().map(|it| it.to_vec()).collect::<Vec<_>>();
        let even = [
            [3, 0, 0],
            [2, 1, 0],
            [1, 1, 1],
            [0, 3, 0],
            [0, 2, 1],
            [0, 0, 3],
            [3, 0, 0],
            [1, 2, 0],
        ];
        let it = agreement(&rows(&even));
        near(it.fleiss, 0.416_216, 1e-6);
        near(it.alpha, 0.440_541, 1e-6);
        let uneven = [[3, 0, 0], [2, 1, 0], [1, 0, 1], [0, 2, 0], [0, 2, 1], [0, 0, 4]];
        near(agreement(&rows(&uneven)).alpha, 0.5, 1e-6);
    }

    /// Counts from what each rater said of each item; 0 is nothing.
    fn counts(raters: &[&str]) -> Vec<Vec<u64>> {
        let n = raters[0].len();
        let of = |i: usize| {
            let said = raters.iter().map(|it| u64::from(it.as_bytes()[i] - b'0'));
            let mut counts = vec![0; 5];
            said.filter(|it| *it > 0).for_each(|it| counts[it as usize - 1] += 1);
            counts
        };
        (0..n).map(of).collect()
    }

    #[test]
    fn alpha_is_that_of_krippendorff() {
        // His example C: four observers, twelve units, nominal, with gaps; 0.743.
        let items = counts(&["123321412000", "123322412503", "033323422510", "123324412510"]);
        let it = agreement(&items);
        near(it.alpha, 0.743, 5e-4);
        assert_eq!((it.n, it.all_same, it.some_same, it.all_different), (11, 8, 2, 1));
        let (low, high) = it.interval.unwrap();
        assert!(0.3 < low && low < 0.743 && 0.743 < high && high <= 1.0, "{low} {high}");
        assert_eq!(agreement(&items), it, "the same every time");
        // His example A: two observers, ten units, two categories; 0.095.
        near(agreement(&counts(&["1211111121", "2221121111"])).alpha, 0.095, 5e-4);
    }

    #[test]
    fn what_cannot_be_said_is_not_said() {
        let none = agreement(&[]);
        assert_eq!((none.n, none.fleiss, none.alpha, none.interval), (0, None, None, None));
        let one = agreement(&[vec![1, 0], vec![0, 1]]);
        assert_eq!((one.n, one.alpha), (0, None));
        let alike = agreement(&[vec![3, 0], vec![3, 0]]);
        assert_eq!((alike.all_same, alike.fleiss, alike.alpha), (2, None, None));
        let odd = agreement(&[vec![1, 1, 1], vec![2, 1, 0], vec![0, 0, 3]]);
        assert_eq!((odd.all_same, odd.some_same, odd.all_different), (1, 1, 1));
    }

    #[test]
    fn two_raters_agree_beyond_chance_as_cohen_has_it() {
        let table = |rows: &[[u64; 3]]| -> BTreeMap<(usize, usize), u64> {
            let cells = rows.iter().enumerate();
            let all =
                cells.flat_map(|(i, row)| row.iter().enumerate().map(move |(j, n)| ((i, j), *n)));
            all.filter(|it| it.1 > 0).collect()
        };
        // From `statsmodels.stats.inter_rater.cohens_kappa` 0.15.0.
        let it = cohen(&table(&[[20, 5, 1], [4, 15, 2], [0, 3, 10]])).unwrap();
        assert!((it - 0.612_736_660_929_432).abs() < 1e-12, "{it}");
        assert_eq!(cohen(&table(&[[3, 0, 0], [0, 4, 0]])), Some(1.0));
        assert_eq!(cohen(&table(&[[3, 0, 0]])), None, "one category says nothing");
        assert_eq!(cohen(&BTreeMap::new()), None);
    }
}
