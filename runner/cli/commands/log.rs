//! `kun log`: what a step said when it ran last.

use std::fs;
use std::path::{Path, PathBuf};

use engine::runs;

use crate::args::{Answer, Manifest, Scope};
use crate::disk::Disk;
use crate::exit::Exit;
use crate::printer::{FAINT, Printer, WARNING};
use crate::project::{self, Project};
use crate::trouble::Trouble;
use crate::words;

/// Print what a step wrote to its log when it last ran
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The step
    #[arg(required = true, value_name = "STEP")]
    words: Vec<String>,
    #[command(flatten)]
    at: Manifest,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    answer: Answer,
    /// Only the file's name
    #[arg(long, conflicts_with = "json")]
    path: bool,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.at.take_from(&mut args.words);
    let project = project::read(&args.at)?;
    let folder = project.home.runs();
    let all = runs::list(&folder).map_err(|it| Trouble::io(&folder, it))?;
    for step in named(&args, &project)? {
        let Some((run, names)) = newest(&folder, &all, &step)? else {
            printer.act(WARNING, "No log", format!("{step}: it did not run, or said nothing"));
            continue;
        };
        printer.act(FAINT, "Log", format!("{step} in run {run}"));
        for name in names {
            let path = words::near(&name);
            if args.path {
                printer.data(path);
                continue;
            }
            let bytes = fs::read(&name).map_err(|it| Trouble::io(&name, it))?;
            let text = String::from_utf8_lossy(&bytes);
            if args.answer.json {
                let lines: Vec<&str> = text.lines().collect();
                printer.json(&serde_json::json!({
                    "step": step, "run": run, "path": path, "lines": lines,
                }));
            } else {
                printer.data(text.trim_end());
            }
        }
    }
    Ok(Exit::Good)
}

/// The steps that are meant: targets, and whatever they are called in other variants.
fn named(args: &Args, project: &Project) -> Result<Vec<String>, Trouble> {
    let graph = project.workflow.expand(&args.scope.ask(args.words.clone()), &Disk)?;
    let mut names = vec![];
    for target in &graph.targets {
        let name = target.address.to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The newest run that kept logs of this step, and their paths.
fn newest(
    folder: &Path,
    all: &[String],
    step: &str,
) -> Result<Option<(String, Vec<PathBuf>)>, Trouble> {
    let stem = runs::file_name(step);
    for run in all.iter().rev() {
        let logs = folder.join(run).join("logs");
        let mut names = vec![];
        for entry in fs::read_dir(&logs).map_err(|it| Trouble::io(&logs, it))? {
            let entry = entry.map_err(|it| Trouble::io(&logs, it))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let rest = name.strip_prefix(&stem).map(str::to_owned);
            let is_its = rest.is_some_and(|it| it.starts_with('.') || it.starts_with("%20shard"));
            if is_its && entry.metadata().is_ok_and(|it| it.len() > 0) {
                names.push(logs.join(name));
            }
        }
        if !names.is_empty() {
            names.sort();
            return Ok(Some((run.clone(), names)));
        }
    }
    Ok(None)
}
