//! Why a step failed: facts in fields, one sentence each.

use std::path::{Path, PathBuf};

use crate::model::{ModelError, TextError};

/// Why a step did not end well.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// It was asked to stop and did; its state is written.
    #[error("stopped on request")]
    Stopped,
    /// A record cannot be used.
    #[error("{}:{line}: {}{reason}", file.display(), in_field(field))]
    Record {
        /// The file that it stands in.
        file: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// The field, where it is one.
        field: Option<String>,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A program that the kind runs did not do what it should.
    #[error("`{program}` {reason}{}", at_line(*line))]
    Program {
        /// Its first argument.
        program: String,
        /// What it did.
        reason: String,
        /// The line of the record at which it did, from 1.
        line: Option<u64>,
    },
    /// The parameters passed the planner but not the kind.
    #[error("parameters of `{kind}`: {reason}")]
    Params {
        /// The kind.
        kind: &'static str,
        /// What is wrong with them.
        reason: String,
    },
    /// A tokenizer, a template or a conversation cannot be used.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A model's sizes or weights cannot be used, or not be written.
    #[error(transparent)]
    Files(#[from] kernels::decoder::Error),
    /// A model cannot be run.
    #[error(transparent)]
    Inference(#[from] kernels::generate::Error),
    /// A run cannot begin or go on.
    #[error(transparent)]
    Training(#[from] kernels::train::Error),
    /// Tokens cannot be picked so.
    #[error(transparent)]
    Sampling(kernels::ops::sample::SampleError),
    /// The device cannot do it.
    #[error(transparent)]
    Device(#[from] kernels::Error),
    /// A server cannot be asked, or does not answer.
    #[error("`{url}` {reason}")]
    Endpoint {
        /// Its address.
        url: String,
        /// What it did.
        reason: String,
    },
    /// The row memo cannot be read or written.
    #[error("row memo: {reason}")]
    Memo {
        /// What happened.
        reason: String,
    },
    /// The caller did not hand over what the kind declares: a mistake of ours.
    #[error("the step was started without its {what} `{name}`")]
    Wiring {
        /// What is missing: an input, an output, the seed.
        what: &'static str,
        /// Its name.
        name: &'static str,
    },
}

impl From<ModelError> for StepError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Text(it) => it.into(),
            ModelError::Files(it) => it.into(),
        }
    }
}

impl StepError {
    /// For `map_err`: an I/O error at a path.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> StepError + '_ {
        move |source| StepError::Io { path: path.to_owned(), source }
    }
}

fn in_field(field: &Option<String>) -> String {
    field.as_ref().map(|it| format!("field `{it}`: ")).unwrap_or_default()
}

fn at_line(line: Option<u64>) -> String {
    line.map(|it| format!(", at record {it}")).unwrap_or_default()
}
