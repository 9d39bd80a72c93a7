//! Records as texts and conversations: a file of JSON objects, one a line, with errors that name
//! file, line and field.

use std::path::Path;

use serde_json::{Map, Value};

use crate::StepError;
use crate::model::record::{COLUMNS, Columns, Record, Unfit, unknown_column};
use crate::records::Lines;

/// Reads a file of records, one after another.
pub(crate) struct Texts<'a> {
    lines: Lines,
    buffer: Vec<u8>,
    columns: &'a Columns,
}

impl<'a> Texts<'a> {
    pub(crate) fn open(path: &Path, columns: &'a Columns) -> Result<Self, StepError> {
        Ok(Self { lines: Lines::open(path)?, buffer: Vec::new(), columns })
    }

    /// What `take` makes of the next record; nothing at the end.
    pub(crate) fn next<T>(
        &mut self,
        take: impl FnOnce(Record<'_>) -> Result<T, Unfit>,
    ) -> Result<Option<T>, StepError> {
        if !self.lines.next(&mut self.buffer)? {
            return Ok(None);
        }
        let map: Map<String, Value> = serde_json::from_slice(&self.buffer)
            .map_err(|it| self.lines.mistake(None, format!("is no JSON object: {it}")))?;
        let record = Record { map: &map, columns: self.columns };
        let wrong = |it: Unfit| self.lines.mistake(it.field.as_deref(), it.reason);
        take(record).map(Some).map_err(wrong)
    }

    /// Passes over `n` records.
    pub(crate) fn skip(&mut self, n: u64) -> Result<(), StepError> {
        self.lines.skip(n)
    }

    /// How many records were read or passed over.
    pub(crate) fn line(&self) -> u64 {
        self.lines.line
    }

    /// The bytes of the record that was read last.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// An error about the record that was read last.
    pub(crate) fn mistake(&self, field: Option<&str>, reason: String) -> StepError {
        self.lines.mistake(field, reason)
    }
}

/// `columns` may only name what is read.
pub(crate) fn check_columns(kind: &'static str, columns: &Columns) -> Result<(), StepError> {
    let Some(it) = unknown_column(columns) else { return Ok(()) };
    let reason = format!("`columns.{it}` means nothing; what does: `{}`", COLUMNS.join("`, `"));
    Err(StepError::Params { kind, reason })
}
