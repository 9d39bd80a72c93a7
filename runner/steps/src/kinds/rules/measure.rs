//! What can be counted in a text in one pass, and how much of it repeats.

use std::sync::OnceLock;

/// What one pass counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) chars: usize,
    pub(super) alphanumeric: usize,
    pub(super) special: usize,
    pub(super) meaningless: usize,
    pub(super) chinese: usize,
    pub(super) words: usize,
    pub(super) lines: usize,
    pub(super) longest_line: usize,
    pub(super) longest_gap: usize,
    /// How many runs of at least five white characters there are.
    pub(super) gaps: usize,
}

const ALPHANUMERIC: u8 = 1;
const SPECIAL: u8 = 2;
const MEANINGLESS: u8 = 4;
const CHINESE: u8 = 8;
const WHITE: u8 = 16;

/// The formatting rule's run of white space, as in the authors' code.
const GAP: usize = 5;

fn class_of(it: char) -> u8 {
    let white = it.is_whitespace();
    let alphanumeric = it.is_alphanumeric();
    let chinese = matches!(it, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}');
    let meaningless = it.is_control() && !white
        || matches!(
            it,
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{2500}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}' | '\u{e000}'..='\u{f8ff}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}'
                | '\u{1f000}'..='\u{1faff}' | '\u{e0000}'..='\u{10ffff}'
                | '#' | '*' | '^' | '_' | '|' | '~' | '\\' | '`'
        );
    let special = !alphanumeric || it.is_ascii_digit();
    let bit = |is: bool, bit: u8| if is { bit } else { 0 };
    bit(alphanumeric, ALPHANUMERIC)
        | bit(special, SPECIAL)
        | bit(meaningless, MEANINGLESS)
        | bit(chinese, CHINESE)
        | bit(white, WHITE)
}

/// The classes of the first plane, made once.
fn classes() -> &'static [u8] {
    static CLASSES: OnceLock<Vec<u8>> = OnceLock::new();
    CLASSES.get_or_init(|| (0..0x1_0000).map(|it| char::from_u32(it).map_or(0, class_of)).collect())
}

impl Counts {
    /// Counts, and gives the characters for what is asked next.
    pub(super) fn of(text: &str, chars: &mut Vec<u32>) -> Self {
        let classes = classes();
        chars.clear();
        let mut it = Self { lines: 1, ..Self::default() };
        let (mut line, mut gap, mut in_word) = (0, 0, false);
        let (mut before, mut same) = ('\0', 0);
        for c in text.chars() {
            let class = classes.get(c as usize).copied().unwrap_or_else(|| class_of(c));
            chars.push(c as u32);
            same = if c == before { same + 1 } else { 0 };
            before = c;
            it.alphanumeric += usize::from(class & ALPHANUMERIC != 0);
            it.special += usize::from(class & SPECIAL != 0);
            it.chinese += usize::from(class & CHINESE != 0);
            // The third of equal marks in a row says nothing.
            let idle = same >= 2 && class & (ALPHANUMERIC | WHITE) == 0;
            it.meaningless += usize::from(class & MEANINGLESS != 0 || idle);
            let latin = class & ALPHANUMERIC != 0 && class & CHINESE == 0;
            it.words += usize::from(class & CHINESE != 0 || latin && !in_word);
            in_word = latin;
            gap = if class & WHITE != 0 { gap + 1 } else { 0 };
            it.gaps += usize::from(gap == GAP);
            it.longest_gap = it.longest_gap.max(gap);
            if c == '\n' {
                it.lines += 1;
                it.longest_line = it.longest_line.max(line);
                line = 0;
            } else {
                line += 1;
            }
        }
        it.chars = chars.len();
        it.longest_line = it.longest_line.max(line);
        it
    }

    /// A part of all characters; nothing of nothing.
    pub(super) fn share(&self, part: usize) -> f64 {
        share(part, self.chars)
    }
}

pub(super) fn share(part: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

/// How often each of some hashes came: open addressing, emptied without being touched.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<(u64, u32, u32)>,
    round: u32,
    /// The slots in use, in the order in which they were first used.
    used: Vec<u32>,
}

impl Table {
    /// Forgets everything; makes room for `n` different hashes.
    pub(super) fn begin(&mut self, n: usize) {
        let size = (n * 2).next_power_of_two().max(64);
        if self.slots.len() < size || self.round == u32::MAX {
            self.slots = vec![(0, 0, 0); size.max(self.slots.len())];
            self.round = 0;
        }
        self.round += 1;
        self.used.clear();
    }

    /// Counts one; says how often it has come with this time.
    pub(super) fn add(&mut self, hash: u64) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = &mut self.slots[at];
            if slot.2 != self.round {
                *slot = (hash, 1, self.round);
                self.used.push(at as u32);
                return 1;
            }
            if slot.0 == hash {
                slot.1 += 1;
                return slot.1;
            }
            at = (at + 1) & mask;
        }
    }

    /// How often each came, in the order of their first times.
    fn counts(&self) -> impl Iterator<Item = usize> {
        self.used.iter().map(|it| self.slots[*it as usize].1 as usize)
    }
}

/// Spreads a hash over all its bits.
fn mix(it: u64) -> u64 {
    let it = (it ^ (it >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let it = (it ^ (it >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    it ^ (it >> 33)
}

/// The factor of the rolling hash: odd, with bits all over.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Counts every run of `n` neighbours.
fn count_grams<T: Copy + Into<u64>>(items: &[T], n: usize, table: &mut Table) -> usize {
    let n_grams = (items.len() + 1).saturating_sub(n);
    table.begin(n_grams);
    if n_grams == 0 {
        return 0;
    }
    let leaving = (0..n).fold(1_u64, |it, _| it.wrapping_mul(FACTOR));
    let mut hash = 0_u64;
    for (i, it) in items.iter().enumerate() {
        hash = hash.wrapping_mul(FACTOR).wrapping_add((*it).into().wrapping_add(1));
        if i >= n {
            let left: u64 = items[i - n].into();
            hash = hash.wrapping_sub(left.wrapping_add(1).wrapping_mul(leaving));
        }
        if i + 1 >= n {
            table.add(mix(hash));
        }
    }
    n_grams
}

/// Character repetition, after Data-Juicer: of all runs of `n` characters, the share of the most
/// frequent ones that come more than once; at most the square root of how many there are count.
pub(super) fn character_repetition(chars: &[u32], n: usize, table: &mut Table) -> f64 {
    let n_grams = count_grams(chars, n, table);
    let mut repeated: Vec<usize> = table.counts().filter(|it| *it > 1).collect();
    let most = table.used.len().isqrt().min(repeated.len());
    repeated.sort_unstable_by(|a, b| b.cmp(a));
    share(repeated[..most].iter().sum(), n_grams)
}

/// Word repetition, after Data-Juicer: of all runs of `n` words, the share that comes more than once. A
/// word is a run of letters and digits, or one Chinese character.
pub(super) fn word_repetition(chars: &[u32], n: usize, table: &mut Table) -> f64 {
    let classes = classes();
    let mut words: Vec<u64> = Vec::with_capacity(chars.len());
    let mut in_word = false;
    for c in chars {
        let class = classes.get(*c as usize).copied();
        let class = class.unwrap_or_else(|| char::from_u32(*c).map_or(0, class_of));
        let latin = class & ALPHANUMERIC != 0 && class & CHINESE == 0;
        match words.last_mut() {
            Some(word) if latin && in_word => *word = mix(*word ^ u64::from(*c)),
            _ if class & ALPHANUMERIC != 0 => words.push(mix(u64::from(*c))),
            _ => {}
        }
        in_word = latin;
    }
    let n_grams = count_grams(&words, n, table);
    share(table.counts().filter(|it| *it > 1).sum(), n_grams)
}

/// How much of a text was said before in it: the larger of the share of the characters that stand in
/// a sentence or line that came before, and of the longest loop.
pub(super) fn repeated(chars: &[u32], table: &mut Table) -> f64 {
    share(said_before(chars, table).max(longest_loop(chars)), chars.len())
}

/// The characters of sentences that came before; one of fewer than four says nothing.
fn said_before(chars: &[u32], table: &mut Table) -> usize {
    let ends = |it: &u32| {
        matches!(char::from_u32(*it), Some('。' | '！' | '？' | '；' | '!' | '?' | ';' | '\n'))
    };
    table.begin(chars.len() / 4 + 1);
    let mut repeated = 0;
    for sentence in chars.split(ends).filter(|it| it.len() >= 4) {
        let white = |it: &&u32| char::from_u32(**it).is_some_and(char::is_whitespace);
        let skip = sentence.iter().take_while(white).count();
        let hash = sentence[skip..]
            .iter()
            .fold(0_u64, |hash, it| hash.wrapping_mul(FACTOR).wrapping_add(u64::from(*it) + 1));
        if table.add(mix(hash)) > 1 {
            repeated += sentence.len();
        }
    }
    repeated
}

/// A unit of up to eight characters six times or more in a row.
fn longest_loop(chars: &[u32]) -> usize {
    const TIMES: usize = 6;
    let mut longest = 0;
    for unit in 1..=8 {
        let mut run = 0;
        for (a, b) in chars.iter().zip(chars.get(unit..).unwrap_or_default()) {
            run = if a == b { run + 1 } else { 0 };
            if run >= unit * (TIMES - 1) {
                longest = longest.max(run + unit);
            }
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chars(text: &str) -> Vec<u32> {
        text.chars().map(u32::from).collect()
    }

    #[test]
    fn one_pass_counts_everything() {
        let counts = Counts::of("中文 abc12\n。。。。█\u{fffd}     末", &mut Vec::new());
        assert_eq!(counts.chars, 21);
        assert_eq!(counts.chinese, 3);
        assert_eq!(counts.alphanumeric, 8);
        assert_eq!(counts.words, 4);
        assert_eq!((counts.lines, counts.longest_line), (2, 12));
        assert_eq!((counts.gaps, counts.longest_gap), (1, 5));
        // The block, the replacement, and the third and fourth of four full stops.
        assert_eq!(counts.meaningless, 4);
        assert_eq!(counts.special, 2 + 13);
        assert_eq!(Counts::of("", &mut Vec::new()).share(0), 0.0);
    }

    /// The definitions, with the runs themselves as keys.
    fn plainly(items: &[u32], n: usize, characters: bool) -> f64 {
        let mut counts = std::collections::BTreeMap::new();
        for it in items.windows(n) {
            *counts.entry(it).or_insert(0_usize) += 1;
        }
        let total: usize = counts.values().sum();
        let mut repeated: Vec<usize> = counts.values().copied().filter(|it| *it > 1).collect();
        repeated.sort_by(|a, b| b.cmp(a));
        if characters {
            let most = (counts.len() as f64).sqrt() as usize;
            repeated.truncate(most);
        }
        if total == 0 { 0.0 } else { repeated.iter().sum::<usize>() as f64 / total as f64 }
    }

    #[test]
    fn repetition_is_what_its_definition_says() {
        let mut table = Table::default();
        let texts = [
            "",
            "短",
            "天天向上好好学习天天向上好好学习天天向上好好学习",
            "一二三四五六七八九十一二三四五六七八九十一",
        ];
        for text in texts {
            for n in [1, 2, 3, 10] {
                let chars = chars(text);
                assert_eq!(character_repetition(&chars, n, &mut table), plainly(&chars, n, true));
                assert_eq!(word_repetition(&chars, n, &mut table), plainly(&chars, n, false));
            }
        }
        let words = chars("ab cd, ab cd. 中");
        assert_eq!(word_repetition(&words, 2, &mut table), 0.5);
    }

    #[test]
    fn what_was_said_before_is_a_share_of_the_text() {
        let mut table = Table::default();
        assert_eq!(
            repeated(&chars("今天天气好。今天天气好。明天下雨吗？"), &mut table),
            5.0 / 18.0
        );
        assert_eq!(repeated(&chars("哈哈哈哈哈哈"), &mut table), 1.0);
        assert_eq!(repeated(&chars("哈哈哈哈哈"), &mut table), 0.0);
        assert_eq!(repeated(&chars("是的，是的，是的，是的，是的，是的，完了"), &mut table), 0.9);
        assert_eq!(repeated(&[], &mut table), 0.0);
    }
}
