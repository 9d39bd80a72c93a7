//! Files and trees into the store.
use crate::*;
use std::path::Path;
impl Store {
    /// Moves a file into the store. Durable only when a record that names it is committed.
    pub fn take_file(&self, path: &Path) -> Result<Object> {
        let _ = path;
        todo!()
    }
    /// Moves all files of a folder into the store; the folder itself is removed.
    pub fn take_tree(&self, dir: &Path) -> Result<Object> {
        let _ = dir;
        todo!()
    }
    /// Moves a file or a folder, whichever it is.
    pub fn take(&self, path: &Path) -> Result<Object> {
        let _ = path;
        todo!()
    }
    /// Puts bytes into the store.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Object> {
        let _ = bytes;
        todo!()
    }
}
