//! What collection keeps for the projects that use a store.
//!
//! Every project has a folder in `roots` with its path and the keys of its runs, so that a collection
//! in one project knows what another needs, also where that one's disk is not mounted. A run that
//! goes on has a lease: a locked file in `lease` with the keys that it stands on. Two locks make it
//! exact. A run plans while it holds the lock `lock/roots` shared, and a collection marks while it
//! holds it alone: what a plan found there is in a lease before anything goes. What a run comes to
//! stand on later it writes down while it holds the gate of commits shared, and a collection reads
//! that again, while it holds the gate alone, before it removes a record.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use plan::{Digest, Key};

use crate::attempt::host;
use crate::commit::list;
use crate::error::At;
use crate::store::{make_dirs, now_ms};
use crate::{Durability, Error, Record, Result, Store, Wait, replace};

/// The file that says where a project is.
const PROJECT: &str = "project";
/// A file system's clock is this much coarser than ours at most.
const COARSE: Duration = Duration::from_secs(1);

/// A run's hold on what it stands on. Whoever drops it without [`Store::end_lease`] leaves the file
/// to be found by the next collection, as a kill does.
#[derive(Debug)]
pub(crate) struct Lease {
    project: String,
    /// Held, shared, until what the run stands on is written down.
    planning: Option<File>,
    file: Option<(File, PathBuf)>,
}

/// A project that uses a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The folder for what it keeps itself, `.kun`.
    pub state: PathBuf,
    /// How many of its runs' roots there are.
    pub runs: usize,
    /// Its name in the folder `roots`.
    pub(crate) id: String,
}

impl Project {
    /// Whether its folder is there, or may be: only one that is surely not there is gone.
    pub fn is_there(&self) -> bool {
        !fs::metadata(&self.state).is_err_and(|it| it.kind() == ErrorKind::NotFound)
    }
}

impl Store {
    /// Begins a run of a project, before it plans: until [`Store::hold`] nothing is collected. Where
    /// this process may not write, nothing is held; a run that has nothing to do needs no more.
    pub fn lease(&self, state: &Path) -> Result<()> {
        let leased = self.register(state).and_then(|project| {
            let planning = self.roots_lock()?;
            planning.lock_shared().at("lock", &self.roots_lock_path())?;
            Ok(Lease { project, planning: Some(planning), file: None })
        });
        match leased {
            Ok(lease) => *self.lease_slot() = Some(lease),
            Err(Error::Io { source, .. }) if is_read_only(&source) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes down what the run that plans stands on; from then on others may be collected.
    pub fn hold(&self, keys: &mut dyn Iterator<Item = Key>) -> Result<()> {
        let mut slot = self.lease_slot();
        let Some(lease) = slot.as_mut() else { return Ok(()) };
        let folder = self.root().join("lease");
        make_dirs(self.disk(), &folder)?;
        let (id, pid) = (&lease.project, std::process::id());
        let path = folder.join(format!("{:015}.{id}.{}.{pid}", now_ms(), host()));
        let mut file = self.disk().append(&path).at("create", &path)?;
        file.lock().at("lock", &path)?;
        self.disk().write(&mut file, &path, lines(keys).as_bytes()).at("write", &path)?;
        lease.file = Some((file, path));
        lease.planning = None;
        Ok(())
    }

    /// Whether the run's project has roots of earlier runs here: one that has none, because it was
    /// moved or the store is another one, leaves some even where it has nothing to do.
    pub fn has_roots(&self) -> bool {
        let slot = self.lease_slot();
        slot.as_ref().is_none_or(|it| {
            let path = self.root().join("roots").join(&it.project);
            run_files(&path).is_ok_and(|it| !it.is_empty())
        })
    }

    /// Ends a run: what it stood on stays as the roots of a run that is over.
    pub fn end_lease(&self) -> Result<()> {
        let Some(lease) = self.lease_slot().take() else { return Ok(()) };
        let Some((file, path)) = lease.file else { return Ok(()) };
        if self.durability() == Durability::Full {
            self.disk().sync(&file, &path).at("sync", &path)?;
        }
        // No collection may lose sight of it between the two places.
        let roots = self.roots_lock()?;
        roots.lock_shared().at("lock", &self.roots_lock_path())?;
        self.keep_roots(&path)
    }

    /// The record of a key, which a run will stand on if it is there: no collection takes it then.
    pub fn claim(&self, key: &Key) -> Result<Option<Record>> {
        let Some(record) = self.record(key)? else { return Ok(None) };
        if self.lease_slot().is_none() {
            return Ok(Some(record));
        }
        let gate = self.gate()?;
        gate.lock_shared().at("lock", self.root())?;
        self.hold_more(&mut std::iter::once(*key))?;
        self.record(key)
    }

    /// Adds to what this process's run stands on; whoever calls holds the gate.
    pub(crate) fn hold_more(&self, keys: &mut dyn Iterator<Item = Key>) -> Result<()> {
        let mut slot = self.lease_slot();
        let Some((file, path)) = slot.as_mut().and_then(|it| it.file.as_mut()) else {
            return Ok(());
        };
        self.disk().write(file, path, lines(keys).as_bytes()).at("write", path)
    }

    /// The projects that use the store, by path.
    pub fn projects(&self) -> Result<Vec<Project>> {
        let mut projects = Vec::new();
        for folder in list(&self.root().join("roots"))? {
            let path = folder.join(PROJECT);
            let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let state = match fs::read(&path) {
                // From the store itself, where the store lies in the project.
                Ok(bytes) => plain(&self.root().join(OsStr::from_bytes(bytes.trim_ascii_end()))),
                // Somebody's, and kept.
                Err(error) => {
                    self.warn(&path, format!("nobody knows whose these roots are: {error}"));
                    folder.clone()
                }
            };
            projects.push(Project { state, runs: run_files(&folder)?.len(), id });
        }
        projects.sort_by(|a, b| a.state.cmp(&b.state));
        Ok(projects)
    }

    /// Notes that a project uses the store, and gives its name here.
    fn register(&self, state: &Path) -> Result<String> {
        let mut bytes = self.path_from_here(state)?.into_os_string().into_vec();
        let id = Digest::of(&bytes).short();
        let folder = self.root().join("roots").join(&id);
        let path = folder.join(PROJECT);
        if !path.exists() {
            make_dirs(self.disk(), &folder)?;
            bytes.push(b'\n');
            replace(self.disk(), &path, &bytes, Wait::ForDisk)?;
        }
        Ok(id)
    }

    /// A project's folder, from the store where that lies in it: then both may move together.
    fn path_from_here(&self, state: &Path) -> Result<PathBuf> {
        let state = fs::canonicalize(state).at("find", state)?;
        let root = fs::canonicalize(self.root()).at("find", self.root())?;
        Ok(match root.strip_prefix(&state) {
            Ok(below) => below.components().map(|_| Component::ParentDir).collect(),
            Err(_) => state,
        })
    }

    /// Moves a lease that is over to its project.
    fn keep_roots(&self, lease: &Path) -> Result<()> {
        let name = lease.file_name().unwrap_or_default().to_string_lossy();
        let project = name.split('.').nth(1).unwrap_or_default();
        let to = self.root().join("roots").join(project).join(&*name);
        self.rename_in(lease, &to)
    }

    fn roots_lock_path(&self) -> PathBuf {
        self.root().join("lock").join("roots")
    }

    fn roots_lock(&self) -> Result<File> {
        let path = self.roots_lock_path();
        self.disk().open_lock(&path).at("open", &path)
    }
}

/// The name that a project has in a store.
pub(crate) fn id_of(store: &Store, state: &Path) -> Result<String> {
    let told = store.path_from_here(state)?;
    Ok(Digest::of(told.as_os_str().as_bytes()).short())
}

/// What a collection sees of roots. While it is there no run plans.
#[derive(Debug)]
pub(crate) struct Marking {
    _planning: Option<File>,
}

impl Marking {
    /// Waits until no run plans, and lets none.
    pub(crate) fn begin(store: &Store) -> Result<Self> {
        let planning = store.roots_lock()?;
        planning.lock().at("lock", &store.roots_lock_path())?;
        for path in list(&store.root().join("lease"))? {
            if !is_live(&path)? {
                store.keep_roots(&path)?;
            }
        }
        Ok(Self { _planning: Some(planning) })
    }

    /// For who removes nothing, and so keeps nobody waiting.
    pub(crate) fn look() -> Self {
        Self { _planning: None }
    }
}

/// The keys of all leases.
pub(crate) fn leased(store: &Store) -> Result<BTreeSet<Key>> {
    let mut keys = BTreeSet::new();
    for path in list(&store.root().join("lease"))? {
        keys.extend(read_keys(&path)?);
    }
    Ok(keys)
}

/// The keys of a project's newest runs.
pub(crate) fn of_project(store: &Store, project: &Project, runs: usize) -> Result<BTreeSet<Key>> {
    let files = run_files(&store.root().join("roots").join(&project.id))?;
    let mut keys = BTreeSet::new();
    for path in files.iter().rev().take(runs) {
        keys.extend(read_keys(path)?);
    }
    Ok(keys)
}

/// Forgets the roots of all but a project's newest runs.
pub(crate) fn trim(store: &Store, project: &Project, runs: usize) -> Result<()> {
    let files = run_files(&store.root().join("roots").join(&project.id))?;
    let gone = files.iter().rev().skip(runs);
    gone.into_iter().try_for_each(|it| store.disk().unlink(it).at("remove", it))
}

/// Forgets a project.
pub(crate) fn forget_project(store: &Store, project: &Project) -> Result<()> {
    let folder = store.root().join("roots").join(&project.id);
    crate::remove_tree(store.disk(), &folder)
}

/// Since when runs go on that stand on more than they have written down: objects that they take are
/// in no record yet. None: no run goes on.
pub(crate) fn busy_since(store: &Store, began: SystemTime) -> Result<Option<SystemTime>> {
    let mut since: Option<SystemTime> = None;
    let mut found = |it: SystemTime| since = Some(since.map_or(it, |since| since.min(it)));
    for path in list(&store.root().join("lease"))? {
        if is_live(&path)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let ms = name.split('.').next().and_then(|it| it.parse().ok()).unwrap_or(0);
            found(SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
        }
    }
    // Who plans now begins after us.
    if store.roots_lock()?.try_lock().is_err() {
        found(began);
    }
    Ok(since.map(|it| it.checked_sub(COARSE).unwrap_or(it)))
}

fn is_live(lease: &Path) -> Result<bool> {
    match File::open(lease) {
        Ok(file) => match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error).at("lock", lease),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).at("open", lease),
    }
}

/// The roots of a project's runs, oldest first.
fn run_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = list(folder)?;
    let is_run = |it: &PathBuf| {
        it.file_name().and_then(OsStr::to_str).is_some_and(|it| it.starts_with(char::is_numeric))
    };
    files.retain(is_run);
    Ok(files)
}

/// A torn last line is left out: its result was not committed.
fn read_keys(path: &Path) -> Result<Vec<Key>> {
    match fs::read(path) {
        Ok(bytes) => {
            Ok(String::from_utf8_lossy(&bytes).lines().filter_map(|it| it.parse().ok()).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::Io { verb: "read", path: path.to_owned(), source }),
    }
}

fn lines(keys: &mut dyn Iterator<Item = Key>) -> String {
    keys.map(|it| format!("{}\n", it.hex())).collect()
}

/// Without `..`: the folders on the way may be gone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

fn is_read_only(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
}
