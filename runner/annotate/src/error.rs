//! Why people cannot be asked, or what they said cannot be read.

use std::path::{Path, PathBuf};

use crate::Change;

/// Why people cannot be asked, or what they said cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AnnotateError {
    /// A file cannot be read or written.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A form cannot be used.
    #[error("form `{name}`: {reason}")]
    Form {
        /// Its name or file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A line of a study or of records cannot be used.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A study cannot be made so.
    #[error("{0}")]
    Study(String),
    /// Another process writes the study.
    #[error("`{}` is open in another `kun annotate`", .0.display())]
    Busy(PathBuf),
    /// The study's file was changed by somebody else while it was open; nothing counts any more, and
    /// all that did is kept in another file.
    #[error("`{}` was {change} while it was open; all votes are kept in `{}`", study.display(), recovery.display())]
    Stopped {
        /// The study.
        study: PathBuf,
        /// What became of it.
        change: Change,
        /// Where the votes are.
        recovery: PathBuf,
    },
    /// Votes were put aside that may not be in the study.
    #[error("`{}` holds votes that may not be in `{}`", recovery.display(), study.display())]
    Unrecovered {
        /// The study.
        study: PathBuf,
        /// Where the votes are.
        recovery: PathBuf,
    },
    /// What was put aside belongs to another study.
    #[error("`{}` asks about other things, or asks other people, than `{}`", study.display(), recovery.display())]
    OtherStudy {
        /// The study.
        study: PathBuf,
        /// Where the votes are.
        recovery: PathBuf,
    },
    /// The study could not be written earlier; nothing is taken until it is opened again.
    #[error("`{}` could not be written", .0.display())]
    Closed(PathBuf),
}

impl AnnotateError {
    /// Puts the file's name to what the system said.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
