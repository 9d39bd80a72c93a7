//! `kun why-rows`: why records went on or did not, from the ledger of a step's newest result.

use std::collections::BTreeMap;

use plan::{InstanceId, Value};
use report::table::{Side, Table};
use steps::StepError;
use steps::text::funnel::{Asked, Funnel, Pick, SourceCount};
use steps::text::ledger::{Bounds, Limit};
use steps::text::shown::{Wanted, texts};

use crate::args::Common;
use crate::exit::Exit;
use crate::last::{Last, Lasts};
use crate::printer::{FAINT, NAME, Printer, for_stdout};
use crate::project;
use crate::trouble::Trouble;
use crate::words;

/// Say why records were dropped, from the stored ledger of a step's newest result
///
/// Nothing is run. Where records are compared with one another (`dedup`, `select`), what another
/// threshold would keep is an estimate.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The step: one that filters
    #[arg(required = true, value_name = "STEP")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
    /// Only this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Show so many records on each side of each threshold, the nearest first
    #[arg(long, value_name = "N")]
    borderline: Option<usize>,
    /// Show so many dropped records of each rule, drawn by their ids
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "3")]
    samples: Option<usize>,
    /// What the rule would keep with these greatest values: `--max 40,50,60`
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', allow_negative_numbers = true)]
    max: Vec<f64>,
    /// What it would keep with these least values
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', allow_negative_numbers = true)]
    min: Vec<f64>,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.common.manifest.take_from(&mut args.words);
    let opened = project::open(&args.common, args.words.clone())?;
    super::why::say_skipped(&opened, printer);
    let lasts = Lasts::new(&opened)?;
    for id in super::why::targets(&opened) {
        let step = opened.graph.instances[id.0].address.to_string();
        if !opened.graph.instances[id.0].outputs.contains_key("ledger") {
            return Err(no_ledger(&lasts, &step));
        }
        let Some(last) = lasts.of(id)? else {
            let text = format!("`{step}` has no result yet");
            let help = format!("`kun run {}` makes one", words::argument(&step));
            return Err(Trouble::helped(text, help));
        };
        let limits = if last.as_asked { lasts.limits(id)? } else { vec![] };
        let funnel = read(&lasts, (id, &last), asked(&args, limits)?)?;
        if args.common.answer.json {
            printer.json(&serde_json::json!({
                "step": step, "key": last.record.key, "fresh": last.fresh, "funnel": funnel,
            }));
            continue;
        }
        say_old(printer, &step, &last);
        show(printer, &step, &args, &funnel);
    }
    Ok(Exit::Good)
}

/// Says that a result is not of what the manifest asks now.
pub(crate) fn say_old(printer: &Printer, step: &str, last: &Last) {
    if last.fresh {
        return;
    }
    let (when, host) = (engine::time::readable(last.record.started), &last.record.host);
    let made = format!("`{step}` is stale; its last result, made {when} UTC on {host}, is shown");
    match last.as_asked {
        true => printer.warn(made),
        false => printer.warn(format!("{made} without thresholds: its parameters have changed")),
    }
}

fn no_ledger(lasts: &Lasts<'_>, step: &str) -> Trouble {
    let with = lasts.opened.workflow.expand(&plan::Ask::default(), &crate::disk::Disk);
    let mut names: Vec<String> = vec![];
    for it in with.iter().flat_map(|it| &it.instances) {
        let name = format!("`{}`", it.address.step);
        if it.outputs.contains_key("ledger") && !names.contains(&name) {
            names.push(name);
        }
    }
    let help = match names.is_empty() {
        true => "no step of this workflow writes one; `rules` does, for example".to_owned(),
        false => format!("these do: {}", names.join(", ")),
    };
    Trouble::helped(format!("`{step}` writes no ledger: it drops no records by a rule"), help)
}

/// What is asked of the ledger.
fn asked(args: &Args, limits: Vec<Limit>) -> Result<Asked, Trouble> {
    let mut tries = vec![];
    if !args.max.is_empty() || !args.min.is_empty() {
        let limit = match (&args.rule, &limits[..]) {
            (Some(rule), all) => {
                let known = all.iter().find(|it| it.rule == *rule || it.value == *rule);
                known.cloned().unwrap_or_else(|| Limit::of(rule, Bounds::default()))
            }
            (None, [one]) => one.clone(),
            (None, all) => {
                let names: Vec<String> = all.iter().map(|it| format!("`{}`", it.rule)).collect();
                let text = "`--min` and `--max` need `--rule`: there is more than one";
                let help = format!("the rules are {}", names.join(", "));
                return Err(match names.is_empty() {
                    true => Trouble::user("`--min` and `--max` need `--rule`"),
                    false => Trouble::helped(text, help),
                });
            }
        };
        let with = |bounds: Bounds| Limit { bounds, ..limit.clone() };
        let max = args.max.iter().map(|it| with(Bounds { max: Some(*it), ..limit.bounds }));
        let min = args.min.iter().map(|it| with(Bounds { min: Some(*it), ..limit.bounds }));
        tries = max.chain(min).collect();
    }
    Ok(Asked {
        limits,
        borderline: args.borderline.unwrap_or(0),
        samples: args.samples.unwrap_or(0),
        rule: args.rule.clone(),
        tries,
    })
}

/// Reads the ledger, and the texts of the records that are shown.
fn read(
    lasts: &Lasts<'_>,
    (id, last): (InstanceId, &Last),
    asked: Asked,
) -> Result<Funnel, Trouble> {
    let wrong = |it: StepError| Trouble::user(engine::error::chain(&it));
    let gone = || Trouble::user("the ledger is no longer in the store");
    let ledger = lasts.output(last, "ledger").ok_or_else(gone)?;
    let mut funnel = Funnel::read(&ledger, &asked).map_err(wrong)?;
    if let Some(rule) = &asked.rule {
        let known = |it: &&String| *it == rule;
        let rules = funnel.rules.iter().map(|it| &it.rule);
        let mut all: Vec<&String> = rules.chain(&funnel.values).collect();
        if !all.iter().any(known) {
            all.dedup();
            let names: std::collections::BTreeSet<String> =
                all.into_iter().map(|it| format!("`{it}`")).collect();
            let names: Vec<String> = names.into_iter().collect();
            let help = format!("the ledger has {}", names.join(", "));
            return Err(Trouble::helped(format!("no rule `{rule}`"), help));
        }
    }
    let picks = funnel.borderline.iter().chain(&funnel.samples);
    let mut wanted: Wanted = picks.map(|it| (it.line, it.id.clone())).collect();
    let instance = &lasts.opened.graph.instances[id.0];
    let field = ["field", "fields"].iter().find_map(|it| match instance.with.get(*it) {
        Some(Value::Text(it)) => Some(it.clone()),
        Some(Value::List(it)) => it.first().map(|it| it.to_string().trim_matches('"').to_owned()),
        _ => None,
    });
    // What came in as it was; else what went on, under the same id.
    let mut found = BTreeMap::new();
    let paths = [lasts.input(id, last, "data"), lasts.output(last, "data")];
    for path in paths.into_iter().flatten() {
        if !wanted.is_empty() {
            found.extend(texts(&path, &wanted, field.as_deref()).map_err(wrong)?);
            wanted.retain(|line, _| !found.contains_key(line));
        }
    }
    for it in funnel.borderline.iter_mut().chain(&mut funnel.samples) {
        it.text = found.get(&it.line).cloned();
    }
    Ok(funnel)
}

fn show(printer: &Printer, step: &str, args: &Args, funnel: &Funnel) {
    let line = |text: String| printer.data(for_stdout(text));
    let table = |it: Table| it.text().lines().for_each(|it| line(format!("  {it}")));
    let Funnel { records, kept, dropped, .. } = funnel;
    let share = words::share(*kept, *records);
    let n = words::count(*records as usize, "record");
    line(format!("{NAME}{step}{NAME:#}  {n}, {kept} kept ({share}), {dropped} dropped"));
    table(rules(args, funnel));
    if funnel.sources.iter().any(|it| it.source.is_some()) {
        line(String::new());
        table(sources(args, funnel));
    }
    if !funnel.tries.is_empty() {
        line(String::new());
        table(tries(funnel));
    }
    let mut head = String::new();
    for (title, picks) in [("next to", &funnel.borderline), ("dropped by", &funnel.samples)] {
        for it in picks {
            let now = format!("{title} {}", it.rule);
            if head != now {
                let known = funnel.rules.iter().find(|rule| rule.rule == it.rule);
                let bounds = known.map(|it| words::bounds(it.min, it.max)).unwrap_or_default();
                line(format!("\n  {FAINT}{}{FAINT:#}", format!("{now}  {bounds}").trim_end()));
                head = now;
            }
            line(picked(it));
        }
    }
}

fn rules(args: &Args, funnel: &Funnel) -> Table {
    let right = |title| (Side::Right, title);
    let mut table = Table::new(&[
        (Side::Left, "rule"),
        (Side::Left, "threshold"),
        right("fail it"),
        right("fail it first"),
        right("fail only it"),
    ]);
    for it in &funnel.rules {
        if args.rule.as_ref().is_none_or(|rule| *rule == it.rule) {
            let numbers = [it.counts.fails, it.counts.first, it.counts.only];
            let head = [it.rule.clone(), words::bounds(it.min, it.max)];
            table.row(head.into_iter().chain(numbers.map(|it| it.to_string())));
        }
    }
    table
}

fn sources(args: &Args, funnel: &Funnel) -> Table {
    let right = |title| (Side::Right, title);
    let last = if args.rule.is_some() { "fail it" } else { "most fail first" };
    let columns =
        [(Side::Left, "source"), right("records"), right("kept"), right(""), (Side::Left, last)];
    let mut table = Table::new(&columns);
    for it in &funnel.sources {
        let name = it.source.clone().unwrap_or_else(|| "(none)".to_owned());
        let share = words::share(it.kept, it.records);
        let cells = [name, it.records.to_string(), it.kept.to_string(), share, last_cell(args, it)];
        table.row(cells);
    }
    table
}

/// How many of a source fail the rule that is meant, or the one that most of them fail first.
fn last_cell(args: &Args, source: &SourceCount) -> String {
    match &args.rule {
        Some(rule) => source.rules.get(rule).map_or(0, |it| it.fails).to_string(),
        None => {
            let most = source.rules.iter().rev().max_by_key(|(_, it)| it.first);
            most.map(|(name, it)| format!("{name} {}", it.first)).unwrap_or_default()
        }
    }
}

fn tries(funnel: &Funnel) -> Table {
    let right = |title| (Side::Right, title);
    let columns = [(Side::Left, "with"), right("kept"), right(""), right("more"), right("fewer")];
    let mut table = Table::new(&columns);
    for it in &funnel.tries {
        let with = format!("{} {}", it.rule, words::bounds(it.min, it.max));
        let share = words::share(it.kept, funnel.records);
        table.row([
            with,
            it.kept.to_string(),
            share,
            format!("+{}", it.more),
            format!("-{}", it.fewer),
        ]);
    }
    table
}

/// How many columns of a text are shown.
const WIDTH: usize = 60;

fn picked(it: &Pick) -> String {
    let side = if it.passes { "passes" } else { "fails" };
    let kept = if it.keep { "kept" } else { "dropped" };
    let value = it.value.map(|it| it.to_string()).unwrap_or_default();
    let text = match &it.text {
        Some(it) => words::short(it, WIDTH),
        None => "(the text is not stored)".to_owned(),
    };
    let id = words::short(&it.id, 24);
    format!("  {side:<6}  {value:>8}  {kept:<7}  {NAME}{id}{NAME:#}  {text}")
}
