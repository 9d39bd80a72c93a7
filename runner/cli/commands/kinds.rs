//! `kun kinds`: the reference of step kinds, made from their code.

use report::table::{Side, Table};

use crate::exit::Exit;
use crate::printer::Printer;
use crate::project::kinds;
use crate::trouble::Trouble;

/// List the step kinds, or describe one
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The kind
    kind: Option<String>,
    /// All pages, as Markdown
    #[arg(long, conflicts_with = "kind")]
    markdown: bool,
}

pub(crate) fn run(args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    let kinds = kinds();
    if args.markdown {
        for spec in kinds {
            printer.data(steps::reference::markdown(spec));
        }
        return Ok(Exit::Good);
    }
    let Some(name) = args.kind else {
        let mut table = Table::new(&[(Side::Left, "kind"), (Side::Left, "what it does")]);
        for row in steps::reference::table(kinds) {
            table.row(row);
        }
        printer.data(table.text().trim_end());
        return Ok(Exit::Good);
    };
    let Some(spec) = kinds.iter().find(|it| it.name == name) else {
        let names: Vec<&str> = kinds.iter().map(|it| it.name).collect();
        let help = format!("the kinds are {}", names.join(", "));
        return Err(Trouble::helped(format!("no step kind `{name}`"), help));
    };
    printer.data(steps::reference::terminal(spec).trim_end());
    Ok(Exit::Good)
}
