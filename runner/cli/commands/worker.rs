//! `kun worker`: one step, or one shard of it, in a process of its own. For the engine only.

use std::path::PathBuf;
use std::process::exit;

use crate::exit::Exit;

/// Do the work that a job file describes (for the engine)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job file
    job: PathBuf,
}

pub(crate) fn run(args: &Args) -> Exit {
    match engine::worker::main(&args.job) {
        0 => Exit::Good,
        code => exit(i32::from(code)),
    }
}
