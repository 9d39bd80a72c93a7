//! Whether objects are there, and reading them.
//!
//! The usual check reads nothing but a file's metadata; only an object that somebody touched
//! since it was sealed is read again. A strict one reads all of it, once in a process. What is found
//! damaged by either is remembered, so that who uses the store can deal with what was made from it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;

use plan::Digest;
use rayon::prelude::*;

use crate::disk::SEAL_NANOS;
use crate::error::At;
use crate::{Error, Node, Object, Presence, Result, Shape, Store, TreeEntry, hash_file, tree};

/// How closely an object is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Its length and its seal are believed.
    Seal,
    /// Its bytes are read, unless this process has read or written them before.
    Bytes,
}

impl Store {
    /// Whether an object can be used.
    pub fn present(&self, object: &Object) -> Presence {
        self.look(object, Look::Seal)
    }

    /// Whether an object is whole: all of its bytes are read, unless this process did so before.
    pub fn reread(&self, object: &Object) -> Presence {
        self.look(object, Look::Bytes)
    }

    /// Re-reads objects with all cores, the smallest first, until so many bytes are read; those
    /// that are not whole are in [`Store::take_damaged`].
    pub fn reread_all(&self, objects: &BTreeSet<Object>, mut budget: u64) {
        let mut objects: Vec<&Object> = objects.iter().collect();
        objects.sort_by_key(|it| (it.size, it.digest));
        objects.retain(|it| {
            let fits = it.size <= budget;
            budget = budget.saturating_sub(it.size);
            fits
        });
        objects.into_par_iter().for_each(|it| drop(self.reread(it)));
    }

    fn look(&self, object: &Object, look: Look) -> Presence {
        match object.shape {
            Shape::File { .. } => self.look_at_bytes(&object.digest, Some(object.size), look),
            Shape::Tree { .. } => self.look_at_tree(object, look),
        }
    }

    /// Opens a file object for reading.
    pub fn read(&self, object: &Object) -> Result<File> {
        let file = self.open_object(&object.digest)?;
        let length = file.metadata().at("look at", &self.object_path(&object.digest))?.len();
        if matches!(object.shape, Shape::File { .. }) && length != object.size {
            let why = format!("it has {length} bytes instead of {}", object.size);
            return Err(Error::Damaged { digest: object.digest, why });
        }
        Ok(file)
    }

    /// The listing of a tree object.
    pub fn tree(&self, object: &Object) -> Result<Vec<TreeEntry>> {
        self.listing(&object.digest)
    }

    pub(crate) fn listing(&self, digest: &Digest) -> Result<Vec<TreeEntry>> {
        let mut bytes = Vec::new();
        let mut file = self.open_object(digest)?;
        file.read_to_end(&mut bytes).at("read", &self.object_path(digest))?;
        let damaged = |why: String| Error::Damaged { digest: *digest, why };
        if Digest::of(&bytes) != *digest {
            self.damaged().insert(*digest);
            return Err(damaged("its listing has another digest".to_owned()));
        }
        tree::decode(&bytes).map_err(damaged)
    }

    fn look_at_tree(&self, object: &Object, look: Look) -> Presence {
        let entries = match self.listing(&object.digest) {
            Ok(entries) => entries,
            Err(Error::Missing { .. }) => return Presence::Missing,
            Err(Error::Damaged { why, .. }) => return Presence::Damaged { why },
            Err(error) => return Presence::Damaged { why: error.to_string() },
        };
        for entry in &entries {
            if let Node::File { digest, size, .. } = &entry.node {
                match self.look_at_bytes(digest, Some(*size), look) {
                    Presence::Present => {}
                    other => return other,
                }
            }
        }
        Presence::Present
    }

    /// Whether the bytes of a name are there, with a length if one is known.
    pub(crate) fn present_bytes(&self, digest: &Digest, size: Option<u64>) -> Presence {
        self.look_at_bytes(digest, size, Look::Seal)
    }

    fn look_at_bytes(&self, digest: &Digest, size: Option<u64>, look: Look) -> Presence {
        let path = self.object_path(digest);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Presence::Missing,
            Err(error) => return Presence::Damaged { why: error.to_string() },
        };
        if !metadata.is_file() {
            return self.found_damaged(digest, "it is not a file".to_owned());
        }
        if size.is_some_and(|it| it != metadata.len()) {
            let size = size.unwrap_or(0);
            let why = format!("it has {} bytes instead of {size}", metadata.len());
            return self.found_damaged(digest, why);
        }
        let is_sealed = metadata.mode() & 0o222 == 0 && metadata.mtime_nsec() == SEAL_NANOS;
        if is_sealed && (look == Look::Seal || self.taken().contains(digest)) {
            return Presence::Present;
        }
        match hash_file(&path) {
            Ok((found, _)) if found == *digest => {
                if !is_sealed {
                    // Not being able to seal it again only means to read it again next time.
                    let _ = self.disk().seal(&path, metadata.mtime());
                }
                self.taken().insert(*digest);
                Presence::Present
            }
            Ok((found, _)) => self.found_damaged(digest, format!("its digest is `{found}`")),
            // A disk that cannot read it now may do so later, and nobody else can either.
            Err(error) => Presence::Damaged { why: error.to_string() },
        }
    }

    fn found_damaged(&self, digest: &Digest, why: String) -> Presence {
        self.damaged().insert(*digest);
        Presence::Damaged { why }
    }
}
