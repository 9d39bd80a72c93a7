//! `judge`: a question about each record whose answer is one of several texts: yes or no, good or bad, 1 to 5.
//!
//! ```toml
//! [sources]
//! score_prompt = { path = "prompts/score.jinja" }
//!
//! [steps.good]
//! op     = "judge"
//! in     = { model = "${steps.chat.model}", data = "${steps.labels.data}", prompt = "${sources.score_prompt}" }
//! with   = { choices = ["【好】", "【差】"], keep = ["【好】"], into = "score", template = "kun" }
//! shards = 4
//! ```
//!
//! Nothing is generated: the model says how probable each choice is as the whole answer, every token of
//! it counted and, unless `end = false`, the token that ends it. The question is the file `prompt`,
//! filled in, or the record as a conversation. For `into = "score"` the record gets
//!
//! - `score`: the likeliest choice;
//! - `score_p`: how probable each choice is, of all choices;
//! - `score_margin`: by how much the first choice leads, as a difference of logarithms;
//! - `score_mass`: how probable it is that the answer is one of the choices at all.
//!
//! With `keep`, `data` has the records whose choice is one of these, or, with `min_p`, those for which these
//! are at least so probable together. `ledger` has a line for each record that came in, with the values
//! `score` (the probability of what is kept, or without `keep` of the choice) and `score_margin`: another threshold is a
//! step `cut` over this ledger, and the model is not asked again.
//!
//! `mode = "text"` is the way of the authors' code: the model also writes an answer, greedily, and the choice is the
//! one that stands in it, none where several do or none does. The text is in `score_text`, the probabilities stay
//! beside it, and how often both ways agree, differ, or the text is unclear is counted.
//!
//! Another `keep` or `min_p` is asked of what is kept about the records: the model is not even loaded.
//!
//! An endpoint (see `generate`) can weigh choices where its `/completions` gives the log-probabilities of a whole text, by
//! `echo` with `logprobs`, as vLLM and `llama-cpp-python` do; `template` then names the built-in template that the
//! model was trained with, and what looks like a control token in a record is one for such a server. Any other
//! server says only what it writes: `mode = "text"` works with it, without `score_p` and its like, and without values in
//! the ledger.
//!
//! A question that is too long fails the step, or with `on_overlong = "skip"` is left out by the rule
//! `overlong`. A record is judged once: what is known is kept under it, the model, the prompt and the parameters.
//! Nothing depends on the records beside it.

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::asking::{OnOverlong, prompt_of};
use crate::choosing::{Choosing, End, Found, Weighed, choose_all};
use crate::kinds::score_text::exp;
use crate::model::Prompt;
use crate::model::record::Columns;
use crate::page::page;
use crate::preview::{self, At, Preview};
use crate::records::Output;
use crate::text::fields::Fields;
use crate::text::ledger::{Bounds, Limit, Verdict, rounded};
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Judge;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The possible answers.
    choices: Vec<String>,
    /// Those with which a record is kept; nothing: every record is.
    #[serde(default)]
    keep: Vec<String>,
    /// The least probability of those in `keep` together; nothing: one of them must be the choice.
    min_p: Option<f64>,
    /// How the choice is made.
    #[serde(default)]
    mode: Mode,
    /// The longest answer with `mode = "text"`, in tokens.
    #[serde(default = "default_max_new_tokens")]
    #[schemars(range(min = 1))]
    max_new_tokens: usize,
    /// Whether the token that ends an answer belongs to a choice.
    #[serde(default = "default_true")]
    end: bool,
    /// The name of a built-in chat template; nothing: the model's own.
    template: Option<String>,
    /// What the data calls the fields, by our names.
    #[serde(default)]
    columns: Columns,
    /// The field for the choice, and the first part of the names of the others.
    #[serde(default = "default_into")]
    into: String,
    /// The longest question and answer together; nothing: what the model was made for.
    #[schemars(range(min = 2))]
    max_seq_len: Option<usize>,
    /// What becomes of a longer one.
    #[serde(default)]
    on_overlong: OnOverlong,
}

/// How a choice is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// By how probable each is.
    #[default]
    Choices,
    /// By what the model writes.
    Text,
}

fn default_max_new_tokens() -> usize {
    256
}

fn default_true() -> bool {
    true
}

fn default_into() -> String {
    "judge".to_owned()
}

impl Kind for Judge {
    const SPEC: KindSpec = KindSpec {
        name: "judge",
        version: 1,
        about: "let a model choose one of several answers about each record",
        page: page!("judge.rs"),
        inputs: &[
            Port { name: "model", arity: Arity::Model, about: "the model" },
            Port { name: "data", arity: Arity::One, about: "the records" },
            Port { name: "prompt", arity: Arity::Optional, about: "the prompt file" },
            Port { name: "template", arity: Arity::Optional, about: "a chat template, as a file" },
        ],
        outputs: &[
            Slot {
                name: "data",
                form: Form::Records,
                about: "the records that are kept, in order",
            },
            Slot {
                name: "ledger",
                form: Form::Records,
                about: "a line for each record, with reasons",
            },
        ],
        cuts: &["keep", "min_p"],
        numerics: true,
        shards: Some("data"),
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn limits(&self, params: &Params) -> Result<Vec<Limit>, StepError> {
        // Without `min_p` the choice itself decides, and no number does.
        let bounds = Bounds { min: params.min_p, max: None };
        let limit = (!params.keep.is_empty()).then(|| Limit::of(&params.into, bounds));
        Ok(limit.filter(|it| it.bounds.min.is_some()).into_iter().collect())
    }

    fn preview(&self, params: &Params, at: At<'_>) -> Result<Option<Preview>, StepError> {
        check(params)?;
        preview::chosen(&choosing(params, at.prompt()?), at)
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        check(params)?;
        let choosing = choosing(params, prompt_of(cx)?);
        let mut court = Court {
            params,
            counts: Counts::default(),
            data: Output::create(cx.output("data")?)?,
            ledger: Output::create(cx.output("ledger")?)?,
            buffer: Vec::new(),
        };
        choose_all(&choosing, &mut |it| court.take(it), cx)?;
        court.finish(cx)
    }
}

fn choosing(params: &Params, prompt: Option<Prompt>) -> Choosing<'_> {
    Choosing {
        kind: "judge",
        prompt,
        choices: &params.choices,
        end: if params.end { End::Counts } else { End::Ignored },
        template: params.template.as_deref(),
        columns: &params.columns,
        into: &params.into,
        max_seq_len: params.max_seq_len,
        on_overlong: params.on_overlong,
        writes: (params.mode == Mode::Text).then_some(params.max_new_tokens),
    }
}

fn check(params: &Params) -> Result<(), StepError> {
    let wrong = |reason: String| Err(StepError::Params { kind: "judge", reason });
    if let Some(it) = params.keep.iter().find(|it| !params.choices.contains(it)) {
        return wrong(format!("`keep` names `{it}`, which is none of the choices"));
    }
    match params.min_p {
        Some(_) if params.keep.is_empty() => wrong("`min_p` needs `keep`".to_owned()),
        Some(_) if params.mode == Mode::Text => {
            wrong("`min_p` and `mode = \"text\"` exclude each other".to_owned())
        }
        Some(it) if !(0.0..=1.0).contains(&it) => wrong(format!("`min_p` cannot be {it}")),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy, Default)]
struct Counts {
    kept: u64,
    overlong: u64,
    agree: u64,
    differ: u64,
    unclear: u64,
}

/// Decides about records, and writes it down.
struct Court<'a> {
    params: &'a Params,
    counts: Counts,
    data: Output,
    ledger: Output,
    buffer: Vec<u8>,
}

/// What is decided about a record.
struct Decision<'a> {
    choice: Option<&'a str>,
    /// The probability of what is kept.
    p: Option<f64>,
    margin: Option<f64>,
}

impl<'a> Court<'a> {
    fn take(&mut self, found: Found<'_>) -> Result<(), StepError> {
        let Found { line, mut map, weighed } = found;
        let params = self.params;
        let decision = self.decide(&weighed);
        let into = params.into.as_str();
        let overlong = weighed.log_probabilities.is_empty() && weighed.text.is_none();
        let fails: &[&str] = match overlong {
            true => &["overlong"],
            false if kept(params, &decision) => &[],
            false => &[into],
        };
        self.counts.overlong += u64::from(overlong);
        let margin_name = format!("{into}_margin");
        let values: Vec<(&str, f64)> =
            [(into, decision.p), (margin_name.as_str(), decision.margin)]
                .into_iter()
                .filter_map(|(name, it)| Some((name, it?)))
                .collect();
        self.buffer.clear();
        // The record was read before, so its fields can be read.
        let fields = Fields::parse(line);
        let named = fields
            .and_then(|it| Ok((it.id()?.into_owned(), it.source()?.map(|it| it.into_owned()))));
        let (id, source) = named.map_err(|it| StepError::Memo { reason: it.reason })?;
        Verdict { id: &id, source: source.as_deref(), fails, values: &values }
            .write(&mut self.buffer);
        self.ledger.bytes(&self.buffer)?;
        if fails.is_empty() {
            self.counts.kept += 1;
            add(&mut map, params, (&weighed, &decision));
            let line = serde_json::to_vec(&map).expect("texts and finite numbers are always JSON");
            self.data.line(&line)?;
        }
        Ok(())
    }

    fn decide(&mut self, weighed: &Weighed) -> Decision<'a> {
        let params: &'a Params = self.params;
        let likeliest = weighed.ranked().first().map(|it| params.choices[*it].as_str());
        let shares = weighed.shares();
        let of_kept = |(choice, p): (&String, &f64)| params.keep.contains(choice).then_some(*p);
        let p = match params.keep.is_empty() {
            _ if shares.is_empty() => None,
            true => shares.iter().copied().reduce(f64::max),
            false => Some(params.choices.iter().zip(&shares).filter_map(of_kept).sum()),
        };
        let choice = match (&weighed.text, params.mode) {
            (Some(text), Mode::Text) => {
                let said = read(text, &params.choices);
                self.counts.unclear += u64::from(said.is_none());
                // A server may say only what it writes.
                if let (Some(said), Some(likeliest)) = (said, likeliest) {
                    self.counts.agree += u64::from(said == likeliest);
                    self.counts.differ += u64::from(said != likeliest);
                }
                said
            }
            _ => likeliest,
        };
        Decision { choice, p: p.map(rounded), margin: weighed.margin().map(rounded) }
    }

    fn finish(self, cx: &mut Cx<'_>) -> Result<(), StepError> {
        self.data.finish()?;
        self.ledger.finish()?;
        cx.count("kept", self.counts.kept);
        cx.count("overlong", self.counts.overlong);
        if self.params.mode == Mode::Text {
            cx.count("agree", self.counts.agree);
            cx.count("differ", self.counts.differ);
            cx.count("unclear", self.counts.unclear);
        }
        Ok(())
    }
}

fn kept(params: &Params, decision: &Decision<'_>) -> bool {
    match (params.min_p, decision.p) {
        _ if params.keep.is_empty() => true,
        // What the ledger holds is what is compared.
        (Some(least), Some(p)) => p >= least,
        (Some(_), None) => false,
        (None, _) => decision.choice.is_some_and(|it| params.keep.iter().any(|kept| kept == it)),
    }
}

/// The only choice that stands in a text.
pub(super) fn read<'a>(text: &str, choices: &'a [String]) -> Option<&'a str> {
    let mut there = choices.iter().filter(|it| text.contains(it.as_str()));
    let first = there.next()?;
    there.next().is_none().then_some(first)
}

fn add(map: &mut Map<String, Value>, params: &Params, (weighed, it): (&Weighed, &Decision<'_>)) {
    let into = &params.into;
    let p: Map<String, Value> = params
        .choices
        .iter()
        .zip(weighed.shares())
        .map(|(choice, p)| (choice.clone(), p.into()))
        .collect();
    map.insert(into.clone(), it.choice.into());
    if !weighed.log_probabilities.is_empty() {
        let mass: f64 = weighed.log_probabilities.iter().map(|it| exp(it.max(-600.0))).sum();
        map.insert(format!("{into}_p"), p.into());
        map.insert(format!("{into}_margin"), it.margin.into());
        map.insert(format!("{into}_mass"), mass.into());
    }
    if let Some(text) = &weighed.text {
        map.insert(format!("{into}_text"), text.as_str().into());
    }
}

#[cfg(test)]
mod tests;
