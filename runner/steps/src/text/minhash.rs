//! How alike two texts are, from sketches of fixed size: shingles of characters, MinHash over them,
//! and a table that finds candidates by bands. Nothing here depends on the machine.

/// Numbers of permutations and of what is made of them.
#[derive(Clone, Debug)]
pub(crate) struct Sketcher {
    /// Characters in a shingle.
    shingle: usize,
    bands: usize,
    /// Multipliers, all odd, and what is added: one of each for a permutation.
    factors: Vec<(u32, u32)>,
}

/// What is kept of a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sketch {
    /// The low byte of each permutation's least value.
    pub(crate) bytes: Vec<u8>,
    /// A hash of each band.
    pub(crate) tags: Vec<u32>,
}

impl Sketcher {
    /// `bands` divides `permutations`, and none is zero.
    pub(crate) fn new(shingle: usize, permutations: usize, bands: usize) -> Self {
        let mut state = 0;
        let mut next = || {
            state += 1;
            mix(state) as u32
        };
        let factors = (0..permutations).map(|_| (next() | 1, next())).collect();
        Self { shingle, bands, factors }
    }

    /// The sketch of a folded text.
    pub(crate) fn sketch(&self, text: &[char]) -> Sketch {
        let mut least = vec![u32::MAX; self.factors.len()];
        each_gram(text, self.shingle, |hash| {
            let hash = (hash >> 32) as u32;
            for (it, (factor, addend)) in least.iter_mut().zip(&self.factors) {
                *it = (*it).min(hash.wrapping_mul(*factor).wrapping_add(*addend));
            }
        });
        let rows = self.factors.len() / self.bands;
        let tag = |band: &[u32]| band.iter().fold(0, |tag, it| mix(tag ^ u64::from(*it))) as u32;
        Sketch {
            bytes: least.iter().map(|it| mix(u64::from(*it)) as u8).collect(),
            tags: least.chunks_exact(rows).map(tag).collect(),
        }
    }
}

/// An estimate of the share of shingles that two texts have in common. Two bytes are equal by
/// accident once in 256 times; that is taken off.
pub(crate) fn similarity(a: &[u8], b: &[u8]) -> f64 {
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count() as f64;
    let share = equal / a.len().max(1) as f64;
    ((share - 1.0 / 256.0) / (1.0 - 1.0 / 256.0)).max(0.0)
}

/// Gives the hash of every run of `n` characters; of the whole text where it is shorter.
pub(crate) fn each_gram(text: &[char], n: usize, mut take: impl FnMut(u64)) {
    const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
    if text.is_empty() {
        return;
    }
    let n = n.min(text.len());
    let code = |it: char| u64::from(u32::from(it)) + 1;
    let top = (1..n).fold(1_u64, |it, _| it.wrapping_mul(BASE));
    let mut hash = 0_u64;
    for (i, it) in text.iter().enumerate() {
        if i >= n {
            hash = hash.wrapping_sub(code(text[i - n]).wrapping_mul(top));
        }
        hash = hash.wrapping_mul(BASE).wrapping_add(code(*it));
        if i + 1 >= n {
            take(mix(hash));
        }
    }
}

/// The text that two texts share when they differ in nothing but white space, the width of letters
/// and digits, and the case of Latin letters.
pub(crate) fn fold(text: &str, out: &mut Vec<char>) {
    out.clear();
    for it in text.chars() {
        let it = match it {
            '\u{ff01}'..='\u{ff5e}' => {
                char::from_u32(u32::from(it) - 0xfee0).expect("the narrow forms are ASCII")
            }
            '\u{200b}'..='\u{200d}' | '\u{feff}' => continue,
            it if it.is_whitespace() => continue,
            it => it,
        };
        out.push(it.to_ascii_lowercase());
    }
}

/// The letters and digits of a text, as [`fold`] has them: neither punctuation nor how cells of a
/// table are parted tells two texts apart.
pub(crate) fn fold_letters(text: &str, out: &mut Vec<char>) {
    fold(text, out);
    out.retain(|it| it.is_alphanumeric());
}

/// A bijection that spreads every bit (the finalizer of SplitMix64).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The most texts that one band's hash leads to.
const MOST_ALIKE: usize = 64;

/// Numbers of texts by the hash of one band: 8 bytes a slot, a quarter to a half of them filled.
#[derive(Default)]
pub(crate) struct Table {
    /// A tag and a number, from 1; 0 is an empty slot.
    slots: Vec<(u32, u32)>,
    used: usize,
}

impl Table {
    /// The numbers that stand under a tag.
    pub(crate) fn find(&self, tag: u32) -> impl Iterator<Item = u32> {
        let mask = self.slots.len().wrapping_sub(1);
        let n = self.slots.len();
        let probe = (0..n).map(move |i| self.slots[(tag as usize).wrapping_add(i) & mask]);
        probe
            .take_while(|(_, number)| *number != 0)
            .filter(move |(it, _)| *it == tag)
            .map(|(_, number)| number - 1)
    }

    /// Puts a number under a tag, unless too many stand there.
    pub(crate) fn insert(&mut self, tag: u32, number: u32) {
        if self.find(tag).count() >= MOST_ALIKE {
            return;
        }
        if self.used * 2 >= self.slots.len() {
            let size = (self.slots.len() * 2).max(16);
            let old = std::mem::replace(&mut self.slots, vec![(0, 0); size]);
            old.into_iter().filter(|it| it.1 != 0).for_each(|it| self.place(it));
        }
        self.place((tag, number + 1));
        self.used += 1;
    }

    fn place(&mut self, entry: (u32, u32)) {
        let mask = self.slots.len() - 1;
        let mut at = entry.0 as usize & mask;
        while self.slots[at].1 != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = entry;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn folded(text: &str) -> Vec<char> {
        let mut out = Vec::new();
        fold(text, &mut out);
        out
    }

    #[test]
    fn folding_leaves_nothing_but_what_is_said() {
        assert_eq!(folded("Ａ b\u{3000}１，\u{200b}中").iter().collect::<String>(), "ab1,中");
        assert_eq!(folded(" \n"), Vec::<char>::new());
    }

    #[test]
    fn a_gram_has_one_hash_wherever_it_stands() {
        let grams = |text: &str, n| {
            let mut all = Vec::new();
            each_gram(&folded(text), n, |it| all.push(it));
            all
        };
        let (a, b) = (grams("甲乙丙丁", 3), grams("x甲乙丙", 3));
        assert_eq!((a.len(), b.len()), (2, 2));
        assert_eq!(a[0], b[1]);
        assert_eq!(grams("甲乙", 3).len(), 1);
        assert!(grams("", 3).is_empty());
        assert_eq!(grams("甲乙甲乙", 2)[0], grams("甲乙甲乙", 2)[2]);
    }

    #[test]
    fn the_estimate_is_near_the_true_share_of_shingles() {
        let sketcher = Sketcher::new(3, 256, 32);
        let text = |from: u32, to: u32| -> Vec<char> {
            (from..to).filter_map(|it| char::from_u32(0x4e00 + it)).collect()
        };
        for shared in [0, 250, 500, 800, 1000] {
            let (a, b) = (text(0, 1000), text(1000 - shared, 2000 - shared));
            let grams = |it: &[char]| {
                let mut all = BTreeSet::new();
                each_gram(it, 3, |it| {
                    all.insert(it);
                });
                all
            };
            let (x, y) = (grams(&a), grams(&b));
            let exact = x.intersection(&y).count() as f64 / x.union(&y).count() as f64;
            let (a, b) = (sketcher.sketch(&a), sketcher.sketch(&b));
            let estimate = similarity(&a.bytes, &b.bytes);
            assert!((estimate - exact).abs() < 0.1, "{shared}: {estimate} for {exact}");
        }
    }

    #[test]
    fn a_table_finds_all_that_was_put_in_but_not_more_than_it_says() {
        let mut table = Table::default();
        assert_eq!(table.find(7).count(), 0);
        (0..1000).for_each(|it| table.insert(mix(u64::from(it)) as u32, it));
        for it in 0..1000 {
            assert!(table.find(mix(u64::from(it)) as u32).any(|found| found == it));
        }
        (0..100).for_each(|it| table.insert(7, it));
        assert_eq!(table.find(7).count(), MOST_ALIKE);
    }
}
