//! What `pretrain` and `sft` share: their parameters, their data, the run with its checkpoints.

mod data;
mod keep;
pub(crate) mod params;
mod run;

pub(crate) use data::{Dropped, Gathered, split};
pub use keep::UNFINISHED_LOG;
pub(crate) use params::{Common, Settled, training_params};
pub(crate) use run::{Job, run};
