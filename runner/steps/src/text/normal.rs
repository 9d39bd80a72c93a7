//! One way of writing a text.

use std::borrow::Cow;
use std::sync::LazyLock;

use unicode_normalization_alignments::{UnicodeNormalization, is_nfc};

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    pub(crate) width: bool,
    pub(crate) compose: bool,
    pub(crate) spaces: bool,
    pub(crate) simplify: bool,
}

/// The text with these steps done; borrowed where nothing changes.
pub(crate) fn normalize(text: &str, steps: Steps) -> Cow<'_, str> {
    let composed = match steps.compose && !is_composed(text) {
        true => Cow::Owned(text.nfc().map(|(it, _)| it).collect()),
        false => Cow::Borrowed(text),
    };
    let mut writer = Writer { steps, out: String::with_capacity(composed.len()), ..Writer::new() };
    composed.chars().for_each(|it| writer.take(it));
    let out = writer.out;
    // One pass may bring a letter beside its accent.
    if steps.compose && out != composed && !is_composed(&out) {
        let again: String = out.nfc().map(|(it, _)| it).collect();
        return Cow::Owned(again);
    }
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}

/// Most texts have nothing that composes: no character of a script with marks.
fn is_composed(text: &str) -> bool {
    let plain = |it: char| matches!(it, '\0'..='\u{2ff}' | '\u{2010}'..='\u{2027}' | '\u{3000}'..='\u{3029}' | '\u{3400}'..='\u{9fff}' | '\u{ff00}'..='\u{ffef}');
    text.chars().all(plain) || is_nfc(text)
}

/// Pairs of a traditional character and the simplified one, sorted: OpenCC's table of characters
/// (Apache-2.0), of several ones the first.
static SIMPLIFIED: LazyLock<Vec<(char, char)>> = LazyLock::new(|| {
    let mut all = include_str!("simplified.txt").chars().filter(|it| *it != '\n');
    std::iter::from_fn(|| all.next().zip(all.next())).collect()
});

/// The simplified character for a traditional one.
fn simplified(it: char) -> char {
    if it < '\u{3400}' {
        return it;
    }
    let found = SIMPLIFIED.binary_search_by_key(&it, |pair| pair.0);
    found.map_or(it, |at| SIMPLIFIED[at].1)
}

/// Writes what is left of white space only when it is known what follows.
struct Writer {
    steps: Steps,
    out: String,
    /// The character that was written last; nothing at the beginning.
    last: Option<char>,
    space: bool,
    line_feeds: usize,
    carriage: bool,
}

impl Writer {
    fn new() -> Self {
        let steps = Steps { width: false, compose: false, spaces: false, simplify: false };
        let (out, last) = (String::new(), None);
        Self { steps, out, last, space: false, line_feeds: 0, carriage: false }
    }

    fn take(&mut self, it: char) {
        let it = if self.steps.width { half_width(it) } else { it };
        let it = if self.steps.simplify { simplified(it) } else { it };
        if !self.steps.spaces {
            self.out.push(it);
            return;
        }
        let carriage = std::mem::replace(&mut self.carriage, it == '\r');
        match it {
            '\n' if carriage => {}
            '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                self.line_feeds += 1;
                self.space = false;
            }
            _ if is_invisible(it) => {}
            _ if it.is_whitespace() => self.space = true,
            _ => self.write(it),
        }
    }

    fn write(&mut self, it: char) {
        if let Some(last) = self.last {
            if self.line_feeds > 0 {
                self.out.push_str(if self.line_feeds > 1 { "\n\n" } else { "\n" });
            } else if self.space && !(joins(last, it)) {
                self.out.push(' ');
            }
        }
        (self.space, self.line_feeds) = (false, 0);
        self.out.push(it);
        self.last = Some(it);
    }
}

/// Whether a space between two characters says nothing.
fn joins(left: char, right: char) -> bool {
    is_chinese(left) && is_chinese(right) || is_mark(left) || is_mark(right)
}

fn is_chinese(it: char) -> bool {
    matches!(it, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}')
}

/// Chinese punctuation, which brings its own room.
fn is_mark(it: char) -> bool {
    matches!(it, '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '，' | '！' | '？' | '：' | '；' | '（' | '）')
}

/// What nobody sees, but for the joiners that other scripts and emoji need.
fn is_invisible(it: char) -> bool {
    matches!(
        it,
        '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{200e}' | '\u{200f}' | '\u{202a}'
            ..='\u{202e}'
    ) || it.is_control() && !it.is_whitespace()
}

fn half_width(it: char) -> char {
    match it {
        '０'..='９'
        | 'Ａ'..='Ｚ'
        | 'ａ'..='ｚ'
        | '％'
        | '＋'
        | '－'
        | '．'
        | '／'
        | '＝'
        | '＠'
        | '＃'
        | '＆'
        | '＊'
        | '＿' => char::from_u32(it as u32 - 0xfee0).unwrap_or(it),
        '\u{3000}' => ' ',
        _ => it,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Steps = Steps { width: true, compose: true, spaces: true, simplify: false };

    #[test]
    fn widths_marks_and_spaces() {
        let cases = [
            ("ＡＢＣ　１２３", "ABC 123"),
            ("价格：１００％（约）。", "价格：100%（约）。"),
            ("e\u{301}te\u{301}", "été"),
            ("中 文 abc 中文", "中文 abc 中文"),
            ("你好 ， world  again", "你好，world again"),
            ("  头\t\t尾  \r\n\r\n\r\n\r\n  x \n", "头尾\n\nx"),
            ("a\rb\r\nc\u{2028}d", "a\nb\nc\nd"),
            ("零\u{200b}宽\u{feff}\u{7}", "零宽"),
            ("👨\u{200d}👩", "👨\u{200d}👩"),
            ("\u{3000}\u{a0} \n", ""),
            ("", ""),
        ];
        for (old, new) in cases {
            assert_eq!(normalize(old, ALL), new, "{old:?}");
        }
    }

    #[test]
    fn traditional_characters_become_simplified_ones_once() {
        let steps = Steps { simplify: true, ..ALL };
        assert_eq!(normalize("後來，學生們讀書 ABC。", steps), "后来，学生们读书 ABC。");
        assert_eq!(normalize("學", ALL), "學");
        assert!(SIMPLIFIED.windows(2).all(|it| it[0].0 < it[1].0));
        assert!(SIMPLIFIED.iter().all(|it| simplified(it.1) == it.1));
    }

    #[test]
    fn what_is_normal_is_not_touched() {
        for it in ["没有变化，abc 123。", "第一行\n\n第二行", "", "한국어 été"] {
            assert!(matches!(normalize(it, ALL), Cow::Borrowed(_)), "{it}");
        }
        let none = Steps { width: false, compose: false, spaces: false, simplify: false };
        assert!(matches!(normalize(" ａ e\u{301}\r", none), Cow::Borrowed(_)));
    }

    #[test]
    fn twice_is_as_good_as_once() {
        let pieces = [
            "中", "Ａ", "e", "\u{301}", " ", "\u{3000}", "\r", "\n", "\u{200b}", "，", "ᄀ", "ᅡ",
            "\u{feff}", "\u{85}", "．", "か", "\u{3099}", "\u{0}", "😀",
        ];
        let mut state = 7_u64;
        for _ in 0..5000 {
            let mut text = String::new();
            for _ in 0..12 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text += pieces[(state >> 33) as usize % pieces.len()];
            }
            let once = normalize(&text, ALL).into_owned();
            assert_eq!(normalize(&once, ALL), once, "{text:?}");
        }
    }
}
