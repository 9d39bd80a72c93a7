//! Every call of this crate that changes a file system, behind one small trait.
//!
//! Reading needs no seam and has none. The trait exists so that tests can make the n-th call
//! fail; it is no abstraction over kinds of storage (see `remote` for that).

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, RenameFlags, Timespec, Timestamps};

/// The nanoseconds that a sealed object's time of change carries: a file whose content was
/// touched since then has others.
pub(crate) const SEAL_NANOS: i64 = 271_828_182;

/// The calls that change a file system.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a file that is not there yet, open for writing.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Opens a file for appending, creating it if need be.
    fn append(&self, path: &Path) -> io::Result<File>;
    /// Opens a file for locking, creating it if need be and never emptying it.
    fn open_lock(&self, path: &Path) -> io::Result<File>;
    /// Writes all of `bytes`.
    fn write(&self, file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file to a length.
    fn truncate(&self, file: &File, path: &Path, length: u64) -> io::Result<()>;
    /// Renames, over whatever stands there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Exchanges two names.
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()>;
    /// Makes a hard link; fails where the name is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a symbolic link; fails where the name is taken.
    fn symlink(&self, target: &Path, at: &Path) -> io::Result<()>;
    /// Shares the blocks of `from` with the empty file `to`.
    fn reflink(&self, from: &File, to: &File, path: &Path) -> io::Result<()>;
    /// Removes a file or a symbolic link.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Makes one folder.
    fn mkdir(&self, path: &Path) -> io::Result<()>;
    /// Removes one empty folder.
    fn rmdir(&self, path: &Path) -> io::Result<()>;
    /// Sets the permission bits.
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Makes a file read-only and stamps it as sealed at this second.
    fn seal(&self, path: &Path, second: i64) -> io::Result<()>;
    /// Waits until a file, or a folder's names, are on the disk.
    fn sync(&self, file: &File, path: &Path) -> io::Result<()>;
    /// Waits until all of a file's file system is on the disk.
    fn sync_all(&self, file: &File, path: &Path) -> io::Result<()>;
}

/// The disk as it is. What it makes, the umask narrows.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o666).open(path)
    }

    fn append(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).append(true).create(true).mode(0o666).open(path)
    }

    fn open_lock(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o666)
            .open(path)
    }

    fn write(&self, file: &mut File, _path: &Path, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn truncate(&self, file: &File, _path: &Path, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        Ok(rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn symlink(&self, target: &Path, at: &Path) -> io::Result<()> {
        symlink(target, at)
    }

    fn reflink(&self, from: &File, to: &File, _path: &Path) -> io::Result<()> {
        Ok(rustix::fs::ioctl_ficlone(to, from)?)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn mkdir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn rmdir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    fn seal(&self, path: &Path, second: i64) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(0o444))?;
        let time = Timespec { tv_sec: second, tv_nsec: SEAL_NANOS };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn sync(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_all()
    }

    #[cfg(target_os = "linux")]
    fn sync_all(&self, file: &File, _path: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(file)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn sync_all(&self, _file: &File, _path: &Path) -> io::Result<()> {
        rustix::fs::sync();
        Ok(())
    }
}
