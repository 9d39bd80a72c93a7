//! The study's file while it is open: whether the path still leads to it, and whether it still holds
//! what we last knew it to hold.
//!
//! An editor that saves, `sed -i`, `git checkout` or `rsync` put another file in its place, and what is
//! appended to ours then reaches nobody. So every append is checked before and after. Nothing here
//! repairs anything.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::AnnotateError;

/// What became of a file behind our back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing is there any more.
    Removed,
    /// Another file has its name.
    Replaced,
    /// It is shorter than it was.
    Truncated,
    /// Somebody else appended to it.
    Appended,
    /// It is as long as it was, with other bytes.
    Rewritten,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Change::Removed => "removed",
            Change::Replaced => "replaced by another file",
            Change::Truncated => "truncated",
            Change::Appended => "appended to by another program",
            Change::Rewritten => "rewritten in place",
        })
    }
}

/// Why an append did not count.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The file is not what it was.
    Changed(Change),
    /// The system refused, and the file is as it was before.
    Io(io::Error),
    /// The system refused, and what was written of it could not be taken away.
    Broken(io::Error),
}

impl Failure {
    /// As an error about a file that nobody is served from.
    pub(crate) fn at(self, path: &Path) -> AnnotateError {
        AnnotateError::io(path)(match self {
            Failure::Changed(change) => io::Error::other(format!("was {change} meanwhile")),
            Failure::Io(error) | Failure::Broken(error) => error,
        })
    }
}

/// A file that is open and locked, and what it holds as far as we know.
#[derive(Debug)]
pub(crate) struct Watched {
    file: File,
    path: PathBuf,
    length: u64,
    /// Seconds and nanoseconds of the last change that we know.
    modified: (i64, i64),
    content: blake3::Hasher,
}

impl Watched {
    /// Opens a file that nobody else writes as we do.
    pub(crate) fn open(path: &Path) -> Result<Self, AnnotateError> {
        let io = || AnnotateError::io(path);
        let file = OpenOptions::new().read(true).append(true).open(path).map_err(io())?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => AnnotateError::Busy(path.to_owned()),
            TryLockError::Error(source) => io()(source),
        })?;
        let modified = modified(&file.metadata().map_err(io())?);
        let mut content = blake3::Hasher::new();
        content.update_reader(&file).map_err(io())?;
        Ok(Self { file, path: path.to_owned(), length: content.count(), modified, content })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes it holds.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The file again, from its beginning.
    pub(crate) fn reader(&self) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }

    /// What became of it since we last looked. A new time alone is no change: the bytes decide.
    pub(crate) fn check(&mut self) -> io::Result<Option<Change>> {
        let (own, length) = (self.file.metadata()?, self.length);
        if let Some(change) = self.moved(&own, length)? {
            return Ok(Some(change));
        }
        if modified(&own) != self.modified {
            let mut content = blake3::Hasher::new();
            content.update_reader(self.reader()?)?;
            if content.count() != length || content.finalize() != self.content.finalize() {
                return Ok(Some(Change::Rewritten));
            }
            self.modified = modified(&own);
        }
        Ok(None)
    }

    /// Whether the path leads elsewhere, or the length is another than expected.
    fn moved(&self, own: &Metadata, expected: u64) -> io::Result<Option<Change>> {
        use io::ErrorKind::{NotADirectory, NotFound};
        let named = match std::fs::metadata(&self.path) {
            Ok(named) => named,
            Err(error) if matches!(error.kind(), NotFound | NotADirectory) => {
                return Ok(Some(Change::Removed));
            }
            Err(error) => return Err(error),
        };
        if (named.dev(), named.ino()) != (own.dev(), own.ino()) {
            return Ok(Some(Change::Replaced));
        }
        Ok(match own.len().cmp(&expected) {
            std::cmp::Ordering::Less => Some(Change::Truncated),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(Change::Appended),
        })
    }

    /// Cuts the file off behind its first bytes, where it is still what it was.
    pub(crate) fn cut(&mut self, length: u64) -> Result<(), Failure> {
        self.unchanged()?;
        self.file.set_len(length).map_err(Failure::Io)?;
        let mut content = blake3::Hasher::new();
        let whole = self.reader().and_then(|file| content.update_reader(file).map(|_| ()));
        whole.and_then(|()| self.file.metadata()).map_err(Failure::Io).map(|own| {
            (self.length, self.content, self.modified) = (length, content, modified(&own));
        })
    }

    /// Forces bytes to the disk behind all that is there. They count where this says so: then the
    /// path leads to them, and they stand where they belong.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.unchanged()?;
        // The file is open for appending: whatever happens to its length, no gap of zeros comes to be
        // and no byte of anybody is overwritten.
        if let Err(error) = self.file.write_all(bytes).and_then(|()| self.file.sync_data()) {
            return Err(self.withdraw(bytes, error));
        }
        let own = self.file.metadata().map_err(Failure::Broken)?;
        let expected = self.length + bytes.len() as u64;
        if let Some(change) = self.moved(&own, expected).map_err(Failure::Broken)? {
            return Err(Failure::Changed(change));
        }
        self.content.update(bytes);
        (self.length, self.modified) = (expected, modified(&own));
        Ok(())
    }

    fn unchanged(&mut self) -> Result<(), Failure> {
        match self.check() {
            Ok(None) => Ok(()),
            Ok(Some(change)) => Err(Failure::Changed(change)),
            Err(error) => Err(Failure::Io(error)),
        }
    }

    /// Takes away what a failed append left behind: only bytes that are ours.
    fn withdraw(&mut self, bytes: &[u8], error: io::Error) -> Failure {
        let mut left = Vec::new();
        let read = self.file.seek(SeekFrom::Start(self.length));
        let read = read.and_then(|_| self.file.read_to_end(&mut left));
        if read.is_err() || !bytes.starts_with(&left) {
            return Failure::Broken(error);
        }
        match self.file.set_len(self.length).and_then(|()| self.file.metadata()) {
            Ok(own) => {
                self.modified = modified(&own);
                Failure::Io(error)
            }
            Err(_) => Failure::Broken(error),
        }
    }
}

fn modified(own: &Metadata) -> (i64, i64) {
    (own.mtime(), own.mtime_nsec())
}
