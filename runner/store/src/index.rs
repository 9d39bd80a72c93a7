//! The index: derived data that answers `what is known` in one read.
use crate::*;
use plan::kind::Form;
use plan::{Key, RecursiveKey};
/// A snapshot of the index.
#[derive(Debug)]
pub struct Index {}
/// What the index knows of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its key.
    pub key: Key,
    /// The recursive key that it was committed with.
    pub recursive: RecursiveKey,
    /// The step instance that asked first.
    pub address: String,
    /// When it began: milliseconds since 1970.
    pub started: u64,
    /// How long it took.
    pub took_ms: u64,
    /// What came out, by slot, sorted.
    pub outputs: Vec<IndexOutput>,
}
/// One output of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexOutput {
    /// The slot.
    pub slot: String,
    /// Its content.
    pub object: Object,
    /// What it is.
    pub form: Form,
    /// The file name that it has in the project.
    pub file: String,
}
impl Index {
    /// The key that a recursive key led to.
    pub fn key(&self, recursive: &RecursiveKey) -> Option<Key> {
        let _ = recursive;
        todo!()
    }
    /// What is known of a key.
    pub fn entry(&self, key: &Key) -> Option<IndexEntry> {
        let _ = key;
        todo!()
    }
    /// The newest record of a step instance.
    pub fn newest(&self, address: &str) -> Option<Key> {
        let _ = address;
        todo!()
    }
    /// One output of a record, by slot.
    pub fn output(&self, key: &Key, slot: &str) -> Option<Object> {
        let _ = (key, slot);
        todo!()
    }
    /// Whether it knows a record of a family.
    pub fn has_family(&self, family: &plan::Digest) -> bool {
        let _ = family;
        todo!()
    }
    /// How many records it knows.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads what was added since.
    pub fn refresh(&mut self) -> Result<()> {
        todo!()
    }
}
impl Store {
    /// The index as it is now; made anew from the records where it is missing or damaged.
    pub fn index(&self) -> Result<Index> {
        todo!()
    }
    /// Notes that recursive keys led to keys whose records are there already (an early cut-off,
    /// or a record that the index did not know).
    pub fn remember(&self, pairs: &[(RecursiveKey, Key)]) -> Result<()> {
        let _ = pairs;
        todo!()
    }
}
