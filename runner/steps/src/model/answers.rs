//! Many prompts through a model at once: what `generate` and the command line share.
//!
//! Prompts come in with a name, answers go out as they end. Stop texts are looked for here, since
//! the generator knows only tokens.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernels::decoder::Config;
use kernels::generate::{Draws, Finish, Flow, Generator, Model, Output, Request, Settings, Token};
use kernels::ops::sample::Sampling;
use kernels::{AnyDevice, Device};
use serde::{Deserialize, Serialize};

use super::error::TextError;
use super::folder_model::ModelFolder;
use super::stream::Stream;
use super::tokenizer::{Controlled, Tokenizer};
use crate::StepError;

/// How answers are made.
#[derive(Clone, Debug)]
pub struct How {
    /// How tokens are picked.
    pub sampling: Sampling,
    /// The seed of the draws.
    pub seed: u64,
    /// The longest answer, in tokens.
    pub max_new_tokens: usize,
    /// The shortest.
    pub min_new_tokens: usize,
    /// How many answers to each prompt.
    pub samples: u32,
    /// Tokens that end an answer.
    pub stop_ids: Vec<u32>,
    /// Texts that end an answer; they are not part of it.
    pub stop_texts: Vec<String>,
}

impl How {
    /// One greedy answer that these tokens end.
    pub fn greedy(max_new_tokens: usize, stop_ids: Vec<u32>) -> Self {
        Self {
            sampling: Sampling::GREEDY,
            seed: 0,
            max_new_tokens,
            min_new_tokens: 0,
            samples: 1,
            stop_ids,
            stop_texts: Vec::new(),
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Its text, without what ended it.
    pub text: String,
    /// `stop` or `length`.
    pub finish_reason: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer, with the one that ended it.
    pub tokens: usize,
    /// The logarithm of its probability under the bare model; none where a server does not say.
    pub logprob: Option<f64>,
    /// Of how many tokens that is the probability, where these are not all `tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighed_tokens: Option<usize>,
}

/// A model that answers.
pub struct Answers<'a> {
    tokenizer: &'a Tokenizer,
    how: How,
    generator: Generator<AnyDevice>,
    /// What was watched of answers on their way, by row and sample.
    watched: BTreeMap<(u64, u32), Watched<'a>>,
    /// Ended answers of rows of which others are on their way.
    parts: BTreeMap<u64, Vec<(u32, Answer)>>,
}

/// The text of an answer on its way.
struct Watched<'a> {
    stream: Stream<'a>,
    text: String,
}

impl<'a> Answers<'a> {
    /// Loads the weights of a folder, for texts of at most `context` tokens, `rows` at once.
    pub fn load(
        folder: &'a ModelFolder,
        how: How,
        device: AnyDevice,
        context: usize,
        rows: usize,
    ) -> Result<Self, StepError> {
        how.sampling.check().map_err(StepError::Sampling)?;
        let model = Model::load(Arc::new(device), &folder.config, &folder.weights()?, context)?;
        Self::of(folder, Arc::new(model), how, rows)
    }

    /// Answers of a model that is loaded.
    pub fn of(
        folder: &'a ModelFolder,
        model: Arc<Model<AnyDevice>>,
        how: How,
        rows: usize,
    ) -> Result<Self, StepError> {
        how.sampling.check().map_err(StepError::Sampling)?;
        let settings = settings(&model, rows)?;
        let generator = Generator::new(model, settings)?;
        let (watched, parts) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { tokenizer: &folder.tokenizer, how, generator, watched, parts })
    }

    /// How many tokens prompt and answer may have together.
    pub fn context(&self) -> usize {
        self.generator.model().context()
    }

    /// How many rows are on their way.
    pub fn pending(&self) -> usize {
        self.generator.pending()
    }

    /// Puts a prompt in; `row` names it and decides about its draws.
    pub fn ask(&mut self, row: u64, prompt: Vec<u32>) -> Result<(), StepError> {
        let room = self.context().saturating_sub(prompt.len());
        let request = Request {
            row,
            prompt,
            samples: self.how.samples,
            draws: Draws::Seeded(self.how.seed),
            sampling: self.how.sampling,
            max_new_tokens: self.how.max_new_tokens.min(room),
            min_new_tokens: self.how.min_new_tokens,
            stop_ids: self.how.stop_ids.clone(),
            stop_sequences: Vec::new(),
        };
        self.generator.submit(request).map_err(StepError::from)
    }

    /// One step for all; gives the rows of which all answers have ended. `see` is told of each piece
    /// of text as it becomes certain.
    pub fn step(
        &mut self,
        see: &mut dyn FnMut(u64, &str),
    ) -> Result<Vec<(u64, Vec<Answer>)>, StepError> {
        let Self { tokenizer, how, generator, watched, .. } = self;
        let mut failed = None;
        let outputs =
            generator.step(&mut |token| match watch(tokenizer, how, watched, token, see) {
                Ok(flow) => flow,
                Err(it) => {
                    failed.get_or_insert(it);
                    Flow::Stop
                }
            })?;
        if let Some(it) = failed {
            return Err(it.into());
        }
        let mut done = Vec::new();
        for it in outputs {
            let (row, sample) = (it.row, it.sample);
            let answer = self.answer(it, see)?;
            let parts = self.parts.entry(row).or_default();
            parts.push((sample, answer));
            if parts.len() == self.how.samples as usize {
                let mut parts = self.parts.remove(&row).unwrap_or_default();
                parts.sort_by_key(|it| it.0);
                done.push((row, parts.into_iter().map(|it| it.1).collect()));
            }
        }
        Ok(done)
    }

    fn answer(
        &mut self,
        output: Output,
        see: &mut dyn FnMut(u64, &str),
    ) -> Result<Answer, TextError> {
        let mut text = self.tokenizer.decode(&output.ids, Controlled::Hidden)?;
        if let Some(it) = self.watched.remove(&(output.row, output.sample)) {
            let rest = it.stream.finish()?;
            if output.finish != Finish::Asked {
                see(output.row, &rest);
            }
        }
        let stops = self.how.stop_texts.iter();
        let stop = stops.filter_map(|it| text.find(it.as_str())).min();
        text.truncate(stop.unwrap_or(text.len()));
        let finish = if stop.is_some() { Finish::Asked } else { output.finish };
        Ok(Answer {
            text,
            finish_reason: finish.word().to_owned(),
            prompt_tokens: output.prompt_tokens,
            tokens: output.ids.len(),
            logprob: Some(output.log_probabilities.iter().map(|it| f64::from(*it)).sum()),
            weighed_tokens: None,
        })
    }
}

/// Takes a token of an answer; it ends where a stop text is complete.
fn watch<'a>(
    tokenizer: &'a Tokenizer,
    how: &How,
    watched: &mut BTreeMap<(u64, u32), Watched<'a>>,
    token: Token,
    see: &mut dyn FnMut(u64, &str),
) -> Result<Flow, TextError> {
    let it = watched
        .entry((token.row, token.sample))
        .or_insert_with(|| Watched { stream: Stream::new(tokenizer), text: String::new() });
    let more = it.stream.push(token.id)?;
    if how.stop_texts.is_empty() {
        see(token.row, &more);
        return Ok(Flow::Continue);
    }
    let known = it.text.len();
    it.text.push_str(&more);
    // A stop text may have begun in what was there before.
    let longest = how.stop_texts.iter().map(String::len).max().unwrap_or(0);
    let mut from = known.saturating_sub(longest);
    while !it.text.is_char_boundary(from) {
        from -= 1;
    }
    let stops = how.stop_texts.iter();
    let stop = stops.filter_map(|stop| it.text[from..].find(stop.as_str())).min();
    match stop {
        Some(at) => {
            see(token.row, it.text.get(known..from + at).unwrap_or_default());
            Ok(Flow::Stop)
        }
        None => {
            see(token.row, &more);
            Ok(Flow::Continue)
        }
    }
}

/// What is computed at a time, and what keys and values there is room for: a quarter of the machine's
/// memory at most, or half of what the model left free on a device, but always one text of full length.
/// Nothing of it changes a result.
pub fn settings(model: &Model<AnyDevice>, rows: usize) -> Result<Settings, StepError> {
    let (config, context, device) = (model.config(), model.context(), model.device());
    let (share, step_tokens) = match &**device {
        AnyDevice::Cpu(_) => (4, 512),
        AnyDevice::Cuda(_) => (2, 4096),
    };
    let numbers = 2 * config.layers * config.kv_heads * config.head_dim;
    let token_bytes = (numbers * device.activations().bytes()).max(1) as u64;
    let room = device.memory_bytes()? / share / token_bytes;
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let rows = rows.max(1);
    let cache_tokens = room.min(context.saturating_mul(rows)).max(context);
    Ok(Settings { rows, step_tokens: rows.max(step_tokens), cache_tokens })
}

/// The longest text: what is asked for, and no more than the model was made for.
pub fn context(config: &Config, wanted: Option<usize>) -> usize {
    wanted.unwrap_or(usize::MAX).min(config.max_positions)
}

impl Answers<'_> {
    /// One answer, told piece by piece; `go_on` is asked at every token.
    pub fn tell(
        &mut self,
        row: u64,
        prompt: Vec<u32>,
        see: &mut dyn FnMut(&str),
        go_on: &dyn Fn() -> bool,
    ) -> Result<Answer, StepError> {
        let (n, room) = (prompt.len(), self.context());
        if n >= room {
            let reason = format!("has {n} tokens; there is room for {room}");
            return Err(TextError::Conversation { reason }.into());
        }
        self.ask(row, prompt)?;
        loop {
            if !go_on() {
                return Err(StepError::Stopped);
            }
            let done = self.step(&mut |_, text| see(text))?;
            if let Some(answer) = done.into_iter().flat_map(|it| it.1).next() {
                return Ok(answer);
            }
        }
    }
}
