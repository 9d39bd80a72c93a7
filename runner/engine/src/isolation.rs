//! Which way this machine has of keeping steps from changing objects through their inputs.
//!
//! The best comes first: clones, where the file system of the store can share blocks; links below
//! a read-only mount, where the executor may mount; copies otherwise. A way that is asked for and
//! cannot be had is an error, never another way.

use std::io;
use std::time::{Duration, Instant};

use store::{Isolation, Store};

use crate::error::EngineError;
use crate::execute::Executor;

/// The way that was asked for, or the best.
pub fn choose(
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

/// How often giving is tried to find out what it costs.
const TRIES: u32 = 32;

/// The least that it costs to give one small file to a step, to check it, and to take it back.
pub fn cost(
    store: &Store,
    executor: &dyn Executor,
    isolation: Isolation,
) -> Result<Duration, EngineError> {
    // A store inside the store, which goes with its folder.
    let room = store.attempt()?;
    let inner = Store::open(&room.path().join("store"))?;
    let object = inner.put_bytes(&[0; 1024])?;
    let mut least = Duration::MAX;
    for _ in 0..TRIES {
        let began = Instant::now();
        let mut attempt = inner.attempt_to_mount()?;
        let folder = attempt.path().join("in");
        store::make_dirs(inner.disk(), &folder)?;
        attempt.give(&inner, "data", &object, &folder.join("data"), isolation)?;
        if isolation == Isolation::Mount && !attempt.is_mounted() {
            executor
                .protect(&folder)
                .map_err(|why| EngineError::Isolation { way: "mount", why })?;
            attempt.note_mount();
        }
        // Nothing wrote to it.
        let _ = attempt.check_inputs(&inner);
        attempt.allow_reuse();
        drop(attempt);
        least = least.min(began.elapsed());
    }
    Ok(least)
}
