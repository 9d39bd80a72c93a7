//! Choices weighed by a server: by the probabilities of whole texts, where it gives them.
//!
//! A choice of several tokens has a probability only where all of them are given: `/completions` with
//! `echo` and `logprobs` gives them for a text that is handed over whole; the few likeliest tokens
//! that `/chat/completions` shows do not. The text is rendered here, by a built-in template. Where
//! tokens of a choice begin is where the token lists of the question alone and of the question with
//! each choice first differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use plan::Digest;
use serde_json::{Map, Value, json};

use super::client::{Client, Pool, Refusal};
use super::{body, is_overlong, read, refuse, requests};
use crate::asking::{OnOverlong, SYNC_EVERY, template_file};
use crate::choosing::{Choosing, End, Found, Take, Weighed, keep, known, next_record};
use crate::cx::Server;
use crate::model::template::Given;
use crate::model::{Conversation, How, Template, TextError};
use crate::records::{Progress, count_lines};
use crate::texts::Texts;
use crate::{Cx, Say, StepError};

/// What is asked about a record.
enum Question {
    /// The question, and the question with each choice behind it.
    Texts(Vec<String>),
    /// A request for an answer.
    Chat(Value),
}

/// What a server made of it, or why it cannot.
type Answer = Result<Weighed, String>;

/// So many records are worked on together.
const BATCH_RECORDS: usize = 256;

/// Lets a server choose about every record of the input `data`, or of this step's part of it.
pub(crate) fn weigh_all(
    choosing: &Choosing<'_>,
    server: Server,
    (take, cx): (&mut Take<'_>, &mut Cx<'_>),
) -> Result<(), StepError> {
    let mut asker = Asker::new(choosing, server, template_file(cx))?;
    let input = cx.input("data")?.to_owned();
    let n = count_lines(&input, cx)?;
    let range = cx.shard.map_or(0..n, |it| it.range(n));
    let mut texts = Texts::open(&input, choosing.columns)?;
    texts.skip(range.start)?;
    let result = asker.all(&mut texts, range.end, (take, cx));
    for (row, answer) in asker.pool.close() {
        asker.answered(row, answer, cx)?;
    }
    cx.memo.sync()?;
    result?;
    asker.progress.say(cx);
    (cx.report)(Say::Note(requests(&asker.client)));
    cx.count("records", range.end - range.start);
    Ok(())
}

struct Asker<'a> {
    choosing: &'a Choosing<'a>,
    template: Option<Template>,
    client: Arc<Client>,
    pool: Pool<Question, Answer>,
    /// Records that were asked about and not yet answered.
    asked: BTreeMap<u64, Digest>,
    next: u64,
    progress: Progress,
}

impl<'a> Asker<'a> {
    fn new(
        choosing: &'a Choosing<'a>,
        server: Server,
        file: Option<&Path>,
    ) -> Result<Self, StepError> {
        refuse(choosing.kind, "max_seq_len", choosing.max_seq_len.is_some())?;
        let writes = choosing.writes.is_some();
        refuse(choosing.kind, "template", writes && choosing.template.is_some())?;
        refuse(choosing.kind, "template", writes && file.is_some())?;
        let template = match (file, choosing.template) {
            (Some(it), name) => Some(Template::chosen(it, name)?),
            (None, Some(it)) => Some(Template::built_in(it)?),
            (None, None) if writes => None,
            (None, None) => {
                let reason = "an endpoint weighs texts, so `template` must name the built-in \
                              template that its model was trained with, or be its file";
                let (kind, reason) = (choosing.kind, reason.to_owned());
                return Err(StepError::Params { kind, reason });
            }
        };
        let client = Arc::new(Client::new(server)?);
        let skip = choosing.on_overlong == OnOverlong::Skip;
        let pool = Pool::start(Arc::clone(&client), move |client, question| {
            let answer = match question {
                Question::Texts(it) => weigh(client, &it),
                Question::Chat(it) => write(client, &it).map(Ok),
            };
            match answer {
                Err(Refusal::Status(400 | 413 | 422, it)) if skip && is_overlong(&it) => {
                    Ok(Ok(Weighed { log_probabilities: Vec::new(), text: None }))
                }
                other => other,
            }
        });
        let progress = Progress::new("records", None);
        Ok(Self { choosing, template, client, pool, asked: BTreeMap::new(), next: 0, progress })
    }

    fn all(
        &mut self,
        texts: &mut Texts<'_>,
        end: u64,
        (take, cx): (&mut Take<'_>, &mut Cx<'_>),
    ) -> Result<(), StepError> {
        let mut batch: Vec<(Map<String, Value>, Vec<u8>)> = Vec::new();
        let mut synced = Instant::now();
        while texts.line() < end || !batch.is_empty() {
            let mut new = BTreeSet::new();
            while texts.line() < end && batch.len() < BATCH_RECORDS {
                cx.check_stop()?;
                let Some((map, conversation)) = next_record(self.choosing, texts)? else { break };
                let digest = Digest::of(texts.bytes());
                if new.contains(&digest) || known(&digest, cx)?.is_some() {
                    self.progress.skipped(cx);
                } else {
                    let question = self.question(&conversation);
                    let question = question.map_err(|it| texts.mistake(None, it.to_string()))?;
                    self.asked.insert(self.next, digest);
                    self.pool.ask(self.next, question);
                    self.next += 1;
                    new.insert(digest);
                }
                batch.push((map, texts.bytes().to_vec()));
            }
            while let Some((row, outcome)) = self.pool.next(cx)? {
                let answer = outcome.map_err(|it| self.client.error(it))?;
                self.answered(row, answer, cx)?;
                if synced.elapsed() >= cx.checkpoint.map_or(SYNC_EVERY, |it| it.every) {
                    cx.memo.sync()?;
                    synced = Instant::now();
                }
            }
            cx.memo.sync()?;
            for (map, line) in batch.drain(..) {
                let gone = || StepError::Memo { reason: "what was weighed is gone".to_owned() };
                let weighed = known(&Digest::of(&line), cx)?.ok_or_else(gone)?;
                take(Found { line: &line, map, weighed })?;
            }
        }
        Ok(())
    }

    fn answered(&mut self, row: u64, answer: Answer, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let Some(digest) = self.asked.remove(&row) else { return Ok(()) };
        let weighed = answer.map_err(|reason| {
            let reason = format!(
                "gives no log-probabilities of a text: it {reason}; \
                 what such a model writes can be read instead, by `judge` with `mode = \"text\"`"
            );
            StepError::Endpoint { url: self.client.url().to_owned(), reason }
        })?;
        keep(&digest, &weighed, cx)?;
        self.progress.did(1, cx);
        Ok(())
    }

    fn question(&self, conversation: &Conversation) -> Result<Question, TextError> {
        let Some(template) = &self.template else {
            let how = How::greedy(self.choosing.writes.unwrap_or(1), Vec::new());
            let mut body = body(self.client.model(), conversation, &how);
            if let Value::Object(map) = &mut body {
                map.remove("logprobs");
            }
            return Ok(Question::Chat(body));
        };
        let question = rendered(template, conversation, true)?;
        let mut all = vec![question.clone()];
        for choice in self.choosing.choices {
            all.push(match self.choosing.end {
                End::Ignored => format!("{question}{choice}"),
                End::Counts => {
                    let mut answered = conversation.clone();
                    answered.push("assistant", choice);
                    let text = rendered(template, &answered, false)?;
                    if !text.starts_with(&format!("{question}{choice}")) {
                        let reason = "the template does not show a choice as the answer".to_owned();
                        return Err(TextError::Conversation { reason });
                    }
                    // Behind the end there may be a line feed, which nobody asks the model for.
                    text.trim_end().to_owned()
                }
            });
        }
        Ok(Question::Texts(all))
    }
}

fn rendered(
    template: &Template,
    conversation: &Conversation,
    asks_for_answer: bool,
) -> Result<String, TextError> {
    let (messages, tools) = conversation.parts();
    let messages = Value::Array(messages.to_vec());
    template.render(&Given { messages, tools: tools.cloned(), names: None, asks_for_answer })
}

fn write(client: &Client, body: &Value) -> Result<Weighed, Refusal> {
    let answer = client.ask("chat/completions", body, &read)?;
    Ok(Weighed { log_probabilities: Vec::new(), text: Some(answer.text) })
}

/// The tokens of a text with their log-probabilities.
type Tokens = Vec<(String, Option<f64>)>;

fn weigh(client: &Client, texts: &[String]) -> Result<Answer, Refusal> {
    let mut lists = Vec::new();
    for text in texts {
        let body = json!({
            "model": client.model(), "prompt": text, "echo": true, "logprobs": 1,
            "max_tokens": 1, "temperature": 0, "stream": false,
        });
        let read = |reply: &Value| match reply.pointer("/choices/0") {
            Some(choice) => Ok(echoed(reply, choice, text)),
            None => Err("answered without a choice".to_owned()),
        };
        match client.ask("completions", &body, &read) {
            Ok(Some(it)) => lists.push(it),
            Ok(None) => return Ok(Err("answered without those of the question".to_owned())),
            Err(Refusal::Status(400 | 404 | 405 | 422 | 501, it)) if !is_overlong(&it) => {
                return Ok(Err(it));
            }
            Err(it) => return Err(it),
        }
    }
    let alike =
        |at: usize| lists.iter().all(|it| it.get(at).is_some_and(|t| t.0 == lists[0][at].0));
    let begin = (0..lists[0].len()).take_while(|at| alike(*at)).count();
    let sum = |it: &Tokens| it[begin..].iter().map(|it| it.1).sum::<Option<f64>>();
    let sums: Option<Vec<f64>> = lists[1..].iter().map(sum).collect();
    Ok(match sums {
        Some(it) => Ok(Weighed { log_probabilities: it, text: None }),
        None => Err("answered with a token that has none".to_owned()),
    })
}

/// The tokens of the text that was handed over; none where the reply does not have them.
fn echoed(reply: &Value, choice: &Value, text: &str) -> Option<Tokens> {
    let logprobs = choice.get("logprobs")?;
    let texts = logprobs.get("tokens")?.as_array()?;
    let values = logprobs.get("token_logprobs")?.as_array()?;
    // What it went on to write stands behind.
    let written = reply.pointer("/usage/completion_tokens")?.as_u64()? as usize;
    let n = texts.len().checked_sub(written).filter(|n| *n > 0 && texts.len() == values.len())?;
    if !choice.get("text")?.as_str()?.starts_with(text) {
        return None;
    }
    let token = |(text, value): (&Value, &Value)| Some((text.as_str()?.to_owned(), value.as_f64()));
    texts.iter().zip(values).take(n).map(token).collect()
}
