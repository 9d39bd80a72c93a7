//! `categories`: a model says which of many categories each record belongs to; it is asked several
//! times, and its answers vote.
//!
//! ```toml
//! [sources]
//! categories  = { path = "prompts/categories.jinja" }
//! disciplines = { path = "prompts/disciplines.txt" }
//!
//! [steps.by_discipline]
//! op   = "categories"
//! in   = { model = "models/chat", data = "${steps.part.data}", prompt = "${sources.categories}", labels = "${sources.disciplines}" }
//! with = { samples = 5, max_new_tokens = 32, into = "discipline" }
//! ```
//!
//! `labels` is a file with a category on each line; empty lines and those that begin with `#` are passed
//! over. The prompt file may use them as `labels`, besides the record's fields.
//!
//! An answer votes for the category that stands in it. Where several do, those that are only part of a
//! longer one that stands there too are left out (`法学` within `国际法学`); an answer with more than
//! one left, or with none, votes for nothing. For `into = "category"` a record gets `category`, the one with most votes, of
//! equally many the one that was named first, and null where no answer voted; `category_votes`, how many answers it
//! has; and the answers as `generate` names them, `category_answer` and what belongs to it. No record is
//! left out. `sources` with `field = "category"` counts the shares.
//!
//! Where a model can be weighed, `classify` finds the probability of each label from one question. This
//! kind needs only what a model writes, so any endpoint will do. Sampling is that of the authors' code
//! unless something else is said; with `temperature = 0` all answers are equal, and one is enough.

use std::path::Path;

use plan::KindSpec;
use plan::kind::{Arity, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::asking::{self, Asking, Form, Subject, ask_all, asking_params, prompt_of};
use crate::model::record::{Record, Unfit};
use crate::model::{Answer, Conversation};
use crate::page::page;
use crate::preview::{self, At, Preview};
use crate::records::Lines;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Categories;

asking_params!("categories", "category" {});

impl Kind for Categories {
    const SPEC: KindSpec = KindSpec {
        name: "categories",
        version: 1,
        about: "let a model sort records into categories, by votes of several answers",
        page: page!("categories.rs"),
        inputs: &[
            Port { name: "model", arity: Arity::Model, about: "the model" },
            Port { name: "data", arity: Arity::One, about: "the records" },
            Port { name: "prompt", arity: Arity::One, about: "the prompt file" },
            Port { name: "labels", arity: Arity::One, about: "the categories, one on each line" },
            Port { name: "template", arity: Arity::Optional, about: "a chat template, as a file" },
        ],
        outputs: &[Slot {
            name: "data",
            form: plan::kind::Form::Records,
            about: "the records with their categories, in order",
        }],
        unkeyed: &["rows"],
        draws: true,
        numerics: true,
        shards: Some("data"),
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn preview(&self, params: &Params, at: At<'_>) -> Result<Option<Preview>, StepError> {
        let form = Choice { labels: labels(at.input("labels")?)? };
        let (settings, prompt) = (params.settings(at.seed()?), at.prompt()?);
        preview::asked(&Asking { settings, prompt, form: &form }, at)
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let form = Choice { labels: labels(cx.input("labels")?)? };
        let (settings, prompt) = (params.settings(cx.seed()?), prompt_of(cx)?);
        ask_all(&Asking { settings, prompt, form: &form }, cx)
    }
}

const MOST_LABELS: usize = 1000;

/// The categories of a file.
fn labels(path: &Path) -> Result<Vec<String>, StepError> {
    let (mut lines, mut buffer) = (Lines::open(path)?, Vec::new());
    let mut labels: Vec<String> = Vec::new();
    while lines.next(&mut buffer)? {
        let text = std::str::from_utf8(&buffer);
        let text = text.map_err(|_| lines.mistake(None, "is not UTF-8".to_owned()))?;
        let label = text.trim_start_matches('\u{FEFF}').trim();
        if label.is_empty() || label.starts_with('#') {
            continue;
        }
        if labels.iter().any(|it| it == label) {
            return Err(lines.mistake(None, format!("names `{label}` again")));
        }
        if labels.len() == MOST_LABELS {
            return Err(lines.mistake(None, format!("is more than {MOST_LABELS} categories")));
        }
        labels.push(label.to_owned());
    }
    match labels.len() {
        0 | 1 => Err(lines.mistake(None, "there must be at least two categories".to_owned())),
        _ => Ok(labels),
    }
}

/// One of these is asked for.
struct Choice {
    labels: Vec<String>,
}

/// What prompt files call the categories.
const LABELS: &str = "labels";

impl Form for Choice {
    fn question(
        &self,
        subject: &Subject<'_>,
        _: &mut Map<String, Value>,
    ) -> Result<Conversation, Unfit> {
        let Some(prompt) = subject.prompt else {
            return Err(Unfit::new("there is no prompt file"));
        };
        let record = subject.record;
        let mut fields = record.map.clone();
        let labels = self.labels.iter().map(String::as_str).collect::<Value>();
        if fields.insert(record.name(LABELS), labels).is_some() {
            return Err(Unfit::field(record.name(LABELS), "is there already"));
        }
        prompt.question(Record { map: &fields, columns: record.columns })
    }

    fn add(&self, map: &mut Map<String, Value>, into: &str, answers: &[Answer]) {
        let votes = answers.iter().filter_map(|it| self.vote(&it.text));
        let (label, n) = most(votes).unzip();
        map.insert(into.to_owned(), label.into());
        map.insert(format!("{into}_votes"), n.unwrap_or(0).into());
        asking::add(map, &format!("{into}_answer"), answers);
    }
}

impl Choice {
    /// The category that an answer names.
    fn vote(&self, answer: &str) -> Option<&str> {
        let stands = |it: &&String| answer.contains(it.as_str());
        let there: Vec<&str> = self.labels.iter().filter(stands).map(String::as_str).collect();
        // What is left of the answer without the longer ones says whether a shorter stands alone.
        let alone = |it: &&&str| {
            let longer = there.iter().filter(|more| more.len() > it.len() && more.contains(**it));
            longer.fold(answer.to_owned(), |rest, more| rest.replace(more, "\n")).contains(**it)
        };
        let mut alone = there.iter().filter(alone);
        alone.next().filter(|_| alone.next().is_none()).copied()
    }
}

/// What was voted for most often, of equals the first, and how often.
fn most<'a>(votes: impl Iterator<Item = &'a str>) -> Option<(&'a str, u64)> {
    let mut counts: Vec<(&str, u64)> = Vec::new();
    for vote in votes {
        match counts.iter_mut().find(|it| it.0 == vote) {
            Some(it) => it.1 += 1,
            None => counts.push((vote, 1)),
        }
    }
    counts.into_iter().rev().max_by_key(|it| it.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_votes_for_the_one_category_that_it_names() {
        let labels = ["法学", "国际法学", "医学", "文学"].map(str::to_owned).to_vec();
        let choice = Choice { labels };
        for (answer, vote) in [
            ("医学", Some("医学")),
            ("这条指令属于：医学。", Some("医学")),
            ("国际法学", Some("国际法学")),
            ("国际法学，也是法学", None),
            ("医学或文学", None),
            ("天文学", Some("文学")),
            ("", None),
            ("不知道", None),
        ] {
            assert_eq!(choice.vote(answer), vote, "{answer}");
        }
    }

    #[test]
    fn most_votes_win_and_of_equals_the_first() {
        assert_eq!(most(["b", "a", "a", "b", "c"].into_iter()), Some(("b", 2)));
        assert_eq!(most(["b", "a", "a"].into_iter()), Some(("a", 2)));
        assert_eq!(most(std::iter::empty()), None);
    }

    #[test]
    fn a_file_of_labels_names_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels");
        let read = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            labels(&path).map_err(|it| it.to_string().replace(&path.display().to_string(), "l"))
        };
        assert_eq!(read("\u{FEFF}# x\n医学\r\n\n 法学 \n".as_bytes()).unwrap(), ["医学", "法学"]);
        assert_eq!(read(b"a\nb\na\n").unwrap_err(), "l:3: names `a` again");
        assert_eq!(read(b"a\n\xff\n").unwrap_err(), "l:2: is not UTF-8");
        assert_eq!(read(b"a\n").unwrap_err(), "l:1: there must be at least two categories");
        let many: String = (0..=MOST_LABELS).map(|it| format!("{it}\n")).collect();
        assert!(read(many.as_bytes()).unwrap_err().ends_with("is more than 1000 categories"));
    }

    #[test]
    fn the_lists_in_the_project_have_the_methods_numbers_and_a_gloss_for_each() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../prompts");
        for (name, n) in [("disciplines", 24), ("sectors", 16), ("text_types", 15)] {
            let labels = labels(&root.join(format!("{name}.txt"))).unwrap();
            assert_eq!(labels.len(), n, "{name}");
            let gloss = std::fs::read_to_string(root.join(format!("{name}.en.md"))).unwrap();
            for it in &labels {
                assert!(gloss.contains(&format!("| {it} |")), "{name}: {it}");
            }
        }
    }
}
