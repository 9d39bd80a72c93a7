//! One advisory lock per key.
use crate::*;
use plan::Key;
use std::fs::File;
/// What asking for a lock gave.
#[derive(Debug)]
pub enum Locking {
    /// It is ours.
    Held(Lock),
    /// Somebody else has it.
    Busy(Holder),
}
/// A held lock: free when this and all files made from it are closed, here and in all children.
#[derive(Debug)]
pub struct Lock {
    #[expect(dead_code, reason = "stub")]
    file: File,
}
/// Who has a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The process that took it; none where the file does not say so yet.
    pub pid: Option<u32>,
    /// Its machine.
    pub host: String,
    /// When it took it: milliseconds since 1970.
    pub since: u64,
    /// Its command line.
    pub command: String,
    /// The processes of this machine that hold it now, as far as they can be seen.
    pub holding: Vec<u32>,
    /// What its owner noted.
    pub notes: Vec<String>,
}
impl Lock {
    /// The lock as a child's standard input: it reads nothing, and keeps the lock while it lives.
    pub fn as_stdin(&self) -> Result<File> {
        todo!()
    }
    /// Notes something for whoever finds the lock busy.
    pub fn note(&self, line: &str) -> Result<()> {
        let _ = line;
        todo!()
    }
    /// Whether the lock file is still the one that others would lock.
    pub fn is_current(&self) -> bool {
        todo!()
    }
}
impl Store {
    /// Asks for the lock of a key, without waiting.
    pub fn try_lock(&self, key: &Key) -> Result<Locking> {
        let _ = key;
        todo!()
    }
}
