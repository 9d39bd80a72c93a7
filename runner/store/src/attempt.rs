//! Private folders of running steps, and the removal of those whose owners are dead.
//!
//! An open store has one folder in `tmp`, its desk, and in it one for each attempt. A desk lives
//! as long as the process that made it; whether that process lives is told by a lock on the desk's
//! file `owner`, never by a process number.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::error::At;
use crate::inputs::Inputs;
use crate::store::make_dirs;
use crate::verified::Verified;
use crate::{Disk, Result, Store};

/// Numbers the folders of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A private folder; removed when dropped.
#[derive(Debug)]
pub struct Attempt {
    path: PathBuf,
    desk: Arc<Desk>,
    inputs: Inputs,
    verified: Arc<Verified>,
    mount: Mount,
    kept: bool,
}

/// Whether the folder's `in` is read-only for steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mount {
    No,
    Mounted,
    /// And no process is left that knows the folder: the next step may have it.
    Reusable,
}

/// The folder of one open store in one process.
#[derive(Debug)]
pub(crate) struct Desk {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    /// Empty folders whose `in` is mounted: to unmount one costs more than all else that is done to
    /// give a step its inputs.
    spare: Mutex<Vec<PathBuf>>,
    /// Locked for as long as this process wants the folder.
    #[expect(dead_code, reason = "held, not read")]
    owner: File,
}

impl Desk {
    fn spare(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for path in self.spare.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = remove_tree(&*self.disk, &path);
        }
        // A desk that is not empty, or cannot be removed now, is swept later.
        let _ = self.disk.unlink(&self.path.join("owner"));
        let _ = self.disk.rmdir(&self.path);
    }
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Folders of dead owners.
    pub attempts: u64,
    /// The bytes that were in them.
    pub bytes: u64,
}

impl Attempt {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an executor has mounted the folder's `in` read-only.
    pub fn is_mounted(&self) -> bool {
        self.mount != Mount::No
    }

    /// Notes that an executor has done so.
    pub fn note_mount(&mut self) {
        self.mount = Mount::Mounted;
    }

    /// Lets the next step have the folder with its mount: all processes of this one have ended.
    pub fn allow_reuse(&mut self) {
        if self.is_mounted() {
            self.mount = Mount::Reusable;
        }
    }

    /// Empties the folder for the next step, if that is allowed and nothing is odd about it.
    fn reuse(&self) -> bool {
        let is_empty = self.mount == Mount::Reusable && self.empty().is_ok_and(|it| it);
        if is_empty {
            self.desk.spare().push(self.path.clone());
        }
        is_empty
    }

    fn empty(&self) -> Result<bool> {
        let rights = |path: &Path| fs::symlink_metadata(path).map(|it| (it.mode(), it.uid()));
        if rights(&self.path).ok() != rights(&self.desk.path).ok() {
            return Ok(false);
        }
        let disk = &*self.desk.disk;
        for entry in fs::read_dir(&self.path).at("list", &self.path)? {
            let path = entry.at("list", &self.path)?.path();
            if path.file_name().is_some_and(|it| it == "in") {
                remove_inside(disk, &path)?;
            } else {
                remove_tree(disk, &path)?;
            }
        }
        Ok(true)
    }

    /// What the step was given of the store.
    pub(crate) fn given(&self) -> &Inputs {
        &self.inputs
    }

    pub(crate) fn inputs(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    /// Leaves the folder where it is; a sweep removes it later.
    pub fn keep(mut self) -> PathBuf {
        self.kept = true;
        self.path.clone()
    }

    /// Removes the folder now.
    pub fn remove(mut self) -> Result<()> {
        self.kept = true;
        self.inputs.unlink(&self.verified);
        remove_tree(&*self.desk.disk, &self.path)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.kept {
            self.inputs.unlink(&self.verified);
            if !self.reuse() {
                // What cannot be removed now is swept later.
                let _ = remove_tree(&*self.desk.disk, &self.path);
            }
        }
    }
}

impl Store {
    /// Makes a private folder.
    pub fn attempt(&self) -> Result<Attempt> {
        let desk = self.desk()?;
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = desk.path.join(n.to_string());
            match self.disk().mkdir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                other => other.at("make folder", &path)?,
            }
            return Ok(self.attempt_in(path, desk, Mount::No));
        }
    }

    /// The same for a step whose inputs are to be mounted: one that has the mount, if there is any.
    pub fn attempt_to_mount(&self) -> Result<Attempt> {
        let desk = self.desk()?;
        let spare = desk.spare().pop();
        match spare {
            Some(path) => Ok(self.attempt_in(path, desk, Mount::Mounted)),
            None => self.attempt(),
        }
    }

    fn attempt_in(&self, path: PathBuf, desk: Arc<Desk>, mount: Mount) -> Attempt {
        let (inputs, verified) = (Inputs::default(), self.shared_verified());
        Attempt { path, desk, inputs, verified, mount, kept: false }
    }

    fn desk(&self) -> Result<Arc<Desk>> {
        let mut slot = self.desk_slot();
        if let Some(desk) = &*slot {
            return Ok(Arc::clone(desk));
        }
        let desk = Arc::new(self.make_desk()?);
        *slot = Some(Arc::clone(&desk));
        Ok(desk)
    }

    fn make_desk(&self) -> Result<Desk> {
        let tmp = self.root().join("tmp");
        make_dirs(self.disk(), &tmp)?;
        // A sweep must not come between the making of the folder and that of its lock.
        let gate = self.tmp_gate(&tmp)?;
        gate.lock_shared().at("lock", &tmp)?;
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = tmp.join(format!("{}.{}.{n}", host(), std::process::id()));
            match self.disk().mkdir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                other => other.at("make folder", &path)?,
            }
            let owner_path = path.join("owner");
            let made = self.disk().open_lock(&owner_path).and_then(|it| it.lock().map(|()| it));
            match made {
                Ok(owner) => {
                    let (disk, spare) = (self.shared_disk(), Mutex::default());
                    return Ok(Desk { path, disk, spare, owner });
                }
                Err(error) => {
                    let _ = remove_tree(self.disk(), &path);
                    return Err(error).at("create", &owner_path);
                }
            }
        }
    }

    /// Removes the private folders whose owners are dead.
    pub fn sweep(&self) -> Result<Swept> {
        self.sweep_with(true)
    }

    pub(crate) fn sweep_with(&self, remove: bool) -> Result<Swept> {
        let tmp = self.root().join("tmp");
        let mut swept = Swept::default();
        if !tmp.is_dir() {
            return Ok(swept);
        }
        let gate = self.tmp_gate(&tmp)?;
        gate.lock().at("lock", &tmp)?;
        for entry in fs::read_dir(&tmp).at("list", &tmp)? {
            let path = entry.at("list", &tmp)?.path();
            if path.file_name().is_some_and(|it| it == "gate") || !is_abandoned(&path)? {
                continue;
            }
            swept.attempts += 1;
            swept.bytes += tree_bytes(&path);
            if remove {
                remove_tree(self.disk(), &path)?;
            }
        }
        Ok(swept)
    }

    fn tmp_gate(&self, tmp: &Path) -> Result<File> {
        let path = tmp.join("gate");
        self.disk().open_lock(&path).at("open", &path)
    }
}

fn is_abandoned(path: &Path) -> Result<bool> {
    let owner = path.join("owner");
    match File::open(&owner) {
        Ok(file) => match file.try_lock() {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error).at("lock", &owner),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(true),
        Err(error) => Err(error).at("open", &owner),
    }
}

/// The name of this machine, as a file name.
pub(crate) fn host() -> String {
    static NAME: LazyLock<String> = LazyLock::new(read_host);
    NAME.clone()
}

fn read_host() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    let host: String = name
        .chars()
        .map(|it| if it.is_ascii_alphanumeric() || it == '-' { it } else { '_' })
        .collect();
    if host.is_empty() { "_".to_owned() } else { host }
}

/// The bytes of all files in a folder, as far as they can be seen.
pub(crate) fn tree_bytes(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let Ok(names) = fs::read_dir(path) else { return 0 };
    names.flatten().map(|it| tree_bytes(&it.path())).sum()
}

/// Removes a file or a folder with all that is in it; nothing there is fine. Follows no links.
pub fn remove_tree(disk: &dyn Disk, path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return gone(disk.unlink(path)).at("remove", path),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).at("look at", path),
    }
    if let Err(error) = remove_inside(disk, path) {
        let denied = matches!(&error, crate::Error::Io { source, .. }
            if source.kind() == ErrorKind::PermissionDenied);
        if !denied {
            return Err(error);
        }
        // A step may have taken its own folder's write permission away.
        disk.set_mode(path, 0o700).at("change mode of", path)?;
        remove_inside(disk, path)?;
    }
    gone(disk.rmdir(path)).at("remove", path)
}

fn remove_inside(disk: &dyn Disk, path: &Path) -> Result<()> {
    for entry in fs::read_dir(path).at("list", path)? {
        let entry = entry.at("list", path)?;
        let kind = entry.file_type().at("look at", path)?;
        let inner = entry.path();
        if kind.is_dir() {
            remove_tree(disk, &inner)?;
        } else {
            gone(disk.unlink(&inner)).at("remove", &inner)?;
        }
    }
    Ok(())
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_takes_the_folders_of_the_dead_and_leaves_those_of_the_living() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let alive = store.attempt().unwrap();
        let other = Store::open(dir.path()).unwrap();
        let kept = other.attempt().unwrap();
        fs::write(kept.path().join("a"), "12345").unwrap();
        let dead = kept.keep();
        drop(other);
        let swept = store.sweep().unwrap();
        assert_eq!(swept, Swept { attempts: 1, bytes: 5 });
        assert!(alive.path().exists());
        assert!(!dead.exists());
    }

    #[test]
    fn a_dropped_attempt_leaves_nothing_even_of_folders_without_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let attempt = store.attempt().unwrap();
        let path = attempt.path().to_owned();
        let inner = path.join("sub");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("a"), "a").unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o555)).unwrap();
        drop(attempt);
        assert!(!path.exists());
    }
}
