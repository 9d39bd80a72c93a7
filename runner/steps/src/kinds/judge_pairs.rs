//! `judge_pairs`: a model compares the answers of others, two at a time, as one more annotator of a study.
//!
//! ```toml
//! [steps.judged]
//! op   = "judge_pairs"
//! in   = { model = "${steps.chat.model}", study = "${steps.comparison.study}", prompt = "prompts/pairs.jinja" }
//! with = { name = "chat", template = "kun" }
//!
//! [steps.people]
//! op   = "annotations"
//! in   = { study = "votes/comparison.jsonl", votes = "${steps.judged.votes}" }
//! ```
//!
//! `study` is one of `kun annotate` or of the kind `study` in which answers are compared; what people said in it
//! is not looked at. Each pair is asked about twice, each answer once in the first place: the prompt file gets the
//! texts that the study shows, by their fields' names, and the answers `a` and `b`. `choices` are what
//! the model may say: that `a` is better, that `b` is, and, where there is a third, that they are equally good.
//!
//! How the choice is made, and what an endpoint must be able to do, is as in `judge`: by the full probability of
//! each choice, or with `mode = "text"` by the one that stands in what the model writes.
//!
//! **A model that says another thing when the answers change places has not decided.** The same model both times wins;
//! everything else is a tie: two ties, a tie and a win, a win for either place, and an answer that is none of the
//! choices. A study whose form has no tie gets no vote there.
//!
//! `votes` are in the shape of `kun annotate --import`, with `by = "model"`: `annotations` shows them
//! beside those of people and never among them. `asked` has a record for each pair: the
//! models, what was said in both orders with its probabilities, and whether it was `consistent`. `metrics`: `pairs`;
//! `consistent`, the share of pairs with the same choice both times; `first`, the share of decided answers that chose
//! the first place, a half where the place means nothing; `first_both` and `second_both`, the shares of pairs whose
//! choice followed the place; `ties`; all with Wilson's intervals of 95 %. `skipped` are pairs that were too long.
//!
//! A question is asked once: what is known is kept under its texts, the model, the prompt and the parameters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use annotate::{By, Journal, Study, Unit, Vote};
use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::annotations::step_error;
use super::judge::{Mode, read};
use crate::asking::{OnOverlong, prompt_of};
use crate::choosing::{Choosing, End, Weighed, choose_all};
use crate::model::Prompt;
use crate::model::record::Columns;
use crate::page::page;
use crate::records::{Output, write_metrics};
use crate::statistics::{interval, rounded};
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct JudgePairs;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// What the model is called among the annotators.
    #[serde(default = "default_name")]
    name: String,
    /// The possible answers: the first is better, the second is, and perhaps that they are equal.
    #[serde(default = "default_choices")]
    choices: Vec<String>,
    /// The question of the study that is answered (default: the first).
    question: Option<String>,
    /// How the choice is made.
    #[serde(default)]
    mode: Mode,
    /// The longest answer with `mode = "text"`, in tokens.
    #[serde(default = "default_max_new_tokens")]
    #[schemars(range(min = 1))]
    max_new_tokens: usize,
    /// The name of a built-in chat template; nothing: the model's own.
    template: Option<String>,
    /// The longest question and answer together; nothing: what the model was made for.
    #[schemars(range(min = 2))]
    max_seq_len: Option<usize>,
    /// What becomes of a pair that is longer.
    #[serde(default)]
    on_overlong: OnOverlong,
}

fn default_name() -> String {
    "judge".to_owned()
}

fn default_choices() -> Vec<String> {
    ["【A】", "【B】", "【平】"].map(str::to_owned).to_vec()
}

fn default_max_new_tokens() -> usize {
    256
}

impl Kind for JudgePairs {
    const SPEC: KindSpec = KindSpec {
        name: "judge_pairs",
        version: 1,
        about: "let a model compare answers two at a time, in both orders",
        page: page!("judge_pairs.rs"),
        inputs: &[
            Port { name: "model", arity: Arity::Model, about: "the model" },
            Port { name: "study", arity: Arity::One, about: "a study that compares answers" },
            Port { name: "prompt", arity: Arity::One, about: "the prompt file" },
            Port { name: "template", arity: Arity::Optional, about: "a chat template, as a file" },
        ],
        outputs: &[
            Slot { name: "votes", form: Form::Records, about: "a vote for each pair" },
            Slot { name: "asked", form: Form::Records, about: "what was said in both orders" },
            Slot { name: "metrics", form: Form::Metrics, about: "how far the place decided" },
        ],
        numerics: true,
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let path = cx.input("study")?.to_owned();
        let study = Journal::seen(&path).map_err(|it| step_error(it, &path))?.study;
        let question = check(params, &study)?;
        let pairs = write_pairs(&study, &cx.state)?;
        cx.inputs.insert("data".to_owned(), vec![pairs]);
        let mut said = Vec::new();
        let mut take = |found: crate::choosing::Found<'_>| {
            said.push(Said::of(&found.weighed, params));
            Ok(())
        };
        let columns = Columns::new();
        choose_all(&choosing(params, prompt_of(cx)?, &columns), &mut take, cx)?;
        let has_tie = question.choices.iter().any(|it| it.id == TIE);
        let mut ruling =
            Ruling { params, question: &question.id, has_tie, ..Ruling::new(params, cx)? };
        for (unit, both) in study.units.iter().zip(said.chunks_exact(2)) {
            ruling.rule(unit, both)?;
        }
        ruling.finish(cx)
    }
}

const TIE: &str = "tie";
/// What `choosing` calls the choice; no study can show a field of this name twice.
const INTO: &str = "judge_pairs";

fn choosing<'a>(params: &'a Params, prompt: Option<Prompt>, columns: &'a Columns) -> Choosing<'a> {
    Choosing {
        kind: "judge_pairs",
        prompt,
        choices: &params.choices,
        end: End::Counts,
        template: params.template.as_deref(),
        columns,
        into: INTO,
        max_seq_len: params.max_seq_len,
        on_overlong: params.on_overlong,
        writes: (params.mode == Mode::Text).then_some(params.max_new_tokens),
    }
}

/// The question that is answered.
fn check<'a>(params: &Params, study: &'a Study) -> Result<&'a annotate::Question, StepError> {
    let wrong = |reason: String| StepError::Params { kind: "judge_pairs", reason };
    let form = &study.head.form;
    if !form.compares() {
        return Err(wrong("the study rates records and compares no answers".to_owned()));
    }
    if !(2..=3).contains(&params.choices.len()) {
        return Err(wrong("`choices` must be two or three".to_owned()));
    }
    if let Some(it) = form.shown.iter().find(|it| ["a", "b"].contains(&it.field.as_str())) {
        return Err(wrong(format!("the study shows `{}`, as an answer is called", it.field)));
    }
    if study.head.annotators.iter().chain(&study.head.adjudicator).any(|it| *it == params.name) {
        return Err(wrong(format!("somebody in the study is called `{}`", params.name)));
    }
    let Some(asked) = &params.question else { return Ok(&form.questions[0]) };
    let found = form.questions.iter().find(|it| it.id == *asked);
    found.ok_or_else(|| wrong(format!("`question`: the study does not ask `{asked}`")))
}

/// All questions as records, each pair in both orders.
fn write_pairs(study: &Study, folder: &Path) -> Result<PathBuf, StepError> {
    std::fs::create_dir_all(folder).map_err(StepError::io(folder))?;
    let path = folder.join("pairs.jsonl");
    let mut output = Output::create(&path)?;
    for unit in &study.units {
        let item = &study.items[unit.item];
        let texts: Vec<&String> =
            unit.pair.iter().flatten().filter_map(|it| item.answers.get(it)).collect();
        let [first, second] = texts[..] else { continue };
        let fields = study.head.form.shown.iter().map(|it| it.field.clone());
        let shown: Map<String, Value> =
            fields.zip(item.shown.iter().map(|it| it.as_str().into())).collect();
        for (a, b) in [(first, second), (second, first)] {
            let mut record = shown.clone();
            record.insert("a".to_owned(), a.as_str().into());
            record.insert("b".to_owned(), b.as_str().into());
            output.line(Value::Object(record).to_string().as_bytes())?;
        }
    }
    output.finish()?;
    Ok(path)
}

/// What the model said to one order.
#[derive(Clone, Debug)]
struct Said {
    /// The place of the choice.
    choice: Option<usize>,
    shares: Vec<f64>,
    text: Option<String>,
    overlong: bool,
}

impl Said {
    fn of(weighed: &Weighed, params: &Params) -> Self {
        let likeliest = weighed.ranked().first().copied();
        let choice = match (&weighed.text, params.mode) {
            (Some(text), Mode::Text) => read(text, &params.choices)
                .and_then(|said| params.choices.iter().position(|it| it == said)),
            _ => likeliest,
        };
        let overlong = weighed.log_probabilities.is_empty() && weighed.text.is_none();
        let shares = if overlong { Vec::new() } else { weighed.shares() };
        let text = weighed.text.clone();
        Self { choice, shares: shares.into_iter().map(rounded).collect(), text, overlong }
    }

    /// As a record: the choice by its name.
    fn shown(&self, choices: &[String]) -> Value {
        let p: Map<String, Value> =
            choices.iter().cloned().zip(self.shares.iter().map(|it| (*it).into())).collect();
        let mut row = json!({ "choice": self.choice.map(|it| &choices[it]) });
        if !p.is_empty() {
            row["p"] = p.into();
        }
        if let Some(text) = &self.text {
            row["text"] = text.as_str().into();
        }
        row
    }
}

#[derive(Default)]
struct Counts {
    pairs: u64,
    skipped: u64,
    consistent: u64,
    ties: u64,
    /// Answers that named a place, and those of them that named the first.
    decided: u64,
    first: u64,
    first_both: u64,
    second_both: u64,
}

/// Makes a vote of what was said in both orders.
struct Ruling<'a> {
    params: &'a Params,
    question: &'a str,
    has_tie: bool,
    counts: Counts,
    votes: Output,
    asked: Output,
}

impl<'a> Ruling<'a> {
    fn new(params: &'a Params, cx: &Cx<'_>) -> Result<Self, StepError> {
        Ok(Self {
            params,
            question: "",
            has_tie: true,
            counts: Counts::default(),
            votes: Output::create(cx.output("votes")?)?,
            asked: Output::create(cx.output("asked")?)?,
        })
    }

    fn rule(&mut self, unit: &Unit, both: &[Said]) -> Result<(), StepError> {
        let (Some([a, b]), [there, back]) = (&unit.pair, both) else { return Ok(()) };
        if there.overlong || back.overlong {
            self.counts.skipped += 1;
            return Ok(());
        }
        let models = [a, b];
        // In the second order the first place is the second model's.
        let (one, other) = (there.choice, back.choice);
        let swapped = other.map(|it| if it < 2 { 1 - it } else { it });
        let consistent = one.is_some() && one == swapped;
        let winner = one.filter(|it| consistent && *it < 2).map(|it| models[it]);
        self.count(one, other, (consistent, winner.is_none()));
        let answer = winner.map(String::as_str).or(self.has_tie.then_some(TIE));
        let choices = &self.params.choices;
        let row = json!({
            "id": unit.id, "models": unit.pair, "answer": answer, "consistent": consistent,
            "there": there.shown(choices), "back": back.shown(choices),
        });
        self.asked.line(row.to_string().as_bytes())?;
        let Some(answer) = answer else { return Ok(()) };
        let vote = Vote {
            annotator: self.params.name.clone(),
            by: By::Model,
            unit: Some(unit.id.clone()),
            answers: Some(BTreeMap::from([(self.question.to_owned(), answer.to_owned())])),
            ..Vote::default()
        };
        self.votes.line(json!(vote).to_string().as_bytes())
    }

    fn count(&mut self, one: Option<usize>, other: Option<usize>, ruled: (bool, bool)) {
        let (consistent, tie) = ruled;
        let counts = &mut self.counts;
        counts.pairs += 1;
        counts.consistent += u64::from(consistent);
        counts.ties += u64::from(tie);
        for it in [one, other].into_iter().flatten().filter(|it| *it < 2) {
            counts.decided += 1;
            counts.first += u64::from(it == 0);
        }
        counts.first_both += u64::from([one, other] == [Some(0); 2]);
        counts.second_both += u64::from([one, other] == [Some(1); 2]);
    }

    fn finish(self, cx: &mut Cx<'_>) -> Result<(), StepError> {
        self.votes.finish()?;
        self.asked.finish()?;
        let it = self.counts;
        let mut metrics = Map::new();
        metrics.insert("pairs".to_owned(), it.pairs.into());
        metrics.insert("skipped".to_owned(), it.skipped.into());
        let shares = [
            ("consistent", it.consistent, it.pairs),
            ("first", it.first, it.decided),
            ("first_both", it.first_both, it.pairs),
            ("second_both", it.second_both, it.pairs),
            ("ties", it.ties, it.pairs),
        ];
        for (name, part, n) in shares.into_iter().filter(|it| it.2 > 0) {
            let (low, high) = interval(part, n);
            metrics.insert(name.to_owned(), rounded(part as f64 / n as f64).into());
            metrics.insert(format!("{name}_low"), rounded(low).into());
            metrics.insert(format!("{name}_high"), rounded(high).into());
        }
        write_metrics(&metrics, cx)?;
        cx.count("pairs", it.pairs);
        cx.count("consistent", it.consistent);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
