//! One advisory lock per key, which lives as long as anyone who inherited it.
//!
//! A lock is never unlocked, only closed: the kernel frees it when the last process that has the
//! file open is gone. A child that gets the lock as its standard input therefore keeps it when
//! the engine is killed. Lock files stay where they are; `gc` removes free ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plan::Key;
use serde::{Deserialize, Serialize};

use crate::attempt::host;
use crate::error::At;
use crate::store::now_ms;
use crate::{Disk, Error, Result, Store};

/// How often a lock file that was removed under our hands is made anew.
const TRIES: usize = 100;

/// What asking for a lock gave.
#[derive(Debug)]
pub enum Locking {
    /// It is ours.
    Held(Lock),
    /// Somebody else has it.
    Busy(Holder),
}

/// A held lock: free when this and all files made from it are closed, here and in all children.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

/// Who has a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The process that took it; none where the file does not say so yet.
    pub pid: Option<u32>,
    /// Its machine.
    pub host: String,
    /// When it took it: milliseconds since 1970.
    pub since: u64,
    /// Its command line.
    pub command: String,
    /// The processes of this machine that hold it now, as far as they can be seen.
    pub holding: Vec<u32>,
    /// What it noted since, a line each.
    pub notes: Vec<String>,
}

/// What a lock file says.
#[derive(Serialize, Deserialize)]
struct Note {
    pid: u32,
    host: String,
    since: u64,
    command: String,
}

impl Lock {
    /// The lock as a child's standard input: it reads nothing, and keeps the lock while it lives.
    pub fn as_stdin(&self) -> Result<File> {
        self.file.try_clone().at("duplicate", &self.path)
    }

    /// Notes a line for whoever finds the lock busy; the offset stays at the end of the file.
    pub fn note(&self, line: &str) -> Result<()> {
        let mut file = self.as_stdin()?;
        file.seek(SeekFrom::End(0)).at("write", &self.path)?;
        let line = format!("{}\n", line.replace('\n', " "));
        self.disk.write(&mut file, &self.path, line.as_bytes()).at("write", &self.path)
    }

    /// Whether the lock file is still the one that others would lock.
    pub fn is_current(&self) -> bool {
        is_at(&self.file, &self.path)
    }
}

impl Store {
    /// Asks for the lock of a key, without waiting.
    pub fn try_lock(&self, key: &Key) -> Result<Locking> {
        let path = self.lock_path(key);
        for _ in 0..TRIES {
            let mut file = match self.disk().open_lock(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.parent_of(&path)?;
                    self.disk().open_lock(&path).at("open", &path)?
                }
                other => other.at("open", &path)?,
            };
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {
                    self.write_note(&mut file, &path)?;
                    return Ok(Locking::Held(Lock { file, path, disk: self.shared_disk() }));
                }
                // It was removed between its opening and its locking.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Locking::Busy(holder(&file, &path))),
                Err(TryLockError::Error(source)) => {
                    return Err(Error::Io { verb: "lock", path, source });
                }
            }
        }
        Err(Error::Changing { path })
    }

    /// Those of these keys whose locks are held, as far as this machine can see. No lock is
    /// touched: who asks for one at the same moment never finds it busy by this.
    pub fn locked(&self, keys: &[Key]) -> BTreeSet<Key> {
        let mut files: BTreeMap<(u64, u64), Key> = BTreeMap::new();
        for key in keys {
            if let Ok(it) = fs::metadata(self.lock_path(key)) {
                files.insert((it.dev(), it.ino()), *key);
            }
        }
        if files.is_empty() {
            return BTreeSet::new();
        }
        let table = fs::read_to_string("/proc/locks").unwrap_or_default();
        let in_table =
            |(dev, inode): (u64, u64)| table.lines().any(|it| taker(it, dev, inode).is_some());
        let (mut held, free): (BTreeMap<_, _>, BTreeMap<_, _>) =
            files.into_iter().partition(|it| in_table(it.0));
        // The table leaves out locks whose takers are gone.
        for pid in if free.is_empty() { Vec::new() } else { pids() } {
            let ours = open_files(pid).filter_map(|it| Some((it.0, *free.get(&it.0)?, it.1)));
            held.extend(ours.filter(|it| is_locked(pid, &it.2)).map(|it| (it.0, it.1)));
        }
        held.into_values().collect()
    }

    /// Where the lock of a key is.
    pub(crate) fn lock_path(&self, key: &Key) -> PathBuf {
        self.root().join("lock").join(key.hex())
    }

    /// Writes who we are, which leaves the descriptor at the end of the file.
    fn write_note(&self, file: &mut File, path: &Path) -> Result<()> {
        let command: Vec<String> =
            std::env::args_os().map(|it| it.to_string_lossy().into_owned()).collect();
        let note = Note {
            pid: std::process::id(),
            host: host(),
            since: now_ms(),
            command: command.join(" "),
        };
        let mut text = serde_json::to_vec(&note).expect("a note is numbers and text");
        text.push(b'\n');
        self.disk().truncate(file, path, 0).at("write", path)?;
        self.disk().write(file, path, &text).at("write", path)
    }
}

fn holder(file: &File, path: &Path) -> Holder {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    let note: Option<Note> = lines.next().and_then(|it| serde_json::from_str(it).ok());
    let notes = lines.map(str::to_owned).collect();
    let holding = file.metadata().map(|it| holding(it.dev(), it.ino())).unwrap_or_default();
    match note {
        Some(Note { pid, host, since, command }) => {
            Holder { pid: Some(pid), host, since, command, holding, notes }
        }
        None => Holder { holding, ..Holder::default() },
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(one), Ok(other)) => one.ino() == other.ino() && one.dev() == other.dev(),
        _ => false,
    }
}

/// The processes that hold a lock on a file. The kernel's table names the one that took it; when
/// that one is gone, those who inherited it are found among all open files.
fn holding(dev: u64, inode: u64) -> Vec<u32> {
    let table = fs::read_to_string("/proc/locks").unwrap_or_default();
    let taker = table.lines().filter_map(|it| taker(it, dev, inode)).next();
    if let Some(pid) = taker
        && Path::new(&format!("/proc/{pid}/fd")).exists()
        && has_open(pid, dev, inode)
    {
        return vec![pid];
    }
    let mut pids = pids();
    pids.retain(|it| has_open(*it, dev, inode));
    pids.sort_unstable();
    pids
}

/// All processes that can be seen.
fn pids() -> Vec<u32> {
    let Ok(names) = fs::read_dir("/proc") else { return Vec::new() };
    names.flatten().filter_map(|it| it.file_name().to_str()?.parse().ok()).collect()
}

/// `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`.
fn taker(line: &str, dev: u64, inode: u64) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, _, pid, place, ..] = words[..] else { return None };
    let mut parts = place.split(':');
    let major = u32::from_str_radix(parts.next()?, 16).ok()?;
    let minor = u32::from_str_radix(parts.next()?, 16).ok()?;
    let at: u64 = parts.next()?.parse().ok()?;
    let same = at == inode && major == rustix::fs::major(dev) && minor == rustix::fs::minor(dev);
    if same { pid.parse().ok() } else { None }
}

/// Whether a process has a locked descriptor of a file.
fn has_open(pid: u32, dev: u64, inode: u64) -> bool {
    open_files(pid).any(|it| it.0 == (dev, inode) && is_locked(pid, &it.1))
}

/// Device and inode of what a process has open, with the descriptor's number.
fn open_files(pid: u32) -> impl Iterator<Item = ((u64, u64), OsString)> {
    let names = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    names.filter_map(|it| {
        let metadata = fs::metadata(it.path()).ok()?;
        Some(((metadata.dev(), metadata.ino()), it.file_name()))
    })
}

fn is_locked(pid: u32, number: &OsStr) -> bool {
    fs::read_to_string(Path::new(&format!("/proc/{pid}/fdinfo")).join(number))
        .is_ok_and(|it| it.contains("FLOCK"))
}
