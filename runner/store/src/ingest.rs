//! Ingests files and trees: hashed, made read-only, and renamed to the name of their content.
//!
//! Nothing here waits for the disk, but where a name that is there already is replaced: what is
//! ingested is durable only once a record that names it is committed.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use plan::Digest;
use rayon::prelude::*;
use rustix::fs::OFlags;

use crate::attempt::remove_tree;
use crate::disk::SEAL_NANOS;
use crate::error::At;
use crate::hash::hash_open;
use crate::tree::{self, Found, Links, What};
use crate::{Durability, Error, Node, Object, Result, Shape, Store, TreeEntry};

/// Bytes that are copied at once.
const COPY: usize = 1024 * 1024;

impl Store {
    /// Moves a file into the store. Durable only when a record that names it is committed.
    pub fn take_file(&self, path: &Path) -> Result<Object> {
        let metadata = fs::symlink_metadata(path).at("look at", path)?;
        if metadata.is_dir() || metadata.is_symlink() {
            return Err(Error::Shape { path: path.to_owned(), wanted: "file" });
        }
        if !metadata.is_file() {
            let what = tree::special(metadata.file_type());
            return Err(Error::Special { path: path.to_owned(), what });
        }
        let (digest, size) = self.take_bytes(path, &metadata)?;
        Ok(Object { digest, size, shape: Shape::File { executable: is_executable(&metadata) } })
    }

    /// Moves all files of a folder into the store; the folder itself is removed.
    pub fn take_tree(&self, dir: &Path) -> Result<Object> {
        let metadata = fs::symlink_metadata(dir).at("look at", dir)?;
        if !metadata.is_dir() {
            return Err(Error::Shape { path: dir.to_owned(), wanted: "folder" });
        }
        let found = tree::walk(dir, Links::Refuse)?;
        let entries: Result<Vec<TreeEntry>> =
            found.into_par_iter().map(|it| self.take_found(dir, it)).collect();
        let entries = entries?;
        let listing = tree::encode(&entries);
        self.put_bytes(&listing)?;
        remove_tree(self.disk(), dir)?;
        Ok(tree::object_of(&entries, &listing))
    }

    /// Moves a file or a folder, whichever it is.
    pub fn ingest(&self, path: &Path) -> Result<Object> {
        let metadata = fs::symlink_metadata(path).at("look at", path)?;
        if metadata.is_dir() { self.take_tree(path) } else { self.take_file(path) }
    }

    /// Puts bytes into the store.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Object> {
        let digest = Digest::of(bytes);
        let (path, file) = self.write_scratch(bytes)?;
        let metadata = file.metadata().at("look at", &path)?;
        drop(file);
        self.settle(&path, &metadata, &digest)?;
        Ok(Object { digest, size: bytes.len() as u64, shape: Shape::PLAIN })
    }

    fn take_found(&self, top: &Path, found: Found) -> Result<TreeEntry> {
        let node = match found.what {
            What::File(metadata) => {
                let (digest, size) = self.take_bytes(&top.join(&found.path), &metadata)?;
                Node::File { digest, size, executable: is_executable(&metadata) }
            }
            What::Link(target) => Node::Link { target },
            What::EmptyDir => Node::EmptyDir,
        };
        Ok(TreeEntry { path: found.path, node })
    }

    fn take_bytes(&self, path: &Path, metadata: &Metadata) -> Result<(Digest, u64)> {
        let file = open_file(path)?;
        let (digest, size) = hash_open(&file, path, metadata.len())?;
        let after = file.metadata().at("look at", path)?;
        if !looks_same(metadata, &after) || size != after.len() {
            return Err(Error::Changing { path: path.to_owned() });
        }
        if metadata.nlink() == 1 {
            self.settle(path, metadata, &digest)?;
            return Ok((digest, size));
        }
        // Whoever has another name of this file could change it under its new name. Only if that
        // other name is the store's own there is nothing to be done.
        let target = self.object_path(&digest);
        let is_ours = fs::symlink_metadata(&target)
            .is_ok_and(|it| it.ino() == metadata.ino() && it.dev() == metadata.dev());
        if !is_ours {
            self.take_copy(&file, path, metadata, &digest)?;
        }
        self.disk().unlink(path).at("remove", path)?;
        Ok((digest, size))
    }

    /// Gives a finished file its name in the store.
    fn settle(&self, path: &Path, metadata: &Metadata, digest: &Digest) -> Result<()> {
        let second = seconds(metadata);
        self.disk().seal(path, second).at("make read-only", path)?;
        let target = self.object_path(digest);
        // A collection must not take what stands there between our look at it and our use of it.
        let is_there = fs::symlink_metadata(&target).is_ok();
        let gate = if is_there { Some(self.gate()?) } else { None };
        if let Some(gate) = &gate {
            gate.lock_shared().at("lock", &target)?;
        }
        let stands = fs::symlink_metadata(&target).ok();
        if let Some(stands) = &stands
            && self.holds(&target, stands, metadata.len(), digest)
            // Its time of change says that it is in use. What is another user's is replaced.
            && self.disk().seal(&target, stands.mtime()).is_ok()
        {
            return self.disk().unlink(path).at("remove", path);
        }
        if stands.is_some() && self.durability() == Durability::Full {
            // What stands there may be on the disk and in a record: only what is on the disk too
            // may replace it. What stands there may also be torn: so it is replaced.
            let file = File::open(path).at("open", path)?;
            self.disk().sync(&file, path).at("sync", path)?;
        }
        let renamed = self.rename_in(path, &target);
        if renamed.is_ok() {
            self.taken().insert(*digest);
        }
        match renamed {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::CrossesDevices => {
                let file = File::open(path).at("open", path)?;
                self.take_copy(&file, path, metadata, digest)?;
                self.disk().unlink(path).at("remove", path)
            }
            other => other,
        }
    }

    /// Whether an object that is there already is whole: then nothing has to take its place.
    fn holds(&self, object: &Path, stands: &Metadata, size: u64, digest: &Digest) -> bool {
        let sealed =
            stands.len() == size && stands.mtime_nsec() == SEAL_NANOS && stands.mode() & 0o222 == 0;
        let read = || {
            let Some(Ok((found, _))) = (size <= READ_AGAIN).then(|| crate::hash_file(object))
            else {
                return false;
            };
            if found != *digest {
                // It is replaced; what was made from it is another matter.
                self.damaged().insert(*digest);
            }
            found == *digest
        };
        sealed && (self.taken().contains(digest) || read())
    }

    fn take_copy(&self, file: &File, path: &Path, seen: &Metadata, digest: &Digest) -> Result<()> {
        let scratch = self.scratch()?;
        let copied = self.copy_bytes(file, path, &scratch).and_then(|length| {
            let (copied, _) = crate::hash_file(&scratch)?;
            if copied != *digest || length != seen.len() {
                return Err(Error::Changing { path: path.to_owned() });
            }
            self.settle(&scratch, seen, digest)
        });
        if copied.is_err() {
            let _ = self.disk().unlink(&scratch);
        }
        copied
    }

    /// Copies an open file to a new name; says how many bytes there were.
    pub(crate) fn copy_bytes(&self, from: &File, path: &Path, to: &Path) -> Result<u64> {
        let mut target = self.disk().create(to).at("create", to)?;
        self.copy_into(from, path, &mut target, to)
    }

    /// Copies an open file into another one.
    pub(crate) fn copy_into(
        &self,
        from: &File,
        path: &Path,
        target: &mut File,
        to: &Path,
    ) -> Result<u64> {
        use std::os::unix::fs::FileExt;
        let mut buffer = vec![0; COPY];
        let mut done = 0_u64;
        loop {
            let got = from.read_at(&mut buffer, done).at("read", path)?;
            if got == 0 {
                return Ok(done);
            }
            self.disk().write(target, to, &buffer[..got]).at("write", to)?;
            done += got as u64;
        }
    }
}

/// Objects up to this size are read to find out whether they are whole.
const READ_AGAIN: u64 = 16 << 20;

/// Opens a file, and nothing else: no link is followed, no pipe waited for.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    OpenOptions::new().read(true).custom_flags(flags).open(path).at("open", path)
}

/// Whether nobody touched a file between two looks at it.
pub(crate) fn looks_same(one: &Metadata, other: &Metadata) -> bool {
    one.len() == other.len()
        && one.mtime() == other.mtime()
        && one.mtime_nsec() == other.mtime_nsec()
        && one.ino() == other.ino()
}

/// Whether a file's owner may run it.
pub(crate) fn is_executable(metadata: &Metadata) -> bool {
    metadata.mode() & 0o100 != 0
}

fn seconds(metadata: &Metadata) -> i64 {
    let time = metadata.modified().ok().and_then(|it| it.duration_since(UNIX_EPOCH).ok());
    time.and_then(|it| i64::try_from(it.as_secs()).ok()).unwrap_or(0)
}
