//! Private folders of running steps.
use crate::*;
use std::path::{Path, PathBuf};
/// A private folder; removed when dropped.
#[derive(Debug)]
pub struct Attempt {
    path: PathBuf,
}
/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Folders of dead owners.
    pub attempts: u64,
    /// The bytes that were in them.
    pub bytes: u64,
}
impl Attempt {
    /// The folder. The name `owner` in it is taken.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Leaves the folder where it is; a sweep removes it later.
    pub fn keep(self) -> PathBuf {
        todo!()
    }
    /// Removes the folder now.
    pub fn remove(self) -> Result<()> {
        todo!()
    }
}
impl Store {
    /// Makes a private folder.
    pub fn attempt(&self) -> Result<Attempt> {
        todo!()
    }
    /// Removes the private folders whose owners are dead.
    pub fn sweep(&self) -> Result<Swept> {
        todo!()
    }
}
