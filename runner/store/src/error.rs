//! What can go wrong in a store, with the facts in fields.
//!
//! Says nothing of what to do about it: advice is the command line's.

use std::io;
use std::path::{Path, PathBuf};

use plan::{Digest, Key};

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a call on a file.
    #[error("cannot {verb} `{}`", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The store was made by a version of the program that this one does not know.
    #[error("`{}` says `{found}`, which this version does not read", path.display())]
    Version {
        /// The version file.
        path: PathBuf,
        /// Its text.
        found: String,
    },
    /// A folder that holds other things than a store.
    #[error("`{}` holds `{other}` and is not a store", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
        /// Something in it that no store has.
        other: String,
    },
    /// A symbolic link that leads out of its tree, or nowhere.
    #[error("`{}` is a symbolic link to `{}`, which is not inside its tree", path.display(), target.display())]
    Escapes {
        /// The link.
        path: PathBuf,
        /// What it says.
        target: PathBuf,
    },
    /// Symbolic links that lead back to a folder that they are in.
    #[error("`{}` leads back to a folder that holds it", path.display())]
    Loops {
        /// The link.
        path: PathBuf,
    },
    /// Something that is neither a file nor a folder.
    #[error("`{}` is a {what}, not a file or a folder", path.display())]
    Special {
        /// The thing.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A file where a folder was expected, or the other way round.
    #[error("`{}` is not a {wanted}", path.display())]
    Shape {
        /// The thing.
        path: PathBuf,
        /// What was expected.
        wanted: &'static str,
    },
    /// A file that somebody writes while it is being read.
    #[error("`{}` changes while it is read", path.display())]
    Changing {
        /// The file.
        path: PathBuf,
    },
    /// An object that is not in the store.
    #[error("object `{digest}` is not in the store")]
    Missing {
        /// Its digest.
        digest: Digest,
    },
    /// An object whose bytes are not what its name says.
    #[error("object `{digest}` is damaged: {why}")]
    Damaged {
        /// Its digest.
        digest: Digest,
        /// What is wrong with it.
        why: String,
    },
    /// A record whose outputs are not all in the store.
    #[error("record `{key}` names object `{digest}`, which is not in the store")]
    Unbacked {
        /// The record.
        key: Key,
        /// The object.
        digest: Digest,
    },
    /// A row that is too long for a segment.
    #[error("a row of {bytes} bytes is longer than {most} bytes")]
    LongRow {
        /// Its length.
        bytes: usize,
        /// The most.
        most: usize,
    },
    /// A name that cannot be a file name of the store.
    #[error("`{name}` is not a name: letters, digits, `_`, `-` and `.` are allowed")]
    Name {
        /// The name.
        name: String,
    },
    /// A fault specification that cannot be read.
    #[error("`{spec}` is not a fault: expected `call:number:errno`")]
    Fault {
        /// The text.
        spec: String,
    },
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The file or folder that the error is about, where there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Error::Io { path, .. }
            | Error::Version { path, .. }
            | Error::NotAStore { path, .. }
            | Error::Escapes { path, .. }
            | Error::Loops { path }
            | Error::Special { path, .. }
            | Error::Shape { path, .. }
            | Error::Changing { path } => Some(path),
            _ => None,
        }
    }

    /// Whether somebody's permissions forbid it.
    pub fn is_denied(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether there is no room left: on the disk, or in somebody's quota.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Error::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

/// Names the call and the file of an I/O error.
pub(crate) trait At<T> {
    /// What was tried, and on which file.
    fn at(self, verb: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, verb: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { verb, path: path.to_owned(), source })
    }
}
