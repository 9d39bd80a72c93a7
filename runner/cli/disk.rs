//! The file system, for the planner, which has none.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use plan::files::{Entry, Files, MAX_BYTES};

/// The real one.
pub(crate) struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // One byte more than is accepted: the planner refuses a larger file by its length, and
        // not all of it need be in memory for that.
        let mut bytes = vec![];
        // Opening a pipe would wait for somebody who writes to it.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        fs::File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        // The folder of a manifest that is named without one.
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let mut entries = vec![];
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = entry.file_type()?;
            entries.push(Entry { name, is_dir: kind.is_dir(), is_symlink: kind.is_symlink() });
        }
        Ok(entries)
    }
}
