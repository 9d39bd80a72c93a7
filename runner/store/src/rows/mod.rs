//! The row memo: answers by the digest of the question, append-only and safe against crashes.
use crate::*;
use plan::Digest;
/// The rows of one space.
#[derive(Debug)]
pub struct Rows {}
impl Rows {
    /// Opens a space, making it if need be.
    pub fn open(store: &Store, space: &Digest) -> Result<Rows> {
        let _ = (store, space);
        todo!()
    }
    /// The row of a key.
    pub fn get(&self, row: &Digest) -> Result<Option<Vec<u8>>> {
        let _ = row;
        todo!()
    }
    /// Whether there is a row, without reading it.
    pub fn has(&self, row: &Digest) -> bool {
        let _ = row;
        todo!()
    }
    /// Adds a row; the first one of a key counts, so that a second is not written.
    pub fn put(&self, row: &Digest, payload: &[u8]) -> Result<()> {
        let _ = (row, payload);
        todo!()
    }
    /// Waits until all rows of this writer are on the disk.
    pub fn sync(&self) -> Result<()> {
        todo!()
    }
    /// Reads what other writers added since.
    pub fn refresh(&self) -> Result<()> {
        todo!()
    }
    /// How many rows there are.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// What was found damaged or torn since the last time this was asked.
    pub fn notes(&self) -> Vec<Warning> {
        todo!()
    }
    /// Merges the segments of dead writers into one.
    pub fn compact(&self) -> Result<()> {
        todo!()
    }
}
