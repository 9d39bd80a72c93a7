//! The worker process: reads a job, runs its kind, and says on standard output how it goes.
//!
//! It publishes nothing. Where its engine dies it is asked to stop by the kernel, writes its state
//! and ends; until then it holds the key's lock through its standard input.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plan::Endpoint;
use plan::graph::Checkpoint;
use plan::kind::Numerics;
use steps::{Cx, Say, Secret, Server, Shard, StepError};

use crate::error::chain;
use crate::job::{Job, Message};
use crate::memo::RowMemo;

/// Runs the job in a file; the status is the exit code of the process.
pub fn main(job: &Path) -> u8 {
    let stop = Arc::new(AtomicBool::new(false));
    let result = watch_for_stop(&stop).map_err(|it| it.to_string()).and_then(|()| {
        let text = fs::read(job).map_err(|it| format!("`{}`: {it}", job.display()))?;
        let job: Job =
            serde_json::from_slice(&text).map_err(|it| format!("`{}`: {it}", job.display()))?;
        work(job, &stop).map_err(|it| chain(&it))
    });
    if let Some(used) = used() {
        say(&used);
    }
    match result {
        Ok(()) => 0,
        Err(reason) => {
            say(&Message::Failed { reason });
            1
        }
    }
}

fn work(job: Job, stop: &AtomicBool) -> Result<(), StepError> {
    let wiring = StepError::Wiring { what: "kind", name: "op" };
    let kind = steps::kind(&job.op).ok_or(wiring)?;
    let with: toml::Table =
        job.with.iter().map(|(name, value)| (name.clone(), value.to_toml())).collect();
    let mut memo = RowMemo::new(job.memo);
    let mut cx = Cx {
        inputs: job.inputs,
        servers: job.endpoints.into_iter().map(|(port, it)| (port, server(it))).collect(),
        outputs: job.outputs,
        state: job.state,
        seed: job.seed,
        shard: job.shard.map(|(index, count)| Shard { index, count }),
        checkpoint: job
            .checkpoint
            .map(|(ms, keep)| Checkpoint { every: Duration::from_millis(ms), keep }),
        threads: job.threads,
        gpu: job.gpu.then_some(if job.bf16 { Numerics::Bf16 } else { Numerics::Exact }),
        memo: &mut memo,
        report: &mut |news| say(&message(news)),
        stop: &|| stop.load(Ordering::Relaxed),
    };
    kind.run_table(with, &mut cx)
}

/// The variable that names a file of certificates to trust, in place of those that are built in; it has
/// this name for many programs.
pub(crate) const AUTHORITIES: &str = "SSL_CERT_FILE";

/// The server with its key, which the engine has put into this process's environment.
fn server(endpoint: Endpoint) -> Server {
    let key = endpoint.key_env.as_ref().and_then(|it| std::env::var(it).ok()).map(Secret::new);
    let authorities = std::env::var_os(AUTHORITIES).map(PathBuf::from);
    Server { endpoint, key, authorities }
}

fn message(news: Say) -> Message {
    match news {
        Say::Progress { done, total, unit, skipped } => {
            Message::Progress { done, total, unit, skipped }
        }
        Say::Count { name, value } => Message::Count { name, value },
        Say::Spent { tokens } => Message::Spent { tokens },
        Say::Note(text) => Message::Note { text },
    }
}

/// One line for the engine. Where nobody listens any more the work goes on to its next look at
/// the stop flag.
fn say(message: &Message) {
    if let Ok(line) = serde_json::to_string(message) {
        let _ = writeln!(io::stdout().lock(), "{line}");
    }
}

/// Sets the flag at SIGTERM, which also comes when the engine is gone.
fn watch_for_stop(stop: &Arc<AtomicBool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut signal = {
        let _context = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?
    };
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        runtime.block_on(signal.recv());
        stop.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Processor time of this process and its ended children, and the most memory it held.
fn used() -> Option<Message> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // utime, stime, cutime and cstime, in hundredths of a second.
    let ticks: u64 = fields.get(11..15)?.iter().filter_map(|it| it.parse::<u64>().ok()).sum();
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().ok()?;
    Some(Message::Used { cpu_ms: ticks * 10, peak_bytes: peak_kib * 1024 })
}
