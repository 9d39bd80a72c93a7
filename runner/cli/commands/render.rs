//! `kun render`: renders one template of somebody else's, in a process that is bounded. For `kun`
//! itself.

use std::ffi::OsString;
use std::path::Path;

use steps::model::Program;

use crate::exit::Exit;
use crate::printer::Printer;
use crate::trouble::Trouble;

/// Leads to the running program, also when its file has been replaced since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// mimalloc takes a gibibyte of address space at its start, of which the process is to have less.
const ARENA: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "64MiB");

/// Render a template (for `kun` itself)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _printer: &Printer) -> Result<Exit, Trouble> {
    let pipes = |it| Trouble::Io { path: "the pipes of `kun render`".to_owned(), source: it };
    steps::model::serve().map_err(pipes)?;
    Ok(Exit::Good)
}

/// Has templates of others rendered by this command.
pub(crate) fn apart() -> Result<(), Trouble> {
    let program = if Path::new(THIS_PROGRAM).exists() {
        OsString::from(THIS_PROGRAM)
    } else {
        let current = std::env::current_exe();
        let path = Path::new("the running program");
        current.map_err(|it| Trouble::io(path, it))?.into_os_string()
    };
    let command = vec![program, "render".into()];
    steps::model::render_apart(Program { command, environment: vec![ARENA] });
    Ok(())
}
