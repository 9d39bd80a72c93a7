//! `kun verify`: reads the whole store and says what is not as it was written.

use std::path::PathBuf;

use store::{Finding, Quarantine};

use crate::args::{Answer, Manifest, Results};
use crate::exit::Exit;
use crate::printer::{BAD, GOOD, NAME, Printer, WARNING};
use crate::project::{self, open_store};
use crate::trouble::Trouble;
use crate::words;

/// Read the whole store and say what is not as it was written
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest
    #[arg(value_name = "MANIFEST", conflicts_with = "file")]
    manifest: Option<PathBuf>,
    #[command(flatten)]
    at: Manifest,
    #[command(flatten)]
    results: Results,
    #[command(flatten)]
    answer: Answer,
    /// Put damaged objects aside and forget the results that lack one: a run that needs them makes
    /// them again
    #[arg(long)]
    repair: bool,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.at.file = args.at.file.or(args.manifest.take());
    let home = project::read(&args.at)?.home;
    let store = open_store(&args.results, &home)?;
    let quarantine = if args.repair { Quarantine::Move } else { Quarantine::Leave };
    let mut n_mendable = 0;
    let report = store.verify(quarantine, &mut |finding| {
        let object =
            matches!(finding, Finding::DamagedObject { .. } | Finding::MissingObject { .. });
        n_mendable += usize::from(object);
        let (what, makers) = said(&finding);
        if args.answer.json {
            printer.json(&serde_json::json!({"finding": what, "makers": makers}));
        } else {
            printer.data(&what);
            for maker in makers {
                printer.data(format!("  `kun run {}` makes it again", words::argument(&maker)));
            }
        }
    })?;
    let read = format!(
        "{} of {}, {}, {}",
        words::count(report.objects as usize, "object"),
        words::size(report.bytes),
        words::count(report.records as usize, "result"),
        words::count(report.rows as usize, "row"),
    );
    printer.act(GOOD, "Read", read);
    let n = report.findings as usize;
    match (n, report.mended) {
        (0, _) => printer.act(GOOD, "Good", "everything is as it was written"),
        (_, 0) => printer.act(BAD, "Found", format!("{} wrong", words::count(n, "thing"))),
        _ => {
            let forgotten = words::count(report.forgotten as usize, "result");
            let moved = report.moved;
            let text = format!("{n} wrong, {moved} put aside, {forgotten} forgotten");
            printer.act(WARNING, "Found", text);
        }
    }
    if n_mendable > 0 && !args.repair {
        let text = "`kun verify --repair` puts damaged objects aside and forgets the results that \
                    lack one; a run that needs them makes them again";
        printer.say(format!("\n{NAME}help{NAME:#}: {text}"));
    }
    Ok(if report.findings == report.mended { Exit::Good } else { Exit::Failed })
}

/// A finding in words, and the steps that can mend it.
fn said(finding: &Finding) -> (String, Vec<String>) {
    let names = |makers: &[(String, plan::Key)]| makers.iter().map(|it| it.0.clone()).collect();
    match finding {
        Finding::DamagedObject { digest, path, why, makers } => {
            let path = words::near(path);
            (format!("object {digest} is damaged\n  `{path}`: {why}"), names(makers))
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
