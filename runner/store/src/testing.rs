//! A disk that fails on purpose, for tests of this crate and of those above it.
//!
//! Counts the changing calls and fails at the n-th, once or from then on; a failing write may
//! leave half of its bytes behind, as a full disk does.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use crate::{Disk, Error, RealDisk, Result};

/// A disk whose n-th call fails.
#[derive(Debug)]
pub struct FaultyDisk {
    fault: Fault,
    count: AtomicU64,
}

/// Which call fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The sort of call; none: any.
    pub call: Option<&'static str>,
    /// Which of them, from 1; 0: none fails.
    pub number: u64,
    /// What the operating system is made to say.
    pub errno: i32,
    /// Whether later ones fail too.
    pub lasting: Lasting,
    /// What a failing write leaves.
    pub write: Torn,
}

/// Whether calls after the failing one fail too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Only one fails.
    Once,
    /// It and all later ones fail.
    FromThenOn,
}

/// What a failing write leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// Nothing.
    Nothing,
    /// Half of its bytes.
    Half,
}

/// The names of the calls.
const CALLS: &[&str] = &[
    "create", "append", "lock", "write", "truncate", "rename", "exchange", "link", "symlink",
    "reflink", "unlink", "mkdir", "rmdir", "mode", "seal", "fsync", "syncfs",
];

/// The errors that a specification can name.
const ERRORS: &[(&str, Errno)] = &[
    ("ENOSPC", Errno::NOSPC),
    ("EIO", Errno::IO),
    ("EDQUOT", Errno::DQUOT),
    ("EROFS", Errno::ROFS),
    ("EACCES", Errno::ACCESS),
    ("EMFILE", Errno::MFILE),
];

impl FaultyDisk {
    /// A disk with this fault.
    pub fn new(fault: Fault) -> FaultyDisk {
        FaultyDisk { fault, count: AtomicU64::new(0) }
    }

    /// `call:number:errno`, as in `write:17:ENOSPC`; `any` is every call, `17+` is from the 17th
    /// on, and `:half` at the end makes failing writes leave half of their bytes.
    pub fn from_spec(spec: &str) -> Result<Arc<dyn Disk>> {
        let fault = parse(spec).ok_or_else(|| Error::Fault { spec: spec.to_owned() })?;
        Ok(Arc::new(FaultyDisk::new(fault)))
    }

    /// How many calls of the chosen sort there were.
    pub fn calls(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    fn pass(&self, call: &'static str) -> io::Result<()> {
        debug_assert!(CALLS.contains(&call));
        if self.fault.call.is_some_and(|it| it != call) {
            return Ok(());
        }
        let n = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let number = self.fault.number;
        let fails = match self.fault.lasting {
            Lasting::Once => n == number,
            Lasting::FromThenOn => number > 0 && n >= number,
        };
        if fails { Err(io::Error::from_raw_os_error(self.fault.errno)) } else { Ok(()) }
    }
}

fn parse(spec: &str) -> Option<Fault> {
    let words: Vec<&str> = spec.split(':').collect();
    let (call, number, errno, write) = match words[..] {
        [call, number, errno] => (call, number, errno, Torn::Nothing),
        [call, number, errno, "half"] => (call, number, errno, Torn::Half),
        _ => return None,
    };
    let call = match call {
        "any" => None,
        _ => Some(*CALLS.iter().find(|it| **it == call)?),
    };
    let lasting = if number.ends_with('+') { Lasting::FromThenOn } else { Lasting::Once };
    let number = number.strip_suffix('+').unwrap_or(number).parse().ok()?;
    let errno = ERRORS.iter().find(|it| it.0 == errno)?.1.raw_os_error();
    Some(Fault { call, number, errno, lasting, write })
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.pass("create").and_then(|()| RealDisk.create(path))
    }

    fn append(&self, path: &Path) -> io::Result<File> {
        self.pass("append").and_then(|()| RealDisk.append(path))
    }

    fn open_lock(&self, path: &Path) -> io::Result<File> {
        self.pass("lock").and_then(|()| RealDisk.open_lock(path))
    }

    fn write(&self, file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let passed = self.pass("write");
        if passed.is_err() && self.fault.write == Torn::Half {
            RealDisk.write(file, path, &bytes[..bytes.len() / 2])?;
        }
        passed.and_then(|()| RealDisk.write(file, path, bytes))
    }

    fn truncate(&self, file: &File, path: &Path, length: u64) -> io::Result<()> {
        self.pass("truncate").and_then(|()| RealDisk.truncate(file, path, length))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass("rename").and_then(|()| RealDisk.rename(from, to))
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        self.pass("exchange").and_then(|()| RealDisk.exchange(one, other))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass("link").and_then(|()| RealDisk.link(from, to))
    }

    fn symlink(&self, target: &Path, at: &Path) -> io::Result<()> {
        self.pass("symlink").and_then(|()| RealDisk.symlink(target, at))
    }

    fn reflink(&self, from: &File, to: &File, path: &Path) -> io::Result<()> {
        self.pass("reflink").and_then(|()| RealDisk.reflink(from, to, path))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.pass("unlink").and_then(|()| RealDisk.unlink(path))
    }

    fn mkdir(&self, path: &Path) -> io::Result<()> {
        self.pass("mkdir").and_then(|()| RealDisk.mkdir(path))
    }

    fn rmdir(&self, path: &Path) -> io::Result<()> {
        self.pass("rmdir").and_then(|()| RealDisk.rmdir(path))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.pass("mode").and_then(|()| RealDisk.set_mode(path, mode))
    }

    fn seal(&self, path: &Path, second: i64) -> io::Result<()> {
        self.pass("seal").and_then(|()| RealDisk.seal(path, second))
    }

    fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        self.pass("fsync").and_then(|()| RealDisk.sync(file, path))
    }

    fn sync_all(&self, file: &File, path: &Path) -> io::Result<()> {
        self.pass("syncfs").and_then(|()| RealDisk.sync_all(file, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_is_read_whole_or_refused() {
        let fault = parse("write:17+:ENOSPC:half").unwrap();
        assert_eq!(fault.call, Some("write"));
        assert_eq!(
            (fault.number, fault.lasting, fault.write),
            (17, Lasting::FromThenOn, Torn::Half)
        );
        for spec in ["", "write", "write:x:EIO", "walk:1:EIO", "write:1:EWHAT", "write:1:EIO:x"] {
            assert!(FaultyDisk::from_spec(spec).is_err(), "{spec}");
        }
    }
}
