//! Processes that a task leaves behind: they end before its result counts.
//!
//! The engine is the subreaper of all that it starts, so that whatever loses its parent becomes a
//! child of ours, daemons that called `setsid` included. Whose it is tells a resource limit that
//! every task has another value of and that the kernel has not used since Linux 2.4, the number of
//! file locks: it is inherited, and it can be read without any right.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, getpid, getrlimit, kill_process,
    set_child_subreaper, setrlimit, waitpid,
};

/// How long killed processes may take to be gone: one that waits for a disk cannot be killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What tells the processes of one task from those of another.
#[derive(Debug)]
pub(super) struct Family(u64);

/// Families whose tasks run.
static LIVE: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

impl Family {
    /// A new one, of which whatever this process starts from now on is. Tasks are started by one
    /// thread, one after another.
    pub(super) fn begin() -> io::Result<Family> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let limit = original();
        let n = NEXT.fetch_add(1, Ordering::Relaxed) & u64::from(u32::MAX);
        let number = (u64::from(std::process::id()) << 32) | n;
        setrlimit(Resource::Locks, Rlimit { current: Some(number), maximum: limit.maximum })
            .map_err(|error| {
                let why = "the limit of file locks, by which processes are told apart, is too low";
                io::Error::other(format!("{why}: {error}"))
            })?;
        LIVE.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
        Ok(Family(number))
    }

    /// Kills what is left of the family, its first process having ended, and waits until nothing is.
    pub(super) async fn end(&self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Killing a process gives us its children: they are found the next time.
            let left: Vec<Pid> = orphans().into_iter().filter(|it| self.has(*it)).collect();
            let left: Vec<Pid> = left.into_iter().filter(|it| !is_gone_when_killed(*it)).collect();
            match left.first() {
                None if orphans().into_iter().any(|it| self.has(it)) => {}
                None => return Ok(()),
                Some(pid) if Instant::now() > deadline => {
                    let pid = pid.as_raw_nonzero();
                    let what = format!("process {pid}, which it left behind, cannot be ended");
                    return Err(io::Error::other(what));
                }
                Some(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Whether a process that lost its parent is of this family, or of none that is known: then some
    /// engine below a step was killed, and left it behind.
    fn has(&self, pid: Pid) -> bool {
        let Some(number) = number_of(pid) else { return false };
        let is_ours = |it: u64| {
            it == self.0 || !LIVE.lock().unwrap_or_else(PoisonError::into_inner).contains(&it)
        };
        // Where we are the first process of a container we are given strangers too.
        number.is_some_and(is_ours) && number != original().current
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        LIVE.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// The limit that this process began with. Whoever asks first makes it the subreaper.
fn original() -> &'static Rlimit {
    static ORIGINAL: OnceLock<Rlimit> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        // Before Linux 3.4 there is none: what is left behind there is not ours to end.
        let _ = set_child_subreaper(Some(getpid()));
        getrlimit(Resource::Locks)
    })
}

/// The number of a process's family, if it has any; none: there is no such process.
fn number_of(pid: Pid) -> Option<Option<u64>> {
    let text = fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).ok()?;
    let line = text.lines().find_map(|it| it.strip_prefix("Max file locks"))?;
    Some(line.split_whitespace().next()?.parse().ok())
}

fn is_gone_when_killed(pid: Pid) -> bool {
    // It may have ended by itself, or be somebody's whom we may not kill: both are seen next.
    let _ = kill_process(pid, Signal::KILL);
    matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(Some(_)) | Err(rustix::io::Errno::CHILD))
}

/// The processes that came to us because their parents are gone. The kernel gives them to the first
/// thread; what we start ourselves belongs to the thread that starts it.
fn orphans() -> Vec<Pid> {
    let me = getpid().as_raw_nonzero();
    match fs::read_to_string(format!("/proc/self/task/{me}/children")) {
        Ok(text) => text.split_whitespace().filter_map(pid_of).collect(),
        // A kernel without this file: whose parent we are is looked up.
        Err(_) => {
            let names = fs::read_dir("/proc").into_iter().flatten().flatten();
            let pids = names.filter_map(|it| it.file_name().to_str().and_then(pid_of));
            pids.filter(|it| parent_of(*it) == Some(getpid())).collect()
        }
    }
}

fn pid_of(word: &str) -> Option<Pid> {
    word.parse().ok().and_then(Pid::from_raw)
}

fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    pid_of(stat.rsplit_once(')')?.1.split_whitespace().nth(1)?)
}
