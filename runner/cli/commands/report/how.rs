//! How results were made: the graph, when each step ran and with how much memory, from what, by what,
//! and how to make them again.

use std::collections::{BTreeMap, BTreeSet};

use ::report::chart::{Bar, Chart, Marks, Span};
use ::report::page::{Block, Cell, Section, Table};
use engine::events::Event;
use engine::runs;
use store::Record;

use super::gather::Made;
use super::words::Words;
use crate::project::Opened;

/// Of runs before these, nothing is asked about machines.
const RUNS: usize = 50;

pub(super) fn section(opened: &Opened, made: &[Made], words: &Words) -> Section {
    let mut blocks = vec![Block::Picture {
        title: words.steps.to_owned(),
        svg: ::report::svg::svg(&super::super::graph::picture(opened)),
    }];
    blocks.extend(times(made, words).map(Block::Chart));
    blocks.extend(memory(made, words).map(Block::Chart));
    blocks.push(Block::Table(steps(made, &ran(opened), words)));
    blocks.push(Block::Table(sources(opened, words)));
    blocks.push(Block::Table(provenance(opened, made, words)));
    Section { title: words.how.to_owned(), blocks }
}

/// The results that there are, by step.
fn records(made: &[Made]) -> Vec<(&str, &Record)> {
    made.iter().filter_map(|it| Some((it.name.as_str(), &it.last.as_ref()?.record))).collect()
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Results of one run beside each other in time; of several only how long each took.
fn times(made: &[Made], words: &Words) -> Option<Chart> {
    let records = records(made);
    let first = records.iter().map(|it| it.1.started).min()?;
    let last = records.iter().map(|it| it.1.started + it.1.took_ms).max()?;
    let sum: u64 = records.iter().map(|it| it.1.took_ms).sum();
    let span = |(name, it): &(&str, &Record)| Span {
        name: (*name).to_owned(),
        start: seconds(it.started - first),
        end: seconds(it.started - first + it.took_ms),
        note: format!("{} s, {:.0} MiB", seconds(it.took_ms), mebibytes(it.peak_bytes)),
    };
    let marks = match last - first <= 2 * sum + 1000 {
        true => Marks::Spans(records.iter().map(span).collect()),
        false => bars(&records, |it| seconds(it.took_ms)),
    };
    let (x, y) = (words.seconds.to_owned(), words.seconds.to_owned());
    Some(Chart { title: words.times.to_owned(), x, y, marks })
}

fn memory(made: &[Made], words: &Words) -> Option<Chart> {
    let records = records(made);
    let marks = bars(&records, |it| mebibytes(it.peak_bytes).round());
    let (x, y) = (words.step.to_owned(), words.memory.to_owned());
    let chart = Chart { title: words.memory_of.to_owned(), x, y, marks };
    records.iter().any(|it| it.1.peak_bytes > 0).then_some(chart)
}

fn bars(records: &[(&str, &Record)], value: impl Fn(&Record) -> f64) -> Marks {
    let bar = |(name, it): &(&str, &Record)| Bar {
        name: (*name).to_owned(),
        value: value(it),
        interval: None,
    };
    Marks::Bars(records.iter().map(bar).collect())
}

/// The steps that ran in the newest run; nothing, where there is no record of one.
fn ran(opened: &Opened) -> Option<BTreeSet<String>> {
    let folder = opened.home.runs();
    let newest = runs::list(&folder).ok()?.pop()?;
    let events = runs::events(&folder, &newest).ok()?;
    let ran = |it| if let Event::StepDone { step, .. } = it { Some(step) } else { None };
    Some(events.into_iter().filter_map(ran).collect())
}

fn steps(made: &[Made], ran: &Option<BTreeSet<String>>, words: &Words) -> Table {
    let row = |it: &Made| {
        let Some(last) = &it.last else {
            return vec![Cell::text(&it.name), Cell::text(words.missing)];
        };
        let record = &last.record;
        let counts: Vec<String> =
            record.counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
        let newest = match ran {
            Some(ran) if ran.contains(&it.name) => words.ran,
            Some(_) if last.fresh => words.reused,
            _ => "",
        };
        vec![
            Cell::text(&it.name),
            Cell::text(if last.fresh { words.fresh } else { words.stale }),
            Cell::text(newest),
            Cell::Number(seconds(record.took_ms), 1),
            Cell::Number(seconds(record.cpu_ms), 1),
            Cell::Number(mebibytes(record.peak_bytes), 0),
            Cell::text(counts.join(", ")),
            Cell::text(record.key.to_string()),
        ]
    };
    let columns = [
        words.step,
        words.result,
        words.last_run,
        words.seconds,
        words.processor,
        words.memory,
        words.counts,
        words.digest,
    ];
    let rows = made.iter().map(row).collect();
    Table { title: words.steps.to_owned(), columns: columns.map(str::to_owned).to_vec(), rows }
}

fn sources(opened: &Opened, words: &Words) -> Table {
    let (declared, models) = (opened.workflow.sources(), opened.workflow.models());
    let row = |(i, source): (usize, &plan::graph::Source)| {
        let name = source.name.as_ref();
        let said = name.and_then(|it| declared.get(it).or_else(|| models.get(it)));
        let text = |it: Option<&String>| Cell::text(it.map_or("", String::as_str));
        vec![
            Cell::text(engine::facts::source_name(source)),
            Cell::text(source.path.display().to_string()),
            text(said.and_then(|it| it.from.as_ref())),
            text(said.and_then(|it| it.license.as_ref())),
            Cell::text(opened.gathered.facts.sources[i].map_or(String::new(), |it| it.to_string())),
        ]
    };
    let columns = [words.source, "", words.from, words.license, words.digest];
    Table {
        title: words.sources.to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: opened.graph.sources.iter().enumerate().map(row).collect(),
    }
}

fn provenance(opened: &Opened, made: &[Made], words: &Words) -> Table {
    let records = records(made);
    let each = |of: fn(&Record) -> &str| {
        let all: BTreeSet<&str> = records.iter().map(|it| of(it.1)).collect();
        all.into_iter().collect::<Vec<_>>().join(", ")
    };
    let mut rows = vec![
        (words.version, format!("kun {}", each(|it| &it.kun))),
        (words.host, each(|it| &it.host)),
    ];
    rows.extend(machines(opened).into_iter().map(|it| (words.machine, it)));
    rows.push((words.seed, opened.workflow.seed().to_string()));
    rows.push((words.again, format!("kun run --locked {}", manifest(opened))));
    let row = |(name, value): (&str, String)| vec![Cell::text(name), Cell::text(value)];
    Table {
        title: words.provenance.to_owned(),
        columns: vec![String::new(), words.value.to_owned()],
        rows: rows.into_iter().map(row).collect(),
    }
}

/// The machines of the newest runs, in words.
fn machines(opened: &Opened) -> BTreeSet<String> {
    let folder = opened.home.runs();
    let newest = runs::list(&folder).unwrap_or_default().into_iter().rev().take(RUNS);
    let started = newest.filter_map(|it| runs::events(&folder, &it).ok()?.into_iter().next());
    let machine =
        |it| if let Event::RunStarted { machine, .. } = it { Some(machine) } else { None };
    started.filter_map(machine).filter(|it| !it.is_empty()).collect()
}

fn manifest(opened: &Opened) -> String {
    let name = opened.workflow.files().into_iter().next();
    let name = name.and_then(|it| it.file_name().map(|it| it.to_string_lossy().into_owned()));
    name.unwrap_or_default()
}

/// What must be known before anything is read. Results of runs that are named are old on purpose.
pub(super) fn warnings(
    opened: &Opened,
    (made, named_runs): (&[Made], bool),
    words: &Words,
) -> Vec<String> {
    let named = |about: &str, all: Vec<String>| {
        (!all.is_empty()).then(|| format!("{about} {}", all.join(", ")))
    };
    let of = |wanted: &dyn Fn(&Made) -> bool| {
        made.iter().filter(|it| wanted(it)).map(|it| it.name.clone()).collect()
    };
    let stale = of(&|it| !named_runs && it.last.as_ref().is_some_and(|it| !it.fresh));
    let missing = of(&|it| it.last.is_none());
    // Only somebody who names licences wants to hear which are missing.
    let licenses: BTreeMap<String, bool> = opened
        .workflow
        .sources()
        .into_iter()
        .map(|(name, it)| (name, it.license.is_some()))
        .collect();
    let any = licenses.values().any(|it| *it);
    let used: BTreeSet<&String> =
        opened.graph.sources.iter().filter_map(|it| it.name.as_ref()).collect();
    let bare = licenses.iter().filter(|it| any && !it.1 && used.contains(it.0));
    let bare = bare.map(|it| it.0.clone()).collect();
    let all =
        [(words.stale_about, stale), (words.missing_about, missing), (words.unlicensed, bare)];
    all.into_iter().filter_map(|(about, all)| named(about, all)).collect()
}
