//! The store of finished work: objects by content, records by key, row memos, locks, attempts.
//!
//! The only code that opens paths below the store's folder. It starts no process, knows no
//! manifest, and prints nothing: what deserves a word is returned as a [`Warning`].

mod atomic_write;
mod disk;
mod error;
mod frame;
mod group;
mod hash;
mod object;
mod record;
mod tree;

mod commit;
mod index;
mod ingest;
mod materialize;
mod presence;
mod store;

mod attempt;
mod inputs;
mod lock;
mod verified;

mod derived;
mod gc;
mod pin;
mod probe;
mod roots;
mod scrub;
mod verify;

pub mod remote;
pub mod rows;
pub mod stats;
pub mod testing;

pub use atomic_write::{Wait, replace, sweep_unfinished};
pub use attempt::{Attempt, Swept, remove_tree};
pub use derived::{Derived, Quarantined};
pub use disk::{Disk, RealDisk};
pub use error::{Error, Result};
pub use gc::{GcAsk, GcMode, GcRecord, GcReport};
pub use hash::hash_file;
pub use index::{Index, IndexEntry, IndexOutput};
pub use inputs::{COPIED_INPUT, InputError, Isolation};
pub use lock::{Holder, Lock, Locking};
pub use object::{Node, Object, Place, Placed, Presence, Shape, TreeEntry};
pub use probe::Probe;
pub use record::{Committed, RECORD_FORMAT, Record, RecordOutput, Work};
pub use roots::Project;
pub use rows::Rows;
pub use scrub::Scrubbed;
pub use stats::{Hashed, Rehash, Stamp, Stats};
pub use store::{Durability, Settings, Store, Warning, make_dirs};
pub use verify::{Finding, Quarantine, VerifyReport};
