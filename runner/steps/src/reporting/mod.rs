//! What the kinds' outputs have to say, as sections of a report. An output is known by what stands
//! in it, so the kind `report` and the command of that name tell the same of it.
//!
//! Files are read as streams; what is held are counts, the numbers of ledgers, and a few records.

mod distribution;
mod figures;
mod funnel;
mod people;
mod prompts;
mod results;
mod samples;
mod scalars;
mod seen;
mod training;
mod words;

use std::path::PathBuf;

use report::page::{Language, Section};

pub use self::scalars::{Curves, scalars};
use self::seen::{Seen, look};
use crate::StepError;
use crate::text::ledger::Limit;

/// An output that may be reported on.
#[derive(Clone, Debug, Default)]
pub struct Item {
    /// What it is called: the step.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// The records that its ledger is about, where they are known and still there: the first that has
    /// one is asked.
    pub records: Vec<PathBuf>,
    /// Where the thresholds of its ledger stand, where that is known.
    pub limits: Vec<Limit>,
}

/// How a report is written.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Its language.
    pub language: Language,
    /// How many records of each kind of text are shown.
    pub samples: usize,
}

/// The sections that the outputs fill, in the order in which a reader asks; `passed_over` is told of
/// each output for which there is no use. Every output is read once.
pub fn sections(
    items: &[Item],
    manner: Manner,
    passed_over: &mut dyn FnMut(&Item),
) -> Result<Vec<Section>, StepError> {
    let mut seen = Vec::new();
    for item in items {
        match look(item, manner.samples)? {
            Some(it) => seen.push((item, it)),
            None => passed_over(item),
        }
    }
    let words = words::of(manner.language);
    let parts = [
        results::section(&seen, words),
        people::section(&seen, words),
        funnel::section(&seen, words),
        training::section(&seen, words),
        figures::section(&seen, words),
        distribution::section(&seen, words),
        samples::section(&seen, words),
        prompts::section(&seen, words),
    ];
    Ok(parts.into_iter().filter(|it| !it.blocks.is_empty()).collect())
}

/// The outputs with what was seen in them.
type All<'a> = [(&'a Item, Seen)];

#[cfg(test)]
mod tests;
