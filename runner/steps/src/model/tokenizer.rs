//! From text to token ids and back, as a model's folder says.
//!
//! There are two kinds of text. *Plain* text comes from people and crawlers: in it the characters
//! `<|im_end|>` are eight harmless characters, and [`Tokenizer::encode_plain`] makes ordinary pieces
//! of them. *Trusted* text comes from a chat template: in it they are the control token. The crate's
//! own switch for this is not enough, since a model may hold a control token as an ordinary piece
//! that merges can reach; so the tokenizer for plain text is made from the file without them.
//!
//! No token is put before a text unless [`Tokenizer::encode_document`] is asked for and the folder
//! says so.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use plan::Digest;
use serde_json::Value;
use tokenizers::Decoder as _;

use super::control::Controls;
use super::definition::{Added, Definition, Prefix, added_of_config, byte_token, check_added};
use super::error::TextError;
use super::folder::{self, Settings, token_text};
use super::sentencepiece;

/// A tokenizer of a model folder.
pub struct Tokenizer {
    plain: tokenizers::Tokenizer,
    prefix: Prefix,
    /// Texts of tokens that plain text may hold, which no space is put before.
    added: Vec<String>,
    tokens: HashMap<u32, String>,
    ids: HashMap<String, u32>,
    bytes: HashSet<u32>,
    pub(crate) controls: Controls,
    named: Named,
    adds_bos: bool,
    digest: Digest,
    n_ids: usize,
}

/// Tokens that have a part to play.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// What the files name, such as `eos_token`, with the token's text: what templates see.
    pub texts: BTreeMap<String, String>,
    /// The beginning of a text.
    pub bos: Option<u32>,
    /// The end of a text, as the tokenizer's files say.
    pub eos: Option<u32>,
    /// What fills up rows.
    pub pad: Option<u32>,
    /// Everything that ends an answer: the above and what `generation_config.json` says.
    pub stop: Vec<u32>,
}

/// What becomes of control tokens when ids become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controlled {
    /// They are left out.
    Hidden,
    /// They are shown.
    Shown,
}

/// A token with the part of the text that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) id: u32,
    /// Bytes of the text: from where.
    pub(crate) start: usize,
    /// To where.
    pub(crate) end: usize,
}

/// Where a plain text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// At the start: some tokenizers put a space before it.
    First,
    /// After a control token.
    Later,
}

/// The names under which the files keep tokens.
const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// All that a folder says about its tokens, besides their definition.
struct Files {
    config: Settings,
    map: Settings,
    generation: Settings,
}

impl Tokenizer {
    /// Opens the tokenizer of a model folder: `tokenizer.json`, or else `tokenizer.model`.
    pub fn open(folder: &Path) -> Result<Self, TextError> {
        let files = Files {
            config: Settings::read(folder.join("tokenizer_config.json"))?,
            map: Settings::read(folder.join("special_tokens_map.json"))?,
            generation: Settings::read(folder.join("generation_config.json"))?,
        };
        let json = folder.join("tokenizer.json");
        if let Some(bytes) = folder::bytes(&json)? {
            let value: Value = serde_json::from_slice(&bytes)
                .map_err(|it| TextError::file(&json, "", it.to_string()))?;
            let definition = Definition::new(&json, value)?;
            return Self::new(definition, &files, [None, None], &bytes);
        }
        let model = folder.join("tokenizer.model");
        if let Some(bytes) = folder::bytes(&model)? {
            let mut it = sentencepiece::read(&model, &bytes)?;
            // A file of this form has no post-processor: the flag alone says it.
            if files.config.flag("add_bos_token")? == Some(true) {
                let bos = files.names()?.remove("bos_token").or(it.bos.clone());
                it.definition.before_text.extend(bos);
            }
            return Self::new(it.definition, &files, [it.bos, it.eos], &bytes);
        }
        Err(TextError::NoTokenizer { folder: folder.to_owned() })
    }

    fn new(
        mut definition: Definition,
        files: &Files,
        [bos, eos]: [Option<String>; 2],
        bytes: &[u8],
    ) -> Result<Self, TextError> {
        let mut texts = files.names()?;
        let said = [("bos_token", bos), ("eos_token", eos)];
        for (name, text) in said.into_iter().filter_map(|(name, it)| Some((name, it?))) {
            texts.entry(name.to_owned()).or_insert(text);
        }
        complete(&mut definition, files, &texts)?;
        let mut tokens: HashMap<u32, String> =
            definition.vocabulary.iter().map(|(id, it)| (*id, it.clone())).collect();
        tokens.extend(definition.added.iter().map(|it| (it.id, it.content.clone())));
        let ids: HashMap<String, u32> = tokens.iter().map(|(id, it)| (it.clone(), *id)).collect();
        let named = files.named(texts, &ids, &definition)?;
        let control = files.control(&definition, &named, &ids)?;
        let bytes_of_text = (0..=255).filter_map(|it| ids.get(&byte_token(it)).copied());
        let first = definition.before_text.first().and_then(|it| ids.get(it)).copied();
        // As in `transformers` 5: the flag can take away what a post-processor adds, and adds nothing
        // of its own.
        let wanted = files.config.flag("add_bos_token")? != Some(false);
        let adds_bos = wanted && first.is_some() && first == named.bos;
        Ok(Self {
            plain: definition.plain(&control)?,
            prefix: definition.prefix,
            added: plain_added(&definition, &control),
            bytes: bytes_of_text.collect(),
            controls: Controls::new(&definition, &control),
            n_ids: tokens.keys().max().map_or(0, |it| *it as usize + 1),
            adds_bos,
            digest: digest(bytes, &named, adds_bos, &control),
            tokens,
            ids,
            named,
        })
    }

    /// The ids of a text from outside; no text makes a control token.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TextError> {
        Ok(self.pieces(text, Stands::First)?.into_iter().map(|it| it.id).collect())
    }

    /// As [`Tokenizer::encode_plain`], after the beginning-of-text token where the folder asks for
    /// one.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let mut ids: Vec<u32> = self.bos_to_add().into_iter().collect();
        ids.extend(self.encode_plain(text)?);
        Ok(ids)
    }

    /// The ids of a text of our own, in which control tokens are what they look like.
    pub fn encode_trusted(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let mut ids = Vec::new();
        let mut stands = Stands::First;
        for part in self.controls.split(text) {
            ids.extend(self.pieces(&text[part.text.clone()], stands)?.iter().map(|it| it.id));
            ids.extend(part.control);
            stands = Stands::Later;
        }
        Ok(ids)
    }

    /// The pieces of a plain text, in order.
    pub(crate) fn pieces(&self, text: &str, stands: Stands) -> Result<Vec<Piece>, TextError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let wrong = |it: tokenizers::Error| TextError::Tokenizer { reason: it.to_string() };
        let shift = usize::from(stands == Stands::First && self.wants_space(text));
        let encoding = if shift == 1 {
            self.plain.encode(format!(" {text}"), false).map_err(wrong)?
        } else {
            self.plain.encode(text, false).map_err(wrong)?
        };
        let piece = |(id, (start, end)): (&u32, &(usize, usize))| Piece {
            id: *id,
            start: start.saturating_sub(shift),
            end: end.saturating_sub(shift),
        };
        Ok(encoding.get_ids().iter().zip(encoding.get_offsets()).map(piece).collect())
    }

    fn wants_space(&self, text: &str) -> bool {
        let is_space = |it: char| it == ' ' || it == '▁';
        match self.prefix {
            Prefix::None => false,
            Prefix::Space => true,
            Prefix::SpaceUnlessThere => {
                !text.starts_with(is_space) && !self.added.iter().any(|it| text.starts_with(it))
            }
        }
    }

    /// The text of ids. An id that is no token is an error.
    pub fn decode(&self, ids: &[u32], controlled: Controlled) -> Result<String, TextError> {
        let mut tokens = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(token) = self.tokens.get(id) else {
                return Err(TextError::Tokenizer { reason: format!("no token has id {id}") });
            };
            if controlled == Controlled::Shown || !self.controls.is_control(*id) {
                tokens.push(token.clone());
            }
        }
        let wrong = |it: tokenizers::Error| TextError::Tokenizer { reason: it.to_string() };
        match self.plain.get_decoder() {
            Some(it) => it.decode(tokens).map_err(wrong),
            None => Ok(tokens.concat()),
        }
    }

    /// The token with this id, as the files write it.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(&id).map(String::as_str)
    }

    /// The id of a token as the files write it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// Whether this token stands for one byte, so that a character may need several.
    pub fn is_byte(&self, id: u32) -> bool {
        self.bytes.contains(&id)
    }

    /// Whether this token is one that only templates make.
    pub fn is_control(&self, id: u32) -> bool {
        self.controls.is_control(id)
    }

    /// How many rows an embedding needs so that every id has one.
    pub fn n_ids(&self) -> usize {
        self.n_ids
    }

    /// How many tokens there are.
    pub fn n_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens that have a part to play.
    pub fn named(&self) -> &Named {
        &self.named
    }

    /// The token that the folder wants before every text.
    pub fn bos_to_add(&self) -> Option<u32> {
        self.named.bos.filter(|_| self.adds_bos)
    }

    /// What encoding and decoding depend on, as one value for keys.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// Tokens that only `tokenizer_config.json` knows join the others, and so do tokens of the model
/// that the files name.
fn complete(
    definition: &mut Definition,
    files: &Files,
    texts: &BTreeMap<String, String>,
) -> Result<(), TextError> {
    let config = &files.config;
    let of_config = config.get("added_tokens_decoder");
    let of_config = of_config.map_or(Ok(Vec::new()), |it| added_of_config(&config.path, it))?;
    let named = definition.vocabulary.iter().filter(|it| texts.values().any(|text| text == it.1));
    let named: Vec<Added> = named.map(|(id, it)| Added::special(*id, it)).collect();
    for it in of_config.into_iter().chain(named) {
        match definition.added.iter_mut().find(|old| old.content == it.content) {
            Some(old) => old.special |= it.special,
            None => definition.added.push(it),
        }
    }
    definition.added.sort_by_key(|it| it.id);
    check_added(&definition.added, &definition.vocabulary)
        .map_err(|it| config.wrong("added_tokens_decoder", it))
}

fn plain_added(definition: &Definition, control: &HashSet<u32>) -> Vec<String> {
    let plain = definition.added.iter().filter(|it| !control.contains(&it.id));
    plain.map(|it| it.content.clone()).collect()
}

impl Files {
    /// What the files name; `tokenizer_config.json` has the last word.
    fn names(&self) -> Result<BTreeMap<String, String>, TextError> {
        let mut names = BTreeMap::new();
        for settings in [&self.map, &self.config] {
            for name in NAMES {
                if let Some(it) = settings.token(name)? {
                    names.insert(name.to_owned(), it);
                }
            }
        }
        Ok(names)
    }

    fn named(
        &self,
        texts: BTreeMap<String, String>,
        ids: &HashMap<String, u32>,
        definition: &Definition,
    ) -> Result<Named, TextError> {
        let id = |name: &str| match texts.get(name) {
            None => Ok(None),
            Some(it) => match ids.get(it) {
                Some(id) => Ok(Some(*id)),
                None => {
                    let reason = format!("`{it}` is no token of `{}`", definition.path.display());
                    Err(self.place_of(name).wrong(name, reason))
                }
            },
        };
        let (bos, eos, pad) = (id("bos_token")?, id("eos_token")?, id("pad_token")?);
        let mut stop = self.generation.ids("eos_token_id")?;
        stop.extend(eos);
        stop.sort_unstable();
        stop.dedup();
        Ok(Named { texts, bos, eos, pad, stop })
    }

    /// The file that names a token.
    fn place_of(&self, name: &str) -> &Settings {
        if self.config.get(name).is_some() { &self.config } else { &self.map }
    }

    /// The tokens that no text from outside may make: those that the files call special, those with
    /// a part to play, and those that look like control tokens though the files do not say so.
    fn control(
        &self,
        definition: &Definition,
        named: &Named,
        ids: &HashMap<String, u32>,
    ) -> Result<HashSet<u32>, TextError> {
        let looks_like = |it: &str| it.starts_with("<|") && it.ends_with("|>");
        let added = definition.added.iter();
        let mut control: HashSet<u32> =
            added.filter(|it| it.special || looks_like(&it.content)).map(|it| it.id).collect();
        let mut more: Vec<String> = named.texts.values().cloned().collect();
        for settings in [&self.map, &self.config] {
            for name in ["additional_special_tokens", "extra_special_tokens"] {
                match settings.get(name) {
                    Some(Value::Array(all)) => more.extend(all.iter().filter_map(token_text)),
                    Some(Value::Object(all)) => more.extend(all.values().filter_map(token_text)),
                    _ => {}
                }
            }
        }
        control.extend(more.iter().filter_map(|it| ids.get(it)));
        // A stop id that is no token of its own, such as a line feed, stays ordinary text.
        let is_added = |id: &&u32| definition.added.iter().any(|it| it.id == **id);
        control.extend(named.stop.iter().filter(is_added));
        Ok(control)
    }
}

/// Equal for folders that encode and decode alike.
fn digest(bytes: &[u8], named: &Named, adds_bos: bool, control: &HashSet<u32>) -> Digest {
    let mut control: Vec<u32> = control.iter().copied().collect();
    control.sort_unstable();
    let parts = format!("{named:?} {adds_bos} {control:?}");
    let mut all = blake3::Hasher::new_derive_key("kun tokenizer, format 1");
    for it in [bytes, parts.as_bytes()] {
        all.update(&(it.len() as u64).to_le_bytes());
        all.update(it);
    }
    Digest::of(all.finalize().as_bytes())
}

/// The files that a tokenizer is made of, where they are there: what a trained model takes along.
pub fn files_of(folder: &Path) -> Vec<PathBuf> {
    const FILES: [&str; 8] = [
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "vocab.json",
        "merges.txt",
    ];
    FILES.iter().map(|it| folder.join(it)).filter(|it| it.is_file()).collect()
}
