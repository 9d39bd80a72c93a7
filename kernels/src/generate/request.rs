//! What is asked for, what comes back, and what can be wrong with either.

use crate::ops::sample::{SampleError, Sampling};
use crate::random::Random;

/// A prompt to be continued.
#[derive(Clone, Debug)]
pub struct Request {
    /// The row's name, which its random numbers depend on.
    pub row: u64,
    /// The tokens before the output; at least one.
    pub prompt: Vec<u32>,
    /// How many outputs; at least one.
    pub samples: u32,
    /// Where the random numbers come from.
    pub draws: Draws,
    /// How tokens are sampled.
    pub sampling: Sampling,
    /// How long an output may become.
    pub max_new_tokens: usize,
    /// Before this length, stop ids are not sampled and stop sequences not looked for.
    pub min_new_tokens: usize,
    /// Tokens that end the output, of which they are the last.
    pub stop_ids: Vec<u32>,
    /// Sequences that end the output, of which they are the end.
    pub stop_sequences: Vec<Vec<u32>>,
}

impl Request {
    /// One greedy output.
    pub fn greedy(row: u64, prompt: Vec<u32>, max_new_tokens: usize) -> Self {
        Self {
            row,
            prompt,
            samples: 1,
            draws: Draws::Seeded(0),
            sampling: Sampling::GREEDY,
            max_new_tokens,
            min_new_tokens: 0,
            stop_ids: Vec::new(),
            stop_sequences: Vec::new(),
        }
    }

    /// That it can be done with this many token ids, positions and places in the cache.
    pub(crate) fn check(&self, vocab: usize, context: usize, cache: usize) -> Result<(), Refusal> {
        let row = self.row;
        self.sampling.check().map_err(|source| Refusal::Sampling { row, source })?;
        if self.prompt.is_empty() {
            return Err(Refusal::EmptyPrompt { row });
        }
        if self.samples == 0 {
            return Err(Refusal::NoSamples { row });
        }
        check_ids(row, &self.prompt, vocab)?;
        let tokens = self.prompt.len();
        if tokens >= context && self.max_new_tokens > 0 {
            return Err(Refusal::Context { row, tokens, context });
        }
        let tokens = context.min(tokens.saturating_add(self.max_new_tokens));
        if tokens > cache {
            return Err(Refusal::Cache { row, tokens, cache });
        }
        Ok(())
    }
}

/// That all ids are the model's.
pub(crate) fn check_ids(row: u64, ids: &[u32], vocab: usize) -> Result<(), Refusal> {
    match ids.iter().find(|it| **it as usize >= vocab) {
        Some(&id) => Err(Refusal::Token { row, id, vocab }),
        None => Ok(()),
    }
}

/// Where the uniform numbers of a row come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Draws {
    /// From a seed, the row, the sample and the token's place in the output.
    Seeded(u64),
    /// From this list, one for each token of the output; the last one again after its end.
    Listed(Vec<f64>),
}

impl Draws {
    /// The uniform number of a token of an output.
    pub(crate) fn uniform(&self, row: u64, sample: u32, place: usize) -> f64 {
        match self {
            Draws::Seeded(seed) => {
                Random::of(*seed, &[row, u64::from(sample)]).unit_at(place as u64)
            }
            Draws::Listed(list) => list.get(place).or(list.last()).copied().unwrap_or(0.0),
        }
    }
}

/// One output of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The request's row.
    pub row: u64,
    /// Which of its outputs, from 0.
    pub sample: u32,
    /// The tokens, with the one or the sequence that ended it.
    pub ids: Vec<u32>,
    /// Each token's log-probability under the bare model.
    pub log_probabilities: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
    /// How many tokens the prompt has.
    pub prompt_tokens: usize,
    /// How many of them were in the cache already; this depends on what ran before and beside.
    pub known_tokens: usize,
}

/// Why an output ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// With this stop id.
    StopId(u32),
    /// With the stop sequence of that number.
    StopSequence(usize),
    /// Whoever watches the tokens said so.
    Asked,
    /// It is as long as it may be, or the model's context is full.
    Length,
    /// The request was cancelled.
    Cancelled,
}

impl Finish {
    /// The word in records: `stop`, `length` or `cancelled`.
    pub fn word(self) -> &'static str {
        match self {
            Finish::StopId(_) | Finish::StopSequence(_) | Finish::Asked => "stop",
            Finish::Length => "length",
            Finish::Cancelled => "cancelled",
        }
    }
}

/// A token of an output, as it comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// The request's row.
    pub row: u64,
    /// Which of its outputs.
    pub sample: u32,
    /// Its place in the output, from 0.
    pub place: usize,
    /// The token.
    pub id: u32,
    /// Its log-probability under the bare model.
    pub log_probability: f32,
}

/// Whether an output goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on, if nothing else ends it.
    Continue,
    /// It ends with this token.
    Stop,
}

/// Why a request is not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// There is no token to begin with.
    #[error("row {row}: the prompt is empty")]
    EmptyPrompt {
        /// Which request.
        row: u64,
    },
    /// No output is asked for.
    #[error("row {row}: `samples` is 0")]
    NoSamples {
        /// Which request.
        row: u64,
    },
    /// A token that the model does not have.
    #[error("row {row}: token {id}, and the model has {vocab}")]
    Token {
        /// Which request.
        row: u64,
        /// The token.
        id: u32,
        /// How many there are.
        vocab: usize,
    },
    /// A setting outside of its range.
    #[error("row {row}: {source}")]
    Sampling {
        /// Which request.
        row: u64,
        /// Which setting.
        source: SampleError,
    },
    /// The prompt fills the context.
    #[error("row {row}: {tokens} tokens, and the context is {context}")]
    Context {
        /// Which request.
        row: u64,
        /// How many tokens.
        tokens: usize,
        /// How many positions there are.
        context: usize,
    },
    /// Prompt and output do not fit into the cache, even alone.
    #[error("row {row}: up to {tokens} tokens, and the cache holds {cache}")]
    Cache {
        /// Which request.
        row: u64,
        /// How many tokens it may come to.
        tokens: usize,
        /// How many the cache holds.
        cache: usize,
    },
}
