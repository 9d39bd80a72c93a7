//! From manifest text to a checked, expanded graph of step instances and their keys.
//!
//! Pure: no file system, no environment, no clock, no threads. What must be read is asked for
//! through [`Files`]; what must be hashed is handed in as digests.

pub mod digest;
pub mod graph;
pub mod key;
pub mod kind;
pub mod place;
pub mod value;

pub use digest::{Digest, Key, NotADigest, RecursiveKey};
pub use graph::{Address, Graph, Input, Instance, InstanceId};
pub use key::{Difference, Facts, Gatherer, Known, Parts};
pub use kind::KindSpec;
pub use place::Place;
pub use value::Value;
