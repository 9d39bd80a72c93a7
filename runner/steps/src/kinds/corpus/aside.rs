//! Rows that cannot be read: kept aside, counted, and too many of them an error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::StepError;
use crate::model::record::Unfit;
use crate::records::Output;

/// A file, and what it is called in `unread`.
pub(crate) struct Input {
    pub(crate) path: PathBuf,
    pub(crate) shown: String,
}

/// Where a row stands in its file, both from 1.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) row: u64,
}

/// A row that cannot be read, as `unread` has it.
#[derive(Serialize)]
struct Unread<'a> {
    file: &'a str,
    line: u64,
    row: u64,
    field: Option<String>,
    reason: String,
    start: String,
}

/// The slot `unread`.
pub(crate) struct Aside {
    output: Output,
    /// How many there may be: below 1 a share, otherwise a number.
    most: f64,
    pub(crate) n_unread: u64,
    /// The first of them.
    first: Option<StepError>,
}

impl Aside {
    pub(crate) fn create(path: &Path, most: f64) -> Result<Self, StepError> {
        Ok(Self { output: Output::create(path)?, most, n_unread: 0, first: None })
    }

    /// Puts a row aside.
    pub(crate) fn put(
        &mut self,
        input: &Input,
        place: Place,
        wrong: Unfit,
        bytes: &[u8],
    ) -> Result<(), StepError> {
        self.n_unread += 1;
        let (field, reason) = (wrong.field, wrong.reason);
        let beginning = &bytes[..bytes.len().min(1000)];
        let it = Unread {
            file: &input.shown,
            line: place.line,
            row: place.row,
            field: field.clone(),
            reason: reason.clone(),
            start: String::from_utf8_lossy(beginning).chars().take(200).collect(),
        };
        let text = serde_json::to_vec(&it).expect("texts and numbers are always JSON");
        self.output.line(&text)?;
        if self.first.is_none() {
            let file = input.path.clone();
            self.first = Some(StepError::Record { file, line: place.line, field, reason });
        }
        Ok(())
    }

    /// An error when there are too many after so many rows in all. A share counts at the end only.
    pub(crate) fn check(&mut self, n_rows: u64, at_end: bool) -> Result<(), StepError> {
        let n = self.n_unread as f64;
        let too_many =
            if self.most >= 1.0 { n > self.most } else { at_end && n > self.most * n_rows as f64 };
        match self.first.take_if(|_| too_many) {
            Some(StepError::Record { file, line, field, reason }) => {
                let (n, most) = (self.n_unread, self.most);
                let reason = format!(
                    "{reason}; {n} of {n_rows} rows cannot be read, `max_unread` is {most}"
                );
                Err(StepError::Record { file, line, field, reason })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn finish(self) -> Result<(), StepError> {
        self.output.finish()
    }
}

/// What stands for a file in the ids of its records: its first row, and how many files before it
/// began with the same.
#[derive(Default)]
pub(crate) struct Files(BTreeMap<[u8; 32], u64>);

impl Files {
    pub(crate) fn salt(&mut self, row: &[u8]) -> [u8; 32] {
        let digest = *blake3::hash(row).as_bytes();
        let n = self.0.entry(digest).or_default();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&digest).update(&n.to_le_bytes());
        *n += 1;
        *hasher.finalize().as_bytes()
    }
}

/// The id of the `n`-th row of a file.
pub(crate) fn id(source: &str, salt: &[u8; 32], n: u64, row: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("kun, id of a record, version 1");
    hasher.update(&(source.len() as u64).to_le_bytes()).update(source.as_bytes());
    hasher.update(salt).update(&n.to_le_bytes()).update(row);
    hasher.finalize().to_hex()[..16].to_owned()
}
