//! Multiple-choice exams: what C-Eval and CMMLU are, how their questions are put to a model, and
//! what its answers come to.
//!
//! The data flows one way: [`folder`] reads sheets of questions, [`prompt`] writes what a model
//! reads, [`asked`] makes tokens of it, [`tally`] counts; [`overlap`] knows which were trained on.

pub(crate) mod asked;
pub(crate) mod folder;
pub(crate) mod overlap;
pub(crate) mod prompt;
pub(crate) mod tally;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose files and words an exam has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shape {
    /// C-Eval's.
    Ceval,
    /// CMMLU's.
    Cmmlu,
}

impl Shape {
    /// The part of the exam that is asked where nothing else is said.
    pub(crate) fn split(self) -> &'static str {
        match self {
            Self::Ceval => "val",
            Self::Cmmlu => "test",
        }
    }
}

/// A subject, as a table of subjects has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subject {
    /// Its name in file names.
    pub(crate) key: String,
    /// Its name in prompts.
    pub(crate) zh: String,
    /// The groups that it counts in.
    pub(crate) categories: Vec<String>,
    /// How many questions each part has, where that is known.
    #[serde(default)]
    pub(crate) questions: BTreeMap<String, u64>,
}

/// The letters of the options.
pub(crate) const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) text: String,
    /// What stands behind each letter.
    pub(crate) options: [String; 4],
    /// The place of the right one.
    pub(crate) answer: usize,
    /// Its number in its file, and what is said to its answer, where there are such columns.
    pub(crate) id: Option<String>,
    pub(crate) explanation: Option<String>,
}

/// The questions of a subject.
#[derive(Clone, Debug)]
pub(crate) struct Sheet {
    pub(crate) subject: Subject,
    /// Questions that are shown with their answers.
    pub(crate) shots: Vec<Question>,
    pub(crate) questions: Vec<Question>,
}
