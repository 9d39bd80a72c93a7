//! What the file system of a store can do, for `doctor`. Tries it in a private folder and leaves
//! nothing behind.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::Instant;

use crate::error::At as _;
use crate::{Result, Store};

/// What the file system of a store can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The bytes that may still be written.
    pub free_bytes: u64,
    /// Whether files can share blocks.
    pub reflink: bool,
    /// Whether a file can have two names.
    pub hard_link: bool,
    /// Whether a lock keeps another one out.
    pub locks: bool,
    /// How long it takes until a small file is on the disk.
    pub fsync_us: u64,
}

impl Store {
    /// Tries what the store needs.
    pub fn probe(&self) -> Result<Probe> {
        let attempt = self.attempt()?;
        let (first, second) = (attempt.path().join("first"), attempt.path().join("second"));
        let mut file = File::create(&first).at("create", &first)?;
        file.write_all(b"probe").at("write", &first)?;
        let began = Instant::now();
        file.sync_all().at("sync", &first)?;
        let fsync_us = began.elapsed().as_micros() as u64;
        let target = File::create(&second).at("create", &second)?;
        let reflink = rustix::fs::ioctl_ficlone(&target, &file).is_ok();
        let hard_link = fs::hard_link(&first, attempt.path().join("third")).is_ok();
        let other = File::open(&first).at("open", &first)?;
        let locks = file.try_lock().is_ok() && other.try_lock().is_err();
        let space = rustix::fs::statvfs(self.root()).map_err(std::io::Error::from);
        let space = space.at("ask about", self.root())?;
        Ok(Probe {
            free_bytes: space.f_bavail * space.f_frsize,
            reflink,
            hard_link,
            locks,
            fsync_us,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_and_links_work_where_tests_run() {
        let folder = tempfile::tempdir().unwrap();
        let probe = Store::open(&folder.path().join("store")).unwrap().probe().unwrap();
        assert!(probe.locks && probe.hard_link && probe.free_bytes > 0);
    }
}
