//! What `pretrain` and `sft` share: their parameters, their data, the run with its checkpoints.

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
