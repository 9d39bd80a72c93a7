//! Whether objects are there, and reading them.
//!
//! The usual check reads nothing but a file's metadata; only an object that somebody touched
//! since it was sealed is read again. Reading everything is `verify`'s.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;

use plan::Digest;

use crate::disk::SEAL_NANOS;
use crate::error::At;
use crate::{Error, Node, Object, Presence, Result, Shape, Store, TreeEntry, hash_file, tree};

impl Store {
    /// Whether an object can be used.
    pub fn present(&self, object: &Object) -> Presence {
        match object.shape {
            Shape::File { .. } => self.present_bytes(&object.digest, Some(object.size)),
            Shape::Tree { .. } => self.present_tree(object),
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
            return Err(damaged("its listing has another digest".to_owned()));
        }
        tree::decode(&bytes).map_err(damaged)
    }

    fn present_tree(&self, object: &Object) -> Presence {
        let entries = match self.listing(&object.digest) {
            Ok(entries) => entries,
            Err(Error::Missing { .. }) => return Presence::Missing,
            Err(Error::Damaged { why, .. }) => return Presence::Damaged { why },
            Err(error) => return Presence::Damaged { why: error.to_string() },
        };
        for entry in &entries {
            if let Node::File { digest, size, .. } = &entry.node {
                match self.present_bytes(digest, Some(*size)) {
                    Presence::Present => {}
                    other => return other,
                }
            }
        }
        Presence::Present
    }

    /// Whether the bytes of a name are there, with a length if one is known.
    pub(crate) fn present_bytes(&self, digest: &Digest, size: Option<u64>) -> Presence {
        let path = self.object_path(digest);
        let damaged = |why: String| Presence::Damaged { why };
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Presence::Missing,
            Err(error) => return damaged(error.to_string()),
        };
        if !metadata.is_file() {
            return damaged("it is not a file".to_owned());
        }
        if size.is_some_and(|it| it != metadata.len()) {
            let size = size.unwrap_or(0);
            return damaged(format!("it has {} bytes instead of {size}", metadata.len()));
        }
        if metadata.mode() & 0o222 == 0 && metadata.mtime_nsec() == SEAL_NANOS {
            return Presence::Present;
        }
        match hash_file(&path) {
            Ok((found, _)) if found == *digest => {
                // Not being able to seal it again only means to read it again next time.
                let _ = self.disk().seal(&path, metadata.mtime());
                Presence::Present
            }
            Ok((found, _)) => damaged(format!("its digest is `{found}`")),
            Err(error) => damaged(error.to_string()),
        }
    }
}
