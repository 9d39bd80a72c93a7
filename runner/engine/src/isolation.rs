//! Which way this machine has of keeping steps from changing objects through their inputs.
//!
//! The best comes first: clones, where the file system of the store can share blocks; links below
//! a read-only mount, where the executor may mount; copies otherwise. A way that is asked for and
//! cannot be had is an error, never another way.

use std::io;

use store::{Isolation, Store};

use crate::error::EngineError;
use crate::execute::Executor;

/// The way that was asked for, or the best.
pub(crate) fn choose(
    store: &Store,
    executor: &dyn Executor,
    wanted: Option<Isolation>,
) -> Result<Isolation, EngineError> {
    let refused = |way, why: io::Error| EngineError::Isolation { way, why };
    match wanted {
        Some(Isolation::Reflink) if !store.can_clone() => {
            let why = io::Error::other("the file system of the store cannot share blocks");
            Err(refused("reflink", why))
        }
        Some(Isolation::Mount) => match executor.protect(&store.objects()) {
            Ok(()) => Ok(Isolation::Mount),
            Err(why) => Err(refused("mount", why)),
        },
        Some(way) => Ok(way),
        None if store.can_clone() => Ok(Isolation::Reflink),
        None if executor.protect(&store.objects()).is_ok() => Ok(Isolation::Mount),
        None => Ok(Isolation::Copy),
    }
}
