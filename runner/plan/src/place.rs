//! Where something was written: a file and a stretch of it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A stretch of a manifest file.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<PathBuf>,
    /// The line, from 1; 0: not from a file.
    pub line: u32,
    /// Bytes from the start of the file.
    pub start: usize,
    /// Bytes from the start of the file.
    pub end: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}
