//! `kun verify`: reads the whole store and says what is not as it was written.

use store::{Finding, Quarantine};

use crate::args::Common;
use crate::exit::Exit;
use crate::printer::{GOOD, Printer};
use crate::project::{self, open_store};
use crate::trouble::Trouble;

/// Read the whole store and say what is not as it was written
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
    /// Put damaged objects aside, so that the next run makes them again
    #[arg(long)]
    repair: bool,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.common.take_manifest(&mut args.words);
    let home = project::read(&args.common)?.home;
    let store = open_store(&args.common, &home)?;
    let quarantine = if args.repair { Quarantine::Move } else { Quarantine::Leave };
    let report = store.verify(quarantine, &mut |finding| {
        let (what, makers) = said(&finding);
        if args.common.json {
            printer.json(&serde_json::json!({"finding": what, "makers": makers}));
        } else {
            printer.data(&what);
            for maker in makers {
                printer.data(format!("  `{maker}` can make it again"));
            }
        }
    })?;
    let text = format!(
        "{} objects, {} bytes, {} results, {} rows: {} findings",
        report.objects, report.bytes, report.records, report.rows, report.findings
    );
    printer.act(GOOD, "Read", text);
    if report.findings > 0 && !args.repair {
        let text =
            "`kun verify --repair` puts damaged objects aside; the next `kun run` makes them again";
        printer.say(text);
    }
    Ok(if report.findings == report.moved { Exit::Good } else { Exit::Failed })
}

/// A finding in words, and the steps that can mend it.
fn said(finding: &Finding) -> (String, Vec<String>) {
    let names = |makers: &[(String, plan::Key)]| makers.iter().map(|it| it.0.clone()).collect();
    match finding {
        Finding::DamagedObject { digest, path, why, makers } => {
            (format!("object {digest} is damaged: {why} (`{}`)", path.display()), names(makers))
        }
        Finding::MissingObject { digest, makers } => {
            (format!("object {digest} is not there"), names(makers))
        }
        Finding::DamagedRecord { path, why } => {
            (format!("record `{}` is damaged: {why}", path.display()), vec![])
        }
        Finding::DamagedRows { path, why } => {
            (format!("rows `{}` are damaged: {why}", path.display()), vec![])
        }
        Finding::DifferingRow { space, row } => (
            format!("row {} of space {} is there twice, and differs", row.short(), space.short()),
            vec![],
        ),
        Finding::Stray { path } => (format!("`{}` does not belong here", path.display()), vec![]),
    }
}
