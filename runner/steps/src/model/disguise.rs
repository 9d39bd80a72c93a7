//! Keeps message contents from making control tokens, whatever a template does with them.
//!
//! Every control token begins with one of a few characters, mostly `<`. Before a template sees a
//! conversation, these characters in it are replaced by twins: private characters that stand nowhere
//! else. What the template then writes holds a real `<` only where the template itself wrote it, so
//! control tokens are looked for in that; afterwards the twins become what they were. A content that
//! a template cuts, trims or turns round keeps its twins.
//!
//! One exception lets templates look at contents as `transformers` would: where a content holds a
//! text that stands in quotes in the template, such as `</think>`, and that text cannot become a
//! control token, it stays as it is.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::control::Controls;
use super::error::TextError;
use super::template::Template;

/// Characters with their twins.
pub(crate) struct Disguise<'a> {
    twins: Vec<(char, char)>,
    /// Ends of the template's quoted texts, from a first character on.
    kept: BTreeSet<&'a str>,
}

/// Private use, and in no font: the twins are taken from here.
const TWINS: std::ops::RangeInclusive<char> = '\u{F0000}'..='\u{FFFFD}';

impl<'a> Disguise<'a> {
    /// For a conversation and the template that will see it.
    pub(crate) fn new(
        controls: &Controls,
        template: &'a Template,
        texts: &[&Value],
    ) -> Result<Self, TextError> {
        let mut used: BTreeSet<char> = template.source().chars().collect();
        let mut note = |c| {
            used.insert(c);
        };
        texts.iter().for_each(|it| each_char(it, &mut note));
        let firsts = controls.first_chars();
        let real: Vec<char> = firsts.iter().copied().filter(|it| used.contains(it)).collect();
        let mut free = TWINS.filter(|it| !used.contains(it) && !firsts.contains(it));
        let mut twins = Vec::new();
        for it in real {
            let Some(twin) = free.next() else {
                let reason = "uses every private character".to_owned();
                return Err(TextError::Conversation { reason });
            };
            twins.push((it, twin));
        }
        let mut kept = BTreeSet::new();
        for literal in template.literals() {
            let begins = literal.char_indices().filter(|(_, c)| firsts.contains(c));
            let ends = begins.map(|(at, _)| &literal[at..]);
            kept.extend(ends.filter(|it| !controls.may_begin(it)));
        }
        Ok(Self { twins, kept })
    }

    /// A conversation as the template may see it.
    pub(crate) fn hide(&self, value: &Value) -> Value {
        match value {
            Value::String(it) => Value::String(self.hide_text(it)),
            Value::Array(all) => all.iter().map(|it| self.hide(it)).collect(),
            Value::Object(map) => {
                let pair = |(key, it): (&String, &Value)| (self.hide_text(key), self.hide(it));
                Value::Object(map.iter().map(pair).collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }

    fn hide_text(&self, text: &str) -> String {
        let hide = |(at, c): (usize, char)| match self.twins.iter().find(|it| it.0 == c) {
            Some((_, twin)) if !self.keeps(&text[at..]) => *twin,
            _ => c,
        };
        text.char_indices().map(hide).collect()
    }

    fn keeps(&self, text: &str) -> bool {
        self.kept.iter().any(|it| text.starts_with(it))
    }

    /// The text that was meant.
    pub(crate) fn show(&self, text: &str) -> String {
        let show = |c| self.twins.iter().find(|it| it.1 == c).map_or(c, |it| it.0);
        text.chars().map(show).collect()
    }
}

fn each_char(value: &Value, take: &mut impl FnMut(char)) {
    match value {
        Value::String(it) => it.chars().for_each(take),
        Value::Array(all) => all.iter().for_each(|it| each_char(it, take)),
        Value::Object(map) => {
            for (key, it) in map {
                key.chars().for_each(&mut *take);
                each_char(it, take);
            }
        }
        _ => {}
    }
}
