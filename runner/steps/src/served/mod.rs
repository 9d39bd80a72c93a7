//! Models that servers have: asked over HTTP as OpenAI's are, by the kinds that ask a model.
//!
//! The server renders its own template and keeps its own arithmetic, so nothing that it answers can
//! be computed again; each answer is kept under its record. A server that cannot do what is asked
//! is an error that says so, never another question.

mod client;
mod pace;
#[cfg(test)]
pub(crate) mod server;
#[cfg(test)]
mod tests;
mod weigh;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::asking::{Answerer, Asked, OnOverlong, Settings, overlong};
use crate::cx::Server;
use crate::model::{Answer, Conversation, How, Sampling, Tokenizer};
use crate::{Cx, StepError};

use client::{Client, Pool, Refusal};
pub(crate) use weigh::weigh_all;

/// Asks a server for answers.
pub(crate) struct Asker {
    client: Arc<Client>,
    pool: Pool<Question, Vec<Answer>>,
    how: How,
    concurrency: usize,
}

/// A question with the seeds of its answers.
struct Question {
    body: Value,
    seeds: Vec<u32>,
}

impl Asker {
    pub(crate) fn new(
        server: Server,
        settings: &Settings<'_>,
        template: Option<&Path>,
    ) -> Result<Self, StepError> {
        let rendered = settings.template.is_some() || template.is_some();
        refuse(settings.kind, "template", rendered)?;
        refuse(settings.kind, "max_seq_len", settings.max_seq_len.is_some())?;
        settings.how.sampling.check().map_err(StepError::Sampling)?;
        let concurrency = server.endpoint.concurrency as usize;
        let client = Arc::new(Client::new(server)?);
        let skip = settings.on_overlong == OnOverlong::Skip;
        let pool = Pool::start(Arc::clone(&client), move |client, it: Question| {
            let answers: Result<Vec<Answer>, Refusal> =
                it.seeds.iter().map(|seed| answer(client, it.body.clone(), *seed)).collect();
            match answers {
                Err(Refusal::Status(400 | 413 | 422, reason)) if skip && is_overlong(&reason) => {
                    Ok(vec![overlong(0); it.seeds.len()])
                }
                other => other,
            }
        });
        Ok(Self { client, pool, how: settings.how.clone(), concurrency })
    }
}

/// A parameter that means nothing to a server.
fn refuse(kind: &'static str, name: &str, given: bool) -> Result<(), StepError> {
    let reason = format!("`{name}` is the server's matter where the model is an endpoint");
    if given { Err(StepError::Params { kind, reason }) } else { Ok(()) }
}

impl Answerer for Asker {
    fn tokenizer(&self) -> Option<&Tokenizer> {
        None
    }

    fn pending(&self) -> (usize, usize) {
        (self.pool.pending, 2 * self.concurrency)
    }

    fn ask(&mut self, row: u64, conversation: &Conversation) -> Result<Asked, StepError> {
        let body = body(self.client.model(), conversation, &self.how);
        let seed = |sample| seed(self.how.seed, row, sample);
        let seeds = (0..self.how.samples).map(seed).collect();
        self.pool.ask(row, Question { body, seeds });
        Ok(Asked::OnItsWay)
    }

    fn step(&mut self, cx: &Cx<'_>) -> Result<Vec<(u64, Vec<Answer>)>, StepError> {
        match self.pool.next(cx)? {
            Some((row, Ok(it))) => Ok(vec![(row, it)]),
            Some((_, Err(it))) => Err(self.client.error(it)),
            None => Ok(Vec::new()),
        }
    }

    fn close(&mut self) -> Vec<(u64, Vec<Answer>)> {
        self.pool.close()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = vec![requests(&self.client)];
        let own: Vec<String> = extensions(&self.how).map(|it| format!("`{}`", it.0)).collect();
        if !own.is_empty() {
            notes.push(format!(
                "{} went along, which not every server knows; one that does not may ignore it",
                own.join(", ")
            ));
        }
        notes
    }
}

fn requests(client: &Client) -> String {
    let (sent, again) = (&client.sent, &client.again);
    let (sent, again) = (sent.load(Ordering::Relaxed), again.load(Ordering::Relaxed));
    let mut said = format!("{sent} requests to `{}`, {again} of them again", client.url());
    let masked = client.masked.load(Ordering::Relaxed);
    if masked > 0 {
        said.push_str(&format!("; {masked} replies repeated the endpoint's key, kept as `…`"));
    }
    said
}

/// A seed as small as every server takes it.
fn seed(seed: u64, row: u64, sample: u32) -> u32 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"kun endpoint draw 1").update(&seed.to_le_bytes());
    hasher.update(&row.to_le_bytes()).update(&sample.to_le_bytes());
    let hash = hasher.finalize();
    let bytes = hash.as_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) >> 1
}

/// The request that all servers know, and what is not at its neutral value of what some know.
fn body(model: &str, conversation: &Conversation, how: &How) -> Value {
    let (messages, tools) = conversation.parts();
    let mut body = json!({
        "model": model,
        "messages": messages,
        "max_tokens": how.max_new_tokens,
        "temperature": number(how.sampling.temperature),
        "top_p": number(how.sampling.top_p),
        "logprobs": true,
        "stream": false,
    });
    if let Some(it) = tools {
        body["tools"] = it.clone();
    }
    if !how.stop_texts.is_empty() {
        body["stop"] = how.stop_texts.clone().into();
    }
    for (name, value) in extensions(how) {
        body[name] = value;
    }
    body
}

/// What goes beyond OpenAI's own parameters, under the names of vLLM.
fn extensions(how: &How) -> impl Iterator<Item = (&'static str, Value)> {
    let Sampling { top_k, min_p, repetition_penalty, .. } = how.sampling;
    let all = [
        ("top_k", (top_k > 0).then(|| top_k.into())),
        ("min_p", (min_p > 0.0).then(|| number(min_p))),
        ("repetition_penalty", (repetition_penalty != 1.0).then(|| number(repetition_penalty))),
        ("min_tokens", (how.min_new_tokens > 0).then(|| how.min_new_tokens.into())),
    ];
    all.into_iter().filter_map(|(name, it)| Some((name, it?)))
}

/// The number as it was written: 0.95, not the nearest float of 32 bits in 64.
fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().unwrap_or_default().into()
}

/// One answer. A server that does not give log-probabilities is asked without them.
fn answer(client: &Client, mut body: Value, seed: u32) -> Result<Answer, Refusal> {
    body["seed"] = seed.into();
    let ask = |body: &Value| client.ask("chat/completions", body, &read);
    match ask(&body) {
        Err(Refusal::Status(400 | 422, reason)) if reason.contains("logprobs") => {
            if let Value::Object(map) = &mut body {
                map.remove("logprobs");
            }
            ask(&body)
        }
        other => other,
    }
}

/// What a server says that cannot take so many tokens.
fn is_overlong(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    ["context length", "context_length", "context window", "context size", "too long"]
        .iter()
        .any(|it| reason.contains(it))
}

/// What stands in a reply.
fn read(reply: &Value) -> Result<Answer, String> {
    let lacks = |what: &str| format!("answered without {what}");
    let choice = reply.pointer("/choices/0").ok_or_else(|| lacks("a choice"))?;
    let message = choice.get("message").ok_or_else(|| lacks("a message"))?;
    // A message that only calls a tool has null.
    let text = match message.get("content") {
        Some(Value::String(it)) => it.clone(),
        Some(Value::Null) => String::new(),
        _ => return Err(lacks("a text")),
    };
    let weighed = choice.pointer("/logprobs/content").and_then(Value::as_array);
    let weighed: Option<Vec<f64>> =
        weighed.and_then(|all| all.iter().map(|it| it.get("logprob")?.as_f64()).collect());
    let weighed = weighed.filter(|it| !it.is_empty());
    let (prompt, written) = (usage(reply, "prompt_tokens")?, usage(reply, "completion_tokens")?);
    let n_weighed = weighed.as_ref().map(Vec::len);
    let finish = choice.get("finish_reason").and_then(Value::as_str).unwrap_or("unknown");
    Ok(Answer {
        text,
        finish_reason: finish.to_owned(),
        prompt_tokens: prompt.unwrap_or(0),
        tokens: written.or(n_weighed).unwrap_or(0),
        logprob: weighed.map(|it| it.iter().sum()),
        weighed_tokens: n_weighed,
    })
}

/// A count of tokens that a budget may rest on: a server may leave it out, and may not say nonsense.
fn usage(reply: &Value, name: &str) -> Result<Option<usize>, String> {
    let Some(n) = reply.pointer(&format!("/usage/{name}")).filter(|it| !it.is_null()) else {
        return Ok(None);
    };
    let count = n.as_u64().and_then(|it| usize::try_from(it).ok());
    count.map(Some).ok_or_else(|| {
        let shown: String = n.to_string().chars().take(40).collect();
        format!("answered with `usage.{name}` = {shown}, which is no count of tokens")
    })
}
