//! What can go wrong with inference.

use super::request::Refusal;
use crate::decoder;
use crate::ops::sample::SampleError;

/// An error of generation or scoring.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model's files.
    #[error(transparent)]
    Model(#[from] decoder::Error),
    /// The device, or a call on it.
    #[error(transparent)]
    Device(#[from] crate::Error),
    /// A request that cannot be done.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Logits from which nothing can be sampled; the weights are most likely broken.
    #[error("row {row}, token {place} of the output: {source}")]
    Pick {
        /// The request's row.
        row: u64,
        /// How long its output was.
        place: usize,
        /// Why not.
        source: SampleError,
    },
    /// A setting that makes no sense.
    #[error("`{setting}` is {value}, at least {least}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// Its value.
        value: usize,
        /// The least it can be.
        least: usize,
    },
}
