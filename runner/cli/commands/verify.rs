//! `kun verify`: reads the whole store and says what is not as it was written.

use std::collections::BTreeSet;
use std::path::PathBuf;

use engine::replay::{self, Replayed, Share};
use plan::Key;
use store::{Finding, Quarantine, Store, VerifyReport};

use crate::args::{Answer, Common, Manifest, Results};
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
    /// Put aside what is damaged or does not belong there, and forget the results that lack an object
    /// or were made from a damaged one: a run that needs them makes them again
    #[arg(long)]
    repair: bool,
    /// Instead of reading the store, ask models again about this share of the records of every finished
    /// step, in other company, and compare the answers byte for byte
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with = "repair")]
    replay: Option<f64>,
    /// Which records are drawn for that
    #[arg(long, value_name = "SEED", default_value_t = 0, requires = "replay")]
    seed: u64,
}

/// `0.1%` or `0.001`.
fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(it) => (it.trim_end(), 100.0),
        None => (text, 1.0),
    };
    let share = number.parse::<f64>().ok().map(|it| it / scale);
    share
        .filter(|it| *it > 0.0 && *it <= 1.0)
        .ok_or_else(|| "expected a share above 0 and up to 100%, such as `0.1%`".to_owned())
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.at.file = args.at.file.or(args.manifest.take());
    if let Some(of_records) = args.replay {
        return replay(args, of_records, printer);
    }
    let home = project::read(&args.at)?.home;
    let store = open_store(&args.results, &home)?;
    let quarantine = if args.repair { Quarantine::Move } else { Quarantine::Leave };
    let mut report = store.verify(quarantine, &mut |finding| {
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
    unfinished(&store, &args, printer, &mut report)?;
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
    if n > 0 && !args.repair {
        let text = "`kun verify --repair` puts aside what is damaged and forgets the results that lack \
                    an object or were made from a damaged one; a run that needs them makes them again";
        printer.say(format!("\n{NAME}help{NAME:#}: {text}"));
    }
    Ok(if report.findings == report.mended { Exit::Good } else { Exit::Failed })
}

/// Looks into the unfinished states of steps: checkpoints, logs, finished shards.
fn unfinished(
    store: &Store,
    args: &Args,
    printer: &Printer,
    report: &mut VerifyReport,
) -> Result<(), Trouble> {
    for part in store.parts()? {
        let mut damaged = steps::damaged_state(&part);
        damaged.extend(engine::damaged_shards(&part));
        for (path, why) in damaged {
            let near = words::near(&path);
            let what = format!("unfinished work is damaged\n  `{near}`: {why}");
            match args.answer.json {
                true => printer.json(&serde_json::json!({"finding": what, "makers": []})),
                false => printer.data(what),
            }
            report.findings += 1;
            if args.repair && store.put_state_aside(&part, &path)? {
                report.moved += 1;
                report.mended += 1;
            }
        }
    }
    Ok(())
}

/// Asks again about a share of what every finished step that asks a model has kept.
fn replay(args: Args, of_records: f64, printer: &Printer) -> Result<Exit, Trouble> {
    let share = Share { of_records, seed: args.seed };
    let json = args.answer.json;
    let Args { at: manifest, results, answer, .. } = args;
    let mut common = Common { manifest, results, answer, ..Common::default() };
    let (mut done, mut all): (BTreeSet<Key>, Vec<Replayed>) = (BTreeSet::new(), vec![]);
    for variants in [vec![], vec!["*".to_owned()]] {
        common.scope.variants = variants;
        let opened = project::open(&common, vec![])?;
        let heads = opened.heads()?;
        let facts = opened.forecast_facts(&heads);
        for (i, key) in replay::steps(&facts) {
            if done.insert(key) {
                let it = replay::replay(&facts, &opened.home, i, share);
                let it = it.map_err(|it| Trouble::user(engine::error::chain(&it)))?;
                show_replayed(&it, json, printer);
                all.push(it);
            }
        }
        for (i, key) in replay::passed_over(&facts) {
            if done.insert(key) {
                let step = &opened.graph.instances[i].address;
                printer.warn(format!(
                    "`{step}` is not asked again: its answers are kept by question, not by record; \
                     `kun run --store` with an empty folder makes all of them anew"
                ));
            }
        }
        if opened.workflow.variants().is_empty() {
            break;
        }
    }
    let sum = |of: fn(&Replayed) -> u64| all.iter().map(of).sum::<u64>();
    let (asked, differ) = (sum(|it| it.asked - it.without_answer), sum(|it| it.n_differ));
    let n_asked = words::count(asked as usize, "record");
    match (all.is_empty(), differ) {
        (false, 0) if asked == 0 => {
            printer.act(WARNING, "Nothing", "no kept answer to compare with")
        }
        (true, _) => printer.act(WARNING, "Nothing", "no finished step here asks a model"),
        (_, 0) => printer.act(GOOD, "Good", format!("{n_asked} asked again, no answer differs")),
        (_, n) => {
            printer.act(BAD, "Found", format!("{n} of {n_asked} answered otherwise than before"))
        }
    }
    Ok(if differ == 0 { Exit::Good } else { Exit::Failed })
}

fn show_replayed(it: &Replayed, json: bool, printer: &Printer) {
    if json {
        return printer.json(it);
    }
    let Replayed { step, asked, same, without_answer, .. } = it;
    let lost = match without_answer {
        0 => String::new(),
        n => format!(", {n} with no kept answer to compare with"),
    };
    printer.data(format!("{step}: {same} of {asked} answered as before{lost}"));
    for one in &it.differ {
        printer.data(format!("  record {}", one.line));
        printer.data(format!("    kept {}", words::short(&one.kept, 100)));
        printer.data(format!("    now  {}", words::short(&one.now, 100)));
    }
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
        Finding::MadeFromDamaged { address, .. } => (
            format!("the result of `{address}` may be wrong: it was made from a damaged object"),
            vec![],
        ),
        Finding::NotBelieved { path } => {
            let path = words::near(path);
            (format!("`{path}` may be wrong: nothing says that no damaged object is in it"), vec![])
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
