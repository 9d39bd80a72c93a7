//! What can stop a run.

use std::path::PathBuf;

use super::crash::Crash;
use super::plan::{MemoryPlan, Saving};

/// The result of a part of a run.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a run does not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model's folder.
    #[error(transparent)]
    Model(#[from] crate::decoder::Error),
    /// The device.
    #[error(transparent)]
    Device(#[from] crate::Error),
    /// A setting cannot be.
    #[error("`{field}` {reason}")]
    Setting {
        /// Which.
        field: &'static str,
        /// What is wrong with it, as the end of the sentence.
        reason: String,
    },
    /// There are no samples.
    #[error("there is nothing to train on")]
    NoSample,
    /// A sample without tokens.
    #[error("sample {sample} has no tokens")]
    Empty {
        /// Which, from 0.
        sample: usize,
    },
    /// A sample is longer than rows or positions are.
    #[error("sample {sample} has {tokens} tokens, and there is room for {most}")]
    Long {
        /// Which, from 0.
        sample: usize,
        /// Its tokens.
        tokens: usize,
        /// The most that it may have.
        most: usize,
    },
    /// A sample has a token that the model does not know.
    #[error("sample {sample} has token {id} at {place}, and the model has {vocab}")]
    Token {
        /// Which, from 0.
        sample: usize,
        /// Where in it, from 0.
        place: usize,
        /// The token.
        id: u32,
        /// How many there are.
        vocab: usize,
    },
    /// A step would divide by nothing.
    #[error("step {step} has no target token; its samples are {samples:?}")]
    NoTarget {
        /// Which, from 1.
        step: u64,
        /// What it would have seen.
        samples: Vec<u32>,
    },
    /// There is not enough memory.
    #[error("a run needs {}, and there are {}", gib(.plan.total()), gib(*.available))]
    NoRoom {
        /// What it needs.
        plan: Box<MemoryPlan>,
        /// What there is, in bytes.
        available: u64,
        /// What would make it fit, the cheapest first.
        savings: Vec<Saving>,
    },
    /// A number that should be finite is not.
    #[error("step {}: loss {}, gradient norm {}", .0.step, .0.loss, .0.grad_norm)]
    NotFinite(Box<Crash>),
    /// A checkpoint cannot be written.
    #[error("`{path}` cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A checkpoint cannot be used.
    #[error("`{path}` {reason}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, as the end of the sentence.
        reason: String,
    },
}

/// Bytes for people.
pub fn gib(bytes: u64) -> String {
    if bytes < 1 << 30 {
        return format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    }
    format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))
}
