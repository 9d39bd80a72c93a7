//! What is kept when a run stops because a number is not finite: enough to do the step again.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

/// A step whose loss or gradient is not finite. The weights are those before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crash {
    /// Which step, from 1.
    pub step: u64,
    /// Its loss, as text, since JSON has no word for it.
    pub loss: String,
    /// Its gradient norm.
    pub grad_norm: String,
    /// Its learning rate.
    pub learning_rate: f64,
    /// The losses of the steps before, oldest first.
    pub losses: Vec<f64>,
    /// The texts of the batch.
    pub batch: Vec<CrashSample>,
}

/// A text of the batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrashSample {
    /// Its number, from 0.
    pub sample: u32,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Its marks.
    pub trained: Vec<bool>,
}

impl Crash {
    /// Writes it as JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        let write = |source| Error::Write { path: path.to_owned(), source };
        let text = serde_json::to_string_pretty(self).map_err(|it| write(it.into()))?;
        std::fs::write(path, text).map_err(write)
    }

    /// Reads it again.
    pub fn read(path: &Path) -> Result<Self> {
        let refuse = |reason: String| Error::Checkpoint { path: path.to_owned(), reason };
        let text = std::fs::read(path).map_err(|it| refuse(format!("cannot be read: {it}")))?;
        serde_json::from_slice(&text).map_err(|it| refuse(format!("is not a crash: {it}")))
    }
}
