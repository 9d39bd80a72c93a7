//! Reads a SentencePiece `tokenizer.model`: a protobuf message, of which four fields matter.
//!
//! Only models of type BPE without a character map are read, which is what Yi and Llama have. The
//! merges of a `tokenizer.json` are not in such a file: they follow from the pieces and their
//! scores, since SentencePiece always makes the piece with the best score first.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::definition::{Definition, MAX_TOKEN_ID, Prefix};
use super::error::TextError;

/// A piece longer than this is no piece; it bounds the work of finding merges.
const MAX_PIECE_BYTES: usize = 256;

/// Its tokenizer, and the ids of unknown, beginning and end of text where the file says them.
pub(crate) struct SentencePiece {
    pub(crate) definition: Definition,
    pub(crate) bos: Option<String>,
    pub(crate) eos: Option<String>,
}

/// Reads the bytes of a `tokenizer.model`.
pub(crate) fn read(path: &Path, bytes: &[u8]) -> Result<SentencePiece, TextError> {
    let model = Model::read(bytes).map_err(|it| it.at(path))?;
    model.check().map_err(|it| it.at(path))?;
    let unk = model.pieces.iter().find(|it| it.kind == UNKNOWN).map(|it| it.text.as_str());
    let mut vocabulary = Map::new();
    for (id, it) in model.pieces.iter().enumerate() {
        if vocabulary.insert(it.text.clone(), id.into()).is_some() {
            return Err(Wrong::new("pieces", format!("`{}` stands there twice", it.text)).at(path));
        }
    }
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if model.add_dummy_prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let json = json!({
        "added_tokens": model.added(),
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": null,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "unk_token": unk, "fuse_unk": true,
            "byte_fallback": model.byte_fallback, "vocab": vocabulary, "merges": model.merges(),
        },
    });
    let mut definition = Definition::new(path, json)?;
    if model.add_dummy_prefix {
        definition.prefix = Prefix::Space;
    }
    let control = |id: i64| {
        let piece = usize::try_from(id).ok().and_then(|it| model.pieces.get(it));
        piece.filter(|it| it.kind == CONTROL).map(|it| it.text.clone())
    };
    Ok(SentencePiece { definition, bos: control(model.bos_id), eos: control(model.eos_id) })
}

/// What is wrong, and in which field.
struct Wrong {
    field: &'static str,
    reason: String,
}

impl Wrong {
    fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }

    fn at(self, path: &Path) -> TextError {
        TextError::file(path, self.field, self.reason)
    }
}

const NORMAL: u64 = 1;
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const BYTE: u64 = 6;

struct Piece {
    text: String,
    score: f32,
    kind: u64,
}

struct Model {
    pieces: Vec<Piece>,
    model_type: u64,
    byte_fallback: bool,
    space_is_suffix: bool,
    bos_id: i64,
    eos_id: i64,
    has_character_map: bool,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
}

impl Model {
    fn read(bytes: &[u8]) -> Result<Self, Wrong> {
        // What holds where the file says nothing is part of the format.
        let mut model = Self {
            pieces: Vec::new(),
            model_type: 1,
            byte_fallback: false,
            space_is_suffix: false,
            bos_id: 1,
            eos_id: 2,
            has_character_map: false,
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
        };
        each_field(bytes, "", |number, value| {
            match (number, value) {
                (1, Field::Bytes(it)) => model.pieces.push(Piece::read(it)?),
                (2, Field::Bytes(it)) => model.trainer(it)?,
                (3, Field::Bytes(it)) => model.normalizer(it)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(model)
    }

    fn trainer(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        each_field(bytes, "trainer_spec", |number, value| {
            match (number, value) {
                (3, Field::Int(it)) => self.model_type = it,
                (24, Field::Int(it)) => self.space_is_suffix = it != 0,
                (35, Field::Int(it)) => self.byte_fallback = it != 0,
                (41, Field::Int(it)) => self.bos_id = it as i64,
                (42, Field::Int(it)) => self.eos_id = it as i64,
                _ => {}
            }
            Ok(())
        })
    }

    fn normalizer(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        each_field(bytes, "normalizer_spec", |number, value| {
            match (number, value) {
                (2, Field::Bytes(it)) => self.has_character_map = !it.is_empty(),
                (3, Field::Int(it)) => self.add_dummy_prefix = it != 0,
                (4, Field::Int(it)) => self.remove_extra_whitespaces = it != 0,
                (5, Field::Int(it)) => self.escape_whitespaces = it != 0,
                _ => {}
            }
            Ok(())
        })
    }

    /// Only what is understood to the last detail is read.
    fn check(&self) -> Result<(), Wrong> {
        if self.pieces.is_empty() {
            return Err(Wrong::new("pieces", "is empty: this is no SentencePiece model"));
        }
        if self.pieces.len() > MAX_TOKEN_ID as usize {
            return Err(Wrong::new("pieces", "has too many pieces"));
        }
        let kind = match self.model_type {
            2 => None,
            1 => Some("unigram"),
            3 => Some("word"),
            4 => Some("char"),
            _ => Some("unknown"),
        };
        if let Some(kind) = kind {
            let reason = format!("is {kind}; only BPE is read");
            return Err(Wrong::new("trainer_spec.model_type", reason));
        }
        let said = [
            (self.space_is_suffix, "trainer_spec.treat_whitespace_as_suffix", "is not read"),
            (self.has_character_map, "normalizer_spec.precompiled_charsmap", "is not read"),
            (
                self.remove_extra_whitespaces,
                "normalizer_spec.remove_extra_whitespaces",
                "is on, which is not read",
            ),
            (
                !self.escape_whitespaces,
                "normalizer_spec.escape_whitespaces",
                "is off, which is not read",
            ),
        ];
        match said.into_iter().find(|it| it.0) {
            Some((_, field, reason)) => Err(Wrong::new(field, reason)),
            None => Ok(()),
        }
    }

    fn added(&self) -> Vec<Value> {
        let all = self.pieces.iter().enumerate();
        let added = all.filter(|(_, it)| [UNKNOWN, CONTROL, USER_DEFINED].contains(&it.kind));
        added
            .map(|(id, it)| {
                let (own, special) = (it.kind == USER_DEFINED, it.kind != USER_DEFINED);
                json!({"id": id, "content": it.text, "normalized": own, "special": special})
            })
            .collect()
    }

    /// Every way to make a piece out of two others, best piece first.
    fn merges(&self) -> Vec<Value> {
        let normal = self.pieces.iter().filter(|it| it.kind == NORMAL);
        let ids: HashMap<&str, usize> =
            normal.enumerate().map(|(i, it)| (it.text.as_str(), i)).collect();
        let mut merges = Vec::new();
        for it in self.pieces.iter().filter(|it| it.kind == NORMAL) {
            let first = merges.len();
            for (at, _) in it.text.char_indices().skip(1) {
                let (left, right) = it.text.split_at(at);
                if let (Some(l), Some(r)) = (ids.get(left), ids.get(right)) {
                    merges.push((it.score, left, right, (*l, *r)));
                }
            }
            merges[first..].sort_by_key(|it| it.3);
        }
        // The order of `transformers`: score, then the lengths, all falling; else as they stand.
        let chars = |it: &str| it.chars().count();
        merges.sort_by(|a, b| {
            let lengths = (chars(b.1), chars(b.2)).cmp(&(chars(a.1), chars(a.2)));
            b.0.total_cmp(&a.0).then(lengths)
        });
        merges.into_iter().map(|(_, left, right, _)| json!([left, right])).collect()
    }
}

impl Piece {
    fn read(bytes: &[u8]) -> Result<Self, Wrong> {
        let mut piece = Self { text: String::new(), score: 0.0, kind: NORMAL };
        each_field(bytes, "pieces", |number, value| {
            match (number, value) {
                (1, Field::Bytes(it)) => {
                    let text =
                        std::str::from_utf8(it).ok().filter(|it| it.len() <= MAX_PIECE_BYTES);
                    let wrong = || Wrong::new("pieces.piece", "is too long or not UTF-8");
                    piece.text = text.ok_or_else(wrong)?.to_owned();
                }
                (2, Field::Four(it)) => piece.score = f32::from_bits(it),
                (3, Field::Int(it)) => piece.kind = it,
                _ => {}
            }
            Ok(())
        })?;
        if piece.text.is_empty() {
            return Err(Wrong::new("pieces.piece", "is empty"));
        }
        if piece.score.is_nan() {
            return Err(Wrong::new("pieces.score", format!("of `{}` is no number", piece.text)));
        }
        if ![NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE].contains(&piece.kind) {
            let reason = format!("of `{}` is {}, which is not read", piece.text, piece.kind);
            return Err(Wrong::new("pieces.type", reason));
        }
        Ok(piece)
    }
}

/// The value of a field.
enum Field<'a> {
    Int(u64),
    Four(u32),
    Bytes(&'a [u8]),
    /// Eight bytes: no field that is read has them.
    Eight,
}

/// Hands over the fields of a message, one after another. It holds nothing but a place in `bytes`,
/// so a lying length costs nothing.
fn each_field<'a>(
    bytes: &'a [u8],
    message: &'static str,
    mut take: impl FnMut(u64, Field<'a>) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let cut =
            || Wrong::new(message, "ends in the middle of a field, or is no protobuf message");
        let tag = varint(&mut rest).ok_or_else(cut)?;
        let value = match tag & 7 {
            0 => varint(&mut rest).map(Field::Int),
            1 => take_bytes(&mut rest, 8).map(|_| Field::Eight),
            2 => {
                let len = varint(&mut rest).and_then(|it| usize::try_from(it).ok());
                len.and_then(|it| take_bytes(&mut rest, it)).map(Field::Bytes)
            }
            5 => take_bytes(&mut rest, 4)
                .and_then(|it| it.try_into().ok())
                .map(|it| Field::Four(u32::from_le_bytes(it))),
            _ => None,
        };
        take(tag >> 3, value.ok_or_else(cut)?)?;
    }
    Ok(())
}

fn take_bytes<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(n)?;
    *rest = after;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for i in 0..10 {
        let byte = take_bytes(rest, 1)?[0];
        value |= u64::from(byte & 0x7F).checked_shl(7 * i)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
