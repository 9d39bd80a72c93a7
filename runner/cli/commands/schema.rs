//! `kun schema`: the JSON Schema of manifests, for editors.

use crate::exit::Exit;
use crate::printer::Printer;
use crate::project::kinds;
use crate::trouble::Trouble;

/// Print the JSON Schema of manifests, for editors
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: Args, printer: &Printer) -> Result<Exit, Trouble> {
    printer.data(text());
    Ok(Exit::Good)
}

/// The schema as it is committed: `workflows/workflow.schema.json`.
pub(crate) fn text() -> String {
    let schema = plan::schema(&kinds());
    serde_json::to_string_pretty(&schema).unwrap_or_else(|it| it.to_string())
}
