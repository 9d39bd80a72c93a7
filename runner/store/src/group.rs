//! A store that a group shares, as git's `core.sharedRepository = group` does: where the store's
//! folder is writable by its group and hands the group on (`chmod g+ws`), everything made in it is
//! writable by the group too, whatever the umask of who makes it.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Disk;

/// Writable by the group, and the group is handed on to what is made inside.
const SHARED: u32 = 0o2020;
const GROUP_FILE: u32 = 0o060;
const GROUP_FOLDER: u32 = 0o2070;

/// A disk that gives the group of a folder what its owner has in it.
#[derive(Debug)]
pub(crate) struct GroupDisk {
    root: PathBuf,
    inner: Arc<dyn Disk>,
}

/// The disk for a store: another one where its folder is a group's.
pub(crate) fn disk_for(root: &Path, inner: Arc<dyn Disk>) -> Arc<dyn Disk> {
    let is_shared = fs::metadata(root).is_ok_and(|it| it.mode() & SHARED == SHARED);
    match is_shared {
        true => Arc::new(GroupDisk { root: root.to_owned(), inner }),
        false => inner,
    }
}

impl GroupDisk {
    /// Gives the group what it needs. What somebody else made, they gave it to the group.
    fn open_up(&self, path: &Path, metadata: &Metadata, bits: u32) -> io::Result<()> {
        let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if !path.starts_with(&self.root) || !is_ours || metadata.mode() & bits == bits {
            return Ok(());
        }
        self.inner.set_mode(path, (metadata.mode() | bits) & 0o7777)
    }

    fn opened(&self, path: &Path, file: io::Result<File>) -> io::Result<File> {
        let file = file?;
        self.open_up(path, &file.metadata()?, GROUP_FILE)?;
        Ok(file)
    }
}

impl Disk for GroupDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.opened(path, self.inner.create(path))
    }

    fn append(&self, path: &Path) -> io::Result<File> {
        self.opened(path, self.inner.append(path))
    }

    fn open_lock(&self, path: &Path) -> io::Result<File> {
        self.opened(path, self.inner.open_lock(path))
    }

    fn mkdir(&self, path: &Path) -> io::Result<()> {
        self.inner.mkdir(path)?;
        self.open_up(path, &fs::metadata(path)?, GROUP_FOLDER)
    }

    fn write(&self, file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.inner.write(file, path, bytes)
    }

    fn truncate(&self, file: &File, path: &Path, length: u64) -> io::Result<()> {
        self.inner.truncate(file, path, length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        self.inner.exchange(one, other)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.link(from, to)
    }

    fn symlink(&self, target: &Path, at: &Path) -> io::Result<()> {
        self.inner.symlink(target, at)
    }

    fn reflink(&self, from: &File, to: &File, path: &Path) -> io::Result<()> {
        self.inner.reflink(from, to, path)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.inner.unlink(path)
    }

    fn rmdir(&self, path: &Path) -> io::Result<()> {
        self.inner.rmdir(path)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.inner.set_mode(path, mode)
    }

    fn seal(&self, path: &Path, second: i64) -> io::Result<()> {
        self.inner.seal(path, second)
    }

    fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        self.inner.sync(file, path)
    }

    fn sync_all(&self, file: &File, path: &Path) -> io::Result<()> {
        self.inner.sync_all(file, path)
    }
}
