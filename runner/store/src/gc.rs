//! Garbage collection: what no kept record needs goes, unless it is young.
//!
//! Kept is what is pinned, and what the runs of every project that uses the store stand on, those
//! that go on among them: see [`crate::roots`]. Safe beside running engines, whatever is asked:
//! what they stand on is written down, objects that they took since they began are no record's yet
//! and stay, and they commit only while nothing is being removed. Records go before their objects,
//! so that a crash leaves a record without objects at worst, which is no record. Never touches what
//! it did not make.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use plan::{Digest, Key};

use crate::attempt::{remove_tree, tree_bytes};
use crate::commit::{list, name_of, read_record, split_files};
use crate::error::At;
use crate::roots::{self, Marking};
use crate::{
    Error, Index, Locking, Node, Object, Project, Record, Result, Shape, Store, Swept, index, rows,
};

/// What to keep.
#[derive(Clone, Debug)]
pub struct GcAsk {
    /// Records to keep beside the pinned ones and those of projects.
    pub keep: BTreeSet<Key>,
    /// The project that asks, by the folder that it keeps things in: only its newest runs are
    /// roots, and the roots of its older ones go. Of other projects all are kept.
    pub project: Option<PathBuf>,
    /// How many of its runs those are.
    pub runs: usize,
    /// Projects whose results may go, by the same folder.
    pub forget: BTreeSet<PathBuf>,
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
        GcAsk {
            keep: BTreeSet::new(),
            project: None,
            runs: 10,
            forget: BTreeSet::new(),
            grace: day,
            unused: day * 30,
            mode: GcMode::DryRun,
        }
    }
}

/// What went, or would go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Records, the cheapest to make again for their bytes first.
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
    /// Bytes that the row spaces which stay lost, because what dead writers left was put together.
    pub compacted_bytes: u64,
    /// Private folders of dead owners.
    pub attempts: Swept,
    /// Projects whose folder is not there, and whose results stay.
    pub gone: Vec<Project>,
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

/// A collection under way.
struct Collection<'a> {
    store: &'a Store,
    ask: &'a GcAsk,
    now: SystemTime,
    live: BTreeSet<Digest>,
    going: Vec<PathBuf>,
    report: GcReport,
}

impl Store {
    /// Removes what no kept record needs.
    pub fn gc(&self, ask: &GcAsk) -> Result<GcReport> {
        let mut collection = Collection {
            store: self,
            ask,
            now: SystemTime::now(),
            live: BTreeSet::new(),
            going: Vec::new(),
            report: GcReport::default(),
        };
        let marking = if collection.removes() { Marking::begin(self)? } else { Marking::look() };
        collection.mark()?;
        collection.sweep_records()?;
        drop(marking);
        collection.sweep_objects()?;
        collection.sweep_parts()?;
        collection.sweep_rows()?;
        collection.sweep_locks()?;
        collection.sweep_bad()?;
        collection.report.attempts = self.sweep_with(ask.mode == GcMode::Remove)?;
        collection.compact_rows()?;
        let mut report = collection.report;
        // took / bytes, without dividing.
        report.records.sort_by(|a, b| {
            let cost = |one: &GcRecord, other: &GcRecord| {
                u128::from(one.took_ms) * u128::from(other.bytes.max(1))
            };
            cost(a, b).cmp(&cost(b, a)).then(a.key.cmp(&b.key))
        });
        Ok(report)
    }
}

impl Collection<'_> {
    fn removes(&self) -> bool {
        self.ask.mode == GcMode::Remove
    }

    fn mark(&mut self) -> Result<()> {
        let mut roots = self.ask.keep.clone();
        roots.extend(self.store.pins()?.into_values().flatten());
        // Leases first: one that ends meanwhile is among its project's runs by then.
        roots.extend(roots::leased(self.store)?);
        roots.extend(self.projects()?);
        for path in split_files(&self.store.root().join("act"))? {
            // A damaged record is nobody's; it is replaced when its step runs again.
            let Some(Ok(record)) = read_record(&path, None)? else { continue };
            if roots.contains(&record.key) || self.is_young(&path) {
                self.report.kept_records += 1;
                self.keep(&record);
                continue;
            }
            let bytes = record.outputs.values().map(|it| it.object.size).sum();
            let Record { key, address, took_ms, .. } = record;
            self.report.records.push(GcRecord { key, address, bytes, took_ms });
            self.going.push(path);
        }
        Ok(())
    }

    /// What the runs of projects stand on. What is not to count any more is forgotten.
    fn projects(&mut self) -> Result<BTreeSet<Key>> {
        let mut keys = BTreeSet::new();
        let asks = self.ask.project.as_ref();
        let asks = asks.map(|it| roots::id_of(self.store, it)).transpose()?;
        for project in self.store.projects()? {
            if self.ask.forget.contains(&project.state) {
                if self.removes() {
                    roots::forget_project(self.store, &project)?;
                }
                continue;
            }
            let is_asking = asks.as_ref() == Some(&project.id);
            let runs = if is_asking { self.ask.runs } else { usize::MAX };
            keys.extend(roots::of_project(self.store, &project, runs)?);
            if is_asking && self.removes() {
                roots::trim(self.store, &project, runs)?;
            }
            if !project.is_there() {
                self.report.gone.push(project);
            }
        }
        Ok(keys)
    }

    fn keep(&mut self, record: &Record) {
        for output in record.outputs.values() {
            self.keep_object(&output.object);
        }
    }

    fn keep_object(&mut self, object: &Object) {
        let is_new = self.live.insert(object.digest);
        if let Shape::Tree { .. } = object.shape
            && is_new
            && let Ok(entries) = self.store.listing(&object.digest)
        {
            for entry in entries {
                if let Node::File { digest, .. } = entry.node {
                    self.live.insert(digest);
                }
            }
        }
    }

    fn sweep_records(&mut self) -> Result<()> {
        if !self.removes() || self.going.is_empty() {
            return Ok(());
        }
        let leased = std::cell::OnceCell::new();
        let spared = std::cell::RefCell::new(Vec::new());
        forget(self.store, &self.going, |path| {
            // Read once, behind the gate: what a run came to stand on since the marking stays.
            if leased.get().is_none() {
                let _ = leased.set(roots::leased(self.store)?);
            }
            let key = name_of(path).map(|it| Key(it.0));
            let is_leased = key.zip(leased.get()).is_some_and(|(key, all)| all.contains(&key));
            if is_leased {
                spared.borrow_mut().push(path.to_owned());
            }
            Ok(!is_leased)
        })?;
        for path in spared.into_inner() {
            if let Some(Ok(record)) = read_record(&path, None)? {
                self.report.records.retain(|it| it.key != record.key);
                self.report.kept_records += 1;
                self.keep(&record);
            }
        }
        Ok(())
    }

    fn sweep_objects(&mut self) -> Result<()> {
        let mut index = self.store.index()?;
        let marked: BTreeSet<Key> = index.keys().collect();
        for folder in list(&self.store.root().join("obj"))? {
            let _gate = if self.removes() { Some(self.gate()?) } else { None };
            self.keep_newer(&mut index, &marked)?;
            let busy_since = roots::busy_since(self.store, self.now)?;
            for path in list(&folder)? {
                let Some(digest) = name_of(&path) else { continue };
                let is_live = self.live.contains(&digest);
                if is_live || self.is_young(&path) || self.is_taken(&path, busy_since) {
                    continue;
                }
                self.report.objects += 1;
                self.report.object_bytes += fs::metadata(&path).map_or(0, |it| it.len());
                if self.removes() {
                    unlink(self.store, &path)?;
                }
            }
        }
        Ok(())
    }

    /// Records that were committed since the marking keep their objects too.
    fn keep_newer(&mut self, index: &mut Index, marked: &BTreeSet<Key>) -> Result<()> {
        let length = index.log_length();
        index.refresh()?;
        if index.log_length() == length {
            return Ok(());
        }
        for key in index.keys().filter(|it| !marked.contains(it)) {
            for output in index.entry(&key).map(|it| it.outputs).unwrap_or_default() {
                self.keep_object(&output.object);
            }
        }
        Ok(())
    }

    fn sweep_parts(&mut self) -> Result<()> {
        for path in list(&self.store.root().join("part"))? {
            if !self.is_unused(newest(&path)) {
                continue;
            }
            let Some(key) = key_of(&path) else { continue };
            let Locking::Held(_lock) = self.store.try_lock(&key)? else { continue };
            self.report.parts += 1;
            self.report.part_bytes += tree_bytes(&path);
            if self.removes() {
                remove_tree(self.store.disk(), &path)?;
            }
        }
        Ok(())
    }

    fn sweep_rows(&mut self) -> Result<()> {
        for path in list(&self.store.root().join("rows"))? {
            if !self.is_unused(newest(&path)) {
                continue;
            }
            let used = path.join("used");
            let Ok(file) = File::open(&used) else { continue };
            if file.try_lock().is_err() {
                continue;
            }
            self.report.row_spaces += 1;
            self.report.row_bytes += tree_bytes(&path);
            if self.removes() {
                remove_tree(self.store.disk(), &path)?;
            }
        }
        Ok(())
    }

    /// What dead writers left in the spaces that stay becomes one segment each.
    fn compact_rows(&mut self) -> Result<()> {
        if !self.removes() {
            return Ok(());
        }
        for path in list(&self.store.root().join("rows"))? {
            let used = path.join("used");
            let Ok(file) = File::open(&used) else { continue };
            // Who uses the space goes on using it; nobody removes it meanwhile.
            if file.try_lock_shared().is_err() {
                continue;
            }
            match rows::compact_space(self.store, &path) {
                Ok(freed) => self.report.compacted_bytes += freed,
                // What could go is gone, and rows in many pieces are as good as in one.
                Err(error) => self.store.warn(&path, format!("not compacted: {error}")),
            }
        }
        Ok(())
    }

    /// What was put aside long ago is evidence of nothing any more.
    fn sweep_bad(&mut self) -> Result<()> {
        for path in list(&self.store.root().join("bad"))? {
            let touched = fs::symlink_metadata(&path).ok().map(|it| touched(&it));
            if self.removes() && self.is_unused(touched) {
                remove_tree(self.store.disk(), &path)?;
            }
        }
        Ok(())
    }

    fn sweep_locks(&mut self) -> Result<()> {
        if !self.removes() {
            return Ok(());
        }
        for path in list(&self.store.root().join("lock"))? {
            let is_old = self.is_unused(fs::metadata(&path).and_then(|it| it.modified()).ok());
            if key_of(&path).is_none() || !is_old {
                continue;
            }
            let Ok(file) = File::open(&path) else { continue };
            // Who opened it meanwhile sees after locking that it is gone, and makes another.
            if file.try_lock().is_ok() {
                unlink(self.store, &path)?;
            }
        }
        Ok(())
    }

    fn gate(&self) -> Result<File> {
        shut(self.store)
    }

    fn is_young(&self, path: &Path) -> bool {
        let Ok(metadata) = fs::symlink_metadata(path) else { return true };
        // A clock that went backwards makes everything young.
        self.now.duration_since(touched(&metadata)).map_or(true, |age| age < self.ask.grace)
    }

    /// Whether a run that goes on may have taken an object, and not committed it yet.
    fn is_taken(&self, path: &Path, busy_since: Option<SystemTime>) -> bool {
        let Some(since) = busy_since else { return false };
        // A clock that went backwards under a run tells nothing.
        let Ok(metadata) = fs::symlink_metadata(path) else { return true };
        since > self.now || touched(&metadata) >= since
    }

    fn is_unused(&self, last: Option<SystemTime>) -> bool {
        let age = last.and_then(|it| self.now.duration_since(it).ok());
        age.is_some_and(|it| it >= self.ask.unused)
    }
}

/// Removes the records that still are to go once nobody commits; says how many went. The index
/// follows.
pub(crate) fn forget(
    store: &Store,
    records: &[PathBuf],
    goes: impl Fn(&Path) -> Result<bool>,
) -> Result<u64> {
    let gate = shut(store)?;
    let mut gone = 0;
    for path in records {
        if goes(path)? {
            unlink(store, path)?;
            gone += 1;
        }
    }
    drop(gate);
    if gone > 0 {
        index::rebuild_now(store)?;
    }
    Ok(gone)
}

/// Nobody commits while the file is open.
fn shut(store: &Store) -> Result<File> {
    let gate = store.gate()?;
    gate.lock().at("lock", store.root())?;
    Ok(gate)
}

/// When a file got its name, its content or its permissions.
fn touched(metadata: &Metadata) -> SystemTime {
    use std::os::unix::fs::MetadataExt;
    let seconds = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
    let nanos = Duration::from_nanos(u64::try_from(metadata.ctime_nsec()).unwrap_or(0));
    SystemTime::UNIX_EPOCH + seconds + nanos
}

/// When anything in a folder changed last.
fn newest(path: &Path) -> Option<SystemTime> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let own = metadata.modified().ok()?;
    if !metadata.is_dir() {
        return Some(own);
    }
    let inner = list(path).ok()?.iter().filter_map(|it| newest(it)).max();
    inner.max(Some(own))
}

fn key_of(path: &Path) -> Option<Key> {
    let name = path.file_name()?.to_str()?;
    name.parse().ok().filter(|it: &Key| it.hex() == name)
}

fn unlink(store: &Store, path: &Path) -> Result<()> {
    match store.disk().unlink(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::Io { verb: "remove", path: path.to_owned(), source }),
        Ok(()) => Ok(()),
    }
}
