//! `kun completions`: for shells.

use clap::CommandFactory as _;

use crate::commands::Cli;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::trouble::Trouble;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    let mut text = vec![];
    clap_complete::generate(args.shell, &mut Cli::command(), "kun", &mut text);
    printer.data(String::from_utf8_lossy(&text).trim_end());
    Ok(Exit::Good)
}
