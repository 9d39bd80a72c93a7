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
//! `plain`, which puts texts one after another and suits a base model. Texts in a record never become
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

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use kernels::ops::sample::Sampling;
use plan::kind::{Arity, Form, Port, Slot};
use plan::{Digest, KindSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map as Object, Value};

use crate::model::record::{Columns, Record, Unfit};
use crate::model::{self, Answer, Answers, Chat, Conversation, How, ModelFolder};
use crate::page::page;
use crate::records::{Output, Progress, count_lines, short_digest};
use crate::texts::{Texts, check_columns};
use crate::{Cx, Kind, Say, StepError, params_of};

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
    /// The chat template: `yi-chatml` or `plain`; nothing: the model's own.
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

/// What becomes of a prompt that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnOverlong {
    /// The step fails and names the record.
    #[default]
    Error,
    /// The record gets an empty answer.
    Skip,
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
            Port { name: "model", arity: Arity::One, about: "the model" },
            Port { name: "data", arity: Arity::One, about: "the records" },
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
        runs_programs: false,
        params: params_of::<Params>,
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        check_columns("generate", &params.columns)?;
        let folder = ModelFolder::open(cx.input("model")?)?;
        let template = folder.template(params.template.as_deref())?;
        let how = how(params, cx.seed()?, folder.stop_ids(&template));
        let input = cx.input("data")?.to_owned();
        let n = count_lines(&input, cx)?;
        let range = cx.shard.map_or(0..n, |it| it.range(n));
        let mut texts = Texts::open(&input, &params.columns)?;
        texts.skip(range.start)?;
        let context = model::context(&folder.config, params.max_seq_len);
        let answers = Answers::load(&folder, how, cx.threads, context, params.rows)?;
        let mut pump = Pump {
            params,
            chat: Chat { tokenizer: &folder.tokenizer, template: &template },
            answers,
            queue: VecDeque::new(),
            asked: BTreeMap::new(),
            counts: Counts::default(),
            synced: Instant::now(),
            output: Output::create(cx.output("data")?)?,
            progress: Progress::new("records", Some(range.end - range.start)),
        };
        let result = pump.all(&mut texts, range.end, cx);
        // What was answered is kept however it ended.
        cx.memo.sync()?;
        result?;
        let counts = pump.counts;
        pump.output.finish()?;
        let n = range.end - range.start;
        let asked = counts.asked;
        (cx.report)(Say::Note(format!("asked about {asked} of {n} records")));
        cx.count("records", n);
        cx.count("tokens", counts.tokens);
        cx.count("stopped", counts.stopped);
        cx.count("overlong", counts.overlong);
        Ok(())
    }
}

fn how(params: &Params, seed: u64, stop_ids: Vec<u32>) -> How {
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
        stop_ids,
        stop_texts: params.stop.iter().filter(|it| !it.is_empty()).cloned().collect(),
    }
}

/// Records on their way through the model, in order.
struct Pump<'a> {
    params: &'a Params,
    chat: Chat<'a>,
    answers: Answers<'a>,
    queue: VecDeque<Waiting>,
    /// Records that were asked about and not yet answered, by the row's name.
    asked: BTreeMap<u64, Digest>,
    counts: Counts,
    synced: Instant,
    output: Output,
    progress: Progress,
}

/// A record that waits for its answers, and for those before it.
struct Waiting {
    map: Object<String, Value>,
    digest: Digest,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    asked: u64,
    tokens: u64,
    stopped: u64,
    overlong: u64,
}

/// So many records may wait for one before them.
const MOST_WAITING: usize = 4096;
/// What a kill costs at most, where the step has no `checkpoint`.
const SYNC_EVERY: Duration = Duration::from_secs(1);

impl Pump<'_> {
    fn all(&mut self, texts: &mut Texts<'_>, end: u64, cx: &mut Cx<'_>) -> Result<(), StepError> {
        loop {
            cx.check_stop()?;
            // Twice what runs at once: a row that ends finds another.
            while texts.line() < end
                && self.queue.len() < MOST_WAITING
                && self.answers.pending() < 2 * self.params.rows
            {
                cx.check_stop()?;
                self.enter(texts, cx)?;
            }
            self.leave(cx)?;
            if self.asked.is_empty() {
                if texts.line() >= end && self.queue.is_empty() {
                    break;
                }
                continue;
            }
            for (row, answers) in self.answers.step(&mut |_, _| {})? {
                if let Some(digest) = self.asked.remove(&row) {
                    keep(&digest, &answers, cx)?;
                    self.progress.did(1, cx);
                }
            }
            if self.synced.elapsed() >= cx.checkpoint.map_or(SYNC_EVERY, |it| it.every) {
                cx.memo.sync()?;
                self.synced = Instant::now();
            }
        }
        self.progress.say(cx);
        Ok(())
    }

    /// A record comes in: asked about unless its answer is known or on its way.
    fn enter(&mut self, texts: &mut Texts<'_>, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let into = self.params.into.as_str();
        let read = texts.next(|it| {
            let conversation = question(it)?;
            match it.map.contains_key(into) {
                true => Err(Unfit::field(into, "is there already")),
                false => Ok((it.map.clone(), conversation)),
            }
        })?;
        let Some((map, conversation)) = read else { return Ok(()) };
        let digest = Digest::of(texts.bytes());
        let row = short_digest(texts.bytes()) as u64;
        if self.asked.contains_key(&row) || known(&digest, cx)?.is_some() {
            self.progress.skipped(cx);
        } else {
            let prompt = self.chat.prompt(&conversation)?;
            let (n, context) = (prompt.len(), self.answers.context());
            if prompt.is_empty() {
                return Err(texts.mistake(None, "makes an empty prompt".to_owned()));
            }
            if n < context {
                self.answers.ask(row, prompt)?;
                self.asked.insert(row, digest);
                self.counts.asked += 1;
            } else if self.params.on_overlong == OnOverlong::Skip {
                keep(&digest, &vec![overlong(n); self.params.samples as usize], cx)?;
                self.progress.did(1, cx);
            } else {
                let reason = format!("makes a prompt of {n} tokens; there is room for {context}");
                return Err(texts.mistake(None, reason));
            }
        }
        self.queue.push_back(Waiting { map, digest });
        Ok(())
    }

    /// The oldest records go out, as far as their answers are there.
    fn leave(&mut self, cx: &mut Cx<'_>) -> Result<(), StepError> {
        while let Some(it) = self.queue.front() {
            let Some(answers) = known(&it.digest, cx)? else { break };
            let Some(mut it) = self.queue.pop_front() else { break };
            for answer in &answers {
                self.counts.tokens += answer.tokens as u64;
                self.counts.stopped += u64::from(answer.finish_reason == "stop");
                self.counts.overlong += u64::from(answer.finish_reason == OVERLONG);
            }
            add(&mut it.map, &self.params.into, &answers);
            let line = serde_json::to_vec(&it.map);
            self.output.line(&line.expect("texts and finite numbers are always JSON"))?;
        }
        Ok(())
    }
}

const OVERLONG: &str = "overlong";

fn overlong(prompt_tokens: usize) -> Answer {
    let (text, finish_reason) = (String::new(), OVERLONG.to_owned());
    Answer { text, finish_reason, prompt_tokens, tokens: 0, logprob: 0.0 }
}

/// The conversation, up to where the model shall go on.
fn question(record: Record<'_>) -> Result<Conversation, Unfit> {
    record.conversation()?.without_last_answer().map_err(|it| Unfit::new(it.to_string()))
}

fn keep(record: &Digest, answers: &[Answer], cx: &mut Cx<'_>) -> Result<(), StepError> {
    let kept = serde_json::to_vec(answers).expect("texts and finite numbers are always JSON");
    cx.memo.put(record, &kept)
}

fn known(record: &Digest, cx: &mut Cx<'_>) -> Result<Option<Vec<Answer>>, StepError> {
    let Some(kept) = cx.memo.get(record)? else { return Ok(None) };
    let wrong = |it: serde_json::Error| StepError::Memo { reason: it.to_string() };
    serde_json::from_slice(&kept).map(Some).map_err(wrong)
}

/// Adds the fields of the answers.
fn add(map: &mut Object<String, Value>, into: &str, answers: &[Answer]) {
    let mut put = |name: String, of: &dyn Fn(&Answer) -> Value| {
        let value = match answers {
            [one] => of(one),
            many => many.iter().map(of).collect(),
        };
        map.insert(name, value);
    };
    put(into.to_owned(), &|it| it.text.as_str().into());
    put(format!("{into}_finish_reason"), &|it| it.finish_reason.as_str().into());
    put(format!("{into}_tokens"), &|it| it.tokens.into());
    put(format!("{into}_prompt_tokens"), &|it| it.prompt_tokens.into());
    put(format!("{into}_logprob"), &|it| it.logprob.into());
}

#[cfg(test)]
pub(crate) mod tests;
