//! Text from ids that come one by one.

use super::error::TextError;
use super::tokenizer::{Controlled, Tokenizer};

/// Turns ids into text as they come. What it gave, put together, is what
/// [`Tokenizer::decode`] makes of all of them: it holds a token back until no later one can change
/// its text, so half a character never comes out.
pub struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    /// Tokens whose text is out, and that later ones may need to be read rightly.
    before: Vec<u32>,
    /// Tokens whose text is not out.
    held: Vec<u32>,
}

impl<'a> Stream<'a> {
    /// A stream at its beginning.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, before: Vec::new(), held: Vec::new() }
    }

    /// Takes the next id; gives the text that is certain now, often none or a word.
    pub fn push(&mut self, id: u32) -> Result<String, TextError> {
        if self.tokenizer.is_control(id) {
            return Ok(String::new());
        }
        // A run of bytes is one whole: what they mean is known when it ends.
        let is_byte = self.tokenizer.is_byte(id);
        let out = if is_byte { String::new() } else { self.settle()? };
        self.held.push(id);
        if is_byte { Ok(out) } else { Ok(out + &self.settle()?) }
    }

    /// The rest, at the end.
    pub fn finish(mut self) -> Result<String, TextError> {
        let text = self.text_of_held()?;
        self.held.clear();
        Ok(text)
    }

    /// Lets out what is held, unless its last character may be half of one.
    fn settle(&mut self) -> Result<String, TextError> {
        if self.held.is_empty() {
            return Ok(String::new());
        }
        let text = self.text_of_held()?;
        let is_byte = self.held.last().is_some_and(|it| self.tokenizer.is_byte(*it));
        if text.ends_with('\u{FFFD}') && !is_byte && self.held.len() < MAX_HELD {
            return Ok(String::new());
        }
        self.before = std::mem::take(&mut self.held);
        Ok(text)
    }

    /// What the held tokens add to those before.
    fn text_of_held(&self) -> Result<String, TextError> {
        let decode = |ids: &[u32]| self.tokenizer.decode(ids, Controlled::Hidden);
        let all: Vec<u32> = self.before.iter().chain(&self.held).copied().collect();
        let (before, all) = (decode(&self.before)?, decode(&all)?);
        Ok(all.strip_prefix(before.as_str()).map_or(String::new(), str::to_owned))
    }
}

/// A character has four bytes at most; what is longer and still no character is none.
const MAX_HELD: usize = 8;
