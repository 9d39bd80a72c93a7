//! Inputs of an attempt: how they are given to a step, and whether they are unchanged at its end.
//!
//! A step must not be able to damage an object, whoever runs it: root ignores permissions. So its
//! inputs are clones of objects, or links below a folder that its executor mounts read-only, or
//! copies. Only what is too large to be copied is a plain link, which is verified at the end. A
//! step that only our own code reads gets links.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use plan::Digest;
use rayon::prelude::*;

use crate::attempt::Attempt;
use crate::error::At;
use crate::hash::hash_open;
use crate::ingest::open_file;
use crate::verified::{Inode, Linked, Look, MOVED, Verified};
use crate::{Error, Node, Object, Result, Shape, Store};

/// Files up to this length are copied where nothing better can be had: it takes some hundredths of
/// a second, and the step reads the copy from memory. A link to a longer file costs nothing, and one
/// reading of it where somebody touched it.
pub const COPIED_INPUT: u64 = 64 << 20;
/// Objects longer than this may be replaced by equal ones while they are read, so they are kept open.
const KEPT_OPEN: u64 = 16 << 20;
/// Files of an attempt that one thread checks.
const CHECKED_AT_ONCE: usize = 256;
/// Bytes that are copied at once.
const BUFFER: usize = 1 << 20;

/// What keeps a step from changing objects through its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Inputs are files of their own that share blocks with objects.
    Reflink,
    /// Inputs are links to objects below a mount that is read-only for the step.
    Mount,
    /// Inputs are copies up to a length, and verified links above it.
    Copy,
    /// Inputs are links, and verified.
    Link,
}

/// What is wrong with the inputs of a step that has ended.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The step changed its own copy.
    #[error("it wrote to its input `{port}`")]
    Written {
        /// The port.
        port: String,
    },
    /// The object is not what the step was given.
    #[error("its input `{port}` changed while it ran")]
    Changed {
        /// The port.
        port: String,
        /// What is wrong with the object.
        source: Error,
    },
}

/// One file of an input.
#[derive(Debug)]
struct InputFile {
    port: String,
    digest: Digest,
    size: u64,
    held: Held,
}

/// How a step has a file.
#[derive(Debug)]
enum Held {
    /// Where it lies in the store.
    InPlace { inode: Inode, open: Option<File> },
    /// As another name of the object.
    Linked { inode: Inode, path: PathBuf },
    /// As a file of its own.
    Own { look: Look, path: PathBuf },
}

/// All that an attempt was given of the store.
#[derive(Debug, Default)]
pub(crate) struct Inputs(Vec<InputFile>);

impl Inputs {
    /// Removes the names of objects, in a way that leaves the objects known to be right.
    pub(crate) fn unlink(&mut self, verified: &Verified) {
        for file in self.0.drain(..) {
            if let Held::Linked { path, .. } = file.held {
                verified.unlink(&file.digest, &path);
            }
        }
    }
}

impl Attempt {
    /// Lets the step read a file object where it lies in the store; says where that is.
    pub fn give_in_place(&mut self, store: &Store, port: &str, object: &Object) -> Result<PathBuf> {
        let file = in_place(store, port, object)?;
        self.inputs().0.push(file);
        Ok(store.object_path(&object.digest))
    }

    /// Puts an object below the attempt's folder, for the step to read.
    pub fn give(
        &mut self,
        store: &Store,
        port: &str,
        object: &Object,
        to: &Path,
        isolation: Isolation,
    ) -> Result<()> {
        let give = |digest: &Digest, size: u64, executable: bool, to: &Path| {
            let held = held(store, &Source { digest, size, executable }, to, isolation)?;
            Ok(InputFile { port: port.to_owned(), digest: *digest, size, held })
        };
        match object.shape {
            Shape::File { executable } => {
                let file = give(&object.digest, object.size, executable, to)?;
                self.inputs().0.push(file);
            }
            Shape::Tree { .. } => {
                let entries = store.tree(object)?;
                store.make_tree_folders(&entries, to)?;
                let files: Result<Vec<Option<InputFile>>> = entries
                    .par_iter()
                    .map(|entry| {
                        let path = to.join(&entry.path);
                        match &entry.node {
                            Node::File { digest, size, executable } => {
                                give(digest, *size, *executable, &path).map(Some)
                            }
                            Node::Link { target } => {
                                store.disk().symlink(target, &path).at("link", &path)?;
                                Ok(None)
                            }
                            Node::EmptyDir => Ok(None),
                        }
                    })
                    .collect();
                self.inputs().0.extend(files?.into_iter().flatten());
            }
        }
        Ok(())
    }

    /// Whether everything that the step was given is what it was. A damaged object is moved away.
    pub fn check_inputs(&self, store: &Store) -> Result<(), InputError> {
        let files = &self.given().0;
        let checked = if files.len() <= CHECKED_AT_ONCE {
            files.iter().try_for_each(|it| it.check(store))
        } else {
            files.par_iter().with_min_len(CHECKED_AT_ONCE).try_for_each(|it| it.check(store))
        };
        // What others made of the object meanwhile, in any run of the store, is forgotten with it.
        if let Err(InputError::Changed { source: Error::Damaged { digest, .. }, .. }) = &checked {
            store.note_damaged(digest);
        }
        checked
    }
}

impl Store {
    /// Whether files of the store's file system can share blocks.
    pub fn can_clone(&self) -> bool {
        // What cannot be tried cannot be had.
        self.try_clone_file().unwrap_or(false)
    }

    fn try_clone_file(&self) -> Result<bool> {
        let (path, file) = self.write_scratch(b"reflink")?;
        let clone = self.scratch()?;
        let target = self.disk().create(&clone).at("create", &clone)?;
        let can = self.disk().reflink(&file, &target, &clone).is_ok();
        for it in [&path, &clone] {
            self.disk().unlink(it).at("remove", it)?;
        }
        Ok(can)
    }
}

impl InputFile {
    fn check(&self, store: &Store) -> Result<(), InputError> {
        let changed = |source: Error| InputError::Changed { port: self.port.clone(), source };
        match &self.held {
            Held::Own { look, path } => self.check_own(look, path),
            Held::InPlace { inode, open } => {
                let now = self.look(store)?;
                if now.inode == *inode {
                    return Ok(());
                }
                // An equal object took its place. What the step read is still open, or was replaced
                // because it was damaged.
                match open {
                    Some(file) => self.check_open(file, store).map_err(changed),
                    None => Err(changed(self.replaced())),
                }
            }
            Held::Linked { inode, path } => {
                let now = self.look(store)?;
                if now.inode == *inode {
                    return Ok(());
                }
                let file = open_file(path).map_err(|_| changed(self.replaced()))?;
                self.check_open(&file, store).map_err(changed)
            }
        }
    }

    fn look(&self, store: &Store) -> Result<Look, InputError> {
        let look = store.verified().look(&self.digest, self.size);
        look.map_err(|source| InputError::Changed { port: self.port.clone(), source })
    }

    fn replaced(&self) -> Error {
        let why = "another file took its place".to_owned();
        Error::Damaged { digest: self.digest, why }
    }

    fn check_open(&self, file: &File, store: &Store) -> Result<()> {
        let path = store.object_path(&self.digest);
        match hash_open(file, &path, self.size)? {
            (found, _) if found == self.digest => Ok(()),
            (found, _) => {
                let why = format!("its digest was `{found}`");
                Err(Error::Damaged { digest: self.digest, why })
            }
        }
    }

    /// A file of the step's own may be moved or removed, but not be another one when it is read again.
    fn check_own(&self, look: &Look, path: &Path) -> Result<(), InputError> {
        match Look::at(path) {
            Ok(now) if now == *look => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            _ => {}
        }
        match crate::hash_file(path) {
            Ok((found, _)) if found == self.digest => Ok(()),
            _ => Err(InputError::Written { port: self.port.clone() }),
        }
    }
}

fn in_place(store: &Store, port: &str, object: &Object) -> Result<InputFile> {
    let look = store.verified().look(&object.digest, object.size)?;
    let mut inode = look.inode;
    let mut open = None;
    if object.size > KEPT_OPEN {
        let file = store.open_object(&object.digest)?;
        let metadata = file.metadata().at("look at", &store.object_path(&object.digest))?;
        inode = Look::of(&metadata).inode;
        open = Some(file);
    }
    let held = Held::InPlace { inode, open };
    Ok(InputFile { port: port.to_owned(), digest: object.digest, size: object.size, held })
}

/// A file object to be given.
struct Source<'a> {
    digest: &'a Digest,
    size: u64,
    executable: bool,
}

fn held(store: &Store, source: &Source<'_>, to: &Path, isolation: Isolation) -> Result<Held> {
    let own = || {
        let look = Look::at(to).at("look at", to)?;
        Ok(Held::Own { look, path: to.to_owned() })
    };
    if isolation == Isolation::Reflink {
        store.verified().look(source.digest, source.size)?;
        if store.clone_object(source.digest, source.executable, to)? {
            return own();
        }
    }
    let is_copied = match isolation {
        Isolation::Mount | Isolation::Link => false,
        Isolation::Reflink | Isolation::Copy => source.size <= COPIED_INPUT,
    };
    // Objects are never executable: such a file is always one of its own.
    if !is_copied && !source.executable {
        match store.verified().link(source.digest, source.size, to)? {
            Linked::Made(look) => {
                if isolation != Isolation::Mount {
                    wait_for_clock(&look);
                }
                return Ok(Held::Linked { inode: look.inode, path: to.to_owned() });
            }
            Linked::Refused(error) if crate::materialize::cannot(&error) => {}
            Linked::Refused(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::Missing { digest: *source.digest });
            }
            Linked::Refused(error) => return Err(error).at("link", to),
        }
    }
    copy(store, source, to)?;
    own()
}

/// Copies an object and verifies what was copied.
fn copy(store: &Store, source: &Source<'_>, to: &Path) -> Result<()> {
    let (mut from, path) = (store.open_object(source.digest)?, store.object_path(source.digest));
    let mut target = store.disk().create(to).at("create", to)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; usize::try_from(source.size).unwrap_or(BUFFER).clamp(1, BUFFER)];
    loop {
        let n = from.read(&mut buffer).at("read", &path)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        store.disk().write(&mut target, to, &buffer[..n]).at("write", to)?;
    }
    let found = Digest(*hasher.finalize().as_bytes());
    if found != *source.digest {
        store.verified().quarantine(source.digest)?;
        let why = format!("its digest is `{found}`; {MOVED}");
        return Err(Error::Damaged { digest: *source.digest, why });
    }
    let mode = if source.executable { 0o555 } else { 0o444 };
    store.disk().set_mode(to, mode).at("change mode of", to)
}

/// Waits until the clock of file systems has moved on, so that a write gives the file another ctime
/// than the link did. Some kernels count in steps of a hundredth of a second.
fn wait_for_clock(look: &Look) {
    for _ in 0..20 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        if (now.tv_sec, now.tv_nsec) > look.changed() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
