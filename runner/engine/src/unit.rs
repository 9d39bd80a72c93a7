//! One unit of work from its first attempt to its end: a step, or one shard of it. Retries,
//! time-outs and requests to stop are dealt with here; publishing is not.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plan::graph::FailureKind;
use store::{Attempt, Isolation, Lock, Store, Work};
use tokio::sync::watch;

use crate::attempt::{self, Prepared};
use crate::execute::{Cancel, Ended, Executor, Running, Stdout, Task};
use crate::job::Message;

/// How long a step that took too long may write its state.
const GRACE_AFTER_TIMEOUT: Duration = Duration::from_secs(10);
/// How many lines of a log are shown when a step fails.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 16 << 10;

/// How far a run has been stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// It goes on.
    No,
    /// Steps are asked to end.
    Ask,
    /// Steps are killed.
    Kill,
}

/// A unit of work.
pub(crate) struct Unit {
    /// The step's facts.
    pub(crate) prepared: Rc<Prepared>,
    /// Which shard of how many.
    pub(crate) shard: Option<(usize, usize)>,
    /// The lock of its key.
    pub(crate) lock: Arc<Lock>,
    /// Devices that it holds, by pool.
    pub(crate) devices: std::collections::BTreeMap<String, Vec<u32>>,
    /// The log of each attempt.
    pub(crate) log: Box<dyn Fn(u32) -> PathBuf>,
}

/// How a unit ended.
#[derive(Debug)]
pub(crate) enum UnitEnd {
    /// Well; its outputs are in the attempt's folder.
    Good {
        /// The folder.
        attempt: Attempt,
        /// What it counted and used.
        said: Said,
        /// How many attempts it took.
        attempts: u32,
    },
    /// Badly, for good.
    Failed {
        /// What went wrong.
        reason: String,
        /// The log of the last attempt.
        log: PathBuf,
        /// The end of it.
        tail: Vec<String>,
    },
    /// It was asked to stop, or killed.
    Stopped,
}

/// What a unit said at its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// What the kind counted.
    pub(crate) counts: std::collections::BTreeMap<String, u64>,
    /// Processor time.
    pub(crate) cpu_ms: u64,
    /// The most memory it held.
    pub(crate) peak_bytes: u64,
    /// How much it did, as it said last.
    pub(crate) work: Option<Work>,
    failed: Option<String>,
}

impl Said {
    /// What a unit said that had ended well.
    pub(crate) fn known(
        counts: std::collections::BTreeMap<String, u64>,
        cpu_ms: u64,
        peak_bytes: u64,
        work: Option<Work>,
    ) -> Self {
        Self { counts, cpu_ms, peak_bytes, work, failed: None }
    }

    /// Adds what another shard said.
    pub(crate) fn add(&mut self, other: &Said) {
        for (name, value) in &other.counts {
            *self.counts.entry(name.clone()).or_default() += value;
        }
        self.cpu_ms += other.cpu_ms;
        self.peak_bytes = self.peak_bytes.max(other.peak_bytes);
        match (&mut self.work, &other.work) {
            (Some(mine), Some(theirs)) => {
                mine.done += theirs.done;
                mine.skipped += theirs.skipped;
            }
            (mine, Some(theirs)) => *mine = Some(theirs.clone()),
            (_, None) => {}
        }
    }
}

/// What a unit tells the dispatcher while it goes on.
#[derive(Debug)]
pub(crate) enum UnitNews {
    /// The worker says something.
    Message(Message),
    /// It failed and will be tried again.
    Retry {
        /// The attempt that failed.
        attempt: u32,
        /// The wait before the next.
        wait: Duration,
        /// What went wrong.
        reason: String,
    },
}

/// What units share.
pub(crate) struct Shared {
    /// Where results go.
    pub(crate) store: Store,
    /// Who does the work.
    pub(crate) executor: Rc<dyn Executor>,
    /// How long a step that is asked to stop may take.
    pub(crate) grace: Duration,
    /// What keeps steps from changing objects.
    pub(crate) isolation: Isolation,
}

/// Does the work, trying again as the manifest says.
pub(crate) async fn work(
    shared: &Shared,
    unit: &Unit,
    mut stop: watch::Receiver<Stop>,
    tell: &mut dyn FnMut(UnitNews),
) -> UnitEnd {
    let retries = &unit.prepared.instance.how.retries;
    let mut wait = retries.first_wait;
    let mut attempt = 1;
    loop {
        let log = (unit.log)(attempt);
        let (kind, reason) = match try_once(shared, unit, &log, &mut stop, tell).await {
            Once::Good(attempt_folder, said) => {
                forget_empty(&log);
                return UnitEnd::Good { attempt: attempt_folder, said, attempts: attempt };
            }
            Once::Stopped => return UnitEnd::Stopped,
            Once::Failed(kind, reason) => (kind, reason),
        };
        let again = attempt <= retries.max && kind.is_some_and(|it| retries.on.contains(&it));
        if !again {
            return UnitEnd::Failed { reason, tail: tail(&log), log };
        }
        tell(UnitNews::Retry { attempt, wait, reason });
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.wait_for(|it| *it > Stop::No) => return UnitEnd::Stopped,
        }
        wait = (wait * 2).min(retries.longest_wait);
        attempt += 1;
    }
}

enum Once {
    Good(Attempt, Said),
    Failed(Option<FailureKind>, String),
    Stopped,
}

async fn try_once(
    shared: &Shared,
    unit: &Unit,
    log: &Path,
    stop: &mut watch::Receiver<Stop>,
    tell: &mut dyn FnMut(UnitNews),
) -> Once {
    let (mut running, mut attempt) = match start(shared, unit, log) {
        Ok(started) => started,
        Err(reason) => return Once::Failed(None, reason),
    };
    let mut said = Said::default();
    let ended = {
        let mut hear = |message| hear(message, &mut said, tell);
        guard(running.as_mut(), unit, shared.grace, stop, &mut hear).await
    };
    match ended {
        Guarded::Ended(Ended::Exit(0)) => {
            attempt.allow_reuse();
            Once::Good(attempt, said)
        }
        Guarded::Ended(Ended::Exit(code)) => {
            let reason = said.failed.unwrap_or_else(|| format!("exit status {code}"));
            Once::Failed(Some(FailureKind::Exit), reason)
        }
        Guarded::Ended(Ended::Signal(signal)) => {
            Once::Failed(Some(FailureKind::Signal), format!("ended by {}", signal_name(signal)))
        }
        Guarded::Ended(Ended::Unknown) => {
            Once::Failed(None, "nobody knows how it ended".to_owned())
        }
        Guarded::TimedOut(limit) => {
            let reason =
                format!("took longer than {}", crate::time::duration(limit.as_millis() as u64));
            Once::Failed(Some(FailureKind::Timeout), reason)
        }
        Guarded::Stopped => Once::Stopped,
        Guarded::Lost(error) => Once::Failed(None, format!("cannot be watched: {error}")),
    }
}

/// What a step with a device keeps of this process's environment: where CUDA's libraries and the compiled
/// kernels are. It changes no result.
const OF_CUDA: [&str; 5] =
    ["LD_LIBRARY_PATH", "KUN_CUDA_LIBRARIES", "KUN_CUDA_CACHE", "XDG_CACHE_HOME", "HOME"];

fn start(shared: &Shared, unit: &Unit, log: &Path) -> Result<(Box<dyn Running>, Attempt), String> {
    let ready = attempt::make(&shared.store, &unit.prepared, unit.shard, shared.isolation)
        .map_err(|error| crate::error::chain(&error))?;
    let mut environment = ready.environment;
    for (pool, devices) in &unit.devices {
        if pool == "gpu" {
            let list: Vec<String> = devices.iter().map(u32::to_string).collect();
            environment.push(("CUDA_VISIBLE_DEVICES".to_owned(), list.join(",")));
            environment.extend(OF_CUDA.iter().filter_map(|it| {
                let value = std::env::var(it).ok()?;
                Some(((*it).to_owned(), value))
            }));
        }
    }
    let is_kind = matches!(unit.prepared.instance.work, plan::graph::Work::Kind { .. });
    let task = Task {
        folder: ready.attempt.path().to_owned(),
        environment,
        lock: unit.lock.as_stdin().map_err(|error| crate::error::chain(&error))?,
        log: writable(&shared.store, log),
        stdout: if is_kind { Stdout::Messages } else { Stdout::Log },
        argv: ready.argv,
        read_only: ready.read_only,
    };
    let (mut attempt, mounts) = (ready.attempt, task.read_only.is_some());
    let program = task.argv[0].to_string_lossy().into_owned();
    let running = shared
        .executor
        .submit(task)
        .map_err(|error| format!("cannot start `{program}`: {error}"))?;
    if let Ok(ticket) = serde_json::to_string(&running.ticket()) {
        // Only names the process to whoever waits for it; the lock itself is what counts.
        let _ = unit.lock.note(&ticket);
    }
    if mounts {
        attempt.note_mount();
    }
    Ok((running, attempt))
}

enum Guarded {
    Ended(Ended),
    TimedOut(Duration),
    Stopped,
    Lost(std::io::Error),
}

/// Watches a task until it ends, or has to.
async fn guard(
    running: &mut dyn Running,
    unit: &Unit,
    grace: Duration,
    stop: &mut watch::Receiver<Stop>,
    hear: &mut dyn FnMut(Message),
) -> Guarded {
    let limit = unit.prepared.instance.how.timeout;
    let timeout = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let timed_out = tokio::select! {
        ended = running.watch(hear) => return ended.map_or_else(Guarded::Lost, Guarded::Ended),
        () = timeout => true,
        _ = stop.wait_for(|it| *it > Stop::No) => false,
    };
    let grace = if timed_out { GRACE_AFTER_TIMEOUT.min(grace) } else { grace };
    // A task that has just ended cannot be cancelled any more; the watch below sees its end.
    let _ = running.cancel(Cancel::Ask);
    let ended = tokio::select! {
        ended = running.watch(hear) => Some(ended),
        () = tokio::time::sleep(grace) => None,
        _ = stop.wait_for(|it| *it == Stop::Kill) => None,
    };
    if ended.is_none() {
        let _ = running.cancel(Cancel::Kill);
        let _ = running.watch(hear).await;
    }
    match (timed_out, limit) {
        (true, Some(limit)) => Guarded::TimedOut(limit),
        // It may have come to its end by itself in the very moment it was asked to stop.
        _ if matches!(ended, Some(Ok(Ended::Exit(0)))) => Guarded::Ended(Ended::Exit(0)),
        _ => Guarded::Stopped,
    }
}

fn hear(message: Message, said: &mut Said, tell: &mut dyn FnMut(UnitNews)) {
    match message {
        Message::Count { name, value } => *said.counts.entry(name).or_default() += value,
        Message::Used { cpu_ms, peak_bytes } => {
            said.cpu_ms = cpu_ms;
            said.peak_bytes = peak_bytes;
        }
        Message::Failed { reason } => said.failed = Some(reason),
        Message::Progress { done, total, unit, skipped } => {
            said.work = Some(Work { unit: unit.clone(), done, skipped });
            tell(UnitNews::Message(Message::Progress { done, total, unit, skipped }));
        }
        other => tell(UnitNews::Message(other)),
    }
}

/// Where the log goes: a step is worth more than what it says.
fn writable(store: &Store, log: &Path) -> PathBuf {
    let made = store.disk().append(log);
    if made.is_ok() { log.to_owned() } else { PathBuf::from("/dev/null") }
}

/// Logs that say nothing are not kept.
fn forget_empty(log: &Path) {
    // Never what stands in for a log, such as `/dev/null`.
    if std::fs::symlink_metadata(log).is_ok_and(|it| it.is_file() && it.len() == 0) {
        let _ = std::fs::remove_file(log);
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = vec![];
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec()
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL (by a person, or by the system for want of memory)",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
