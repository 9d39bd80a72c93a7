//! From manifest text to a checked, expanded graph of step instances and their keys.
//!
//! Pure: no file system, no environment, no clock, no threads. What must be read is asked for
//! through [`Files`]; what must be hashed is handed in as digests.

mod accept;
mod amount;
mod ask;
mod code;
mod definition;
pub mod digest;
pub mod endpoint;
mod expand;
mod fan;
pub mod files;
mod format;
mod glob;
mod grammar;
pub mod graph;
mod instance;
pub mod key;
pub mod kind;
mod link;
mod load;
pub mod mistake;
mod model;
mod order;
mod origin;
mod path;
pub mod place;
mod plain;
mod ports;
mod program;
mod reference;
mod schema;
mod scope;
mod settings;
mod shape;
mod step;
mod step_check;
mod suggest;
mod text;
mod tree;
pub mod value;
mod workflow;

pub use ask::Ask;
pub use digest::{Digest, Key, NotADigest, RecursiveKey};
pub use endpoint::Endpoint;
pub use files::{Entry, Files, MAX_BYTES};
pub use format::format;
pub use graph::{Address, Graph, Input, Instance, InstanceId};
pub use key::{Difference, Facts, Gatherer, Known, Parts};
pub use kind::KindSpec;
pub use load::{Manifest, load, read};
pub use mistake::{Mistake, Mistakes};
pub use model::Workflow;
pub use origin::Origins;
pub use place::Place;
pub use ports::Ports;
pub use schema::schema;
pub use text::Text;
pub use value::Value;
pub use workflow::{Budget, Declared, Parameter, Pool, Slots, StepInfo};
