//! A store: one folder, its version, and where everything in it lies.
//!
//! Refuses folders of other versions and folders that hold other things; writes nothing there.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use plan::{Digest, Key};

use crate::attempt::{self, Attempt, Desk};
use crate::error::At;
use crate::roots::Lease;
use crate::verified::Verified;
use crate::{Disk, Error, RealDisk, Result, group};

/// What the file `VERSION` says.
const VERSION: &str = "kun-store 2\n";

/// The names at the top of a store, and those that may lie beside them.
const KNOWN: &[&str] = &[
    "VERSION",
    "obj",
    "act",
    "idx",
    "rows",
    "part",
    "tmp",
    "lock",
    "pin",
    "roots",
    "lease",
    "bad",
    ".gitignore",
    "CACHEDIR.TAG",
    "lost+found",
];

/// The folders that a new store begins with.
const FOLDERS: [&str; 10] =
    ["obj", "act", "idx", "rows", "part", "tmp", "lock", "pin", "roots", "lease"];

/// A store. Cheap to clone; all clones are the same store.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    settings: Settings,
    /// Open from the start, so that `syncfs` on it reports every write that failed since.
    handle: File,
    // Before the desk that it lies in.
    scratch: Mutex<Option<Attempt>>,
    desk: Mutex<Option<Arc<Desk>>>,
    /// Objects that this process put here whole, or has read all of.
    taken: Mutex<HashSet<Digest>>,
    verified: Arc<Verified>,
    /// Objects that this process found damaged.
    damaged: Mutex<BTreeSet<Digest>>,
    /// What the run of this process stands on.
    lease: Mutex<Option<Lease>>,
    next: AtomicU64,
    no_reflink: AtomicBool,
    warnings: Mutex<Vec<Warning>>,
}

/// How a store is used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What carries out the changes.
    pub disk: Arc<dyn Disk>,
    /// Whether a commit waits for the disk.
    pub durability: Durability,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { disk: Arc::new(RealDisk), durability: Durability::Full }
    }
}

/// Whether a commit waits for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// What is committed survives a power cut.
    #[default]
    Full,
    /// What is committed survives the end of any process, but not a power cut.
    Fast,
}

/// Something that is not as it should be and did no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

impl Store {
    /// Opens the store in a folder, making it if nothing is there.
    pub fn open(root: &Path) -> Result<Store> {
        Store::open_with(root, Settings::default())
    }

    /// The same, with another disk or durability.
    pub fn open_with(root: &Path, mut settings: Settings) -> Result<Store> {
        let root = std::path::absolute(root).at("find", root)?;
        let version = root.join("VERSION");
        let known = match fs::read(&version) {
            Ok(bytes) if bytes == VERSION.as_bytes() => true,
            Ok(bytes) => {
                let found = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
                return Err(Error::Version { path: version, found: found.trim_end().to_owned() });
            }
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(source) => return Err(Error::Io { verb: "read", path: version, source }),
        };
        if !known {
            refuse_foreign(&root)?;
            make_dirs(&*settings.disk, &root)?;
        }
        settings.disk = group::disk_for(&root, settings.disk);
        let handle = File::open(&root).at("open", &root)?;
        let verified = Verified::new(&root, Arc::clone(&settings.disk));
        let inner = Inner {
            root,
            settings,
            handle,
            scratch: Mutex::new(None),
            desk: Mutex::new(None),
            taken: Mutex::new(HashSet::new()),
            verified: Arc::new(verified),
            damaged: Mutex::new(BTreeSet::new()),
            lease: Mutex::new(None),
            next: AtomicU64::new(0),
            no_reflink: AtomicBool::new(false),
            warnings: Mutex::new(Vec::new()),
        };
        let store = Store { inner: Arc::new(inner) };
        if !known {
            store.init(&version)?;
        }
        Ok(store)
    }

    fn init(&self, version: &Path) -> Result<()> {
        for name in FOLDERS {
            make_dirs(self.disk(), &self.root().join(name))?;
        }
        self.atomic_write(version, VERSION.as_bytes())
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Whether a commit waits for the disk.
    pub fn durability(&self) -> Durability {
        self.inner.settings.durability
    }

    /// The folder of the objects.
    pub fn objects(&self) -> PathBuf {
        self.root().join("obj")
    }

    /// Where an object's bytes (a tree's listing) are, whether it is there or not.
    pub fn object_path(&self, digest: &Digest) -> PathBuf {
        split(&self.root().join("obj"), &digest.hex())
    }

    /// Where a step's resumable state is; nothing is made there.
    pub fn part(&self, key: &Key) -> PathBuf {
        self.root().join("part").join(key.hex())
    }

    /// Makes the folder of a step's resumable state.
    pub fn make_part(&self, key: &Key) -> Result<PathBuf> {
        let path = self.part(key);
        make_dirs(self.disk(), &path)?;
        Ok(path)
    }

    /// Removes a step's resumable state.
    pub fn drop_part(&self, key: &Key) -> Result<()> {
        attempt::remove_tree(self.disk(), &self.part(key))
    }

    /// What deserved a word since the last time this was asked.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = self.inner.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *warnings)
    }

    pub(crate) fn warn(&self, path: &Path, what: impl Into<String>) {
        let warning = Warning { path: path.to_owned(), what: what.into() };
        let mut warnings = self.inner.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    pub(crate) fn desk_slot(&self) -> MutexGuard<'_, Option<Arc<Desk>>> {
        self.inner.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the run of this process stands on.
    pub(crate) fn lease_slot(&self) -> MutexGuard<'_, Option<Lease>> {
        self.inner.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Objects that this process found damaged.
    pub(crate) fn damaged(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.inner.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Objects that this process put here whole, or has read all of.
    pub(crate) fn taken(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.inner.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Objects that this process has verified.
    pub(crate) fn verified(&self) -> &Verified {
        &self.inner.verified
    }

    pub(crate) fn shared_verified(&self) -> Arc<Verified> {
        Arc::clone(&self.inner.verified)
    }

    /// What carries out the changes.
    pub fn disk(&self) -> &dyn Disk {
        &*self.inner.settings.disk
    }

    /// The same, to keep.
    pub fn shared_disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.inner.settings.disk)
    }

    pub(crate) fn handle(&self) -> &File {
        &self.inner.handle
    }

    /// Set once a file system said that it cannot share blocks.
    pub(crate) fn no_reflink(&self) -> &AtomicBool {
        &self.inner.no_reflink
    }

    pub(crate) fn record_path(&self, key: &Key) -> PathBuf {
        let mut path = split(&self.root().join("act"), &key.hex()).into_os_string();
        path.push(".json");
        path.into()
    }

    /// A name that nobody else has, in a folder that is swept when this process is dead.
    pub(crate) fn scratch(&self) -> Result<PathBuf> {
        let mut scratch = self.inner.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if scratch.is_none() {
            *scratch = Some(self.attempt()?);
        }
        let folder = scratch.as_ref().expect("it was made just now").path();
        Ok(folder.join(self.inner.next.fetch_add(1, Ordering::Relaxed).to_string()))
    }

    /// Writes a new file to a name of its own.
    pub(crate) fn write_scratch(&self, bytes: &[u8]) -> Result<(PathBuf, File)> {
        let path = self.scratch()?;
        let mut file = self.disk().create(&path).at("create", &path)?;
        if let Err(source) = self.disk().write(&mut file, &path, bytes) {
            let _ = self.disk().unlink(&path);
            return Err(Error::Io { verb: "write", path, source });
        }
        Ok((path, file))
    }

    /// Replaces a file by another content, durably; it is never seen half-written.
    pub(crate) fn atomic_write(&self, to: &Path, bytes: &[u8]) -> Result<()> {
        let (path, file) = self.write_scratch(bytes)?;
        self.sync_file(&file, &path)?;
        self.rename_in(&path, to)?;
        self.sync_dir(to.parent().unwrap_or(to))
    }

    /// Renames, making the target's folder if it is not there.
    pub(crate) fn rename_in(&self, from: &Path, to: &Path) -> Result<()> {
        match self.disk().rename(from, to) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.parent_of(to)?;
                self.disk().rename(from, to).at("rename to", to)
            }
            other => other.at("rename to", to),
        }
    }

    /// Makes the folder that a file is to lie in.
    pub(crate) fn parent_of(&self, path: &Path) -> Result<()> {
        path.parent().map_or(Ok(()), |parent| make_dirs(self.disk(), parent))
    }

    pub(crate) fn sync_file(&self, file: &File, path: &Path) -> Result<()> {
        match self.durability() {
            Durability::Full => self.disk().sync(file, path).at("sync", path),
            Durability::Fast => Ok(()),
        }
    }

    /// Waits until the names in a folder are on the disk.
    pub(crate) fn sync_dir(&self, path: &Path) -> Result<()> {
        if self.durability() == Durability::Fast {
            return Ok(());
        }
        let file = File::open(path).at("open", path)?;
        self.disk().sync(&file, path).at("sync", path)
    }
}

/// `root/ab/cdef…` for a name of hexadecimal digits.
pub(crate) fn split(root: &Path, hex: &str) -> PathBuf {
    let mut path = PathBuf::with_capacity(root.as_os_str().len() + hex.len() + 8);
    path.push(root);
    path.push(&hex[..2]);
    path.push(&hex[2..]);
    path
}

/// Makes a folder and those above it; one that is there already is fine.
pub fn make_dirs(disk: &dyn Disk, path: &Path) -> Result<()> {
    match disk.mkdir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            _ => Err(Error::Shape { path: path.to_owned(), wanted: "folder" }),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let Some(parent) = path.parent() else {
                return Err(error).at("make folder", path);
            };
            make_dirs(disk, parent)?;
            match disk.mkdir(path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                other => other.at("make folder", path),
            }
        }
        Err(source) => Err(Error::Io { verb: "make folder", path: path.to_owned(), source }),
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn refuse_foreign(root: &Path) -> Result<()> {
    let names = match fs::read_dir(root) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::Io { verb: "list", path: root.to_owned(), source }),
    };
    for name in names {
        let name = name.at("list", root)?.file_name();
        if !KNOWN.iter().any(|it| name == *it) {
            let other = name.to_string_lossy().into_owned();
            return Err(Error::NotAStore { path: root.to_owned(), other });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_another_version_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("VERSION"), "kun-store 1\n").unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(
            error.to_string().ends_with("says `kun-store 1`, which this version does not read")
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_with_other_things_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, Error::NotAStore { other, .. } if other == "thesis.tex"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_store_that_was_half_made_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("obj")).unwrap();
        Store::open(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("VERSION")).unwrap(), VERSION);
        Store::open(dir.path()).unwrap();
    }
}
