//! Objects out of the store: shared blocks where the file system can, else links, else copies.
//!
//! What is put outside the store is either read-only or a file of its own: nobody can change an
//! object by writing where it was placed without first changing permissions.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::Ordering;

use plan::Digest;
use rayon::prelude::*;
use rustix::io::Errno;

use crate::atomic_write::beside;
use crate::attempt::remove_tree;
use crate::error::At;
use crate::store::make_dirs;
use crate::{Error, Node, Object, Place, Placed, Result, Shape, Store, TreeEntry};

/// Files up to this length are copied for people, who may then edit them.
const COPIED: u64 = 16 * 1024 * 1024;

/// One file to be placed.
struct One<'a> {
    digest: &'a Digest,
    size: u64,
    executable: bool,
    how: Place,
}

impl Store {
    /// Puts an object at `to`, replacing whatever is there; folders above are made.
    pub fn materialize(&self, object: &Object, to: &Path, how: Place) -> Result<Placed> {
        let standing = fs::symlink_metadata(to).ok();
        if how == Place::Input && standing.is_none() {
            return self.put(object, to, how);
        }
        let beside = beside(to);
        let placed = self.put(object, &beside, how).and_then(|placed| {
            let both_files = matches!(object.shape, Shape::File { .. })
                && standing.as_ref().is_none_or(|it| !it.is_dir());
            if both_files || standing.is_none() {
                self.disk().rename(&beside, to).at("rename to", to)?;
            } else {
                self.swap(&beside, to)?;
            }
            Ok(placed)
        });
        // After a failure what is half there goes; after an exchange, what was there before; and
        // a rename between two names of one file leaves both.
        let cleaned = remove_tree(self.disk(), &beside);
        placed.and_then(|it| cleaned.map(|()| it))
    }

    fn swap(&self, beside: &Path, to: &Path) -> Result<()> {
        match self.disk().exchange(beside, to) {
            Err(error) if cannot(&error) => {
                remove_tree(self.disk(), to)?;
                self.disk().rename(beside, to).at("rename to", to)
            }
            other => other.at("rename to", to),
        }
    }

    fn put(&self, object: &Object, to: &Path, how: Place) -> Result<Placed> {
        if let Some(parent) = to.parent() {
            make_dirs_if_needed(self, parent)?;
        }
        match object.shape {
            Shape::File { executable } => {
                let one = One { digest: &object.digest, size: object.size, executable, how };
                self.put_file(&one, to)
            }
            Shape::Tree { .. } => self.put_tree(object, to, how),
        }
    }

    fn put_tree(&self, object: &Object, to: &Path, how: Place) -> Result<Placed> {
        let entries = self.tree(object)?;
        self.make_tree_folders(&entries, to)?;
        entries
            .par_iter()
            .map(|entry| {
                let path = to.join(&entry.path);
                match &entry.node {
                    Node::File { digest, size, executable } => {
                        let one = One { digest, size: *size, executable: *executable, how };
                        self.put_file(&one, &path)
                    }
                    Node::Link { target } => {
                        self.disk().symlink(target, &path).at("link", &path)?;
                        Ok(Placed::default())
                    }
                    Node::EmptyDir => Ok(Placed::default()),
                }
            })
            .try_reduce(Placed::default, |one, other| Ok(one + other))
    }

    pub(crate) fn make_tree_folders(&self, entries: &[TreeEntry], to: &Path) -> Result<()> {
        let mut folders: BTreeSet<&Path> = BTreeSet::from([Path::new("")]);
        for entry in entries {
            folders.extend(entry.path.ancestors().skip(1));
            if entry.node == Node::EmptyDir {
                folders.insert(&entry.path);
            }
        }
        for folder in folders {
            let path = if folder.as_os_str().is_empty() { to.to_owned() } else { to.join(folder) };
            self.disk().mkdir(&path).at("make folder", &path)?;
        }
        Ok(())
    }

    fn put_file(&self, one: &One<'_>, to: &Path) -> Result<Placed> {
        let from = self.object_path(one.digest);
        if !self.no_reflink().load(Ordering::Relaxed)
            && let Some(placed) = self.put_reflink(one, &from, to)?
        {
            return Ok(placed);
        }
        let prefers_copy = one.how == Place::Export && one.size <= COPIED;
        if !one.executable && !prefers_copy {
            match self.disk().link(&from, to) {
                Ok(()) => return Ok(Placed { links: 1, ..Placed::default() }),
                Err(error) if cannot(&error) => {}
                Err(error) => return Err(self.absent(one.digest, &from, to, error)),
            }
        }
        let source = self.open_object(one.digest)?;
        let mut target = self.disk().create(to).at("create", to)?;
        let bytes = self.copy_into(&source, &from, &mut target, to)?;
        if bytes != one.size {
            let why = format!("it has {bytes} bytes instead of {}", one.size);
            return Err(Error::Damaged { digest: *one.digest, why });
        }
        self.set_placed_mode(one, to)?;
        Ok(Placed { copies: 1, copied_bytes: bytes, ..Placed::default() })
    }

    /// Clones an object for a step to read; false: this file system cannot, and nothing was left.
    pub(crate) fn clone_object(
        &self,
        digest: &Digest,
        executable: bool,
        to: &Path,
    ) -> Result<bool> {
        if self.no_reflink().load(Ordering::Relaxed) {
            return Ok(false);
        }
        let one = One { digest, size: 0, executable, how: Place::Input };
        Ok(self.put_reflink(&one, &self.object_path(digest), to)?.is_some())
    }

    /// None: this file system cannot, and nothing was left at `to`.
    fn put_reflink(&self, one: &One<'_>, from: &Path, to: &Path) -> Result<Option<Placed>> {
        let source = self.open_object(one.digest)?;
        let target = self.disk().create(to).at("create", to)?;
        match self.disk().reflink(&source, &target, to) {
            Ok(()) => {
                self.set_placed_mode(one, to)?;
                Ok(Some(Placed { reflinks: 1, ..Placed::default() }))
            }
            Err(error) if cannot(&error) => {
                if error.kind() != ErrorKind::CrossesDevices {
                    self.no_reflink().store(true, Ordering::Relaxed);
                }
                self.disk().unlink(to).at("remove", to)?;
                Ok(None)
            }
            Err(source) => Err(Error::Io { verb: "clone", path: from.to_owned(), source }),
        }
    }

    fn set_placed_mode(&self, one: &One<'_>, to: &Path) -> Result<()> {
        let mode = match (one.how, one.executable) {
            (Place::Input, false) => 0o444,
            (Place::Input, true) => 0o555,
            (Place::Export, false) => 0o644,
            (Place::Export, true) => 0o755,
        };
        self.disk().set_mode(to, mode).at("change mode of", to)
    }

    pub(crate) fn open_object(&self, digest: &Digest) -> Result<File> {
        let path = self.object_path(digest);
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Error::Missing { digest: *digest })
            }
            other => other.at("open", &path),
        }
    }

    fn absent(&self, digest: &Digest, from: &Path, to: &Path, error: io::Error) -> Error {
        if error.kind() == ErrorKind::NotFound && !from.exists() {
            return Error::Missing { digest: *digest };
        }
        Error::Io { verb: "link", path: to.to_owned(), source: error }
    }
}

impl std::ops::Add for Placed {
    type Output = Placed;

    fn add(self, other: Placed) -> Placed {
        Placed {
            reflinks: self.reflinks + other.reflinks,
            links: self.links + other.links,
            copies: self.copies + other.copies,
            copied_bytes: self.copied_bytes + other.copied_bytes,
        }
    }
}

fn make_dirs_if_needed(store: &Store, path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    make_dirs(store.disk(), path)
}

/// Whether the file system, or this pair of places, cannot do what was asked at all.
pub(crate) fn cannot(error: &io::Error) -> bool {
    let Some(code) = error.raw_os_error() else { return false };
    [
        Errno::OPNOTSUPP,
        Errno::NOTTY,
        Errno::XDEV,
        Errno::INVAL,
        Errno::NOSYS,
        Errno::MLINK,
        Errno::PERM,
    ]
    .iter()
    .any(|it| it.raw_os_error() == code)
}
