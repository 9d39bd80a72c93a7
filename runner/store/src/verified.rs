//! Which objects are known to be what their names say, and how their files looked then.
//!
//! A step may have another name of an object's file among its inputs, so an object is believed only
//! while its inode looks as it did when it was last verified: length, mtime and ctime. No program
//! can set a ctime, so putting the mtime back hides nothing. Links that we make and remove move the
//! ctime too: they go through here, under the lock of the object, and are remembered. Whatever else
//! moved it costs one reading of the object. A damaged object is moved to `bad` at once.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plan::Digest;

use crate::disk::SEAL_NANOS;
use crate::error::At;
use crate::hash::hash_open;
use crate::ingest::open_file;
use crate::store::{make_dirs, split};
use crate::{Disk, Error, Result};

/// Locks that objects share, so that the files of a large tree can be linked by several threads.
const SHELVES: usize = 64;
/// How often an object that is touched while it is read is read again.
const TRIES: usize = 3;

/// How a file looked, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) inode: Inode,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file, whatever its names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inode {
    device: u64,
    number: u64,
}

impl Look {
    pub(crate) fn of(metadata: &Metadata) -> Look {
        Look {
            inode: Inode { device: metadata.dev(), number: metadata.ino() },
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    pub(crate) fn at(path: &Path) -> io::Result<Look> {
        fs::symlink_metadata(path).map(|it| Look::of(&it))
    }

    /// The ctime, in seconds and nanoseconds.
    pub(crate) fn changed(&self) -> (i64, i64) {
        self.changed
    }
}

/// The objects that this process has verified.
#[derive(Debug)]
pub(crate) struct Verified {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    shelves: [Mutex<Shelf>; SHELVES],
}

/// What is said of an object that was damaged.
pub(crate) const MOVED: &str = "it was moved to `bad`, and is made again when it is needed";

type Shelf = HashMap<Digest, Look>;

impl Verified {
    pub(crate) fn new(root: &Path, disk: Arc<dyn Disk>) -> Verified {
        let shelves = std::array::from_fn(|_| Mutex::default());
        Verified { root: root.to_owned(), disk, shelves }
    }

    /// How the file of an object looks, which is what its name says. Reads it only if it does not
    /// look as it did when it was last verified, or is not sealed.
    pub(crate) fn look(&self, digest: &Digest, size: u64) -> Result<Look> {
        let path = self.path(digest);
        let mut last = None;
        for _ in 0..TRIES {
            let look = match self.believed(&mut self.shelf(digest), digest, size)? {
                Belief::Verified(look) => return Ok(look),
                Belief::Unknown(look) => look,
            };
            // Without the lock: a thread that waits for others of the pool may be given work that
            // wants it.
            let read = read(&path, digest, look.length)?;
            let mut shelf = self.shelf(digest);
            if Look::at(&path).is_ok_and(|it| it == look) {
                return match read {
                    Ok(()) => {
                        shelf.insert(*digest, look);
                        Ok(look)
                    }
                    Err(why) => {
                        self.quarantine_in(&mut shelf, digest)?;
                        let why = format!("{why}; {MOVED}");
                        Err(Error::Damaged { digest: *digest, why })
                    }
                };
            }
            // Others link to it all the time: what was read counts, and is not remembered.
            last = read.is_ok().then_some(look);
        }
        last.ok_or(Error::Changing { path })
    }

    /// Gives an object another name.
    pub(crate) fn link(&self, digest: &Digest, size: u64, to: &Path) -> Result<Linked> {
        let path = self.path(digest);
        self.look(digest, size)?;
        let mut shelf = self.shelf(digest);
        let before = Look::at(&path).ok();
        if let Err(source) = self.disk.link(&path, to) {
            return Ok(Linked::Refused(source));
        }
        let after = Look::at(to).at("look at", to)?;
        note(&mut shelf, digest, before, after);
        Ok(Linked::Made(after))
    }

    /// Removes a name that was given to an object; one that is gone is fine.
    pub(crate) fn unlink(&self, digest: &Digest, name: &Path) {
        let mut shelf = self.shelf(digest);
        let path = self.path(digest);
        let before = Look::at(&path).ok();
        // What cannot be removed now goes with its folder, and costs a reading of the object.
        if self.disk.unlink(name).is_ok()
            && let Ok(after) = Look::at(&path)
        {
            note(&mut shelf, digest, before, after);
        }
    }

    /// Moves a damaged object out of the way.
    pub(crate) fn quarantine(&self, digest: &Digest) -> Result<()> {
        self.quarantine_in(&mut self.shelf(digest), digest)
    }

    fn shelf(&self, digest: &Digest) -> MutexGuard<'_, Shelf> {
        let shelf = &self.shelves[usize::from(digest.0[0]) % SHELVES];
        shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        split(&self.root.join("obj"), &digest.hex())
    }

    fn believed(&self, shelf: &mut Shelf, digest: &Digest, size: u64) -> Result<Belief> {
        let path = self.path(digest);
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                shelf.remove(digest);
                return Err(self.gone(digest));
            }
            other => other.at("look at", &path)?,
        };
        let look = Look::of(&metadata);
        let verified = match shelf.get(digest) {
            Some(known) => *known == look,
            None => is_sealed(&metadata) && metadata.len() == size,
        };
        if !verified {
            return Ok(Belief::Unknown(look));
        }
        shelf.insert(*digest, look);
        Ok(Belief::Verified(look))
    }

    /// Why an object is not where it should be.
    fn gone(&self, digest: &Digest) -> Error {
        if self.root.join("bad").join(digest.hex()).exists() {
            return Error::Damaged { digest: *digest, why: MOVED.to_owned() };
        }
        Error::Missing { digest: *digest }
    }

    fn quarantine_in(&self, shelf: &mut Shelf, digest: &Digest) -> Result<()> {
        shelf.remove(digest);
        let bad = self.root.join("bad");
        make_dirs(&*self.disk, &bad)?;
        let (from, to) = (self.path(digest), bad.join(digest.hex()));
        match self.disk.rename(&from, &to) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.at("rename to", &to),
        }
    }
}

enum Belief {
    /// It looks as it did when it was verified.
    Verified(Look),
    /// It has to be read.
    Unknown(Look),
}

/// What asking for another name gave.
pub(crate) enum Linked {
    /// It has one.
    Made(Look),
    /// The file system refused.
    Refused(io::Error),
}

/// Remembers what a link, or its removal, did to the ctime of an object that was as it should be.
fn note(shelf: &mut Shelf, digest: &Digest, before: Option<Look>, after: Look) {
    let known = shelf.get(digest).copied();
    if known.is_some()
        && known == before
        && known.is_some_and(|it| Look { changed: after.changed, ..it } == after)
    {
        shelf.insert(*digest, after);
    }
}

/// The inner error says what is wrong with the file.
fn read(path: &Path, digest: &Digest, length: u64) -> Result<Result<(), String>> {
    let found = open_file(path).and_then(|file| hash_open(&file, path, length));
    Ok(match found {
        Ok((found, _)) if found == *digest => Ok(()),
        Ok((found, _)) => Err(format!("its digest is `{found}`")),
        Err(Error::Changing { .. }) => Err("its length changes".to_owned()),
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Err(Error::Missing { digest: *digest });
        }
        // A file that the disk cannot read any more.
        Err(error) => Err(error.to_string()),
    })
}

/// Whether a file is read-only and carries the stamp of what was taken in.
fn is_sealed(metadata: &Metadata) -> bool {
    metadata.is_file() && metadata.mode() & 0o222 == 0 && metadata.mtime_nsec() == SEAL_NANOS
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::io::Write as _;

    use super::*;
    use crate::{Object, Store};

    fn store() -> (tempfile::TempDir, Store, Object) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let object = store.put_bytes(b"right").unwrap();
        (dir, store, object)
    }

    /// Whether the object is believed without being read.
    fn is_believed(store: &Store, object: &Object) -> bool {
        let verified = store.verified();
        let belief =
            verified.believed(&mut verified.shelf(&object.digest), &object.digest, object.size);
        matches!(belief, Ok(Belief::Verified(_)))
    }

    /// Writes other bytes of the same length under the old permissions and the old mtime.
    fn damage(path: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        let before = fs::metadata(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut file = File::options().write(true).open(path).unwrap();
        file.write_all(b"wrong").unwrap();
        let times = FileTimes::new().set_modified(before.modified().unwrap());
        file.set_times(times).unwrap();
        fs::set_permissions(path, before.permissions()).unwrap();
        assert!(is_sealed(&fs::metadata(path).unwrap()));
    }

    #[test]
    fn names_that_we_make_and_remove_cost_no_reading_and_those_of_others_one() {
        let (dir, store, object) = store();
        let (verified, name) = (store.verified(), dir.path().join("name"));
        for _ in 0..3 {
            assert!(matches!(verified.link(&object.digest, 5, &name), Ok(Linked::Made(_))));
            assert!(is_believed(&store, &object));
            verified.unlink(&object.digest, &name);
            assert!(!name.exists() && is_believed(&store, &object));
        }
        fs::hard_link(verified.path(&object.digest), &name).unwrap();
        assert!(!is_believed(&store, &object));
        verified.look(&object.digest, 5).unwrap();
        assert!(is_believed(&store, &object));
    }

    #[test]
    fn a_change_under_the_old_time_stamp_is_found_and_not_forgiven_by_a_link() {
        let (dir, store, object) = store();
        let (verified, name) = (store.verified(), dir.path().join("name"));
        assert!(matches!(verified.link(&object.digest, 5, &name), Ok(Linked::Made(_))));
        damage(&name);
        verified.unlink(&object.digest, &name);
        let Err(Error::Damaged { why, .. }) = verified.link(&object.digest, 5, &name) else {
            panic!("it was linked")
        };
        assert!(why.starts_with("its digest is") && why.contains("moved to `bad`"), "{why}");
        assert!(!verified.path(&object.digest).exists());
        let error = verified.look(&object.digest, 5).unwrap_err();
        assert!(matches!(error, Error::Damaged { why, .. } if why == MOVED));
        store.put_bytes(b"right").unwrap();
        verified.look(&object.digest, 5).unwrap();
    }

    #[test]
    fn who_read_a_damaged_object_is_told_also_when_it_was_made_again_meanwhile() {
        let (dir, store, object) = store();
        let mut reader = store.attempt().unwrap();
        let path = reader.give_in_place(&store, "data", &object).unwrap();
        let mut linked = store.attempt().unwrap();
        let name = dir.path().join("name");
        linked.give(&store, "data", &object, &name, crate::Isolation::Link).unwrap();
        assert!(reader.check_inputs(&store).is_ok() && linked.check_inputs(&store).is_ok());
        damage(&path);
        store.verified().quarantine(&object.digest).unwrap();
        store.put_bytes(b"right").unwrap();
        for attempt in [&reader, &linked] {
            let error = attempt.check_inputs(&store).unwrap_err();
            assert_eq!(error.to_string(), "its input `data` changed while it ran");
        }
        let mut next = store.attempt().unwrap();
        next.give_in_place(&store, "data", &object).unwrap();
        assert!(next.check_inputs(&store).is_ok());
    }
}
