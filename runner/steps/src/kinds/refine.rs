//! `refine`: a model answers an instruction anew, with the passage known: answer polishment.
//!
//! ```toml
//! [sources]
//! refine_prompt = { path = "prompts/refine.jinja" }
//!
//! [steps.polished]
//! op     = "refine"
//! in     = { model = "${steps.chat.model}", data = "${steps.good.data}", prompt = "${sources.refine_prompt}" }
//! with   = { template = "kun" }
//! shards = 4
//! ```
//!
//! The record has an `instruction`, and in `output` the passage that it was made for. Without a prompt file the
//! question is `OUTPUT,请回答:INSTRUCTION`, and the words before it come from the chat template, such as
//! `kun-answer`.
//!
//! The instruction is cut as the authors' code cuts it: it and the passage may have `budget` tokens
//! together, counted with the English words that the code adds for counting. What the passage takes is
//! not there for the instruction; where it takes more than all, as many tokens as it takes too much are
//! cut off the instruction's end. `budget = 0` cuts nothing, and is needed where the model is an endpoint. The instruction as it was asked is in the
//! field `refined_instruction`; `refined` is the new answer.
//!
//! Sampling is that of the authors' code unless something else is said: temperature 0.5, `top_p` 0.95,
//! a repetition penalty of 1.2, at most 1024 tokens. Answers end, are kept and are named as those of
//! `generate` are: each record is asked about once, and a run that was killed goes on where it was.

use plan::KindSpec;
use plan::kind::{Arity, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::asking::{Asking, Form, Subject, ask_all, asking_params, prompt_of};
use crate::model::record::{Record, Unfit};
use crate::model::{Controlled, Conversation, TextError, Tokenizer};
use crate::page::page;
use crate::preview::{self, At, Preview};
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Refine;

asking_params!("refine", "refined" {
    /// How many tokens passage and instruction may have together; 0: as many as they have.
    #[serde(default = "default_budget")]
    budget: usize,
});

fn default_budget() -> usize {
    512
}

impl Kind for Refine {
    const SPEC: KindSpec = KindSpec {
        name: "refine",
        version: 1,
        about: "answer each instruction anew, with the passage known",
        page: page!("refine.rs"),
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
        preview::asked(&Asking { settings, prompt, form: &Known { budget: params.budget } }, at)
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        if cx.server("model").is_some() && params.budget > 0 {
            let reason = "an endpoint has no tokenizer to count with: `budget` must be 0";
            return Err(StepError::Params { kind: "refine", reason: reason.to_owned() });
        }
        let (settings, prompt) = (params.settings(cx.seed()?), prompt_of(cx)?);
        ask_all(&Asking { settings, prompt, form: &Known { budget: params.budget } }, cx)
    }
}

/// The passage is known, the instruction is asked.
struct Known {
    budget: usize,
}

/// What the authors' code puts behind the passage where it counts.
const COUNTED: &str = ",Combining the above information. Please answer the question";

impl Form for Known {
    fn question(
        &self,
        subject: &Subject<'_>,
        map: &mut Map<String, Value>,
    ) -> Result<Conversation, Unfit> {
        let record = subject.record;
        let (output, instruction) = (record.text_of("output")?, record.text_of("instruction")?);
        let cut = match subject.tokenizer {
            Some(it) => cut(it, (output, instruction), self.budget),
            None => Ok(instruction.to_owned()),
        };
        let cut = cut.map_err(|it| Unfit::new(it.to_string()))?;
        let name = record.name("instruction");
        let asked = format!("{}_instruction", subject.into);
        if map.insert(asked.clone(), cut.as_str().into()).is_some() {
            return Err(Unfit::field(asked, "is there already"));
        }
        match subject.prompt {
            Some(it) => {
                let mut fields = record.map.clone();
                fields.insert(name, cut.into());
                it.question(Record { map: &fields, columns: record.columns })
            }
            None => Ok(Conversation::pair(None, &format!("{output},请回答:{cut}"), None)),
        }
    }
}

/// The instruction, as far as the passage leaves room for it.
fn cut(
    tokenizer: &Tokenizer,
    (output, instruction): (&str, &str),
    budget: usize,
) -> Result<String, TextError> {
    let ids = tokenizer.encode_plain(instruction)?;
    let taken = tokenizer.encode_plain(&format!("{output}{COUNTED}"))?.len();
    let room = kept(ids.len(), taken, budget);
    if budget == 0 || room >= ids.len() {
        return Ok(instruction.to_owned());
    }
    tokenizer.decode(&ids[..room], Controlled::Shown)
}

/// How many of `n` tokens stay where the passage takes `taken` of `budget`.
fn kept(n: usize, taken: usize, budget: usize) -> usize {
    match budget.checked_sub(taken) {
        Some(room) => n.min(room),
        None => n.saturating_sub(taken - budget),
    }
}

#[cfg(test)]
mod tests;
