//! Garbage collection.
use crate::*;
use plan::Key;
use std::collections::BTreeSet;
use std::time::Duration;
/// What to keep.
#[derive(Clone, Debug)]
pub struct GcAsk {
    /// Records to keep beside the pinned ones.
    pub keep: BTreeSet<Key>,
    /// What is younger than this stays.
    pub grace: Duration,
    /// Resumable state and row spaces that nobody used for this long go.
    pub unused: Duration,
    /// Whether anything is removed.
    pub mode: GcMode,
}
/// Whether anything is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GcMode {
    /// Only say what would go.
    DryRun,
    /// Remove it.
    Remove,
}
impl Default for GcAsk {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        GcAsk { keep: BTreeSet::new(), grace: day, unused: day * 30, mode: GcMode::DryRun }
    }
}
/// What went, or would go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Records, the cheapest to make again first.
    pub records: Vec<GcRecord>,
    /// How many records stay.
    pub kept_records: u64,
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Resumable states of steps.
    pub parts: u64,
    /// Their bytes.
    pub part_bytes: u64,
    /// Row spaces.
    pub row_spaces: u64,
    /// Their bytes.
    pub row_bytes: u64,
    /// Private folders of dead owners.
    pub attempts: Swept,
}
/// A record that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcRecord {
    /// Its key.
    pub key: Key,
    /// The step instance that asked it first.
    pub address: String,
    /// The bytes of its outputs.
    pub bytes: u64,
    /// What it took to make them.
    pub took_ms: u64,
}
impl Store {
    /// Removes what no kept record needs.
    pub fn gc(&self, ask: &GcAsk) -> Result<GcReport> {
        let _ = ask;
        todo!()
    }
}
