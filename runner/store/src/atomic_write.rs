//! Whole files outside of the store: written beside their name, then renamed over it, so that
//! nobody ever reads half of one. The only place that does so, and the one that clears away what a
//! killed process left beside.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Pid, test_kill_process};

use crate::attempt::{host, remove_tree};
use crate::error::At;
use crate::{Disk, Result};

/// Numbers the temporary names of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// How the names of unfinished files end.
const ENDING: &str = ".kun";

/// Whether a file must survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It must: the call ends when it is on the disk.
    ForDisk,
    /// It can be made again from other things.
    Never,
}

/// Replaces a file by another content, or makes it. Two processes may do so at once: one wins.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8], wait: Wait) -> Result<()> {
    let fresh = beside(path);
    let written = disk.create(&fresh).at("create", &fresh).and_then(|mut file| {
        disk.write(&mut file, &fresh, bytes).at("write", &fresh)?;
        if wait == Wait::ForDisk {
            disk.sync(&file, &fresh).at("sync", &fresh)?;
        }
        disk.rename(&fresh, path).at("rename to", path)
    });
    if written.is_err() {
        let _ = disk.unlink(&fresh);
        return written;
    }
    match path.parent().filter(|it| !it.as_os_str().is_empty()) {
        Some(folder) if wait == Wait::ForDisk => {
            let file = File::open(folder).at("open", folder)?;
            disk.sync(&file, folder).at("sync", folder)
        }
        _ => written,
    }
}

/// A name beside another that nobody else has: `.NAME.HOST.PID.N.kun`.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let short: String = name.chars().take(40).collect();
    let (host, pid) = (host(), std::process::id());
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{short}.{host}.{pid}.{n}{ENDING}"))
}

/// Removes what processes of this machine that are gone left unfinished in a folder.
pub fn sweep_unfinished(disk: &dyn Disk, folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        if is_left_behind(&entry.file_name().to_string_lossy()) {
            remove_tree(disk, &entry.path())?;
        }
    }
    Ok(())
}

fn is_left_behind(name: &str) -> bool {
    let Some(name) = name.strip_prefix('.').and_then(|it| it.strip_suffix(ENDING)) else {
        return false;
    };
    let mut parts = name.rsplitn(3, '.');
    let (n, pid, rest) = (parts.next(), parts.next(), parts.next());
    let is_ours = rest.is_some_and(|it| it.ends_with(&format!(".{}", host())));
    let pid = pid.and_then(|it| it.parse().ok()).and_then(Pid::from_raw);
    let is_number = n.is_some_and(|it| it.parse::<u64>().is_ok());
    is_ours
        && is_number
        && pid.is_some_and(|it| test_kill_process(it) == Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RealDisk;

    #[test]
    fn a_file_is_replaced_whole_and_only_what_the_dead_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for text in ["one", "two"] {
            replace(&RealDisk, &path, text.as_bytes(), Wait::ForDisk).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let mine = beside(&path);
        // No process has the highest number there is.
        let dead = folder.path().join(format!(".a.{}.{}.0.kun", host(), i32::MAX));
        let kept = [mine, path, folder.path().join(".a.kun"), folder.path().join(".x.1.2.kun")];
        kept.iter().chain([&dead]).for_each(|it| fs::write(it, "").unwrap());
        sweep_unfinished(&RealDisk, folder.path()).unwrap();
        assert!(!dead.exists());
        assert!(kept.iter().all(|it| it.exists()));
    }
}
