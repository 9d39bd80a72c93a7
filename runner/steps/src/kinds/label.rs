//! `label`: a model says which instruction a passage answers.
//!
//! ```toml
//! [sources]
//! label_prompt = { path = "prompts/label.jinja" }
//!
//! [steps.labels]
//! op     = "label"
//! in     = { model = "${steps.label_model.model}", data = "${steps.raw.data}", prompt = "${sources.label_prompt}" }
//! with   = { columns = { output = "text" }, template = "kun" }
//! shards = 4
//! ```
//!
//! The model is one that `sft` trained with `direction = "backward"`. It is asked with the file `prompt`
//! filled in, or, where there is none, with the field `output` alone: then the prompt's words come from the
//! chat template, such as `kun-label`.
//!
//! Sampling is that of the authors' code unless something else is said: temperature 0.5, `top_p` 0.95,
//! a repetition penalty of 1.2, at most 1024 tokens. Answers end, are kept and are named as those of
//! `generate` are: each record is asked about once, and a run that was killed goes on where it was.
//! The record gets one more field than there, `instruction_ppl`: the perplexity of the answer under the bare
//! model, its end included, for thresholds (the method takes 10); null where an endpoint gives no log-probabilities. `instruction_tokens` is its length.

use plan::KindSpec;
use plan::kind::{Arity, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::asking::{self, Asking, Form, Subject, ask_all, asking_params, each, prompt_of};
use crate::kinds::score_text::exp;
use crate::model::record::Unfit;
use crate::model::{Answer, Conversation};
use crate::page::page;
use crate::preview::{self, At, Preview};
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Label;

asking_params!("label", "instruction" {});

impl Kind for Label {
    const SPEC: KindSpec = KindSpec {
        name: "label",
        version: 1,
        about: "ask a model which instruction each passage answers",
        page: page!("label.rs"),
        inputs: &[
            Port { name: "model", arity: Arity::Model, about: "the model" },
            Port { name: "data", arity: Arity::One, about: "the records" },
            Port { name: "prompt", arity: Arity::Optional, about: "the prompt file" },
            Port { name: "template", arity: Arity::Optional, about: "a chat template, as a file" },
        ],
        outputs: &[Slot {
            name: "data",
            form: plan::kind::Form::Records,
            about: "the records with their answers, in order",
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
        let (settings, prompt) = (params.settings(at.seed()?), at.prompt()?);
        preview::asked(&Asking { settings, prompt, form: &Passages }, at)
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let (settings, prompt) = (params.settings(cx.seed()?), prompt_of(cx)?);
        ask_all(&Asking { settings, prompt, form: &Passages }, cx)
    }
}

/// The passage is the question.
struct Passages;

impl Form for Passages {
    fn question(
        &self,
        subject: &Subject<'_>,
        _: &mut Map<String, Value>,
    ) -> Result<Conversation, Unfit> {
        match subject.prompt {
            Some(it) => it.question(subject.record),
            None => Ok(Conversation::pair(None, subject.record.text_of("output")?, None)),
        }
    }

    fn add(&self, map: &mut Map<String, Value>, into: &str, answers: &[Answer]) {
        asking::add(map, into, answers);
        map.insert(format!("{into}_ppl"), each(answers, &|it| perplexity(it).into()));
    }
}

/// None where nothing was written.
fn perplexity(answer: &Answer) -> Option<f64> {
    let n_tokens = answer.weighed_tokens.unwrap_or(answer.tokens);
    answer.logprob.filter(|_| n_tokens > 0).map(|it| exp(-it / n_tokens as f64))
}

#[cfg(test)]
pub(crate) mod tests;
