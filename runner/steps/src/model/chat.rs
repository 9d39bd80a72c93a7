//! Conversations as token ids: what a model is asked with, and what it is trained on.
//!
//! The ids are those that `transformers` gives for the same template, wherever no message holds the
//! text of a control token. They come from the rendered text cut at the template's control tokens,
//! the runs between them encoded as plain text and as wholes, so that a piece may reach from the
//! template's text into a message's.
//!
//! An answer is what the rendered conversation has beyond the prompt that the model would be asked
//! with, up to and with the last control token: its end. So what is trained is what a model must
//! write when it is asked, no matter how a template is built. A template that shows earlier turns in
//! another way than it asked with (some cut reasoning out) has no such answer, and says so.

use std::ops::Range;

use serde_json::{Map, Value};

use super::disguise::Disguise;
use super::error::TextError;
use super::template::{Given, Template};
use super::tokenizer::{Controlled, Stands, Tokenizer};

/// Messages, in order, and the tools that the model is told about.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    messages: Vec<Value>,
    tools: Option<Value>,
}

/// Which tokens of a sample count in the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossOn {
    /// Those of the assistant's answers, with the token that ends each.
    Answer,
    /// Every token.
    All,
}

/// A rendered conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The tokens.
    pub ids: Vec<u32>,
    /// For each token, whether it is trained: whether the model shall learn to write it.
    pub trained: Vec<bool>,
}

impl Sample {
    /// How many tokens are trained.
    pub fn n_trained(&self) -> usize {
        self.trained.iter().filter(|it| **it).count()
    }

    fn push(&mut self, id: u32, trained: bool) {
        self.ids.push(id);
        self.trained.push(trained);
    }
}

impl Conversation {
    /// From a list of messages: objects with a `role` and mostly a `content`.
    pub fn new(messages: Vec<Value>, tools: Option<Value>) -> Result<Self, TextError> {
        let wrong = |reason: String| TextError::Conversation { reason };
        if messages.is_empty() {
            return Err(wrong("has no messages".to_owned()));
        }
        for (i, it) in messages.iter().enumerate() {
            let role = it.get("role").and_then(Value::as_str);
            let is_word = |it: &str| !it.is_empty() && it.chars().all(|c| c.is_alphanumeric());
            if !role.is_some_and(is_word) {
                return Err(wrong(format!("message {} has no `role` that is a word", i + 1)));
            }
        }
        Ok(Self { messages: messages.iter().map(prepared).collect(), tools })
    }

    /// One question and its answer.
    pub fn pair(system: Option<&str>, question: &str, answer: Option<&str>) -> Self {
        let said = [("system", system), ("user", Some(question)), ("assistant", answer)];
        let said = said.into_iter().filter_map(|(role, text)| Some((role, text?)));
        let messages = said.map(|(role, text)| message(role, text)).collect();
        Self { messages, tools: None }
    }

    /// The messages.
    pub fn messages(&self) -> &[Value] {
        &self.messages
    }

    /// One more message.
    pub fn push(&mut self, role: &str, content: &str) {
        self.messages.push(message(role, content));
    }

    /// The conversation up to where the assistant answers last.
    pub fn without_last_answer(mut self) -> Result<Self, TextError> {
        while self.messages.len() > 1 && self.is_answer(self.messages.len() - 1) {
            self.messages.pop();
        }
        if self.is_answer(self.messages.len() - 1) {
            let reason = "asks nothing: there is only an answer".to_owned();
            return Err(TextError::Conversation { reason });
        }
        Ok(self)
    }

    /// The answer as the question, and the question as the answer, where there is one of each.
    pub fn turned_round(self) -> Result<Self, TextError> {
        let wrong = |reason: &str| TextError::Conversation { reason: reason.to_owned() };
        let said: Vec<(&str, &str)> = self.messages.iter().filter_map(said).collect();
        if said.len() != self.messages.len() {
            return Err(wrong("has a message that is no text and cannot be turned round"));
        }
        match said[..] {
            [("user", question), ("assistant", answer)] => {
                Ok(Self::pair(None, answer, Some(question)))
            }
            [("system", system), ("user", question), ("assistant", answer)] => {
                Ok(Self::pair(Some(system), answer, Some(question)))
            }
            _ => Err(wrong("is not one question and its answer, and cannot be turned round")),
        }
    }

    /// Its messages, and the tools that it may use.
    pub(crate) fn parts(&self) -> (&[Value], Option<&Value>) {
        (&self.messages, self.tools.as_ref())
    }

    fn is_answer(&self, i: usize) -> bool {
        self.messages[i].get("role").and_then(Value::as_str) == Some("assistant")
    }
}

/// Role and text of a message that is a text.
fn said(message: &Value) -> Option<(&str, &str)> {
    Some((message.get("role")?.as_str()?, message.get("content")?.as_str()?))
}

fn message(role: &str, content: &str) -> Value {
    let pairs = [("role", role), ("content", content)];
    Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect())
}

/// A message as `transformers` hands it to a template: without nulls, reasoning under its names.
fn prepared(message: &Value) -> Value {
    let Value::Object(map) = message else { return message.clone() };
    let mut map: Map<String, Value> = map.clone();
    map.retain(|_, it| !it.is_null());
    let names = ["reasoning_content", "thinking", "reasoning"];
    if let Some(it) = names.iter().find_map(|it| map.get(*it)).cloned() {
        map.entry("thinking").or_insert_with(|| it.clone());
        map.insert("reasoning_content".to_owned(), it);
    }
    Value::Object(map)
}

/// A chat template with the tokenizer that it is for.
#[derive(Clone, Copy)]
pub struct Chat<'a> {
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The template.
    pub template: &'a Template,
}

impl Chat<'_> {
    /// The text of a conversation: as a prompt for the next answer, or as it stands.
    pub fn text(&self, conversation: &Conversation, ask: Ask) -> Result<String, TextError> {
        let it = Rendering::new(*self, conversation)?;
        let text = it.render(conversation.messages.len(), ask)?;
        Ok(it.disguise.show(&text))
    }

    /// The ids of a prompt for the next answer.
    pub fn prompt(&self, conversation: &Conversation) -> Result<Vec<u32>, TextError> {
        let it = Rendering::new(*self, conversation)?;
        let text = it.render(conversation.messages.len(), Ask::Answer)?;
        Ok(it.encode(&text, &[])?.ids)
    }

    /// A conversation to train on.
    pub fn sample(&self, conversation: &Conversation, on: LossOn) -> Result<Sample, TextError> {
        let it = Rendering::new(*self, conversation)?;
        let n = conversation.messages.len();
        let text = it.render(n, Ask::Nothing)?;
        let spans = match on {
            LossOn::All => std::iter::once(0..text.len()).collect(),
            LossOn::Answer => it.answers(conversation, &text)?,
        };
        it.encode(&text, &spans)
    }
}

/// Whether a rendered conversation ends with the beginning of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// It does: the model shall go on.
    Answer,
    /// It does not.
    Nothing,
}

struct Rendering<'a> {
    chat: Chat<'a>,
    disguise: Disguise<'a>,
    messages: Vec<Value>,
    tools: Option<Value>,
}

impl<'a> Rendering<'a> {
    fn new(chat: Chat<'a>, conversation: &Conversation) -> Result<Self, TextError> {
        let texts: Vec<&Value> =
            conversation.messages.iter().chain(conversation.tools.as_ref()).collect();
        let disguise = Disguise::new(&chat.tokenizer.controls, chat.template, &texts)?;
        let messages = conversation.messages.iter().map(|it| disguise.hide(it)).collect();
        let tools = conversation.tools.as_ref().map(|it| disguise.hide(it));
        Ok(Self { chat, disguise, messages, tools })
    }

    /// The first `n` messages, with twins in it.
    fn render(&self, n: usize, ask: Ask) -> Result<String, TextError> {
        self.chat.template.render(&Given {
            messages: Value::Array(self.messages[..n].to_vec()),
            tools: self.tools.clone(),
            names: Some(&self.chat.tokenizer.named().texts),
            asks_for_answer: ask == Ask::Answer,
        })
    }

    /// The bytes of the rendered text that are answers, each with its end.
    fn answers(
        &self,
        conversation: &Conversation,
        text: &str,
    ) -> Result<Vec<Range<usize>>, TextError> {
        let mut spans = Vec::new();
        let n = conversation.messages.len();
        for i in (0..n).filter(|it| conversation.is_answer(*it)) {
            let prompt = self.render(i, Ask::Answer)?;
            let upto = if i + 1 == n { text.to_owned() } else { self.render(i + 1, Ask::Nothing)? };
            if !upto.starts_with(&prompt) || !text.starts_with(&upto) {
                let reason = format!(
                    "the template does not show message {} as the answer to its own prompt",
                    i + 1
                );
                return Err(TextError::Conversation { reason });
            }
            let parts = self.chat.tokenizer.controls.split(&upto[prompt.len()..]);
            let end = parts.iter().rev().find(|it| it.control.is_some()).map(|it| it.end);
            spans.push(prompt.len()..end.map_or(upto.len(), |it| prompt.len() + it));
        }
        Ok(spans)
    }

    /// The tokens of a text with twins in it.
    fn encode(&self, text: &str, spans: &[Range<usize>]) -> Result<Sample, TextError> {
        let mut sample = Sample::default();
        for part in self.chat.tokenizer.controls.split(text) {
            let run = part.text.clone();
            let stands = if run.start == 0 { Stands::First } else { Stands::Later };
            let shown = self.disguise.show(&text[run.clone()]);
            // The spans in bytes of the shown run.
            let clip = |at: usize| {
                let at = at.clamp(run.start, run.end);
                self.disguise.show(&text[run.start..at]).len()
            };
            let spans_here: Vec<Range<usize>> =
                spans.iter().map(|it| clip(it.start)..clip(it.end)).collect();
            for piece in self.chat.tokenizer.pieces(&shown, stands)? {
                let inside = |it: &Range<usize>| piece.start < it.end && piece.end > it.start;
                sample.push(piece.id, spans_here.iter().any(inside));
            }
            if let Some(id) = part.control {
                sample.push(id, spans.iter().any(|it| it.start < part.end && part.end <= it.end));
            }
        }
        Ok(sample)
    }
}

impl Chat<'_> {
    /// Refuses a template from which nobody can learn to answer: one that does not show where an
    /// answer begins, or puts no token behind it with which the model could end.
    pub(crate) fn check_answers(&self) -> Result<(), TextError> {
        let name = self.template.name();
        let wrong = |reason: String| TextError::Template { name: name.to_owned(), reason };
        let example = Conversation::pair(None, "a question", Some("an answer"));
        let sample = self.sample(&example, LossOn::Answer).map_err(|it| match it {
            TextError::Conversation { .. } => wrong(
                "cannot mark answers: with `add_generation_prompt` it does not write what stands \
                 before an answer in the whole conversation"
                    .to_owned(),
            ),
            other => other,
        })?;
        let marked: Vec<u32> =
            sample.ids.iter().zip(&sample.trained).filter(|it| *it.1).map(|it| *it.0).collect();
        let text = self.tokenizer.decode(&marked, Controlled::Hidden)?;
        if !text.contains("an answer") || text.contains("a question") {
            return Err(wrong(
                "cannot mark answers: it does not write them as they are".to_owned(),
            ));
        }
        if self.end_token().is_none() {
            return Err(wrong(
                "puts no control token behind an answer: a model trained with it never ends one"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// The token with which the template ends an answer, if it has one.
    pub fn end_token(&self) -> Option<u32> {
        let example = Conversation::pair(None, "a", Some("b"));
        let sample = self.sample(&example, LossOn::Answer).ok()?;
        let last = sample.trained.iter().rposition(|it| *it)?;
        Some(sample.ids[last]).filter(|it| self.tokenizer.is_control(*it))
    }
}
