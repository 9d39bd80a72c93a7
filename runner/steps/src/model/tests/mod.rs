//! The text side held against `transformers` and `sentencepiece`: the fixtures of
//! `tests/oracle/text.py`.

mod chats;
mod hostile;
mod prompts;
mod tokenizers;

use std::path::PathBuf;

use serde_json::Value;

use super::Tokenizer;

/// A file or folder of the fixtures.
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/fixtures/text").join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::open(&fixture(name)).unwrap()
}

pub(crate) fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|it| it.as_u64().unwrap() as u32).collect()
}

/// Each case of a folder.
pub(crate) fn each_case(folder: &str, mut check: impl FnMut(&Value)) {
    json(&format!("{folder}-cases.json"))["cases"].as_array().unwrap().iter().for_each(&mut check);
}
