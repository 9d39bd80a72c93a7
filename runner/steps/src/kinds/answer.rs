//! `answer`: a model answers prompts, as the method's authors have it answer.
//!
//! ```toml
//! [steps.replies]
//! op   = "answer"
//! in   = { model = "${steps.final.model}", data = "${sources.prompts}" }
//! with = { into = "reply" }
//! ```
//!
//! A record is a conversation in one of the forms that `sft` reads, without the answers at its end; or
//! the file `prompt` makes the question of its fields.
//!
//! Sampling is that of the authors' code unless something else is said: temperature 0.5, `top_p` 0.95,
//! a repetition penalty of 1.2, at most 1024 tokens. Answers end, are kept and are named as those of
//! `generate` are: each record is asked about once, and a run that was killed goes on where it was.

use plan::KindSpec;
use plan::kind::{Arity, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::asking::{Asking, Conversations, ask_all, asking_params, prompt_of};
use crate::page::page;
use crate::preview::{self, At, Preview};
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct AnswerKind;

asking_params!("answer", "answer" {});

impl Kind for AnswerKind {
    const SPEC: KindSpec = KindSpec {
        name: "answer",
        version: 1,
        about: "answer prompts with a model, as the method's authors do",
        page: page!("answer.rs"),
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
        preview::asked(&Asking { settings, prompt, form: &Conversations }, at)
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let (settings, prompt) = (params.settings(cx.seed()?), prompt_of(cx)?);
        ask_all(&Asking { settings, prompt, form: &Conversations }, cx)
    }
}
