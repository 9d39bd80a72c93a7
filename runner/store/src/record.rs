//! The record of a finished step: what it was asked, what came out, what it cost.
//!
//! A record is JSON on one line and, on a second line, the digest of the first: a torn or edited
//! record is known at once. Reading and writing files is in `commit`.

use std::collections::BTreeMap;

use plan::kind::Form;
use plan::{Digest, Key, RecursiveKey};
use serde::{Deserialize, Serialize};

use crate::Object;

/// The record format that this version writes.
pub const RECORD_FORMAT: u32 = 1;

/// What is known of a finished step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// The question, by content.
    pub key: Key,
    /// The question, by questions.
    pub recursive: RecursiveKey,
    /// The digest of all parts of the key but the inputs: what the same step asks of other data.
    pub family: Digest,
    /// The step instance that asked it first.
    pub address: String,
    /// What the key is made of: part to digest or value.
    pub parts: BTreeMap<String, String>,
    /// What came out, by slot.
    pub outputs: BTreeMap<String, RecordOutput>,
    /// Numbers that the step counted.
    pub counts: BTreeMap<String, u64>,
    /// When it began: milliseconds since 1970.
    pub started: u64,
    /// How long it took.
    pub took_ms: u64,
    /// The processor time of it and its children.
    pub cpu_ms: u64,
    /// The most memory that it held.
    pub peak_bytes: u64,
    /// The machine that it ran on.
    pub host: String,
    /// The version of this program.
    pub kun: String,
    /// How many attempts it took.
    pub attempts: u32,
    /// The bytes that it read, by port.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub read: BTreeMap<String, u64>,
    /// How much it did, where it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
}

/// How much a step did: what forecasts are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// What is counted: `records`, `steps`.
    pub unit: String,
    /// How many there were.
    pub done: u64,
    /// How many of them were known before: they took no time.
    pub skipped: u64,
}

/// One output of a finished step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordOutput {
    /// Its content.
    pub object: Object,
    /// What it is.
    pub form: Form,
    /// The file name that it has in the project.
    pub file: String,
}

impl Record {
    /// The bytes of its file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("keys are strings and values are plain");
        bytes.push(b'\n');
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(digest.to_string().as_bytes());
        bytes.push(b'\n');
        bytes
    }

    /// Reads the bytes of a file; the error says what is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Record, String> {
        let end = bytes.iter().position(|it| *it == b'\n').ok_or("it has no end of line")?;
        let (json, tail) = bytes.split_at(end + 1);
        let told = std::str::from_utf8(tail).ok().and_then(|it| it.strip_suffix('\n'));
        let told: Digest = told
            .and_then(|it| it.parse().ok())
            .ok_or_else(|| "its last line is not a digest".to_owned())?;
        if told != Digest::of(json) {
            return Err("its digest is not that of its text".to_owned());
        }
        let record: Record = serde_json::from_slice(json).map_err(|it| it.to_string())?;
        if record.format != RECORD_FORMAT {
            return Err(format!("its format is {}", record.format));
        }
        Ok(record)
    }
}

/// How a record got into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is the first one of its key.
    New,
    /// There was one already, with the same outputs.
    Same,
    /// There was one already, with other outputs; that one stays.
    Diverged {
        /// The record that stays.
        kept: Box<Record>,
    },
    /// There was one already, with other outputs, which are lost; it was replaced.
    Healed {
        /// The record that was replaced.
        was: Box<Record>,
    },
}
