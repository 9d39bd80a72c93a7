//! `kun log`: what a step said when it ran last.

use std::fs;

use engine::runs;

use crate::args::Common;
use crate::exit::Exit;
use crate::printer::{FAINT, Printer};
use crate::project;
use crate::trouble::Trouble;

/// Print what a step wrote to its log when it last ran
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The step
    #[arg(required = true, value_name = "STEP")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
    /// Only the file's name
    #[arg(long)]
    path: bool,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.common.take_manifest(&mut args.words);
    let home = project::read(&args.common)?.home;
    let folder = home.runs();
    let all = runs::list(&folder).map_err(|it| Trouble::io(&folder, it))?;
    for step in &args.words {
        let stem = runs::file_name(step);
        let mut found = None;
        for run in all.iter().rev() {
            let logs = folder.join(run).join("logs");
            let mut names = vec![];
            for entry in fs::read_dir(&logs).map_err(|it| Trouble::io(&logs, it))? {
                let entry = entry.map_err(|it| Trouble::io(&logs, it))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let rest = name.strip_prefix(&stem).map(str::to_owned);
                if rest.is_some_and(|it| it.starts_with('.') || it.starts_with("%20shard")) {
                    names.push(logs.join(name));
                }
            }
            if !names.is_empty() {
                names.sort();
                found = Some((run, names));
                break;
            }
        }
        let Some((run, names)) = found else {
            printer.say(format!("no run kept a log of `{step}`: it did not run, or said nothing"));
            continue;
        };
        printer.say(format!("{FAINT}run {run}{FAINT:#}"));
        for name in names {
            if args.path {
                printer.data(name.display());
            } else {
                let bytes = fs::read(&name).map_err(|it| Trouble::io(&name, it))?;
                printer.data(String::from_utf8_lossy(&bytes).trim_end());
            }
        }
    }
    Ok(Exit::Good)
}
