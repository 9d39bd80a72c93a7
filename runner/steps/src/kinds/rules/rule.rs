//! The rules of the project's own: their names, their values, and the thresholds that they have in
//! each preset.

use super::measure::{self, Counts, Table};
use crate::text::ledger::{Bounds, rounded};
use crate::text::personal::{self, Found};
use crate::text::words::Words;

/// A rule: something that can be measured in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Length,
    Sensitive,
    Repeated,
    Meaningless,
    Keywords,
    Refusal,
    Format,
    CharacterRepetition,
    WordRepetition,
    SpecialCharacters,
    Alphanumeric,
    FlaggedWords,
    AverageLine,
    LongestLine,
    Words,
    Chinese,
}

impl Rule {
    /// Every rule, in the order in which they are asked.
    pub(super) const ALL: [Rule; 16] = [
        Rule::Length,
        Rule::Sensitive,
        Rule::Repeated,
        Rule::Meaningless,
        Rule::Keywords,
        Rule::Refusal,
        Rule::Format,
        Rule::CharacterRepetition,
        Rule::WordRepetition,
        Rule::SpecialCharacters,
        Rule::Alphanumeric,
        Rule::FlaggedWords,
        Rule::AverageLine,
        Rule::LongestLine,
        Rule::Words,
        Rule::Chinese,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Rule::Length => "length",
            Rule::Sensitive => "sensitive",
            Rule::Repeated => "repeated",
            Rule::Meaningless => "meaningless",
            Rule::Keywords => "keywords",
            Rule::Refusal => "refusal",
            Rule::Format => "format",
            Rule::CharacterRepetition => "character_repetition",
            Rule::WordRepetition => "word_repetition",
            Rule::SpecialCharacters => "special_characters",
            Rule::Alphanumeric => "alphanumeric",
            Rule::FlaggedWords => "flagged_words",
            Rule::AverageLine => "average_line",
            Rule::LongestLine => "longest_line",
            Rule::Words => "words",
            Rule::Chinese => "chinese",
        }
    }

    /// The threshold in the preset `paper`, where the rule is one of its seven.
    pub(super) fn in_paper(self) -> Option<Bounds> {
        let none = Some(Bounds { min: None, max: Some(0.0) });
        let most = |it: f64| Some(Bounds { min: None, max: Some(it) });
        match self {
            Rule::Length => Some(Bounds { min: Some(5.0), max: None }),
            Rule::Sensitive | Rule::Keywords | Rule::Refusal | Rule::Format => none,
            Rule::Repeated => most(0.3),
            Rule::Meaningless => most(0.1),
            _ => None,
        }
    }

    /// The threshold in the preset `ratios`.
    pub(super) fn in_ratios(self) -> Option<Bounds> {
        let least = |it: f64| Some(Bounds { min: Some(it), max: None });
        let most = |it: f64| Some(Bounds { min: None, max: Some(it) });
        match self {
            Rule::Length | Rule::AverageLine | Rule::LongestLine | Rule::Words => least(10.0),
            Rule::CharacterRepetition | Rule::WordRepetition => most(0.5),
            Rule::Alphanumeric => least(0.25),
            Rule::SpecialCharacters => most(0.25),
            Rule::FlaggedWords => most(0.045),
            _ => None,
        }
    }
}

/// The lists of words and the length of runs.
pub(super) struct Lists {
    pub(super) keywords: Words,
    pub(super) refusal: Words,
    pub(super) flagged: Words,
    pub(super) broken: Words,
    pub(super) ngram: usize,
}

/// What an answer says that does not answer.
pub(super) const REFUSAL: [&str; 15] = [
    "抱歉",
    "对不起，我",
    "我无法",
    "无法回答",
    "不能回答",
    "无法提供",
    "作为一个AI",
    "作为一名AI",
    "作为AI",
    "作为人工智能",
    "作为一个人工智能",
    "作为一名人工智能",
    "作为语言模型",
    "作为一个语言模型",
    "As an AI",
];
/// What web pages say about themselves.
pub(super) const PAGES: [&str; 12] = [
    "版权所有",
    "点击查看",
    "扫码关注",
    "扫一扫",
    "免责声明",
    "转载请注明",
    "加微信",
    "点击下载",
    "备案号",
    "上一篇",
    "返回首页",
    "Copyright",
];
/// What nobody wants to read in training data.
pub(super) const FLAGGED: [&str; 14] = [
    "博彩",
    "六合彩",
    "时时彩",
    "赌场",
    "百家乐",
    "裸聊",
    "色情",
    "成人视频",
    "一夜情",
    "情趣用品",
    "代开发票",
    "办证刻章",
    "私服",
    "外围女",
];
/// Remains of pages and of texts that were read in the wrong encoding.
pub(super) const BROKEN: [&str; 20] = [
    "锟斤拷",
    "烫烫烫",
    "屯屯屯",
    "\u{fffd}",
    "ï»¿",
    "â€",
    "<div",
    "</",
    "<br",
    "<p>",
    "<a ",
    "<span",
    "<img",
    "<script",
    "&nbsp;",
    "&lt;",
    "&gt;",
    "&amp;",
    "&quot;",
    "&#",
];

/// Memory that is used for one text after another.
#[derive(Default)]
pub(super) struct Scratch {
    chars: Vec<u32>,
    table: Table,
    found: Vec<Found>,
    pub(super) values: Vec<(&'static str, f64)>,
}

impl Lists {
    /// Measures a text; the values lie in `scratch.values`, in the order of the rules.
    pub(super) fn measure(&self, rules: &[Rule], text: &str, scratch: &mut Scratch) {
        let counts = Counts::of(text, &mut scratch.chars);
        scratch.values.clear();
        for rule in rules {
            let value = self.value(*rule, text, &counts, scratch);
            scratch.values.push((rule.name(), rounded(value)));
        }
    }

    fn value(&self, rule: Rule, text: &str, counts: &Counts, scratch: &mut Scratch) -> f64 {
        let Scratch { chars, table, found, .. } = scratch;
        match rule {
            Rule::Length => counts.chars as f64,
            Rule::Sensitive => {
                personal::find(text, found);
                found.len() as f64
            }
            Rule::Repeated => measure::repeated(chars, table),
            Rule::Meaningless => counts.share(counts.meaningless),
            Rule::Keywords => self.keywords.find(text).count() as f64,
            Rule::Refusal => self.refusal.find(text).count() as f64,
            Rule::Format => (self.broken.find(text).count() + counts.gaps) as f64,
            Rule::CharacterRepetition => measure::character_repetition(chars, self.ngram, table),
            Rule::WordRepetition => measure::word_repetition(chars, self.ngram, table),
            Rule::SpecialCharacters => counts.share(counts.special),
            Rule::Alphanumeric => counts.share(counts.alphanumeric),
            Rule::FlaggedWords => {
                counts.share(self.flagged.find(text).map(|it| it.chars().count()).sum())
            }
            // Line feeds belong to no line.
            Rule::AverageLine => measure::share(counts.chars + 1 - counts.lines, counts.lines),
            Rule::LongestLine => counts.longest_line as f64,
            Rule::Words => counts.words as f64,
            Rule::Chinese => counts.share(counts.chinese),
        }
    }
}
