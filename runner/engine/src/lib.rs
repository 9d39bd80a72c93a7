//! Runs a plan: decides what is stale, gets it done by worker processes, publishes results.
//!
//! With `serve` the only place with tokio. It prints nothing: all it has to say is an [`events::Event`]. It
//! knows no step kind but by its name.

pub mod error;
pub mod events;
pub mod execute;
pub mod export;
pub mod facts;
pub mod follow;
pub mod forecast;
pub mod heads;
pub mod isolation;
pub mod job;
pub mod namespace;
pub mod planning;
pub mod probe;
pub mod replay;
pub mod run;
pub mod runs;
mod sampled;
pub mod scrub;
pub mod slots;
pub mod time;
pub mod why;
pub mod worker;

mod attempt;
mod commit;
mod dispatch;
mod finish;
mod memo;
mod orphan;
mod shards;
mod signals;
mod spending;
mod start;
mod unit;

pub use error::EngineError;
pub use events::{Event, Sink};
pub use orphan::{holder_text, host, is_orphan};
pub use run::{Home, Options, Setup, Summary, run};
pub use shards::damaged_shards;
