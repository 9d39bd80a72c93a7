//! The row memo of a kind, on the rows of a store.
//!
//! The first row of a key counts in a store; in a memo the last answer does. So an answer that
//! replaces another is a row of its own, whose key is made of the record and its number.

use plan::Digest;
use steps::{Memo, StepError};
use store::{Rows, Store};

use crate::error::chain;
use crate::job::Memory;

/// Opened at the first record: most kinds never ask.
pub(crate) struct RowMemo {
    memory: Memory,
    rows: Option<Rows>,
}

impl RowMemo {
    /// The memo at a place.
    pub(crate) fn new(memory: Memory) -> Self {
        Self { memory, rows: None }
    }

    fn rows(&mut self) -> Result<&Rows, StepError> {
        if self.rows.is_none() {
            let open = || {
                let rows = Rows::open(&Store::open(&self.memory.store)?, &self.memory.space)?;
                if let Some(inputs) = &self.memory.inputs {
                    rows.note_inputs(inputs)?;
                }
                Ok(rows)
            };
            self.rows = Some(open().map_err(said)?);
        }
        Ok(self.rows.as_ref().expect("opened above"))
    }
}

fn said(error: store::Error) -> StepError {
    StepError::Memo { reason: chain(&error) }
}

/// The key of a record's n-th answer, from 0.
fn row(record: &Digest, n: u64) -> Digest {
    if n == 0 {
        return *record;
    }
    Digest::of(&[&record.0[..], &n.to_le_bytes()].concat())
}

/// How many answers there are for a record.
fn answers(rows: &Rows, record: &Digest) -> u64 {
    (0..).find(|n| !rows.has(&row(record, *n))).unwrap_or(0)
}

impl Memo for RowMemo {
    fn get(&mut self, record: &Digest) -> Result<Option<Vec<u8>>, StepError> {
        let rows = self.rows()?;
        match answers(rows, record) {
            0 => Ok(None),
            n => rows.get(&row(record, n - 1)).map_err(said),
        }
    }

    fn put(&mut self, record: &Digest, result: &[u8]) -> Result<(), StepError> {
        let rows = self.rows()?;
        let n = answers(rows, record);
        let is_known = match n {
            0 => false,
            _ => rows.get(&row(record, n - 1)).map_err(said)?.as_deref() == Some(result),
        };
        if is_known { Ok(()) } else { rows.put(&row(record, n), result).map_err(said) }
    }

    fn sync(&mut self) -> Result<(), StepError> {
        match &self.rows {
            Some(rows) => rows.sync().map_err(said),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_counts_here_and_in_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let memory =
            Memory { store: folder.path().to_owned(), space: Digest::of(b"space"), inputs: None };
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let mut memo = RowMemo::new(memory.clone());
        assert_eq!(memo.get(&one).unwrap(), None);
        for answer in [&b"a"[..], b"b", b"b", b"a"] {
            memo.put(&one, answer).unwrap();
            assert_eq!(memo.get(&one).unwrap().as_deref(), Some(answer));
        }
        memo.put(&other, b"c").unwrap();
        memo.sync().unwrap();
        drop(memo);
        let mut memo = RowMemo::new(memory);
        assert_eq!(memo.get(&one).unwrap().as_deref(), Some(&b"a"[..]));
        assert_eq!(memo.get(&other).unwrap().as_deref(), Some(&b"c"[..]));
    }
}
