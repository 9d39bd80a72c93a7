//! `kun`: parse the command line, call, give the exit code.

mod args;
mod commands;
mod disk;
mod env;
mod exit;
mod printer;
mod progress;
mod project;
mod trouble;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main().into()
}
