//! Requests to stop the run: SIGINT and SIGTERM, which mean the same.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::EngineError;
use crate::run::Home;

/// The signals that stop a run.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new(home: &Home) -> Result<Self, EngineError> {
        let listen = |kind| {
            signal(kind).map_err(|source| EngineError::Io { path: home.state.clone(), source })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
