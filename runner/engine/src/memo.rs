//! The row memo of a kind, on the rows of a store.

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
            let open = || Rows::open(&Store::open(&self.memory.store)?, &self.memory.space);
            self.rows = Some(open().map_err(said)?);
        }
        Ok(self.rows.as_ref().expect("opened above"))
    }
}

fn said(error: store::Error) -> StepError {
    StepError::Memo { reason: chain(&error) }
}

impl Memo for RowMemo {
    fn get(&mut self, record: &Digest) -> Result<Option<Vec<u8>>, StepError> {
        self.rows()?.get(record).map_err(said)
    }

    fn put(&mut self, record: &Digest, result: &[u8]) -> Result<(), StepError> {
        self.rows()?.put(record, result).map_err(said)
    }

    fn sync(&mut self) -> Result<(), StepError> {
        match &self.rows {
            Some(rows) => rows.sync().map_err(said),
            None => Ok(()),
        }
    }
}
