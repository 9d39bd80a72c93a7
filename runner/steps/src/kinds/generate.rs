//! `generate`: a model answers each record, and no record is answered twice.
//!
//! ```toml
//! [steps.labels]
//! op     = "generate"
//! in     = { model = "${steps.label_model.model}", data = "${steps.raw.data}" }
//! with   = { columns = { prompt = "output" }, into = "instruction", max_new_tokens = 512 }
//! shards = 4
//! ```
//!
//! A record is a conversation in one of the forms that `sft` reads: `messages`; `conversations`;
//! `instruction` with `input`; `prompt`. `columns` gives the names that the data has for these. Answers at the end
//! of a record are left out: they are what the model is asked for.
//!
//! The conversation is rendered by the model's own chat template, or by `template`: `yi-chatml`, or
//! `plain`, which puts texts one after another and suits a base model; or by a file, the input `template`. Texts in a record never become
//! control tokens.
//!
//! An answer ends with a token that the model's files name as an end, with the token that ends answers
//! in the template, with one of the texts in `stop`, or at `max_new_tokens`. What is written is the record
//! with more fields; for `into = "generated"` these are
//!
//! - `generated`: the text, without what ended it;
//! - `generated_finish_reason`: `stop`, `length`, or `overlong` for a prompt that was skipped;
//! - `generated_tokens`, `generated_prompt_tokens`: how many;
//! - `generated_logprob`: the logarithm of its probability under the bare model.
//!
//! With `samples` above 1 each is a list.
//!
//! A temperature of 0 is greedy. Otherwise an answer's random numbers come from the seed and the
//! record's content, so it depends on neither place nor neighbours. Each answer is kept under its
//! record, the model and the parameters: a run that was killed goes on where it was, and records
//! that are added cost only themselves. Equal records get equal answers.
//!
//! The model may be one that a server has, instead of a folder: here, and in `label`, `refine`, `answer`, `judge` and
//! `classify`.
//!
//! ```toml
//! [models]
//! big = { endpoint = "http://127.0.0.1:8000/v1", model = "yi-34b", key_env = "LAB_KEY", requests_per_minute = 600 }
//!
//! [steps.answers]
//! op   = "generate"
//! in   = { model = "${models.big}", data = "${steps.raw.data}" }
//! with = { max_new_tokens = 512, temperature = 0.5, repetition_penalty = 1.2 }
//! ```
//!
//! The server is asked as OpenAI's are, at `/chat/completions`; vLLM and llama.cpp answer so. It renders its own
//! template: `template` and `max_seq_len` are refused. `top_k`, `min_p`, `repetition_penalty` and
//! `min_new_tokens` go along under vLLM's names where they say something; what a server does not know it refuses, which
//! fails the step with its own words, or passes over, which nobody can see from here: the step's log
//! says which went along. Tokens are counted as the server counts them; `generated_logprob` is null where it gives
//! none. What may pass (429, 408, 5xx, no connection, no answer in time, an answer that is none) is tried again, up
//! to `retries` times, later each time, and not before `Retry-After`. The address and the model's name are in
//! the key; the server's key, `concurrency`, `requests_per_minute`, `retries` and `timeout` are not. The
//! variable `key_env` must be set when something is asked, and its value is written nowhere. With `https`
//! Mozilla's authorities are trusted, or those in the file that `SSL_CERT_FILE` names.

use kernels::ops::sample::Sampling;
use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::asking::{Asking, Conversations, OnOverlong, Settings, ask_all};
use crate::model::How;
use crate::model::record::Columns;
use crate::page::page;
use crate::preview::{self, At, Preview};
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Generate;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The longest answer, in tokens.
    #[schemars(range(min = 1))]
    max_new_tokens: usize,
    /// The shortest: before it no token ends an answer.
    #[serde(default)]
    min_new_tokens: usize,
    /// How freely tokens are picked; 0 always takes the likeliest.
    #[serde(default)]
    temperature: f32,
    /// Only the likeliest tokens, this many; 0 is all.
    #[serde(default)]
    top_k: usize,
    /// Only the likeliest tokens that have this much probability together.
    #[serde(default = "one")]
    top_p: f32,
    /// Only tokens that are at least this likely, measured by the likeliest.
    #[serde(default)]
    min_p: f32,
    /// How much less likely a token becomes that occurred already.
    #[serde(default = "one")]
    repetition_penalty: f32,
    /// How many answers to each record.
    #[serde(default = "one_sample")]
    #[schemars(range(min = 1, max = 4096))]
    samples: u32,
    /// Texts that end an answer.
    #[serde(default)]
    stop: Vec<String>,
    /// The name of a built-in chat template; nothing: the model's own.
    template: Option<String>,
    /// What the data calls the fields, by our names.
    #[serde(default)]
    columns: Columns,
    /// The field for the text, and the first part of the names of the others.
    #[serde(default = "default_into")]
    into: String,
    /// The longest prompt and answer together; nothing: what the model was made for.
    #[schemars(range(min = 2))]
    max_seq_len: Option<usize>,
    /// What becomes of a prompt that leaves no room for an answer.
    #[serde(default)]
    on_overlong: OnOverlong,
    /// How many answers are on their way at once.
    #[serde(default = "default_rows")]
    #[schemars(range(min = 1, max = 4096))]
    rows: usize,
}

fn one() -> f32 {
    1.0
}

fn one_sample() -> u32 {
    1
}

fn default_into() -> String {
    "generated".to_owned()
}

fn default_rows() -> usize {
    32
}

impl Kind for Generate {
    const SPEC: KindSpec = KindSpec {
        name: "generate",
        version: 1,
        about: "answer each record with a model, each once",
        page: page!("generate.rs"),
        inputs: &[
            Port { name: "model", arity: Arity::Model, about: "the model" },
            Port { name: "data", arity: Arity::One, about: "the records" },
            Port { name: "template", arity: Arity::Optional, about: "a chat template, as a file" },
        ],
        outputs: &[Slot {
            name: "data",
            form: Form::Records,
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
        let (settings, prompt) = (params.settings(at.seed()?), None);
        preview::asked(&Asking { settings, prompt, form: &Conversations }, at)
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let prompt = None;
        let settings = params.settings(cx.seed()?);
        ask_all(&Asking { settings, prompt, form: &Conversations }, cx)
    }
}

impl Params {
    fn settings(&self, seed: u64) -> Settings<'_> {
        Settings {
            kind: "generate",
            how: how(self, seed),
            template: self.template.as_deref(),
            columns: &self.columns,
            into: &self.into,
            max_seq_len: self.max_seq_len,
            on_overlong: self.on_overlong,
            rows: self.rows,
        }
    }
}

fn how(params: &Params, seed: u64) -> How {
    How {
        sampling: Sampling {
            temperature: params.temperature,
            top_k: params.top_k,
            top_p: params.top_p,
            min_p: params.min_p,
            repetition_penalty: params.repetition_penalty,
        },
        seed,
        max_new_tokens: params.max_new_tokens,
        min_new_tokens: params.min_new_tokens,
        samples: params.samples,
        stop_ids: Vec::new(),
        stop_texts: params.stop.iter().filter(|it| !it.is_empty()).cloned().collect(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
