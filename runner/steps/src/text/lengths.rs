//! How often each length is, and what can be said of that exactly.

use std::collections::BTreeMap;

use super::ledger::rounded;

/// How often each length is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lengths(pub(crate) BTreeMap<u64, u64>);

/// The places among all lengths that are told, in hundredths.
pub(crate) const PLACES: [(&str, u64); 6] =
    [("min", 0), ("p10", 10), ("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)];

/// How many lengths are at least `from` and, where there is an end, below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bin {
    pub(crate) from: u64,
    pub(crate) below: Option<u64>,
    pub(crate) n: u64,
}

impl Lengths {
    pub(crate) fn add(&mut self, length: u64) {
        *self.0.entry(length).or_default() += 1;
    }

    pub(crate) fn take(&mut self, other: &Self) {
        other.0.iter().for_each(|(length, n)| *self.0.entry(*length).or_default() += n);
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|(length, n)| length * n).sum()
    }

    pub(crate) fn n(&self) -> u64 {
        self.0.values().sum()
    }

    pub(crate) fn mean(&self) -> f64 {
        rounded(self.total() as f64 / self.n().max(1) as f64)
    }

    /// The value at this place, in hundredths, among all in their order.
    pub(crate) fn quantile(&self, hundredths: u64) -> u64 {
        let place = (u128::from(self.n().saturating_sub(1)) * u128::from(hundredths) / 100) as u64;
        let mut before = 0;
        for (length, n) in &self.0 {
            before += n;
            if before > place {
                return *length;
            }
        }
        0
    }

    /// At most `most` bins, equally wide, from 0: 99 of 100 lengths lie in bins with an end, and what
    /// is longer in the last, which has none. A width is 1, 2 or 5, or one of these with noughts.
    pub(crate) fn bins(&self, most: u64) -> Vec<Bin> {
        if self.n() == 0 {
            return Vec::new();
        }
        let end = self.quantile(99) + 1;
        let wide = width(end.div_ceil(most.saturating_sub(1).max(1)));
        let last = end.div_ceil(wide);
        let mut bins: Vec<Bin> = (0..last)
            .map(|it| Bin { from: it * wide, below: Some((it + 1) * wide), n: 0 })
            .collect();
        let mut longer = Bin { from: last * wide, below: None, n: 0 };
        for (length, n) in &self.0 {
            match bins.get_mut((length / wide) as usize) {
                Some(it) => it.n += n,
                None => longer.n += n,
            }
        }
        bins.extend(Some(longer).filter(|it| it.n > 0));
        bins
    }
}

/// The least of 1, 2, 5, 10, 20, … that is no less.
fn width(least: u64) -> u64 {
    let mut tens: u64 = 1;
    loop {
        if let Some(it) =
            [1, 2, 5].map(|it| tens.saturating_mul(it)).iter().find(|it| **it >= least)
        {
            return *it;
        }
        tens = tens.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: impl IntoIterator<Item = u64>) -> Lengths {
        let mut lengths = Lengths::default();
        all.into_iter().for_each(|it| lengths.add(it));
        lengths
    }

    #[test]
    fn bins_hold_every_length_once_and_the_last_is_open() {
        let bins = of((0..1000).chain([u64::MAX / 4])).bins(50);
        assert_eq!(bins.iter().map(|it| it.n).sum::<u64>(), 1001);
        assert_eq!(bins[0], Bin { from: 0, below: Some(50), n: 50 });
        assert_eq!(bins.last(), Some(&Bin { from: 1000, below: None, n: 1 }));
        assert!(bins.len() <= 50);
        assert_eq!(of([3, 3]).bins(50).last(), Some(&Bin { from: 3, below: Some(4), n: 2 }));
        assert_eq!(of([]).bins(50), []);
        // The longest there can be neither overflows nor takes memory.
        assert!(of([u64::MAX - 1]).bins(2).len() <= 2);
    }

    #[test]
    fn widths_are_round() {
        assert_eq!([0, 1, 2, 3, 6, 51, 101].map(width), [1, 1, 2, 5, 10, 100, 200]);
        assert_eq!(width(u64::MAX), u64::MAX);
    }
}
