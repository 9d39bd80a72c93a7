//! Rot is looked for before it is believed: what the steps of a run will read is re-read first, as
//! far as a budget of bytes allows, and a share of all other objects beside the run.
//!
//! Found before the run begins, damaged objects and what was made from them are put aside, and the
//! run is planned again; found later, the run ends badly and the next one makes them again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use plan::{Digest, Graph, Input};
use store::{Index, Object, Quarantined, Store};

use crate::error::EngineError;
use crate::planning::{Planned, Standing};

/// How many steps are named in one line.
const NAMED: usize = 5;

/// How closely a run looks at the objects that it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// The bytes that are re-read: first of what steps will read, then of other objects.
    pub budget: u64,
    /// Whether all that steps read is re-read, whatever the budget.
    pub inputs: Inputs,
}

/// Whether what steps read is re-read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// As far as the budget goes.
    Budget,
    /// All of it.
    All,
}

/// What a run begins with: damaged objects among what its steps will read, or that this process came
/// upon before, are put aside with what was made from them. None: there are none.
pub fn before(
    store: &Store,
    graph: &Graph,
    planned: &Planned,
    index: &Index,
    scrub: Scrub,
) -> Result<Option<Quarantined>, EngineError> {
    let budget = match scrub.inputs {
        Inputs::Budget => scrub.budget,
        Inputs::All => u64::MAX,
    };
    store.reread_all(&inputs(graph, planned, index), budget);
    quarantine(store, store.take_damaged())
}

/// Puts aside what this process found damaged since the last time; none: nothing, or nothing that
/// was not put aside or made again before.
pub(crate) fn found(store: &Store) -> Result<Option<Quarantined>, EngineError> {
    quarantine(store, store.take_damaged())
}

/// Puts aside these objects and what was made from them; none: others did so before.
pub fn quarantine(
    store: &Store,
    damaged: BTreeSet<Digest>,
) -> Result<Option<Quarantined>, EngineError> {
    if damaged.is_empty() {
        return Ok(None);
    }
    let quarantined = store.quarantine(&damaged)?;
    let found = !quarantined.objects.is_empty() || !quarantined.derived.is_empty();
    Ok(found.then_some(quarantined))
}

/// What was there before this run and steps that will run read.
fn inputs(graph: &Graph, planned: &Planned, index: &Index) -> BTreeSet<Object> {
    let mut objects = BTreeSet::new();
    for (instance, standing) in graph.instances.iter().zip(&planned.standings) {
        if !standing.may_run() {
            continue;
        }
        for input in instance.inputs.values().flatten() {
            let Input::Output { instance, slot } = input else { continue };
            if planned.standings[instance.0] == Standing::Cached
                && let Some(key) = planned.keys[instance.0]
            {
                objects.extend(index.output(&key, slot));
            }
        }
    }
    objects
}

/// What was put aside and forgotten, in one line.
pub fn said(quarantined: &Quarantined) -> String {
    let objects: Vec<String> = quarantined.objects.iter().map(|it| it.short()).collect();
    let of: BTreeSet<&str> = quarantined.derived.makers.iter().map(|it| it.0.as_str()).collect();
    let from: BTreeSet<&str> = quarantined.derived.records.iter().map(|it| it.0.as_str()).collect();
    let mut text = match objects.len() {
        // It was made again whole before anybody looked; what was made from it is another matter.
        0 => "a damaged object was replaced".to_owned(),
        1 => format!("object {} was damaged and is put aside", objects[0]),
        n => format!("{n} objects were damaged and are put aside"),
    };
    if !of.is_empty() {
        text.push_str(&format!("; made by {}", names(&of)));
    }
    match quarantined.derived.records.len() {
        0 => {}
        1 => text.push_str(&format!("; 1 result made from it is forgotten: {}", names(&from))),
        n => text.push_str(&format!("; {n} results made from it are forgotten: {}", names(&from))),
    }
    text
}

fn names(all: &BTreeSet<&str>) -> String {
    let mut text =
        all.iter().take(NAMED).map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
    if all.len() > NAMED {
        text.push_str(&format!(" and {} more", all.len() - NAMED));
    }
    text
}

/// A scrub beside a run.
#[derive(Debug)]
pub(crate) struct Scrubbing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scrubbing {
    /// Begins where the last one stopped.
    pub(crate) fn start(store: &Store, budget: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        if budget == 0 {
            return Self { stop, thread: None };
        }
        let (store, is_over) = (store.clone(), Arc::clone(&stop));
        let work = move || {
            // A scrub that cannot go on harms nobody: the next begins at the same place.
            let _ = store.scrub(budget, &|| is_over.load(Ordering::Relaxed));
        };
        let thread = std::thread::Builder::new().name("scrub".to_owned()).spawn(work).ok();
        Self { stop, thread }
    }

    /// Ends it; a run does not wait for what is left of its share.
    pub(crate) fn end(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Scrubbing {
    fn drop(&mut self) {
        self.join();
    }
}
