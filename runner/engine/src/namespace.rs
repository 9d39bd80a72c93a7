//! A user namespace for this process: what lets a user who is not root have read-only mounts.
//!
//! In it the process keeps its user and group, and may mount in mount namespaces of its own; the
//! programs that it starts may not. Only a process with one thread can enter.

use std::fs;
use std::io;

use rustix::process::{getegid, geteuid};
use rustix::thread::UnshareFlags;

/// Enters a new user namespace. After an error the process is of no use any more.
#[expect(deprecated, reason = "deprecated for `FILES` alone, which would part descriptors")]
pub fn enter() -> io::Result<()> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    rustix::thread::unshare(UnshareFlags::NEWUSER)?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    // Else the mapping of a group would be a way around permissions that are denied to groups.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}
