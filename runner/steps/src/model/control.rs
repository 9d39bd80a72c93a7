//! Finds control tokens in text that may hold them.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use super::definition::{Added, Definition};

/// The control tokens of a tokenizer.
pub(crate) struct Controls {
    ids: HashSet<u32>,
    /// Longest first, so that the first one that fits is the right one.
    tokens: Vec<Added>,
    first_chars: BTreeSet<char>,
}

/// Plain text, and the control token behind it; the last part has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Bytes of the text.
    pub(crate) text: Range<usize>,
    pub(crate) control: Option<u32>,
    /// Where the next part begins.
    pub(crate) end: usize,
}

impl Controls {
    pub(crate) fn new(definition: &Definition, control: &HashSet<u32>) -> Self {
        let added = definition.added.iter().filter(|it| control.contains(&it.id));
        let mut tokens: Vec<Added> = added.cloned().collect();
        tokens.sort_by_key(|it| (std::cmp::Reverse(it.content.len()), it.id));
        let first_chars = tokens.iter().filter_map(|it| it.content.chars().next()).collect();
        Self { ids: control.clone(), tokens, first_chars }
    }

    pub(crate) fn is_control(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }

    /// The characters with which control tokens begin: without them a text has none.
    pub(crate) fn first_chars(&self) -> &BTreeSet<char> {
        &self.first_chars
    }

    /// Whether a text could be continued into a control token, or begins with one.
    pub(crate) fn may_begin(&self, text: &str) -> bool {
        self.tokens.iter().any(|it| it.content.starts_with(text) || text.starts_with(&it.content))
    }

    /// Cuts a text at its control tokens: the leftmost first, of those the longest, as the
    /// `tokenizers` crate does. White space belongs to a token that asks for it.
    pub(crate) fn split(&self, text: &str) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut start = 0;
        let mut at = 0;
        while let Some(found) = self.next(text, at) {
            let mut plain = start..found.at;
            if found.token.lstrip {
                plain.end = plain.start + text[plain.clone()].trim_end().len();
            }
            at = found.at + found.token.content.len();
            if found.token.rstrip {
                at = text.len() - text[at..].trim_start().len();
            }
            parts.push(Part { text: plain, control: Some(found.token.id), end: at });
            start = at;
        }
        parts.push(Part { text: start..text.len(), control: None, end: text.len() });
        parts
    }

    fn next(&self, text: &str, from: usize) -> Option<Found<'_>> {
        let begins = |(i, c): (usize, char)| self.first_chars.contains(&c).then_some(from + i);
        text[from..].char_indices().filter_map(begins).find_map(|at| {
            let fits =
                |it: &&Added| text[at..].starts_with(&it.content) && stands_free(it, text, at);
            self.tokens.iter().find(fits).map(|token| Found { at, token })
        })
    }
}

struct Found<'a> {
    at: usize,
    token: &'a Added,
}

/// Whether a token that must be a word of its own is one.
fn stands_free(token: &Added, text: &str, at: usize) -> bool {
    let is_word = |it: char| it.is_alphanumeric() || it == '_';
    let before = text[..at].chars().next_back();
    let after = text[at + token.content.len()..].chars().next();
    !token.single_word || !before.is_some_and(is_word) && !after.is_some_and(is_word)
}
