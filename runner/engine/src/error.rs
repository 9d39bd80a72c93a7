//! What can go wrong with a whole run, beside a step that fails.

use std::path::PathBuf;

use store::Error as StoreError;

use crate::facts::Trouble;

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the project could not be read or written.
    #[error("`{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Sources are not what the manifest says.
    #[error("{}", lines(.0))]
    Sources(Vec<Trouble>),
    /// Sources that steps need are not there.
    #[error("{}", absent(.0))]
    Absent(Vec<Absent>),
    /// An output that the store does not have, or not whole, at the end of a run.
    #[error("`{what}` cannot be put into the project: {reason}")]
    NotExported {
        /// The target and its slot.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A step asks for more than there is.
    #[error("step `{step}` cannot run: {reason}")]
    Slots {
        /// The instance.
        step: String,
        /// What is missing.
        reason: String,
    },
    /// Inputs were to be given in a way that this machine does not have.
    #[error("inputs cannot be given by `{way}`: {why}")]
    Isolation {
        /// The way.
        way: &'static str,
        /// What the system said.
        why: std::io::Error,
    },
}

/// A source that is not there.
#[derive(Debug)]
pub struct Absent {
    /// Its name.
    pub source: String,
    /// Where it should be.
    pub path: PathBuf,
    /// Where the manifest names it.
    pub place: String,
    /// The first step that needs it.
    pub step: String,
}

fn lines(troubles: &[Trouble]) -> String {
    troubles.iter().map(Trouble::to_string).collect::<Vec<_>>().join("\n")
}

fn absent(absent: &[Absent]) -> String {
    let line = |it: &Absent| {
        let Absent { source, path, place, step } = it;
        format!(
            "{place}: source `{source}` is not at `{}`, and step `{step}` reads it",
            path.display()
        )
    };
    absent.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// An error and all that caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(it) = cause {
        let more = it.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = it.source();
    }
    text
}
