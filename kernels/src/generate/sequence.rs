//! One output on its way: its tokens, its blocks, and when it ends.

use std::sync::Arc;

use super::blocks::Table;
use super::request::{Finish, Output, Request};
use crate::ops::sample::{Given, Pick, Seen};

/// A request, and its place in the order in which requests came.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) number: u64,
    pub(crate) request: Request,
}

impl std::ops::Deref for Numbered {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}

/// One output on its way.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) request: Arc<Numbered>,
    pub(crate) sample: u32,
    /// Prompt and output.
    pub(crate) ids: Vec<u32>,
    /// The tokens whose keys and values are in the cache.
    pub(crate) table: Table,
    /// Samples that share this one's prompt and wait for it to be computed.
    pub(crate) followers: Vec<u32>,
    /// Tokens of the prompt found in the cache when it first ran.
    pub(crate) known: Option<usize>,
    log_probabilities: Vec<f32>,
    seen: Seen,
    kind: Kind,
}

/// What a sequence depends on besides its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// The most tokens that positions allow.
    pub(crate) context: usize,
    /// How tokens that were sampled are computed.
    pub(crate) sampled: Way,
}

/// How tokens are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As those of prompts are.
    Prefill,
    /// In the device's way of decoding.
    Decode,
}

impl Sequence {
    /// An output that has not begun.
    pub(crate) fn new(request: Arc<Numbered>, sample: u32, kind: Kind) -> Self {
        let mut seen = Seen::default();
        if request.sampling.repetition_penalty != 1.0 {
            seen.add(&request.prompt);
        }
        Self {
            sample,
            ids: request.prompt.clone(),
            table: Table::default(),
            followers: Vec::new(),
            known: None,
            log_probabilities: Vec::new(),
            seen,
            kind,
            request,
        }
    }

    /// Tokens that are not in the cache yet.
    pub(crate) fn pending(&self) -> usize {
        self.ids.len() - self.table.len
    }

    /// The first token that is not computed as a prompt's.
    pub(crate) fn border(&self) -> usize {
        if self.kind.sampled == Way::Decode { self.request.prompt.len() } else { usize::MAX }
    }

    /// How the next tokens are computed.
    pub(crate) fn way(&self) -> Way {
        if self.table.len < self.border() { Way::Prefill } else { Way::Decode }
    }

    /// Pending tokens, as far as they are computed in one way.
    pub(crate) fn next(&self) -> usize {
        let to_border = self.border().saturating_sub(self.table.len);
        if to_border == 0 { self.pending() } else { self.pending().min(to_border) }
    }

    /// The tokens after the prompt.
    pub(crate) fn output(&self) -> &[u32] {
        &self.ids[self.request.prompt.len()..]
    }

    /// What the next pick depends on.
    pub(crate) fn given(&self) -> Given<'_> {
        let request = &self.request.request;
        let place = self.output().len();
        let early = place < request.min_new_tokens;
        Given {
            sampling: request.sampling,
            seen: &self.seen,
            suppressed: if early { &request.stop_ids } else { &[] },
            uniform: match request.sampling.temperature {
                0.0 => 0.0,
                _ => request.draws.uniform(request.row, self.sample, place),
            },
        }
    }

    /// Appends a token; says why the output ends with it, if it does.
    pub(crate) fn push(&mut self, pick: Pick) -> Option<Finish> {
        self.ids.push(pick.id);
        self.log_probabilities.push(pick.log_probability);
        let request = &self.request.request;
        if request.sampling.repetition_penalty != 1.0 {
            self.seen.add(&[pick.id]);
        }
        if request.stop_ids.contains(&pick.id) {
            return Some(Finish::StopId(pick.id));
        }
        let output = self.output();
        if output.len() >= request.min_new_tokens {
            let ends = |it: &Vec<u32>| !it.is_empty() && output.ends_with(it);
            if let Some(which) = request.stop_sequences.iter().position(ends) {
                return Some(Finish::StopSequence(which));
            }
        }
        let full = output.len() >= request.max_new_tokens || self.ids.len() >= self.kind.context;
        full.then_some(Finish::Length)
    }

    /// What comes back.
    pub(crate) fn into_output(mut self, finish: Finish) -> Output {
        let prompt_tokens = self.request.prompt.len();
        Output {
            row: self.request.row,
            sample: self.sample,
            ids: self.ids.split_off(prompt_tokens),
            log_probabilities: self.log_probabilities,
            finish,
            prompt_tokens,
            known_tokens: self.known.unwrap_or(0),
        }
    }
}
