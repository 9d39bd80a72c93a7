//! Trains byte-pair encoding: the most frequent pair of neighbours becomes a piece, again and again.
//!
//! The result is a function of the words and their counts. No hash order and no thread shows in it:
//! among pairs of one count the one with the smaller ids is first, and ids follow from counts and
//! code points.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

/// Words with how often each stands in the text.
#[derive(Debug, Default)]
pub(crate) struct Words {
    counts: HashMap<String, u64>,
}

/// What may become a piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many pieces and characters there are in the end, at most.
    pub(crate) n_pieces: usize,
    /// The share of all characters that have a piece of their own.
    pub(crate) coverage: f64,
    /// The longest piece.
    pub(crate) max_chars: usize,
    /// A pair that is rarer is none.
    pub(crate) min_count: u64,
}

/// What was learnt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Learnt {
    /// Characters, the most frequent first.
    pub(crate) alphabet: Vec<char>,
    /// The two parts of each piece, in the order in which they are merged.
    pub(crate) merges: Vec<(String, String)>,
}

/// What a space is in pieces.
pub(crate) const SPACE: char = '▁';

/// What a character may stand beside in a piece.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    /// Alone: digits, so that numbers are read digit by digit, and line ends.
    Alone,
    Han,
    Letter,
    Other,
}

fn class(c: char) -> Class {
    match c {
        SPACE => Class::Space,
        c if c.is_numeric() || c.is_control() => Class::Alone,
        '\u{2E80}'..='\u{2FFF}' | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' => Class::Han,
        '\u{AC00}'..='\u{D7AF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}' => Class::Han,
        c if c.is_alphabetic() => Class::Letter,
        _ => Class::Other,
    }
}

impl Words {
    /// Takes a text apart: a word is a run of one class of characters, with the space before it.
    pub(crate) fn add(&mut self, text: &str) {
        let mut word = String::new();
        let mut last = Class::Space;
        for c in text.chars() {
            let c = if c == ' ' { SPACE } else { c };
            let now = class(c);
            let goes_on = match (last, now) {
                (_, Class::Alone) | (Class::Alone, _) => false,
                // Of a run of spaces the last belongs to what follows.
                (Class::Space, Class::Space) => true,
                (Class::Space, _) => {
                    let spaces = word.chars().count();
                    if spaces > 1 {
                        self.push(&word[..word.len() - SPACE.len_utf8()]);
                        word = SPACE.to_string();
                    }
                    true
                }
                (last, now) => last == now,
            };
            if !goes_on {
                self.push(&word);
                word.clear();
            }
            word.push(c);
            last = now;
        }
        self.push(&word);
    }

    fn push(&mut self, word: &str) {
        if word.is_empty() {
            return;
        }
        match self.counts.get_mut(word) {
            Some(it) => *it += 1,
            None => drop(self.counts.insert(word.to_owned(), 1)),
        }
    }

    /// How many different words there are.
    pub(crate) fn len(&self) -> usize {
        self.counts.len()
    }

    /// Learns pieces; asks `go_on` before each, and gives nothing where that says no.
    pub(crate) fn learn(
        self,
        limits: &Limits,
        mut go_on: impl FnMut(usize) -> bool,
    ) -> Option<Learnt> {
        let words: BTreeMap<String, u64> = self.counts.into_iter().collect();
        let alphabet = alphabet(&words, limits);
        let mut table = Table::new(&words, &alphabet);
        let mut merges = Vec::new();
        while table.texts.len() < limits.n_pieces {
            if !go_on(merges.len()) {
                return None;
            }
            let Some((a, b)) = table.best(limits) else { break };
            let (left, right) = (table.text(a).to_owned(), table.text(b).to_owned());
            table.merge(a, b, format!("{left}{right}"));
            merges.push((left, right));
        }
        Some(Learnt { alphabet, merges })
    }
}

/// The characters that get a piece. The line end and the space always do.
fn alphabet(words: &BTreeMap<String, u64>, limits: &Limits) -> Vec<char> {
    let mut counts = BTreeMap::from([('\n', 0_u64), (SPACE, 0)]);
    for (word, count) in words {
        for c in word.chars() {
            *counts.entry(c).or_default() += count;
        }
    }
    let total: u64 = counts.values().sum();
    let wanted = (total as f64 * limits.coverage).ceil() as u64;
    let mut all: Vec<(char, u64)> = counts.into_iter().collect();
    let always = |it: char| it == '\n' || it == SPACE;
    all.sort_by_key(|(c, count)| (!always(*c), Reverse(*count), *c));
    let mut covered = 0;
    let mut kept: Vec<(char, u64)> = Vec::new();
    for (c, count) in all.into_iter().take(limits.n_pieces) {
        if covered >= wanted && !always(c) {
            break;
        }
        covered += count;
        kept.push((c, count));
    }
    kept.sort_by_key(|(c, count)| (Reverse(*count), *c));
    kept.into_iter().map(|it| it.0).collect()
}

type Pair = (u32, u32);

/// The words in pieces, with what pairs stand where.
struct Table {
    words: Vec<(Vec<u32>, u64)>,
    texts: Vec<String>,
    ids: HashMap<String, u32>,
    counts: HashMap<Pair, u64>,
    /// Words that hold a pair, or held it.
    places: HashMap<Pair, Vec<u32>>,
    /// Counts that held when they were put in; a stale one is put in again as it is now.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
}

/// Stands for a character without a piece: it parts what is before from what is behind.
const NONE: u32 = u32::MAX;

impl Table {
    fn new(words: &BTreeMap<String, u64>, alphabet: &[char]) -> Self {
        let texts: Vec<String> = alphabet.iter().map(char::to_string).collect();
        let ids: HashMap<char, u32> = alphabet.iter().copied().zip(0..).collect();
        let symbols = |word: &String| -> Vec<u32> {
            word.chars().map(|it| ids.get(&it).copied().unwrap_or(NONE)).collect()
        };
        let words = words.iter().map(|(word, count)| (symbols(word), *count)).collect();
        let ids = texts.iter().cloned().zip(0..).collect();
        let (counts, places) = (HashMap::new(), HashMap::new());
        let mut table = Self { words, texts, ids, counts, places, queue: BinaryHeap::new() };
        for i in 0..table.words.len() {
            let (symbols, count) = &table.words[i];
            for (_, pair) in pairs(symbols) {
                *table.counts.entry(pair).or_default() += count;
                table.places.entry(pair).or_default().push(i as u32);
            }
        }
        table.queue = table.counts.iter().map(|(pair, count)| (*count, Reverse(*pair))).collect();
        table
    }

    fn text(&self, id: u32) -> &str {
        &self.texts[id as usize]
    }

    /// The pair to merge next.
    fn best(&mut self, limits: &Limits) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            let now = self.counts.get(&pair).copied().unwrap_or(0);
            let n_chars = self.text(pair.0).chars().count() + self.text(pair.1).chars().count();
            if now < limits.min_count.max(1) || n_chars > limits.max_chars {
                continue;
            }
            if now != count {
                self.queue.push((now, Reverse(pair)));
                continue;
            }
            return Some(pair);
        }
        None
    }

    fn merge(&mut self, a: u32, b: u32, text: String) {
        // Two pairs may make one text; the piece is the same.
        let id = *self.ids.entry(text.clone()).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() as u32 - 1
        });
        let mut places = self.places.remove(&(a, b)).unwrap_or_default();
        places.sort_unstable();
        places.dedup();
        let (mut touched, mut merged) = (Vec::new(), Vec::new());
        for i in places {
            let (symbols, count) = &mut self.words[i as usize];
            mark(symbols, (a, b), &mut merged);
            // Only pairs with a merged part go, and only pairs with the new piece come.
            for (at, pair) in pairs(symbols) {
                if (merged[at] || merged[at + 1])
                    && let Some(it) = self.counts.get_mut(&pair)
                {
                    *it -= *count;
                }
            }
            replace(symbols, &merged, id);
            for (_, pair) in pairs(symbols) {
                if pair.0 == id || pair.1 == id {
                    *self.counts.entry(pair).or_default() += *count;
                    self.places.entry(pair).or_default().push(i);
                    touched.push(pair);
                }
            }
        }
        self.counts.remove(&(a, b));
        touched.sort_unstable();
        touched.dedup();
        for pair in touched {
            self.queue.push((self.counts[&pair], Reverse(pair)));
        }
    }
}

/// The pairs of a word, each with its place.
fn pairs(symbols: &[u32]) -> impl Iterator<Item = (usize, Pair)> {
    let pairs = symbols.windows(2).map(|it| (it[0], it[1])).enumerate();
    pairs.filter(|(_, it)| it.0 != NONE && it.1 != NONE)
}

/// Which symbols are parts of the pair, from the left.
fn mark(symbols: &[u32], (a, b): Pair, merged: &mut Vec<bool>) {
    merged.clear();
    merged.resize(symbols.len(), false);
    let mut at = 0;
    while at + 1 < symbols.len() {
        if symbols[at] == a && symbols[at + 1] == b {
            (merged[at], merged[at + 1]) = (true, true);
            at += 1;
        }
        at += 1;
    }
}

/// Puts the piece in place of each two marked symbols.
fn replace(symbols: &mut Vec<u32>, merged: &[bool], id: u32) {
    let (mut read, mut write) = (0, 0);
    while read < symbols.len() {
        symbols[write] = if merged[read] { id } else { symbols[read] };
        read += if merged[read] { 2 } else { 1 };
        write += 1;
    }
    symbols.truncate(write);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { n_pieces: 100, coverage: 1.0, max_chars: 16, min_count: 2 };

    fn learn(texts: &[&str], limits: &Limits) -> Learnt {
        let mut words = Words::default();
        texts.iter().for_each(|it| words.add(it));
        words.learn(limits, |_| true).unwrap()
    }

    fn words(text: &str) -> Vec<String> {
        let mut words = Words::default();
        words.add(text);
        let mut all: Vec<String> = words.counts.into_keys().collect();
        all.sort();
        all
    }

    #[test]
    fn words_are_runs_of_one_class_with_the_space_before_them() {
        assert_eq!(words("ab cd"), ["ab", "▁cd"]);
        assert_eq!(words("   ab"), ["▁ab", "▁▁"]);
        assert_eq!(words("今天ok，42\n\n"), ["\n", "2", "4", "ok", "今天", "，"]);
        assert_eq!(words("a  "), ["a", "▁▁"]);
    }

    #[test]
    fn the_most_frequent_pair_is_first_and_of_equal_ones_the_smallest() {
        // By hand: `ab` stands 5 times, `cd` 4 times, `▁ab` 3 times.
        let learnt = learn(&["ab ab ab ab", "cd", "cd", "cd", "cd", "ab"], &LIMITS);
        assert_eq!(learnt.alphabet, ['a', 'b', 'c', 'd', '▁', '\n']);
        let merges: Vec<String> = learnt.merges.iter().map(|(a, b)| format!("{a}+{b}")).collect();
        assert_eq!(merges, ["a+b", "c+d", "▁+ab"]);
    }

    #[test]
    fn runs_of_one_letter_are_counted_as_they_can_be_merged() {
        let learnt = learn(&["aaaa aaaa", "aaaa"], &LIMITS);
        let merges: Vec<String> = learnt.merges.iter().map(|(a, b)| format!("{a}+{b}")).collect();
        assert_eq!(merges, ["a+a", "aa+aa"]);
    }

    #[test]
    fn limits_hold() {
        let text = "abcdefgh abcdefgh";
        let merges = |limits: Limits| learn(&[text], &limits).merges.len();
        assert_eq!(merges(Limits { n_pieces: 13, ..LIMITS }), 3);
        assert_eq!(merges(Limits { min_count: 3, ..LIMITS }), 0);
        let short = learn(&[text], &Limits { max_chars: 2, ..LIMITS });
        assert!(short.merges.iter().all(|(a, b)| a.chars().count() + b.chars().count() <= 2));
        let rare = learn(&["aaaaaaaaaz"], &Limits { coverage: 0.8, ..LIMITS });
        assert_eq!(rare.alphabet, ['a', '\n', '▁']);
    }
}
