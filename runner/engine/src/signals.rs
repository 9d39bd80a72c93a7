//! Requests to stop the run: SIGINT, SIGTERM, SIGQUIT and SIGHUP, which mean the same.
//!
//! A terminal that closes may send SIGHUP several times: only the first is a request. Where SIGHUP
//! or SIGQUIT was ignored when the process began, as `nohup` has it, it stays so.

use std::fs;
use std::future::pending;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::EngineError;
use crate::run::Home;

/// The signals that stop a run.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Option<Signal>,
    hangup: Option<Signal>,
}

impl Signals {
    pub(crate) fn new(home: &Home) -> Result<Self, EngineError> {
        let ignored = ignored();
        let listen = |kind| {
            signal(kind).map_err(|source| EngineError::Io { path: home.state.clone(), source })
        };
        let unless_ignored = |kind: SignalKind| {
            let is_ignored = ignored & (1 << (kind.as_raw_value() - 1)) != 0;
            (!is_ignored).then(|| listen(kind)).transpose()
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            quit: unless_ignored(SignalKind::quit())?,
            hangup: unless_ignored(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) {
        let hung_up = tokio::select! {
            _ = self.interrupt.recv() => false,
            _ = self.terminate.recv() => false,
            () = received(&mut self.quit) => false,
            () = received(&mut self.hangup) => true,
        };
        if hung_up {
            self.hangup = None;
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

/// The signals that are ignored, a bit for each.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|it| it.strip_prefix("SigIgn:"));
    mask.and_then(|it| u64::from_str_radix(it.trim(), 16).ok()).unwrap_or(0)
}
