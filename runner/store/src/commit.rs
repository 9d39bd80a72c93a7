//! Records into and out of the store.
use crate::*;
use plan::Key;
impl Store {
    /// The record of a key. A damaged one is no record, and a warning.
    pub fn record(&self, key: &Key) -> Result<Option<Record>> {
        let _ = key;
        todo!()
    }
    /// Makes objects and records durable, together: all objects first, then the records.
    pub fn commit(&self, records: &[Record]) -> Result<Vec<Committed>> {
        let _ = records;
        todo!()
    }
    /// All records, in the order of their keys; damaged ones are warnings.
    pub fn records(&self) -> Result<impl Iterator<Item = Record>> {
        Ok(Vec::new().into_iter())
    }
}
