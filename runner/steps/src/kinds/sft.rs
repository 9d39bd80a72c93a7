//! `sft`: trains a model on conversations, to write the answers.
//!
//! ```toml
//! [steps.chat]
//! op   = "sft"
//! in   = { model = "${steps.base.model}", data = ["${steps.seed.data}"] }
//! with = { learning_rate = 1e-5, epochs = 4, batch_size = 32, max_seq_len = 2048 }
//! ```
//!
//! A record is a conversation in one of the forms that people have:
//!
//! - `{"messages": [{"role": "user", "content": ".."}, {"role": "assistant", ..}], "tools": [..]}`;
//! - `{"conversations": [{"from": "human", "value": ".."}, {"from": "gpt", ..}], "system": ".."}`;
//! - `{"instruction": "..", "input": "..", "output": "..", "system": "..", "history": [[".."], ..]}`;
//! - `{"prompt": "..", "completion": ".."}`, or `chosen` for `completion`.
//!
//! `columns` gives the names that the data has for these. `direction = "backward"` trains a model to
//! guess the question: of a record with one question and its answer, the answer is what is read and
//! the question what is written. Such a model is what `label` asks.
//!
//! The conversation is rendered by `template`, or by the model's own; a model that has none gets
//! `yi-chatml`. Built in are also `plain`, and four as the code of the Kun method writes them: `kun`, with
//! no line feed behind the word `user`; `kun-label`, `kun-point` and `kun-answer`, which are `kun` with
//! the method's words for labelling, scoring and polishing before each of the user's messages. A template of your own
//! is a file, given as the input `template`: Jinja as `transformers` has it, with `messages` and
//! `add_generation_prompt`. It must show where an answer begins and put a control token behind it, or it is refused
//! before anything is trained. Texts in a record never become control tokens. The loss counts the tokens of the
//! assistant's answers and the token that ends each; everything else is only read. With
//! `loss_on = "all"` everything counts. `kun model inspect MODEL --tokens FILE` shows which tokens
//! that are. The mean is over all counted tokens of a step, however they lie in rows.
//!
//! A record that is longer than `max_seq_len` is cut, left out or refused (`on_overlong`); how many
//! were is said, and what is left out goes to `dropped` with its reason. A record of which nothing
//! counts is refused: it would teach nothing, and mostly is a mistake.
//!
//! The model's folder says that the template's end token ends an answer (`generation_config.json`)
//! and holds the template, so that other programs ask it as it was trained.
//!
//! Runs write checkpoints, by time and with `save_steps`, and go on from them: a run that was killed
//! ends with the same bytes as one that was not. `log` has a line for each step: loss, learning rate,
//! gradient norm, tokens. A loss or gradient that is no number stops the run at once; the batch is kept.

use std::path::{Path, PathBuf};

use kernels::decoder::Save;
use kernels::decoder::save::Extra;
use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kinds::score_text::On;
use crate::model::record::{Record, Unfit};
use crate::model::{self, Chat, Conversation, ModelFolder, Sample, Template};
use crate::page::page;
use crate::preview::{self, At, Preview};
use crate::records::Progress;
use crate::texts::{Texts, check_columns};
use crate::training::{self, Dropped, Gathered, Job, Settled, training_params};
use crate::{Cx, Kind, Say, StepError, params_of};

pub(crate) struct Sft;

training_params!("sft" {
    /// The name of a built-in chat template; nothing: the model's own, or else `yi-chatml`.
    template: Option<String>,
    /// Whether answers are written to questions, or questions to answers.
    #[serde(default)]
    direction: Direction,
    /// Which tokens count in the loss.
    #[serde(default)]
    loss_on: On,
    /// What becomes of a record that is longer than `max_seq_len`.
    #[serde(default)]
    on_overlong: OnOverlong,
    /// How many questions the model is asked at each measurement, to show in a report how its answers
    /// change: of the records that are only measured, or else of the others. It needs room for the
    /// weights once more.
    #[serde(default)]
    #[schemars(range(max = 64))]
    sample_generations: usize,
});

/// What is read and what is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    /// The question is read, the answer written.
    #[default]
    Forward,
    /// The answer is read, the question written.
    Backward,
}

impl Direction {
    fn of(self, record: Record<'_>) -> Result<Conversation, Unfit> {
        record.check_wanted()?;
        let conversation = record.conversation()?;
        match self {
            Direction::Forward => Ok(conversation),
            Direction::Backward => {
                conversation.turned_round().map_err(|it| Unfit::new(it.to_string()))
            }
        }
    }
}

/// What becomes of a record that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnOverlong {
    /// Its end is cut off.
    #[default]
    Truncate,
    /// It is left out.
    Drop,
    /// The step fails and names it.
    Error,
}

/// The outputs of a kind that trains.
pub(crate) const OUTPUTS: &[Slot] = &[
    Slot { name: "model", form: Form::Model, about: "the trained model" },
    Slot { name: "log", form: Form::Records, about: "a line for each step and measurement" },
    Slot { name: "metrics", form: Form::Metrics, about: "steps and the last losses" },
    Slot { name: "dropped", form: Form::Records, about: "what was left out, with reasons" },
];

impl Kind for Sft {
    const SPEC: KindSpec = KindSpec {
        name: "sft",
        version: 2,
        about: "train a model on conversations, to write the answers",
        page: page!("sft.rs"),
        inputs: &[
            Port { name: "model", arity: Arity::One, about: "the model to begin with" },
            Port { name: "data", arity: Arity::Many, about: "the conversations" },
            Port { name: "template", arity: Arity::Optional, about: "a chat template, as a file" },
        ],
        outputs: OUTPUTS,
        unkeyed: &["save_steps", "gradient_checkpointing", "micro_batch_tokens"],
        draws: true,
        numerics: true,
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn preview(&self, params: &Params, at: At<'_>) -> Result<Option<Preview>, StepError> {
        check_columns("sft", &params.columns)?;
        let folder = ModelFolder::open(at.input("model")?)?;
        let most = params.common().settle(&folder.config, at.seed()?)?.max_seq_len;
        let file = at.inputs.get("template").and_then(|it| it.first());
        let template = template(params, &folder, file.map(PathBuf::as_path))?;
        let chat = Chat { tokenizer: &folder.tokenizer, template: &template };
        let mut before = 0;
        for path in at.inputs.get("data").into_iter().flatten() {
            let mut texts = Texts::open(path, &params.columns)?;
            texts.skip(at.record.saturating_sub(before + 1))?;
            let read = texts.next(|it| params.direction.of(it))?;
            let Some(conversation) = read else {
                before += texts.line();
                continue;
            };
            let mut sample = chat.sample(&conversation, params.loss_on.loss())?;
            let note = cut(params, &mut sample, most);
            return preview::trained(chat, (&conversation, &sample), most, note).map(Some);
        }
        Ok(None)
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        check_columns("sft", &params.columns)?;
        let folder = ModelFolder::open(cx.input("model")?)?;
        let seed = cx.seed()?;
        let settled = params.common().settle(&folder.config, seed)?;
        let file = cx.inputs("template").first().map(PathBuf::as_path);
        let template = template(params, &folder, file)?;
        let chat = Chat { tokenizer: &folder.tokenizer, template: &template };
        let mut dropped = Dropped::create(cx.output("dropped")?)?;
        let gathered = gather(params, &settled, chat, &mut dropped, cx)?;
        say(&gathered, &dropped, cx);
        dropped.finish()?;
        let data = training::split(gathered, settled.val_size, seed);
        let mut save = Save::new(settled.dtype);
        save.files = model::text_files(&folder.path, Some(&template))?;
        let mut ends = folder.config.clone();
        ends.eos = folder.stop_ids(&template);
        let generation = Extra::Bytes(ends.generation_json().into_bytes());
        save.files.insert("generation_config.json".to_owned(), generation);
        let weights = folder.weights()?;
        let stop_ids = folder.stop_ids(&template);
        let manner = training::Manner {
            n: params.sample_generations,
            tokenizer: &folder.tokenizer,
            stop_ids,
        };
        let shown = (params.sample_generations > 0).then_some(manner);
        let job = Job { settled, config: &folder.config, weights: &weights, data, save, shown };
        training::run(job, cx)
    }
}

fn template(
    params: &Params,
    folder: &ModelFolder,
    file: Option<&Path>,
) -> Result<Template, StepError> {
    if let Some(it) = file {
        let template = Template::chosen(it, params.template.as_deref())?;
        Chat { tokenizer: &folder.tokenizer, template: &template }.check_answers()?;
        return Ok(template);
    }
    if let Some(name) = &params.template {
        return Ok(Template::built_in(name)?);
    }
    match Template::of_folder(&folder.path)? {
        Some(it) => Ok(it),
        None => Ok(Template::built_in("yi-chatml")?),
    }
}

fn gather(
    params: &Params,
    settled: &Settled,
    chat: Chat<'_>,
    dropped: &mut Dropped,
    cx: &mut Cx<'_>,
) -> Result<Gathered, StepError> {
    let mut gathered = Gathered::default();
    let mut progress = Progress::new("records", None);
    for path in cx.inputs("data").to_vec() {
        let mut texts = Texts::open(&path, &params.columns)?;
        while let Some((conversation, map)) =
            texts.next(|it| Ok((params.direction.of(it)?, it.map.clone())))?
        {
            cx.check_stop()?;
            progress.did(1, cx);
            let sample = chat.sample(&conversation, params.loss_on.loss());
            let mut sample = sample.map_err(|it| texts.mistake(None, it.to_string()))?;
            let (n, most) = (sample.ids.len(), settled.max_seq_len);
            if n > most {
                let reason = format!("has {n} tokens; `max_seq_len` is {most}");
                match params.on_overlong {
                    OnOverlong::Error => return Err(texts.mistake(None, reason)),
                    OnOverlong::Drop => {
                        dropped.note(("overlong", reason), &map)?;
                        continue;
                    }
                    OnOverlong::Truncate => {
                        sample.ids.truncate(most);
                        sample.trained.truncate(most);
                        gathered.truncated += 1;
                    }
                }
            }
            if !sample.trained.iter().skip(1).any(|it| *it) {
                return Err(texts.mistake(None, no_target(n, most)));
            }
            gathered.push(sample, texts.bytes());
        }
    }
    progress.say(cx);
    Ok(gathered)
}

/// What becomes of a sample that is too long, for people.
fn cut(params: &Params, sample: &mut Sample, most: usize) -> Option<String> {
    let n = sample.ids.len();
    if n <= most {
        return None;
    }
    let becomes = match params.on_overlong {
        OnOverlong::Truncate => "its end is cut off",
        OnOverlong::Drop => "it is left out",
        OnOverlong::Error => "the step fails",
    };
    if params.on_overlong == OnOverlong::Truncate {
        sample.ids.truncate(most);
        sample.trained.truncate(most);
    }
    Some(format!("it is too long, {n} tokens where `max_seq_len` is {most}: {becomes}"))
}

fn no_target(n: usize, most: usize) -> String {
    if n > most {
        format!(
            "has {n} tokens, and the first {most} hold nothing to train on; `on_overlong = \"drop\"` \
             leaves such records out"
        )
    } else {
        "holds nothing to train on: there is no answer".to_owned()
    }
}

/// What came in, in numbers.
fn say(gathered: &Gathered, dropped: &Dropped, cx: &mut Cx<'_>) {
    let samples = &gathered.samples;
    let tokens: usize = samples.iter().map(|it| it.ids.len()).sum();
    let targets: usize = samples.iter().map(|it| it.n_trained()).sum();
    let (n, truncated, left_out) = (samples.len(), gathered.truncated, dropped.total());
    (cx.report)(Say::Note(format!(
        "{n} samples, {tokens} tokens, {targets} of them trained; {truncated} cut, {left_out} left out"
    )));
    cx.count("samples", n as u64);
    cx.count("tokens", tokens as u64);
    cx.count("targets", targets as u64);
    cx.count("truncated", truncated);
    cx.count("dropped", left_out);
}

#[cfg(test)]
pub(crate) mod tests;
