//! Training: texts in, weights out.
//!
//! [`Trainer`] does the steps. Everything that a step computes is a function of texts, weights and
//! [`Settings`]: neither threads nor micro-batches nor a kill and a resume change a bit. What is
//! measured ([`Measured`]) is kept apart from what is computed ([`Record`]).

mod adapter;
mod checkpoint;
mod crash;
mod digest;
mod error;
mod order;
mod pack;
mod plan;
mod record;
mod sample;
mod schedule;
mod settings;
mod trainer;

pub use crash::{Crash, CrashSample};
pub use digest::Digest;
pub use error::{Error, Result, gib};
pub use order::{Batch, Cursor, Order};
pub use pack::pack;
pub use plan::{Demand, Limits, MemoryPlan, Saving};
pub use record::{Evaluation, Measured, Meter, Record, best_rate, peak_bytes};
pub use sample::{Sample, Samples};
pub use schedule::{Curve, Schedule, Warmup};
pub use settings::{BatchSize, Length, Settings};
pub use trainer::{Data, Trainer};
