//! Whether objects are there, and reading them.
use crate::*;
use std::fs::File;
impl Store {
    /// Whether an object can be used.
    pub fn present(&self, object: &Object) -> Presence {
        let _ = object;
        todo!()
    }
    /// Opens a file object for reading.
    pub fn read(&self, object: &Object) -> Result<File> {
        let _ = object;
        todo!()
    }
    /// The listing of a tree object.
    pub fn tree(&self, object: &Object) -> Result<Vec<TreeEntry>> {
        let _ = object;
        todo!()
    }
}
