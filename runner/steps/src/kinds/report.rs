//! `report`: what the outputs of other steps have to say, as one HTML file.
//!
//! ```toml
//! [steps.page]
//! op   = "report"
//! in   = { data = ["${steps.better.shares}", "${steps.better.pairs}", "${steps.clean.ledger}", "${steps.final.log}"] }
//! with = { title = "What it was good for", names = ["exam", "exam", "clean", "final"] }
//! ```
//!
//! An output is known by what stands in it:
//!
//! | what | from | what is shown |
//! |---|---|---|
//! | shares, differences | `compare` | bars with intervals, groups, tests |
//! | accuracy by subject | `eval` | all exams side by side |
//! | metrics | any step | a table; `x`, `x_low` and `x_high` as a number with its interval |
//! | a histogram | `lengths`, `years` | how many are how long, or of which year |
//! | shares of values | `sources` | bars, the longest first; of sources a ring |
//! | shares of answers, agreement, wins, places, annotators, judges | `annotations` | tables, bars, a heat map; models apart from people |
//! | how far the place decided | `judge_pairs` | a table |
//! | a prompt file | a source | its text |
//! | a ledger | any kind that filters | the funnel, reasons and sources, the spread of each value |
//! | a log | `pretrain`, `sft` | losses, one over another |
//! | records with `instruction`, `text` and `output` | `refine` | answers beside the raw texts, character by character |
//!
//! Where several outputs have shares of the same models, a table has models down and outputs across. Anything else
//! is passed over, and the log says so.
//!
//! `labels` puts a label before the titles of tables and charts, so that they can be cited, and says what stands on
//! the page: a title that nothing has fails the step. Whatever has a title can be linked to by it.
//!
//! ```toml
//! labels = { "comparison · win rates · people" = "Figure 5" }
//! ```
//!
//! `folder` holds `index.html`, which asks no network and runs no script,
//! `report.md`, each table as CSV and JSON below `tables`, and each figure as SVG below `figures`. The
//! same inputs give the same bytes. `kun report` shows the same of a whole workflow, with what was run
//! and when.

use std::collections::BTreeMap;
use std::path::Path;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use report::page::{Language, Page, Section, files};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::page::page;
use crate::reporting::{Item, Manner, sections};
use crate::{Cx, Kind, Say, StepError, params_of};

pub(crate) struct Report;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The title.
    title: String,
    /// The question that the page answers.
    #[serde(default)]
    about: String,
    /// What each input is called; inputs of one name belong together.
    names: Vec<String>,
    /// The language of the words around the data.
    #[serde(default)]
    language: In,
    /// Titles with what stands before them: `Figure 5`.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// How many answers are shown beside their raw texts.
    #[serde(default = "default_samples")]
    #[schemars(range(max = 1000))]
    samples: usize,
}

/// The language of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum In {
    /// English.
    #[default]
    En,
    /// Chinese.
    Zh,
}

fn default_samples() -> usize {
    20
}

impl Kind for Report {
    const SPEC: KindSpec = KindSpec {
        name: "report",
        version: 3,
        about: "what the outputs of other steps have to say, as one HTML file",
        page: page!("report.rs"),
        inputs: &[Port { name: "data", arity: Arity::Many, about: "outputs of other steps" }],
        outputs: &[Slot { name: "folder", form: Form::Dir, about: "the page and its tables" }],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let inputs = cx.inputs("data").to_vec();
        if params.names.len() != inputs.len() {
            let (n, m) = (params.names.len(), inputs.len());
            let reason = format!("`names` has {n} names for {m} inputs");
            return Err(StepError::Params { kind: "report", reason });
        }
        let mut items = Vec::new();
        for (name, path) in params.names.iter().zip(inputs) {
            let item = Item { name: name.clone(), path, records: Vec::new(), limits: Vec::new() };
            items.push(item);
        }
        let language = match params.language {
            In::En => Language::English,
            In::Zh => Language::Chinese,
        };
        cx.check_stop()?;
        let manner = Manner { language, samples: params.samples };
        let mut sections = sections(&items, manner, &mut |it| {
            let text = format!("an input called `{}` has nothing to show", it.name);
            (cx.report)(Say::Note(text));
        })?;
        label(&mut sections, &params.labels)?;
        let page = Page {
            title: params.title.clone(),
            about: params.about.clone(),
            language,
            warnings: Vec::new(),
            sections,
        };
        let folder = cx.output("folder")?.to_owned();
        for (name, content) in files(&page) {
            write(&folder.join(name), &content)?;
        }
        cx.count("sections", page.sections.len() as u64);
        Ok(())
    }
}

fn label(sections: &mut [Section], labels: &BTreeMap<String, String>) -> Result<(), StepError> {
    let mut missing: BTreeMap<&String, &String> = labels.iter().collect();
    let mut titles = Vec::new();
    for block in sections.iter_mut().flat_map(|it| &mut it.blocks) {
        let Some(title) = block.title().map(str::to_owned) else { continue };
        if let Some(label) = labels.get(&title) {
            missing.remove(&title);
            block.label(label);
        }
        titles.push(title);
    }
    let Some(title) = missing.keys().next() else { return Ok(()) };
    let there = titles.join("`, `");
    let reason = format!("`labels`: nothing is called `{title}`; there are `{there}`");
    Err(StepError::Params { kind: "report", reason })
}

fn write(path: &Path, content: &str) -> Result<(), StepError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(StepError::io(folder))?;
    }
    std::fs::write(path, content).map_err(StepError::io(path))
}
