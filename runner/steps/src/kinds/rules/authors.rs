//! The authors' own rules, as their three scripts apply them: what they find in a text, and what they
//! make of an instruction.
//!
//! The scripts call Python's `\s`, `strip` and `len`: white space is Unicode's and four control
//! characters more, lengths are in code points.

use crate::model::record::Unfit;
use crate::text::fields::Fields;

/// Which script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// `delete_key_input.py`, before scoring.
    DeleteKeyInput,
    /// `select_data.py`, after scoring.
    SelectData,
    /// `delete_key_output.py`, after answering.
    DeleteKeyOutput,
}

/// What a script measures in a record, and its instruction, where the script changes it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Measured {
    pub(super) values: Vec<(&'static str, f64)>,
    pub(super) instruction: Option<String>,
}

/// Words that refer to something that the instruction does not show.
pub(super) const INPUT_WORDS: [&str; 14] = [
    "新闻",
    "材料",
    "图片",
    "链接",
    "网址",
    "根据",
    "简历",
    "简介",
    "文章",
    "摘要",
    "文本",
    "提取",
    "关键词",
    "网站",
];
/// Words of an answer that talks about itself.
pub(super) const OUTPUT_WORDS: [&str; 5] = ["作为", "根据", "知识库", "2023", "抱歉"];
/// A unit that comes more often than this in a row.
const TIMES: usize = 5;

impl Script {
    /// Every rule of the script, with the greatest value that passes, or the least.
    pub(super) fn rules(self) -> &'static [(&'static str, Option<f64>, Option<f64>)] {
        const NONE: Option<f64> = Some(0.0);
        match self {
            Script::DeleteKeyInput => &[("input_keywords", None, NONE)],
            Script::SelectData => &[("good", Some(1.0), None)],
            Script::DeleteKeyOutput => &[
                ("output_keywords", None, NONE),
                ("output_length", Some(20.0), None),
                ("repeats_at_start", None, NONE),
                ("repeated_lines", None, NONE),
            ],
        }
    }

    /// What can be measured besides.
    pub(super) fn more(self) -> &'static [&'static str] {
        match self {
            Script::DeleteKeyOutput => &["repeats_anywhere"],
            Script::DeleteKeyInput | Script::SelectData => &[],
        }
    }

    /// Measures a record. `anywhere`: also what their script defines and never calls.
    pub(super) fn measure(self, fields: &Fields<'_>, anywhere: bool) -> Result<Measured, Unfit> {
        let mut values = Vec::with_capacity(5);
        let mut instruction = None;
        match self {
            Script::DeleteKeyInput => {
                let old = fields.text("instruction")?;
                values.push(("input_keywords", contained(&old, &INPUT_WORDS)));
                instruction = changed(&old, Some(without_trailing(&old)));
            }
            Script::SelectData => {
                let score = fields.text("score")?;
                values.push(("good", f64::from(u8::from(is_good(&score)))));
            }
            Script::DeleteKeyOutput => {
                let output = fields.text("output")?;
                let chars: Vec<char> = output.chars().collect();
                let repeats = repeats_at_start(&chars).map_or(0, |it| it);
                let old = fields.text("instruction")?;
                let new = repaired(&old);
                values.push(("output_keywords", contained(&output, &OUTPUT_WORDS)));
                values.push(("output_length", chars.len() as f64));
                values.push(("repeats_at_start", repeats as f64));
                values.push(("repeated_lines", f64::from(u8::from(new.is_none()))));
                if anywhere {
                    let unit = repeats_anywhere(&chars).map_or(0, |it| it.len());
                    values.push(("repeats_anywhere", unit as f64));
                }
                instruction = changed(&old, new);
            }
        }
        Ok(Measured { values, instruction })
    }
}

fn changed(old: &str, new: Option<&str>) -> Option<String> {
    new.filter(|it| *it != old).map(str::to_owned)
}

/// How many of the words are in the text.
pub(super) fn contained(text: &str, words: &[&str]) -> f64 {
    words.iter().filter(|it| text.contains(**it)).count() as f64
}

/// The text without the spaces and line feeds at its end.
pub(super) fn without_trailing(text: &str) -> &str {
    text.trim_end_matches([' ', '\n'])
}

/// Whether the judge said "good" and did not say "bad".
pub(super) fn is_good(score: &str) -> bool {
    score.contains("【好】") && !score.contains("【差】")
}

/// The length of the shortest unit that stands more than five times at the very start.
pub(super) fn repeats_at_start(text: &[char]) -> Option<usize> {
    // How far the text from `i` on agrees with its beginning: the Z function, in linear time.
    let n = text.len();
    let mut agrees = vec![0; n];
    let (mut left, mut right) = (0, 0);
    for i in 1..n {
        let mut length = if i < right { (right - i).min(agrees[i - left]) } else { 0 };
        while i + length < n && text[length] == text[i + length] {
            length += 1;
        }
        if i + length > right {
            (left, right) = (i, i + length);
        }
        agrees[i] = length;
        if length >= i * TIMES {
            return Some(i);
        }
    }
    None
}

/// The shortest unit that stands more than five times in a row anywhere, and of these the first. The
/// time is the square of the length.
pub(super) fn repeats_anywhere(text: &[char]) -> Option<&[char]> {
    for unit in 1..=text.len() / TIMES {
        let mut run = 0;
        for at in unit..text.len() {
            run = if text[at] == text[at - unit] { run + 1 } else { 0 };
            if run >= unit * TIMES {
                let start = at + 1 - run - unit;
                return Some(&text[start..start + unit]);
            }
        }
    }
    None
}

fn is_white(it: char) -> bool {
    it.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&it)
}

/// The text before the first run of five white characters, and whether there is one.
pub(super) fn before_gap(text: &str) -> (bool, &str) {
    let mut run = 0;
    let mut start = 0;
    for (at, it) in text.char_indices() {
        if !is_white(it) {
            run = 0;
            continue;
        }
        if run == 0 {
            start = at;
        }
        run += 1;
        if run == 5 {
            return (true, text[..start].trim_matches(is_white));
        }
    }
    (false, text.trim_matches(is_white))
}

/// The longest line that comes more than once, the first of equals; nothing: no line does.
pub(super) fn longest_repeated_line(text: &str) -> Option<&str> {
    let mut seen = std::collections::BTreeMap::new();
    let lines: Vec<&str> = text.split('\n').map(|it| it.trim_matches(is_white)).collect();
    for (i, it) in lines.iter().enumerate().filter(|(_, it)| !it.is_empty()) {
        let entry = seen.entry(*it).or_insert((i, 0_usize));
        entry.1 += 1;
    }
    let repeated = seen.iter().filter(|(_, (_, n))| *n > 1);
    let longest = |(line, (first, _)): &(&&str, &(usize, usize))| {
        (line.chars().count(), std::cmp::Reverse(*first))
    };
    repeated.max_by_key(longest).map(|(line, _)| *line)
}

/// The instruction as it goes on; nothing: the record is dropped.
pub(super) fn repaired(instruction: &str) -> Option<&str> {
    let (gap, stripped) = before_gap(instruction);
    if gap {
        return Some(stripped);
    }
    match longest_repeated_line(stripped) {
        None => Some(instruction),
        Some(_) => once(stripped),
    }
}

/// A text whose lines repeat, as its repeated line; nothing where it does not begin with it.
pub(super) fn once(text: &str) -> Option<&str> {
    match longest_repeated_line(text) {
        None => Some(text),
        Some(line) => text.starts_with(line).then_some(line),
    }
}
