//! What a tokenizer file says, checked before the `tokenizers` crate sees it.
//!
//! The crate trusts its files: a merge whose result is in no vocabulary makes it panic, a vocabulary
//! with two tokens of one id makes it choose by chance. So the file is read as JSON first and held
//! against the rules here. What the crate could read but a Llama-shaped model never has is refused
//! with its name, so that nothing is silently encoded in another way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::error::TextError;

/// No vocabulary is larger; what is built from a count of tokens stays within bounds.
pub(crate) const MAX_TOKEN_ID: u32 = (1 << 24) - 1;
/// Text that a normalizer or decoder puts in place of a match; it bounds how a text can grow.
const MAX_REPLACEMENT_BYTES: usize = 64;

/// A token that stands beside the model's vocabulary, or is found in it before the model works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) id: u32,
    pub(crate) content: String,
    pub(crate) single_word: bool,
    pub(crate) lstrip: bool,
    pub(crate) rstrip: bool,
    pub(crate) normalized: bool,
    pub(crate) special: bool,
}

/// A checked tokenizer file.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) path: PathBuf,
    /// The whole file, less what encoding does not use.
    json: Map<String, Value>,
    /// Every token of the model.
    pub(crate) vocabulary: BTreeMap<u32, String>,
    /// By id.
    pub(crate) added: Vec<Added>,
    /// Tokens that the file itself puts before each text.
    pub(crate) before_text: Vec<String>,
    pub(crate) unk: Option<String>,
    pub(crate) prefix: Prefix,
}

/// What stands before a text that stands at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefix {
    /// Nothing.
    None,
    /// A space.
    Space,
    /// A space, unless the text begins with one.
    SpaceUnlessThere,
}

impl Definition {
    /// Checks what stands in a `tokenizer.json`.
    pub(crate) fn new(path: &Path, json: Value) -> Result<Self, TextError> {
        let Value::Object(mut json) = json else {
            return Err(TextError::file(path, "", "is not a JSON object"));
        };
        let reader = Reader { path };
        let before_text = reader.before_text(json.get("post_processor"));
        for name in ["post_processor", "truncation", "padding"] {
            json.remove(name);
        }
        reader.parts(&json)?;
        let (vocabulary, unk) = reader.model(json.get("model"))?;
        if unk.is_none() && !covers_all_text(&json, &vocabulary) {
            let reason = "is nothing, and characters without a token would be lost";
            return Err(TextError::file(path, "model.unk_token", reason));
        }
        let added = reader.added(json.remove("added_tokens").as_ref(), &vocabulary)?;
        let prefix = take_prefix(&mut json);
        let path = path.to_owned();
        Ok(Self { path, json, vocabulary, added, before_text, unk, prefix })
    }

    /// The crate's tokenizer for plain text: it has none of the control tokens, neither as added
    /// ones nor in its model, so no text can make one.
    pub(crate) fn plain(&self, control: &HashSet<u32>) -> Result<tokenizers::Tokenizer, TextError> {
        let mut json = self.json.clone();
        let hidden: HashSet<&str> =
            control.iter().filter_map(|it| self.vocabulary.get(it)).map(String::as_str).collect();
        let added: Vec<&Added> = self.added.iter().filter(|it| !control.contains(&it.id)).collect();
        if let Some(Value::Object(model)) = json.get_mut("model") {
            hide(model, &hidden, self.unk.as_deref());
            // The crate counts ids itself, unless it finds the token in the model.
            if let Some(Value::Object(vocabulary)) = model.get_mut("vocab") {
                vocabulary.extend(added.iter().map(|it| (it.content.clone(), it.id.into())));
            }
        }
        let list = added.iter().map(|it| it.json()).collect();
        json.insert("added_tokens".to_owned(), Value::Array(list));
        let wrong = |it: &dyn std::fmt::Display| TextError::file(&self.path, "", it.to_string());
        let tokenizer: tokenizers::Tokenizer =
            serde_json::from_value(Value::Object(json)).map_err(|it| wrong(&it))?;
        for it in added {
            let got = tokenizer.token_to_id(&it.content);
            if got != Some(it.id) {
                let got = got.map_or("none".to_owned(), |it| it.to_string());
                let reason = format!("`{}` has id {} where {got} follows", it.content, it.id);
                return Err(TextError::file(&self.path, "added_tokens", reason));
            }
        }
        Ok(tokenizer)
    }
}

impl Added {
    /// A special token with no wishes.
    pub(crate) fn special(id: u32, content: &str) -> Self {
        let (single_word, lstrip, rstrip, normalized) = (false, false, false, false);
        let content = content.to_owned();
        Self { id, content, single_word, lstrip, rstrip, normalized, special: true }
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id, "content": self.content, "single_word": self.single_word,
            "lstrip": self.lstrip, "rstrip": self.rstrip, "normalized": self.normalized,
            "special": self.special,
        })
    }
}

/// The unknown token keeps its id under a name that no text has.
const HIDDEN_UNK: &str = "\u{10FFFF}unk\u{10FFFF}";

/// Takes tokens out of a BPE model, with the merges that make or use them.
fn hide(model: &mut Map<String, Value>, hidden: &HashSet<&str>, unk: Option<&str>) {
    if let Some(Value::Object(vocabulary)) = model.get_mut("vocab") {
        let unk_id = unk.and_then(|it| vocabulary.get(it).cloned());
        vocabulary.retain(|it, _| !hidden.contains(it.as_str()));
        if let (Some(unk), Some(id)) = (unk, unk_id)
            && hidden.contains(unk)
        {
            vocabulary.insert(HIDDEN_UNK.to_owned(), id);
            model.insert("unk_token".to_owned(), HIDDEN_UNK.into());
        }
    }
    if let Some(Value::Array(merges)) = model.get_mut("merges") {
        merges.retain(|it| match merge(it) {
            Some((a, b)) => {
                !hidden.contains(a)
                    && !hidden.contains(b)
                    && !hidden.contains(format!("{a}{b}").as_str())
            }
            None => true,
        });
    }
}

/// A merge in either of its two spellings.
fn merge(it: &Value) -> Option<(&str, &str)> {
    match it {
        Value::String(it) => {
            let (a, b) = it.split_once(' ')?;
            (!b.contains(' ')).then_some((a, b))
        }
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(a), Value::String(b)] => Some((a, b)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether every text can be written in tokens of the model: by bytes in either of two ways.
fn covers_all_text(json: &Map<String, Value>, vocabulary: &BTreeMap<u32, String>) -> bool {
    let has_byte_level = json.get("pre_tokenizer").is_some_and(is_byte_level);
    let falls_back = json.get("model").and_then(|it| it.get("byte_fallback"));
    let tokens: HashSet<&str> = vocabulary.values().map(String::as_str).collect();
    let all_bytes = || (0..=255).all(|it| tokens.contains(byte_token(it).as_str()));
    has_byte_level || falls_back == Some(&Value::Bool(true)) && all_bytes()
}

fn is_byte_level(part: &Value) -> bool {
    let inner = part.get("pretokenizers").and_then(Value::as_array);
    part.get("type").and_then(Value::as_str) == Some("ByteLevel")
        || inner.is_some_and(|it| it.iter().any(is_byte_level))
}

/// The token that stands for a byte.
pub(crate) fn byte_token(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

/// Takes "a space before the first piece of a text" out of the file: the crate takes every piece
/// that it is handed for the first.
fn take_prefix(json: &mut Map<String, Value>) -> Prefix {
    match json.get_mut("pre_tokenizer").and_then(first_metaspace) {
        Some(it) => {
            it.insert("prepend_scheme".to_owned(), "never".into());
            Prefix::SpaceUnlessThere
        }
        None => Prefix::None,
    }
}

fn first_metaspace(part: &mut Value) -> Option<&mut Map<String, Value>> {
    let object = part.as_object_mut()?;
    match object.get("type").and_then(Value::as_str) {
        Some("Metaspace") if object.get("prepend_scheme") == Some(&"first".into()) => Some(object),
        Some("Sequence") => {
            object.get_mut("pretokenizers")?.as_array_mut()?.iter_mut().find_map(first_metaspace)
        }
        _ => None,
    }
}

/// Reads fields of one file.
struct Reader<'a> {
    path: &'a Path,
}

/// The parts of a tokenizer that are read: field, name of a sequence's list, types.
const PARTS: &[(&str, &str, &[&str])] = &[
    (
        "normalizer",
        "normalizers",
        &["Replace", "Prepend", "NFC", "NFD", "NFKC", "NFKD", "Sequence"],
    ),
    ("pre_tokenizer", "pretokenizers", &["Metaspace", "ByteLevel", "Split", "Digits", "Sequence"]),
    (
        "decoder",
        "decoders",
        &["Replace", "ByteFallback", "Fuse", "Strip", "ByteLevel", "Metaspace", "Sequence"],
    ),
];

impl Reader<'_> {
    fn wrong(&self, field: impl Into<String>, reason: impl Into<String>) -> TextError {
        TextError::file(self.path, field, reason)
    }

    /// Normalizer, pre-tokenizer and decoder are of types that are understood.
    fn parts(&self, json: &Map<String, Value>) -> Result<(), TextError> {
        for (name, list, types) in PARTS {
            match json.get(*name) {
                None | Some(Value::Null) => {}
                Some(it) => self.part(it, name, (list, types))?,
            }
        }
        Ok(())
    }

    fn part(
        &self,
        it: &Value,
        field: &str,
        (list, types): (&str, &[&str]),
    ) -> Result<(), TextError> {
        let kind = it.get("type").and_then(Value::as_str).unwrap_or_default();
        if !types.contains(&kind) {
            let known = types.join("`, `");
            let reason = format!("`{kind}` is not read; what is: `{known}`");
            return Err(self.wrong(format!("{field}.type"), reason));
        }
        match kind {
            "Sequence" => {
                let Some(Value::Array(all)) = it.get(list) else {
                    return Err(self.wrong(format!("{field}.{list}"), "is not a list"));
                };
                for (i, it) in all.iter().enumerate() {
                    self.part(it, &format!("{field}.{list}[{i}]"), (list, types))?;
                }
                Ok(())
            }
            "Replace" => {
                if it.pointer("/pattern/String").and_then(Value::as_str).is_none_or(str::is_empty) {
                    return Err(self.wrong(format!("{field}.pattern"), "is not a text"));
                }
                self.short(it, field, "content")
            }
            "Prepend" => self.short(it, field, "prepend"),
            "Strip" if it.get("stop").and_then(Value::as_u64) != Some(0) => {
                Err(self.wrong(format!("{field}.stop"), "is not 0"))
            }
            _ => Ok(()),
        }
    }

    fn short(&self, it: &Value, field: &str, name: &str) -> Result<(), TextError> {
        match it.get(name).and_then(Value::as_str) {
            Some(it) if it.len() <= MAX_REPLACEMENT_BYTES => Ok(()),
            Some(_) => {
                let reason = format!("is longer than {MAX_REPLACEMENT_BYTES} bytes");
                Err(self.wrong(format!("{field}.{name}"), reason))
            }
            None => Err(self.wrong(format!("{field}.{name}"), "is not a text")),
        }
    }

    /// The model's vocabulary and its unknown token.
    fn model(
        &self,
        model: Option<&Value>,
    ) -> Result<(BTreeMap<u32, String>, Option<String>), TextError> {
        let Some(Value::Object(model)) = model else {
            return Err(self.wrong("model", "is not an object"));
        };
        // Old files leave the type out.
        let kind = model.get("type").map_or(Some("BPE"), Value::as_str).unwrap_or_default();
        if kind != "BPE" {
            return Err(self.wrong("model.type", format!("`{kind}` is not read; only `BPE` is")));
        }
        for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
            if model.get(name).is_some_and(|it| !it.is_null() && it != "") {
                return Err(self.wrong(format!("model.{name}"), "is not read; it must be empty"));
            }
        }
        if model.get("dropout").is_some_and(|it| !it.is_null() && it.as_f64() != Some(0.0)) {
            return Err(self.wrong("model.dropout", "must be nothing: it makes encoding random"));
        }
        let vocabulary = self.vocabulary(model.get("vocab"))?;
        let tokens: HashSet<&str> = vocabulary.values().map(String::as_str).collect();
        let Some(Value::Array(merges)) = model.get("merges") else {
            return Err(self.wrong("model.merges", "is not a list"));
        };
        for (i, it) in merges.iter().enumerate() {
            let at = || format!("model.merges[{i}]");
            let Some((a, b)) = merge(it) else {
                return Err(self.wrong(at(), "is not a pair of tokens"));
            };
            let whole = format!("{a}{b}");
            if let Some(it) = [a, b, &whole].iter().find(|it| !tokens.contains(**it)) {
                return Err(self.wrong(at(), format!("`{it}` is not in the vocabulary")));
            }
        }
        let unk = model.get("unk_token").and_then(Value::as_str).map(str::to_owned);
        if let Some(it) = unk.as_ref().filter(|it| !tokens.contains(it.as_str())) {
            return Err(self.wrong("model.unk_token", format!("`{it}` is not in the vocabulary")));
        }
        Ok((vocabulary, unk))
    }

    fn vocabulary(&self, vocabulary: Option<&Value>) -> Result<BTreeMap<u32, String>, TextError> {
        let Some(Value::Object(tokens)) = vocabulary else {
            return Err(self.wrong("model.vocab", "is not an object"));
        };
        let mut by_id = BTreeMap::new();
        for (token, id) in tokens {
            let Some(id) = token_id(id) else {
                let reason = format!("the id of `{token}` is not between 0 and {MAX_TOKEN_ID}");
                return Err(self.wrong("model.vocab", reason));
            };
            if let Some(other) = by_id.insert(id, token.clone()) {
                let reason = format!("`{other}` and `{token}` both have id {id}");
                return Err(self.wrong("model.vocab", reason));
            }
        }
        Ok(by_id)
    }

    fn added(
        &self,
        added: Option<&Value>,
        vocabulary: &BTreeMap<u32, String>,
    ) -> Result<Vec<Added>, TextError> {
        let mut all = match added {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(all)) => all
                .iter()
                .enumerate()
                .map(|(i, it)| self.added_token(&format!("added_tokens[{i}]"), None, it))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(self.wrong("added_tokens", "is not a list")),
        };
        all.sort_by_key(|it| it.id);
        check_added(&all, vocabulary).map_err(|it| self.wrong("added_tokens", it))?;
        Ok(all)
    }

    fn added_token(&self, field: &str, id: Option<u32>, it: &Value) -> Result<Added, TextError> {
        let Some(id) = id.or_else(|| it.get("id").and_then(token_id)) else {
            let reason = format!("is not between 0 and {MAX_TOKEN_ID}");
            return Err(self.wrong(format!("{field}.id"), reason));
        };
        let content = it.get("content").and_then(Value::as_str).unwrap_or_default();
        if content.is_empty() {
            return Err(self.wrong(format!("{field}.content"), "is not a text"));
        }
        let flag = |name: &str| it.get(name).and_then(Value::as_bool).unwrap_or(false);
        let (single_word, lstrip, rstrip) = (flag("single_word"), flag("lstrip"), flag("rstrip"));
        let (normalized, special) = (flag("normalized"), flag("special"));
        let content = content.to_owned();
        Ok(Added { id, content, single_word, lstrip, rstrip, normalized, special })
    }

    /// The tokens before a text in a `TemplateProcessing`.
    fn before_text(&self, part: Option<&Value>) -> Vec<String> {
        let Some(part) = part else { return Vec::new() };
        let list = |name| part.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        match part.get("type").and_then(Value::as_str) {
            Some("Sequence") => {
                list("processors").iter().flat_map(|it| self.before_text(Some(it))).collect()
            }
            Some("TemplateProcessing") => list("single")
                .iter()
                .map_while(|it| it.pointer("/SpecialToken/id").and_then(Value::as_str))
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// The tokens that a `tokenizer_config.json` adds: a table from ids to tokens.
pub(crate) fn added_of_config(path: &Path, table: &Value) -> Result<Vec<Added>, TextError> {
    let reader = Reader { path };
    let Value::Object(table) = table else {
        return Err(reader.wrong("added_tokens_decoder", "is not an object"));
    };
    let token = |(id, it): (&String, &Value)| {
        let field = format!("added_tokens_decoder.{id}");
        let id = id.parse().ok().filter(|it| *it <= MAX_TOKEN_ID);
        reader.added_token(&field, id, it)
    };
    table.iter().map(token).collect()
}

/// Why added tokens cannot stand beside each other and the vocabulary.
pub(crate) fn check_added(
    added: &[Added],
    vocabulary: &BTreeMap<u32, String>,
) -> Result<(), String> {
    let mut ids = HashMap::new();
    let mut texts = HashSet::new();
    for it in added {
        let other = ids.insert(it.id, &it.content).or_else(|| vocabulary.get(&it.id));
        if let Some(other) = other.filter(|other| **other != it.content) {
            return Err(format!("`{other}` and `{}` both have id {}", it.content, it.id));
        }
        if !texts.insert(&it.content) {
            return Err(format!("`{}` stands there twice", it.content));
        }
    }
    Ok(())
}

fn token_id(it: &Value) -> Option<u32> {
    it.as_u64().and_then(|it| u32::try_from(it).ok()).filter(|it| *it <= MAX_TOKEN_ID)
}
