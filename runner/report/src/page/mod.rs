//! A report as data: sections of texts, tables, charts and comparisons. What it looks like is said
//! in [`html`](fn@html), [`live`](fn@live) and [`markdown`](fn@markdown); a page knows no format.

mod csv;
mod files;
mod html;
mod live;
mod markdown;

pub use csv::{csv, json};
pub use files::files;
pub use html::html;
pub use live::{Live, SCRIPT, live};
pub use markdown::markdown;

use crate::chart::Chart;

/// A report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Its title.
    pub title: String,
    /// What it is about, in a sentence or two.
    pub about: String,
    /// The language of the words around the data.
    pub language: Language,
    /// What must be known before anything else is read.
    pub warnings: Vec<String>,
    /// Its parts.
    pub sections: Vec<Section>,
}

/// The language of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Chinese.
    Chinese,
}

/// A part of a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    /// Its title.
    pub title: String,
    /// What stands in it.
    pub blocks: Vec<Block>,
}

/// Something in a section.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A table.
    Table(Table),
    /// A chart, with the numbers behind it.
    Chart(Chart),
    /// A picture of ours, as SVG.
    Picture {
        /// What it shows.
        title: String,
        /// The picture.
        svg: String,
    },
    /// Texts before and after something was done to them.
    Changes(Vec<Change>),
    /// Texts that are shown to who asks for them.
    Folded {
        /// What they are.
        title: String,
        /// What each is called, and the text.
        texts: Vec<(String, String)>,
    },
}

impl Block {
    /// What it is called, where it is called anything.
    pub fn title(&self) -> Option<&str> {
        match self {
            Self::Table(it) => Some(&it.title),
            Self::Chart(it) => Some(&it.title),
            Self::Picture { title, .. } | Self::Folded { title, .. } => Some(title),
            Self::Text(_) | Self::Changes(_) => None,
        }
    }

    /// Puts a word before its title, such as `Figure 5`.
    pub fn label(&mut self, label: &str) {
        let title = match self {
            Self::Table(it) => &mut it.title,
            Self::Chart(it) => &mut it.title,
            Self::Picture { title, .. } | Self::Folded { title, .. } => title,
            Self::Text(_) | Self::Changes(_) => return,
        };
        *title = format!("{label} · {title}");
    }
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// What it shows; names its file too.
    pub title: String,
    /// The columns' titles. Columns of numbers are seen by their cells.
    pub columns: Vec<String>,
    /// As many cells as columns in each.
    pub rows: Vec<Vec<Cell>>,
}

/// What stands in a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing.
    Empty,
    /// A text.
    Text(String),
    /// A number, and how many places behind the point are shown.
    Number(f64, usize),
    /// A number with as many places as it needs.
    Plain(f64),
    /// A share from 0 to 1, shown as per cent.
    Share(f64),
    /// A share with its interval.
    Sure {
        /// The share.
        share: f64,
        /// Where the interval begins.
        low: f64,
        /// Where it ends.
        high: f64,
    },
}

impl Cell {
    /// A text.
    pub fn text(it: impl Into<String>) -> Self {
        Self::Text(it.into())
    }

    /// A whole number.
    pub fn count(it: u64) -> Self {
        Self::Number(it as f64, 0)
    }

    /// As people read it.
    pub fn shown(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(it) => it.clone(),
            Self::Number(it, places) => number(*it, *places),
            Self::Plain(it) => crate::chart::tick(*it),
            Self::Share(it) => per_cent(*it),
            Self::Sure { share, low, high } => {
                format!(
                    "{} [{}, {}]",
                    per_cent(*share),
                    number(low * 100.0, 1),
                    number(high * 100.0, 1)
                )
            }
        }
    }

    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Self::Number(..) | Self::Plain(_) | Self::Share(_) | Self::Sure { .. })
    }
}

/// A text before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What stands above it: an id, an instruction.
    pub head: String,
    /// The text before.
    pub was: String,
    /// The text after.
    pub is: String,
}

/// A share as per cent, with one place behind the point.
pub fn per_cent(it: f64) -> String {
    format!("{} %", number(it * 100.0, 1))
}

/// A number with so many places behind the point, thousands apart.
pub fn number(it: f64, places: usize) -> String {
    let text = format!("{:.places$}", it.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut apart = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            apart.push('\u{202f}');
        }
        apart.push(digit);
    }
    let nothing = text.chars().all(|it| matches!(it, '0' | '.'));
    let sign = if it < 0.0 && !nothing { "−" } else { "" };
    format!("{sign}{apart}{rest}")
}

/// A name for files: letters, digits and hyphens of any script.
pub fn file_name(title: &str) -> String {
    let mut name = String::new();
    for it in title.chars() {
        if it.is_alphanumeric() {
            name.extend(it.to_lowercase());
        } else if !name.ends_with('-') && !name.is_empty() {
            name.push('-');
        }
    }
    name.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_for_people() {
        let all = [(0.0, 0), (-0.04, 1), (1234567.0, 0), (-12.345, 2), (999.0, 0)];
        let shown = all.map(|(it, places)| number(it, places));
        assert_eq!(shown, ["0", "0.0", "1\u{202f}234\u{202f}567", "−12.35", "999"]);
        assert_eq!(Cell::Sure { share: 0.5, low: 0.25, high: 1.0 }.shown(), "50.0 % [25.0, 100.0]");
        assert_eq!(file_name("Exam: 准确率 (val)"), "exam-准确率-val");
    }
}
