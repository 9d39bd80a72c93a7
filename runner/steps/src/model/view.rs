//! A sample's tokens, one by one, for people who want to see what is trained.

use serde::Serialize;

use super::chat::Sample;
use super::error::TextError;
use super::tokenizer::{Controlled, Tokenizer};

/// A token as a person reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenView {
    /// Its id.
    pub id: u32,
    /// Its name in the tokenizer's file.
    pub token: String,
    /// What it adds to the text. A character of several tokens is at the last of them.
    pub text: String,
    /// Whether it is trained.
    pub trained: bool,
    /// Whether it is a control token.
    pub control: bool,
}

/// No character has more bytes.
const MAX_CHARACTER_BYTES: usize = 4;

/// The tokens of a sample.
pub fn view(tokenizer: &Tokenizer, sample: &Sample) -> Result<Vec<TokenView>, TextError> {
    let token = |(id, trained): (&u32, &bool)| TokenView {
        id: *id,
        token: tokenizer.token(*id).unwrap_or_default().to_owned(),
        text: String::new(),
        trained: *trained,
        control: tokenizer.is_control(*id),
    };
    let mut tokens: Vec<TokenView> = sample.ids.iter().zip(&sample.trained).map(token).collect();
    let mut at = 0;
    while at < tokens.len() {
        let most = (tokens.len() - at).min(MAX_CHARACTER_BYTES);
        let whole = (1..=most).find_map(|n| {
            let text = readable(tokenizer, &sample.ids[at..at + n]);
            text.map(|it| it.map(|it| (n, it))).transpose()
        });
        match whole.transpose()? {
            Some((n, text)) => {
                at += n;
                tokens[at - 1].text = text;
            }
            None => {
                tokens[at].text = tokens[at].token.clone();
                at += 1;
            }
        }
    }
    Ok(tokens)
}

/// What tokens stand for; nothing where that is no whole character.
fn readable(tokenizer: &Tokenizer, ids: &[u32]) -> Result<Option<String>, TextError> {
    let text = tokenizer.decode(ids, Controlled::Shown)?;
    let raw = ids.first().and_then(|it| tokenizer.token(*it)).unwrap_or_default();
    // The space before a word is lost where a tokenizer cuts off a text's first space.
    let spaced = raw.starts_with('▁') && !text.starts_with(' ');
    Ok(match (text.contains('\u{FFFD}'), spaced) {
        (true, _) => None,
        (_, true) => Some(format!(" {text}")),
        _ => Some(text),
    })
}

/// The sample on few lines of plain text: trained stretches stand between `⟦` and `⟧`, and what
/// cannot be seen is written as `\n` and the like.
pub fn marked(tokens: &[TokenView]) -> String {
    let mut out = String::new();
    let mut trained = false;
    for it in tokens {
        if it.trained != trained {
            out.push(if it.trained { '⟦' } else { '⟧' });
            trained = it.trained;
        }
        out.push_str(&visible(&it.text));
    }
    if trained {
        out.push('⟧');
    }
    out
}

/// A text on one line.
pub fn visible(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}
