//! `kun fmt`: one style for manifests; comments stay.

use std::fs;

use store::Wait;

use crate::args::Manifest;
use crate::exit::Exit;
use crate::printer::{GOOD, NAME, Printer};
use crate::project::{self, find_manifest};
use crate::trouble::Trouble;

/// Format a manifest
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifests
    #[arg(value_name = "MANIFEST", conflicts_with = "file")]
    words: Vec<String>,
    #[command(flatten)]
    at: Manifest,
    /// Write nothing; exit code 1 if anything would change
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    let paths = if args.words.is_empty() {
        vec![find_manifest(&args.at)?]
    } else {
        args.words.iter().map(Into::into).collect()
    };
    let mut exit = Exit::Good;
    for path in paths {
        let bytes = fs::read(&path)
            .map_err(|it| Trouble::user(format!("cannot read `{}`: {it}", path.display())))?;
        let text = String::from_utf8(bytes).map_err(|it| {
            let at = it.utf8_error().valid_up_to();
            Trouble::user(format!("`{}` is not UTF-8 at byte {at}", path.display()))
        })?;
        let formatted = plan::format(&path, &text)?;
        if formatted == text {
            continue;
        }
        let shown = path.display();
        if args.check {
            printer.act(NAME, "Would format", format!("`{shown}`"));
            exit = Exit::Failed;
            continue;
        }
        store::replace(&*project::disk()?, &path, formatted.as_bytes(), Wait::ForDisk)?;
        printer.act(GOOD, "Formatted", format!("`{shown}`"));
    }
    Ok(exit)
}
