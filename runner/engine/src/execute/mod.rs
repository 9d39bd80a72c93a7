//! The seam behind which work is done: submit, watch, cancel, and adopt after a restart.
//!
//! An executor runs argument vectors. It knows nothing of steps, keys or the store, so that one
//! for a cluster can stand beside the local one. It never publishes a result.

mod leftover;
mod local;
mod spawner;

use std::ffi::OsString;
use std::fs::File;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::job::Message;
pub use local::Local;
pub(crate) use local::started as process_started;

/// Work to do.
#[derive(Debug)]
pub struct Task {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// Its folder.
    pub folder: PathBuf,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// The key's lock, as a descriptor whose reader sees the end of the file: whoever holds it
    /// keeps the lock.
    pub lock: File,
    /// Where its output goes, appended.
    pub log: PathBuf,
    /// What its standard output is.
    pub stdout: Stdout,
    /// A folder that its processes must not be able to write to, whoever they are.
    pub read_only: Option<PathBuf>,
}

/// What the standard output of a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdout {
    /// More for the log.
    Log,
    /// Messages to the engine.
    Messages,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody knows: it was adopted from an engine that is gone.
    Unknown,
}

/// How hard a task is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// It is asked, and may write its state.
    Ask,
    /// It ends at once, and all that it started.
    Kill,
}

/// What another engine needs to find a task again: kept beside it on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The process, which leads its own group.
    pub pid: u32,
    /// When it started, in the kernel's own count, so that a reused number is not mistaken.
    pub started: u64,
}

/// A future that stays on its thread.
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Something that does work.
pub trait Executor {
    /// Starts a task.
    fn submit(&self, task: Task) -> io::Result<Box<dyn Running>>;
    /// Finds a task that an engine which is gone had started; none: it has ended.
    fn adopt(&self, ticket: &Ticket) -> Option<Box<dyn Running>>;
    /// Makes a folder read-only for all tasks that come. An error: tasks cannot have any.
    fn protect(&self, folder: &Path) -> io::Result<()>;
}

/// A task under way.
pub trait Running {
    /// What finds it again.
    fn ticket(&self) -> Ticket;
    /// Waits for its end, and passes on what it says. May be dropped and called again.
    fn watch<'a>(&'a mut self, hear: &'a mut dyn FnMut(Message)) -> Waiting<'a, io::Result<Ended>>;
    /// Stops it.
    fn cancel(&self, how: Cancel) -> io::Result<()>;
}
