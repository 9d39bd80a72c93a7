//! `rules`: measures texts, drops those that break a rule, and keeps every value.
//!
//! ```toml
//! [steps.clean]
//! op     = "rules"
//! in     = { data = "${steps.raw.data}" }
//! with   = { field = "text", min = { length = 20 }, max = { repeated = 0.2 } }
//! shards = 4
//! ```
//!
//! A rule has a name, a value for each record, and a least or greatest value with which a record
//! passes. `preset` says which rules hold; `min` and `max` change their thresholds or add rules;
//! `off` takes rules away; `measure` adds rules that have no say, so that `cut` can ask them later.
//! `data` has the records that pass, as they came; `ledger` has a line for every record.
//!
//! | rule | its value | `paper` | `ratios` |
//! |---|---|---|---|
//! | `length` | characters | min 5 | min 10 |
//! | `sensitive` | personal data found, as by `anonymize` | max 0 | |
//! | `repeated` | share of sentences that came before, or of the longest loop | max 0.3 | |
//! | `meaningless` | share of marks, boxes, controls, and of marks after the second equal one | max 0.1 | |
//! | `keywords` | words of the list `keywords` | max 0 | |
//! | `refusal` | words of the list `refusal` | max 0 | |
//! | `format` | tags, entities, broken encodings, runs of five white characters | max 0 | |
//! | `character_repetition` | share of the most frequent runs of `ngram` characters | | max 0.5 |
//! | `word_repetition` | share of runs of `ngram` words that come again | | max 0.5 |
//! | `special_characters` | share of digits and of what is no letter | | max 0.25 |
//! | `alphanumeric` | share of letters and digits, Chinese ones too | | min 0.25 |
//! | `flagged_words` | share of characters in words of the list `flagged_words` | | max 0.045 |
//! | `average_line`, `longest_line` | characters of lines | | min 10 |
//! | `words` | runs of letters and digits, and Chinese characters | | min 10 |
//! | `chinese` | share of Chinese characters | | |
//!
//! The seven of `paper` are those of its appendix A.2, whose thresholds it does not print, but for
//! the length. The thresholds of `ratios` are the defaults of Data-Juicer's filters of such names; the values
//! are the ones above, not that tool's: it has a list of special characters where this asks for letters,
//! counts a line's end as a part of the line, and takes for words what its tokenizers make. `words` replaces a list. Without it `keywords` are the authors' 14 for a field called
//! `instruction`, their five for one called `output`, and what web pages say about themselves for
//! any other. Shares are rounded to six places.
//!
//! Three presets do what the authors' scripts do, on `instruction`, `output` and `score`:
//!
//! - `delete_key_input`: `input_keywords`, the 14 words, max 0; spaces and line feeds at the end of
//!   the instruction are taken away;
//! - `select_data`: `good` is 1 where the score has `【好】` and not `【差】`, min 1;
//! - `delete_key_output`: `output_keywords`, the five words, max 0; `output_length`, min 20;
//!   `repeats_at_start`, the length of a unit that stands six times at the start, max 0;
//!   `repeated_lines`, 1 where the instruction repeats a line and cannot be repaired, max 0. An
//!   instruction is cut at five white characters in a row, or to its repeated line where it begins
//!   with it. `measure = ["repeats_anywhere"]` adds what the script defines and never calls.
//!
//! Not taken over: the last records of a file that do not fill 128 shards are not lost, and the
//! instruction is not overwritten with the output.

use std::collections::BTreeMap;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::record::Unfit;
use crate::page::page;
use crate::text::fields::Fields;
use crate::text::ledger::{Bounds, Limit, Verdict};
use crate::text::stream::{Sieved, sieve};
use crate::text::words::Words;
use crate::{Cx, Kind, StepError, params_of};

mod authors;
mod measure;
mod rule;

use authors::Script;
use rule::{Lists, Rule, Scratch};

pub(crate) struct Rules;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The field whose text is measured; the authors' presets know theirs.
    #[serde(default = "default_field")]
    field: String,
    /// Which rules hold, with which thresholds.
    #[serde(default)]
    preset: Preset,
    /// The least value that passes, by rule.
    #[serde(default)]
    min: BTreeMap<String, f64>,
    /// The greatest value that passes, by rule.
    #[serde(default)]
    max: BTreeMap<String, f64>,
    /// Rules of the preset that do not hold.
    #[serde(default)]
    off: Vec<String>,
    /// Rules that are measured besides.
    #[serde(default)]
    measure: Vec<String>,
    /// Lists of words in place of ours: `keywords`, `refusal`, `flagged_words`.
    #[serde(default)]
    words: BTreeMap<String, Vec<String>>,
    /// The length of the runs whose repetition is measured.
    #[serde(default = "default_ngram")]
    #[schemars(range(min = 1, max = 1000))]
    ngram: usize,
}

fn default_field() -> String {
    "text".to_owned()
}

fn default_ngram() -> usize {
    10
}

/// A set of rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Preset {
    /// The seven of the paper's appendix A.2.
    #[default]
    Paper,
    /// Ratios of characters and repetition, with Data-Juicer's default thresholds.
    Ratios,
    /// None but those in `min` and `max`.
    None,
    /// The authors' script before scoring.
    DeleteKeyInput,
    /// The authors' script after scoring.
    SelectData,
    /// The authors' script after answering.
    DeleteKeyOutput,
}

impl Preset {
    fn script(self) -> Option<Script> {
        match self {
            Preset::Paper | Preset::Ratios | Preset::None => None,
            Preset::DeleteKeyInput => Some(Script::DeleteKeyInput),
            Preset::SelectData => Some(Script::SelectData),
            Preset::DeleteKeyOutput => Some(Script::DeleteKeyOutput),
        }
    }
}

impl Kind for Rules {
    const SPEC: KindSpec = KindSpec {
        name: "rules",
        version: 1,
        about: "measure texts and drop those that break a rule",
        page: page!("rules.rs"),
        inputs: &[Port { name: "data", arity: Arity::One, about: "the records" }],
        outputs: &[
            Slot { name: "data", form: Form::Records, about: "the records that pass" },
            Slot {
                name: "ledger",
                form: Form::Records,
                about: "every record's values and verdict",
            },
        ],
        shards: Some("data"),
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn limits(&self, params: &Params) -> Result<Vec<Limit>, StepError> {
        let checks = Checks::new(params)?.0;
        let bound = checks.iter().filter(|(_, it)| **it != Bounds::default());
        Ok(bound.map(|(name, bounds)| Limit::of(name, *bounds)).collect())
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let checks = Checks::new(params)?;
        match params.preset.script() {
            Some(script) => {
                let work = |line: &[u8], part: &mut Sieved<()>| checks.script(script, line, part);
                sieve(cx, &work)
            }
            None => {
                let lists = lists(params);
                let rules: Vec<Rule> =
                    Rule::ALL.into_iter().filter(|it| checks.asked(it.name())).collect();
                let own = Own { field: &params.field, checks: &checks, lists, rules };
                sieve(cx, &|line: &[u8], part: &mut Sieved<Scratch>| own.record(line, part))
            }
        }
    }
}

/// Which rules are measured, and with which bounds they are passed.
struct Checks(BTreeMap<&'static str, Bounds>);

impl Checks {
    fn new(params: &Params) -> Result<Self, StepError> {
        let script = params.preset.script();
        let known: Vec<(&'static str, Option<Bounds>)> = match script {
            Some(script) => {
                let rule = |it: &(&'static str, Option<f64>, Option<f64>)| {
                    (it.0, Some(Bounds { min: it.1, max: it.2 }))
                };
                let more = script.more().iter().map(|it| (*it, None));
                script.rules().iter().map(rule).chain(more).collect()
            }
            None => {
                let preset = |it: Rule| match params.preset {
                    Preset::Paper => it.in_paper(),
                    Preset::Ratios => it.in_ratios(),
                    _ => None,
                };
                Rule::ALL.into_iter().map(|it| (it.name(), preset(it))).collect()
            }
        };
        let named = params.min.keys().chain(params.max.keys());
        for name in named.chain(&params.off).chain(&params.measure) {
            if !known.iter().any(|(it, _)| it == name) {
                let all: Vec<&str> = known.iter().map(|(it, _)| *it).collect();
                return Err(wrong(format!(
                    "no rule `{name}`; the rules are `{}`",
                    all.join("`, `")
                )));
            }
        }
        for name in params.words.keys() {
            if !["keywords", "refusal", "flagged_words"].contains(&name.as_str()) {
                let lists = "`keywords`, `refusal`, `flagged_words`";
                return Err(wrong(format!("no list of words `{name}`; the lists are {lists}")));
            }
        }
        let mut checks = BTreeMap::new();
        for (name, preset) in known {
            let off = params.off.iter().any(|it| it == name);
            let preset = preset.filter(|_| !off);
            let (min, max) = (params.min.get(name).copied(), params.max.get(name).copied());
            let measured = params.measure.iter().any(|it| it == name);
            if preset.is_some() || min.is_some() || max.is_some() || measured {
                let base = preset.unwrap_or_default();
                checks.insert(name, Bounds { min: min.or(base.min), max: max.or(base.max) });
            }
        }
        Ok(Self(checks))
    }

    fn asked(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The rules that these values break, in their order.
    fn broken<'a>(&self, values: &[(&'a str, f64)]) -> Vec<&'a str> {
        let breaks =
            |it: &&(&'a str, f64)| !self.0.get(it.0).is_none_or(|bounds| bounds.hold(it.1));
        values.iter().filter(breaks).map(|it| it.0).collect()
    }

    /// A record under the rules of the authors' script.
    fn script(&self, script: Script, line: &[u8], part: &mut Sieved<()>) -> Result<(), Unfit> {
        let fields = Fields::parse(line)?;
        let mut measured = script.measure(&fields, self.asked("repeats_anywhere"))?;
        measured.values.retain(|it| self.asked(it.0));
        let fails = self.broken(&measured.values);
        let (id, source) = (fields.id()?, fields.source()?);
        let values = &measured.values;
        let verdict = Verdict { id: &id, source: source.as_deref(), fails: &fails, values };
        if part.judge(&verdict) {
            match &measured.instruction {
                Some(it) => fields.write_with(&[("instruction", it)], &mut part.data),
                None => push_line(line, &mut part.data),
            }
        }
        Ok(())
    }
}

/// The rules of our own over a field.
struct Own<'a> {
    field: &'a str,
    checks: &'a Checks,
    lists: Lists,
    rules: Vec<Rule>,
}

impl Own<'_> {
    fn record(&self, line: &[u8], part: &mut Sieved<Scratch>) -> Result<(), Unfit> {
        let fields = Fields::parse(line)?;
        let text = fields.text(self.field)?;
        let (id, source) = (fields.id()?, fields.source()?);
        let mut scratch = std::mem::take(&mut part.scratch);
        self.lists.measure(&self.rules, &text, &mut scratch);
        let values = &scratch.values;
        let fails = self.checks.broken(values);
        let verdict = Verdict { id: &id, source: source.as_deref(), fails: &fails, values };
        if part.judge(&verdict) {
            push_line(line, &mut part.data);
        }
        part.scratch = scratch;
        Ok(())
    }
}

fn push_line(line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(line);
    out.push(b'\n');
}

fn wrong(reason: String) -> StepError {
    StepError::Params { kind: "rules", reason }
}

fn lists(params: &Params) -> Lists {
    let words = |name: &str, ours: &[&str]| match params.words.get(name) {
        Some(it) => Words::new(it),
        None => Words::new(ours),
    };
    let keywords: &[&str] = match params.field.as_str() {
        "instruction" => &authors::INPUT_WORDS,
        "output" => &authors::OUTPUT_WORDS,
        _ => &rule::PAGES,
    };
    Lists {
        keywords: words("keywords", keywords),
        refusal: words("refusal", &rule::REFUSAL),
        flagged: words("flagged_words", &rule::FLAGGED),
        broken: Words::new(rule::BROKEN),
        ngram: params.ngram,
    }
}

#[cfg(test)]
mod tests;
