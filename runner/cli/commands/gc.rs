//! `kun gc`: says what the store could do without, and removes it when told to.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use engine::{Home, runs};
use plan::Key;
use report::table::{Side, Table};
use store::{GcAsk, GcMode, Project, Store};

use crate::args::{Answer, Manifest, Results};
use crate::exit::Exit;
use crate::printer::{GOOD, Printer};
use crate::project::{self, open_store};
use crate::trouble::Trouble;
use crate::words;

/// Say what the store could do without; `--yes` removes it
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
    /// Remove it, and put together what ended steps left of rows
    #[arg(long)]
    yes: bool,
    /// How many of this project's newest runs keep their results; those of other projects that use
    /// the store keep all of theirs
    #[arg(long, value_name = "N", default_value_t = 10)]
    keep: usize,
    /// Let the results of a project go whose folder is not there any more (may be repeated)
    #[arg(long, value_name = "FOLDER")]
    forget: Vec<PathBuf>,
    /// How many hours old something must be to go
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    older: u64,
    /// Keep the results of the newest run under a name, whatever comes; removes nothing
    #[arg(long, value_name = "NAME", conflicts_with_all = ["yes", "unpin", "pins"])]
    pin: Option<String>,
    /// Forget a name; removes nothing
    #[arg(long, value_name = "NAME", conflicts_with_all = ["yes", "pins"])]
    unpin: Option<String>,
    /// List the names with how many results each keeps
    #[arg(long, conflicts_with = "yes")]
    pins: bool,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.at.file = args.at.file.or(args.manifest.take());
    let home = project::read(&args.at)?.home;
    let store = open_store(&args.results, &home)?;
    if args.pin.is_some() || args.unpin.is_some() || args.pins {
        return pins(&args, &home, &store, printer);
    }
    let ask = GcAsk {
        keep: roots(&home, &store, args.keep)?,
        project: home.state.is_dir().then(|| home.state.clone()),
        runs: args.keep,
        forget: forgotten(&args.forget, &store)?,
        grace: Duration::from_secs(args.older * 3600),
        mode: if args.yes { GcMode::Remove } else { GcMode::DryRun },
        ..GcAsk::default()
    };
    let mut report = store.gc(&ask)?;
    for store::Warning { path, what } in store.warnings() {
        printer.warn(format!("`{}`: {what}", path.display()));
    }
    for project in &report.gone {
        let folder = root_of(project);
        let shown = words::argument(&folder.display().to_string());
        printer.warn(format!(
            "project `{}` is not there: its results stay (`kun gc --forget {shown}` lets them go)",
            folder.display()
        ));
    }
    report.records.sort_by(|a, b| (&a.address, a.key).cmp(&(&b.address, b.key)));
    if args.answer.json {
        let records: Vec<_> = report
            .records
            .iter()
            .map(|it| {
                serde_json::json!({"step": it.address, "key": it.key, "bytes": it.bytes, "took_ms": it.took_ms})
            })
            .collect();
        printer.json(&serde_json::json!({
            "removed": args.yes, "records": records, "kept_records": report.kept_records,
            "objects": report.objects, "object_bytes": report.object_bytes,
            "parts": report.parts, "part_bytes": report.part_bytes,
            "row_spaces": report.row_spaces, "row_bytes": report.row_bytes,
            "compacted_bytes": report.compacted_bytes,
            "gone": report.gone.iter().map(root_of).collect::<Vec<_>>(),
            "attempts": report.attempts.attempts, "attempt_bytes": report.attempts.bytes,
        }));
        return Ok(Exit::Good);
    }
    let mut table =
        Table::new(&[(Side::Left, "step"), (Side::Right, "size"), (Side::Right, "took")]);
    for it in &report.records {
        table.row([it.address.clone(), words::size(it.bytes), engine::time::duration(it.took_ms)]);
    }
    if !report.records.is_empty() {
        printer.data(table.text().trim_end());
    }
    let bytes = report.object_bytes + report.part_bytes + report.row_bytes + report.attempts.bytes;
    let (n, kept) = (report.records.len(), report.kept_records);
    let text = format!(
        "{}, {}, {}; {} stay",
        words::count(n, "result"),
        words::count(report.objects as usize, "object"),
        words::size(bytes),
        words::count(kept as usize, "result")
    );
    if args.yes {
        printer.act(GOOD, "Removed", text);
        if report.compacted_bytes > 0 {
            let freed = words::size(report.compacted_bytes);
            printer.act(GOOD, "Compacted", format!("rows of ended steps: {freed} freed"));
        }
    } else {
        let help = if n > 0 || bytes > 0 { " (`--yes` removes them)" } else { "" };
        printer.act(GOOD, "Could go", format!("{text}{help}"));
    }
    Ok(Exit::Good)
}

/// Makes, forgets or lists names under which results are kept.
fn pins(args: &Args, home: &Home, store: &Store, printer: &Printer) -> Result<Exit, Trouble> {
    if let Some(name) = &args.pin {
        let keys: Vec<Key> = run_keys(home, 1)?.into_iter().collect();
        if keys.is_empty() {
            let help = "`kun run` makes results, and its record says which they are";
            return Err(Trouble::helped("no run has left a record yet", help));
        }
        store.pin(name, &keys)?;
        let n = words::count(keys.len(), "result");
        printer.act(GOOD, "Pinned", format!("{n} as `{name}`"));
    }
    if let Some(name) = &args.unpin {
        if !store.unpin(name)? {
            return Err(Trouble::user(format!("nothing is pinned as `{name}`")));
        }
        printer.act(GOOD, "Unpinned", format!("`{name}`"));
    }
    let pins = store.pins()?;
    if args.answer.json {
        printer.json(&pins);
    } else if args.pins {
        for (name, keys) in pins {
            printer.data(format!("{name}  {}", words::count(keys.len(), "result")));
        }
    }
    Ok(Exit::Good)
}

/// The folder of a project's manifest.
fn root_of(project: &Project) -> PathBuf {
    project.state.parent().unwrap_or(&project.state).to_owned()
}

/// The projects that are to be forgotten; only what is not there can be.
fn forgotten(folders: &[PathBuf], store: &Store) -> Result<BTreeSet<PathBuf>, Trouble> {
    let projects = store.projects()?;
    let mut states = BTreeSet::new();
    for folder in folders {
        let folder = std::path::absolute(folder).map_err(|it| Trouble::io(folder, it))?;
        let shown = folder.display();
        let found = projects.iter().find(|it| it.state == folder || root_of(it) == folder);
        let Some(found) = found else {
            let help = "`kun gc` names the projects that use this store and are not there";
            return Err(Trouble::helped(format!("no project `{shown}` uses this store"), help));
        };
        if found.is_there() {
            let help = "`kun gc` in it says what it could do without";
            return Err(Trouble::helped(format!("project `{shown}` is there"), help));
        }
        states.insert(found.state.clone());
    }
    Ok(states)
}

/// The results of the newest runs, and of the lock files of all projects that are there.
fn roots(home: &Home, store: &Store, keep: usize) -> Result<BTreeSet<Key>, Trouble> {
    let mut keys = run_keys(home, keep)?;
    keys.extend(super::lock::keys(home)?);
    for project in store.projects()? {
        if project.is_there() {
            keys.extend(super::lock::keys(&Home::of(&root_of(&project)))?);
        }
    }
    Ok(keys)
}

/// The results of the newest `n` runs.
fn run_keys(home: &Home, n: usize) -> Result<BTreeSet<Key>, Trouble> {
    let folder = home.runs();
    let all = runs::list(&folder).map_err(|it| Trouble::io(&folder, it))?;
    let mut keys = BTreeSet::new();
    for run in all.iter().rev().take(n) {
        let found = runs::keys(&folder, run).map_err(|it| Trouble::io(&folder.join(run), it))?;
        keys.extend(found.into_iter().map(|(_, key)| key));
    }
    Ok(keys)
}
