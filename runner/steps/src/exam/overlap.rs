//! Which questions of an exam stand in the data that a model was trained on.
//!
//! A question counts as seen where one text of the training data has at least half of its different runs of 13
//! characters, compared without white space, width and case: that is more than two questions share which
//! only begin alike. What is shorter than a run is looked for together with its options.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use serde_json::Value;

use super::{Question, Sheet};
use crate::kinds::corpus::files;
use crate::kinds::decontaminate::{gather, gram};
use crate::records::Lines;
use crate::text::minhash::{each_gram, fold};
use crate::{Cx, StepError};

/// The questions that were seen: by subject, by their places.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Overlap(HashMap<String, HashSet<usize>>);

impl Overlap {
    /// Reads the training data once.
    pub(crate) fn find(
        sheets: &[Sheet],
        training: &[PathBuf],
        cx: &Cx<'_>,
    ) -> Result<Self, StepError> {
        let mut finder = Finder::new(sheets);
        for file in files(training, &[])? {
            let (mut lines, mut line) = (Lines::open(&file.path)?, Vec::new());
            while lines.next(&mut line)? {
                cx.check_stop()?;
                let text = std::str::from_utf8(&line)
                    .map_err(|it| lines.mistake(None, format!("is not UTF-8: {it}")))?;
                let json = serde_json::from_str(text).ok().filter(|it: &Value| !it.is_number());
                let mut texts = Vec::new();
                match &json {
                    Some(it) => gather(it, &mut texts),
                    None => texts.push(text),
                }
                texts.into_iter().for_each(|it| finder.look(it));
            }
        }
        Ok(finder.found(sheets))
    }

    /// Whether a question was seen.
    pub(crate) fn has(&self, subject: &str, place: usize) -> bool {
        self.0.get(subject).is_some_and(|it| it.contains(&place))
    }
}

struct Finder {
    /// The hash of a run to the questions that have it.
    runs: HashMap<u64, Vec<u32>>,
    /// How many different runs each question has.
    sizes: Vec<u32>,
    seen: HashSet<u32>,
    folded: Vec<char>,
}

impl Finder {
    fn new(sheets: &[Sheet]) -> Self {
        let (runs, sizes) = (HashMap::new(), Vec::new());
        let mut finder = Self { runs, sizes, seen: HashSet::new(), folded: Vec::new() };
        for question in sheets.iter().flat_map(|it| &it.questions) {
            finder.add(question);
        }
        finder
    }

    fn add(&mut self, question: &Question) {
        let (name, folded) = (self.sizes.len() as u32, &mut self.folded);
        fold(&question.text, folded);
        if folded.len() < gram() {
            fold(&format!("{}{}", question.text, question.options.concat()), folded);
        }
        let mut runs = HashSet::new();
        if folded.len() >= gram() {
            each_gram(folded, gram(), |it| {
                runs.insert(it);
            });
        }
        self.sizes.push(runs.len() as u32);
        for it in runs {
            self.runs.entry(it).or_default().push(name);
        }
    }

    fn look(&mut self, text: &str) {
        fold(text, &mut self.folded);
        if self.folded.len() < gram() {
            return;
        }
        let (runs, mut hits) = (&self.runs, HashSet::new());
        each_gram(&self.folded, gram(), |it| {
            if runs.contains_key(&it) {
                hits.insert(it);
            }
        });
        let mut counts: HashMap<u32, u32> = HashMap::new();
        for it in hits.iter().flat_map(|it| &runs[it]) {
            *counts.entry(*it).or_default() += 1;
        }
        let half = |(name, n): &(u32, u32)| n * 2 >= self.sizes[*name as usize];
        self.seen.extend(counts.into_iter().filter(half).map(|it| it.0));
    }

    fn found(self, sheets: &[Sheet]) -> Overlap {
        let (mut found, mut name) = (Overlap::default(), 0);
        for sheet in sheets {
            for place in 0..sheet.questions.len() {
                if self.seen.contains(&name) {
                    found.0.entry(sheet.subject.key.clone()).or_default().insert(place);
                }
                name += 1;
            }
        }
        found
    }
}
