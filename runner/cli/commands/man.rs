//! `kun man`: manual pages.

use clap::CommandFactory as _;

use crate::commands::Cli;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::trouble::Trouble;

/// Print the manual page of the program or of a command (`kun man run | man -l -`)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The command
    command: Option<String>,
}

pub(crate) fn run(args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    let mut cli = Cli::command();
    cli.build();
    let page = match &args.command {
        None => cli,
        Some(name) => match cli.find_subcommand(name) {
            Some(found) => found.clone(),
            None => return Err(Trouble::user(format!("no command `{name}`"))),
        },
    };
    let mut text = vec![];
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(|it| Trouble::io(std::path::Path::new("manual page"), it))?;
    printer.data(String::from_utf8_lossy(&text).trim_end());
    Ok(Exit::Good)
}
