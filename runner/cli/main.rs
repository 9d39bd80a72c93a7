//! `kun`: parse the command line, call, give the exit code.

mod args;
mod commands;
mod disk;
mod env;
mod exit;
mod inside;
mod last;
mod printer;
mod progress;
mod project;
mod reach;
mod trouble;
mod words;

use std::process::ExitCode;

/// A plan is made of very many small pieces, and the system's allocator takes longer for each.
/// What that is in numbers: `doc/log.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::main().into()
}
