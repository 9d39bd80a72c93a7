//! From manifest text to a checked, expanded graph of step instances and their keys.
//!
//! Pure: no file system, no environment, no clock, no threads. What must be read is asked for
//! through [`Files`]; what must be hashed is handed in as digests.

mod ask;
pub mod digest;
pub mod files;
pub mod graph;
pub mod key;
pub mod kind;
pub mod mistake;
pub mod place;
mod text;
pub mod value;
mod workflow;

pub use ask::Ask;
pub use digest::{Digest, Key, NotADigest, RecursiveKey};
pub use files::{Entry, Files, MAX_BYTES};
pub use graph::{Address, Graph, Input, Instance, InstanceId};
pub use key::{Difference, Facts, Gatherer, Known, Parts};
pub use kind::KindSpec;
pub use mistake::{Mistake, Mistakes};
pub use place::Place;
pub use text::Text;
pub use value::Value;
pub use workflow::{
    Declared, Manifest, Parameter, Pool, Slots, StepInfo, Workflow, format, load, read, schema,
};
