//! Why a command could not do its work, and with which exit code it ends.

use engine::EngineError;
use plan::mistake::Mistakes;

use crate::exit::Exit;

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// Mistakes in a manifest, or in what was asked of it.
    #[error("{} mistake(s)", .0.0.len())]
    Manifest(Mistakes),
    /// A mistake on the command line, or in what is there.
    #[error("{what}")]
    User { what: String, help: Option<String> },
    /// The engine or the store could not go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file could not be read or written.
    #[error("`{path}`: {source}")]
    Io { path: String, source: std::io::Error },
}

impl Trouble {
    pub(crate) fn user(what: impl Into<String>) -> Self {
        Self::User { what: what.into(), help: None }
    }

    pub(crate) fn helped(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::User { what: what.into(), help: Some(help.into()) }
    }

    /// A model that cannot be used.
    pub(crate) fn model(error: &dyn std::error::Error) -> Self {
        Self::user(engine::error::chain(error))
    }

    pub(crate) fn io(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { path: path.display().to_string(), source }
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Trouble::Manifest(_) | Trouble::User { .. } => Exit::Mistake,
            Trouble::Engine(error) => match error {
                EngineError::Sources(_)
                | EngineError::Absent(_)
                | EngineError::Slots { .. }
                | EngineError::Isolation { .. } => Exit::Mistake,
                EngineError::NotExported { .. } => Exit::Failed,
                EngineError::Store(_) | EngineError::Io { .. } => Exit::Broken,
            },
            Trouble::Io { .. } => Exit::Broken,
        }
    }
}

impl From<Mistakes> for Trouble {
    fn from(mistakes: Mistakes) -> Self {
        Self::Manifest(mistakes)
    }
}

impl From<store::Error> for Trouble {
    fn from(error: store::Error) -> Self {
        Self::Engine(error.into())
    }
}
