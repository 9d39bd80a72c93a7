//! The one door to the disk: what the planner asks the caller to read.
//!
//! The planner itself opens nothing. Paths are handed over as they were named: the folder of the
//! entry manifest joined with a path inside the project.

use std::io;
use std::path::Path;

/// Reads files and folders for the planner.
pub trait Files {
    /// The bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// What a folder holds, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
}

/// One thing in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name, without the folder.
    pub name: String,
    /// Whether it is a folder (or a link to one).
    pub is_dir: bool,
    /// Whether it is a symbolic link; links to folders are not walked into.
    pub is_symlink: bool,
}

/// The size beyond which a manifest is refused, unread text and all.
pub const MAX_BYTES: usize = 64 << 20;
