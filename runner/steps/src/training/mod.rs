//! What `pretrain` and `sft` share: their parameters, their data, the run with its checkpoints.

use std::path::{Path, PathBuf};

use kernels::AnyDevice;
use kernels::train::Trainer;

mod data;
mod keep;
pub(crate) mod params;
mod run;
mod show;
mod words;

pub(crate) use data::{Dropped, Gathered, split};
pub(crate) use params::{Common, Settled, training_params};
pub(crate) use run::{Job, run};
pub(crate) use show::Manner;

/// Where the log of a run that goes on is, below the state of its step.
pub const UNFINISHED_LOG: &str = "training/log.jsonl";

/// What is damaged of the unfinished training in the state of a step, each with what is wrong.
pub fn damaged_state(state: &Path) -> Vec<(PathBuf, String)> {
    let folder = state.join("training");
    let checkpoints = Trainer::<AnyDevice>::damaged_checkpoints(&folder);
    let mut found = checkpoints.unwrap_or_else(|it| vec![(folder.clone(), it.to_string())]);
    found.extend(keep::Log::damage(&folder));
    found
}
