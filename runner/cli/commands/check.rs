//! `kun check`: looks for mistakes, runs nothing.

use std::path::PathBuf;

use plan::Ask;

use crate::args::{Answer, Manifest, Scope};
use crate::disk::Disk;
use crate::exit::Exit;
use crate::printer::{GOOD, Printer};
use crate::project;
use crate::trouble::Trouble;
use crate::words::count;

/// Look for mistakes in a manifest, run nothing
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest
    #[arg(value_name = "MANIFEST", conflicts_with = "file")]
    manifest: Option<PathBuf>,
    #[command(flatten)]
    at: Manifest,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    answer: Answer,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.at.file = args.at.file.or(args.manifest.take());
    let project = project::read(&args.at)?;
    // Every variant is expanded as well: a reference may be wrong in one of them only.
    let variants = if args.scope.variants.is_empty() {
        project.workflow.variants().iter().map(|it| (*it).to_owned()).collect()
    } else {
        args.scope.variants.clone()
    };
    let sets = args.scope.sets.sets.clone();
    let mut n_instances = 0;
    for variants in [vec![], variants] {
        let ask = Ask { targets: vec!["*".to_owned()], variants, sets: sets.clone() };
        n_instances = n_instances.max(project.workflow.expand(&ask, &Disk)?.instances.len());
    }
    let n_steps = project.workflow.steps().len();
    let n_variants = project.workflow.variants().len();
    if args.answer.json {
        printer.json(&serde_json::json!({
            "workflow": project.workflow.name(),
            "steps": n_steps,
            "variants": n_variants,
            "instances": n_instances,
        }));
    } else {
        let name = project.workflow.name();
        let text = format!(
            "{name}: {}, {}, no mistakes",
            count(n_steps, "step"),
            count(n_variants, "variant")
        );
        printer.act(GOOD, "Good", text);
    }
    Ok(Exit::Good)
}
