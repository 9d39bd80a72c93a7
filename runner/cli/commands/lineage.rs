//! `kun lineage`: what became of one record through the newest results of all steps.

use std::collections::{BTreeMap, BTreeSet};

use plan::kind::Form;
use plan::{Input, InstanceId};
use report::table::{Side, Table};
use serde::Serialize;
use serde_json::{Map, Value};
use steps::text::ledger::{Bounds, Entry, Limit};
use steps::text::lineage::{self, Became, Seen};

use crate::args::Common;
use crate::exit::Exit;
use crate::last::{Last, Lasts};
use crate::printer::{FAINT, NAME, Printer, for_stdout};
use crate::project;
use crate::trouble::Trouble;
use crate::words;

/// Show the lineage of one record through all steps
///
/// Where it stands, where it changed, what dropped it, which records came of it. Looks at the newest results, and runs nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The record's id; its children `ID.N` are told too
    #[arg(value_name = "ID")]
    id: String,
    /// Steps, with all that they depend on; nothing: the workflow's own targets
    #[arg(value_name = "STEP")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// So many records are told of one file: a document may have very many children.
const MOST: usize = 200;
/// So many children are shown by themselves.
const CHILDREN: usize = 5;
/// How many columns of a value are shown.
const WIDTH: usize = 60;

/// Records by their ids.
type Versions = BTreeMap<String, Map<String, Value>>;

/// What happened to a record in a step.
#[derive(Debug, Serialize)]
struct Event {
    step: String,
    id: String,
    /// Where it stands: the output and the line in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<(String, u64)>,
    what: What,
}

/// What happens to records.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum What {
    /// It comes from outside, or out of another record.
    Begins(Map<String, Value>),
    /// It goes on as it was.
    Same,
    /// These fields are other than before.
    Changes(Vec<Change>),
    /// It is kept or dropped, by these rules.
    Judged { keep: bool, rules: Vec<Rule> },
    /// Something is written about it.
    Noted(Map<String, Value>),
    /// It is read, and what is written are no records.
    Read(Vec<String>),
    /// It is read, and nothing of what is written has it.
    LeftOut,
    /// So many more records of the file are its children.
    More(u64),
}

#[derive(Debug, Serialize)]
struct Change {
    field: String,
    was: Option<Value>,
    is: Option<Value>,
}

#[derive(Debug, Serialize)]
struct Rule {
    rule: String,
    value: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.common.manifest.take_from(&mut args.words);
    let opened = project::open(&args.common, args.words.clone())?;
    let mut life = Life {
        lasts: Lasts::new(&opened)?,
        id: &args.id,
        known: BTreeMap::new(),
        events: vec![],
        without: vec![],
        stale: vec![],
    };
    for i in 0..opened.graph.instances.len() {
        life.step(InstanceId(i))?;
    }
    if life.events.is_empty() {
        let text = format!("no record `{}` in the newest results", args.id);
        return Err(match life.without.is_empty() {
            true => Trouble::user(text),
            false => Trouble::helped(text, format!("no result yet: {}", list(&life.without))),
        });
    }
    if args.common.answer.json {
        let (events, without, stale) = (&life.events, &life.without, &life.stale);
        printer.json(&serde_json::json!({
            "id": args.id, "events": events, "without_result": without, "stale": stale,
        }));
        return Ok(Exit::Good);
    }
    show(&args.id, &life.events, printer);
    if !life.stale.is_empty() {
        printer.warn(format!("stale, shown as they were last: {}", list(&life.stale)));
    }
    if !life.without.is_empty() {
        printer.say(format!("no result yet: {}", list(&life.without)));
    }
    Ok(Exit::Good)
}

fn list(names: &[String]) -> String {
    names.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
}

/// What is known of a record and its children, step by step.
struct Life<'a> {
    lasts: Lasts<'a>,
    id: &'a str,
    /// The versions in each output.
    known: BTreeMap<(InstanceId, String), Versions>,
    events: Vec<Event>,
    without: Vec<String>,
    stale: Vec<String>,
}

impl Life<'_> {
    fn step(&mut self, id: InstanceId) -> Result<(), Trouble> {
        let opened = self.lasts.opened;
        let instance = &opened.graph.instances[id.0];
        let step = instance.address.to_string();
        let Some(last) = self.lasts.of(id)? else {
            self.without.push(step);
            return Ok(());
        };
        if !last.fresh {
            self.stale.push(step.clone());
        }
        let before = self.before(id, &last)?;
        let n_events = self.events.len();
        let mut here = BTreeSet::new();
        // The verdict comes before what is made of it.
        let slots: Vec<&String> = instance.outputs.keys().collect();
        let (ledgers, others): (Vec<&String>, Vec<&String>) =
            slots.into_iter().partition(|it| *it == "ledger");
        for slot in ledgers.into_iter().chain(others) {
            let form = instance.outputs[slot].form;
            let path = self.lasts.output(&last, slot);
            let (false, Some(path)) = (form.is_dir(), path) else { continue };
            let found = match lineage::find(&path, self.id, MOST) {
                Ok(it) => it,
                // A file of any content, such as `concat` writes, may hold records, and need not.
                Err(_) if form != Form::Records => continue,
                Err(it) => return Err(Trouble::user(engine::error::chain(&it))),
            };
            for seen in found.seen {
                here.insert(seen.id.clone());
                let what = match slot.as_str() {
                    "ledger" => self.verdict(id, &last, seen.record.clone())?,
                    _ => self.version((id, slot), &before, &seen),
                };
                let at = Some((slot.clone(), seen.line));
                self.events.push(Event { step: step.clone(), id: seen.id, at, what });
            }
            if found.more > 0 {
                let (at, what) = (Some((slot.clone(), 0)), What::More(found.more));
                self.events.push(Event { step: step.clone(), id: self.id.to_owned(), at, what });
            }
        }
        let makes: Vec<String> = instance.outputs.keys().cloned().collect();
        let records = instance.outputs.values().any(|it| it.form == Form::Records);
        for gone in before.keys().filter(|it| !here.contains(*it)) {
            // Children that are told for themselves stand for their parent.
            let child =
                |it: &String| it.strip_prefix(gone.as_str()).is_some_and(|it| it.starts_with('.'));
            if !here.iter().any(child) {
                let what = if records { What::LeftOut } else { What::Read(makes.clone()) };
                self.events.push(Event { step: step.clone(), id: gone.clone(), at: None, what });
            }
        }
        self.events[n_events..].sort_by(|a, b| a.id.cmp(&b.id));
        Ok(())
    }

    /// The versions that an instance reads.
    fn before(&self, id: InstanceId, last: &Last) -> Result<Versions, Trouble> {
        let mut all = BTreeMap::new();
        let inputs = &self.lasts.opened.graph.instances[id.0].inputs;
        for input in inputs.values().flatten() {
            if let Input::Output { instance, slot } = input
                && let Some(known) = self.known.get(&(*instance, slot.clone()))
            {
                all.extend(known.iter().map(|(id, it)| (id.clone(), it.clone())));
            }
        }
        // Records that come from outside may have their ids already.
        let from_outside =
            inputs.get("data").is_some_and(|it| matches!(it[..], [Input::Source(_)]));
        if let Some(path) = self.lasts.input(id, last, "data").filter(|_| from_outside) {
            let found = lineage::find(&path, self.id, MOST)
                .map_err(|it| Trouble::user(engine::error::chain(&it)))?;
            all.extend(found.seen.into_iter().map(|it| (it.id, it.record)));
        }
        Ok(all)
    }

    /// What an output's record is to the version that was read.
    fn version(&mut self, (id, slot): (InstanceId, &str), before: &Versions, seen: &Seen) -> What {
        let was = before.get(&seen.id);
        if let Some(was) = was
            && !lineage::goes_on(was, &seen.record)
        {
            return What::Noted(seen.record.clone());
        }
        let known = self.known.entry((id, slot.to_owned())).or_default();
        known.insert(seen.id.clone(), seen.record.clone());
        let Some(was) = was else { return What::Begins(seen.record.clone()) };
        let changes: Vec<Change> = lineage::differences(was, &seen.record)
            .into_iter()
            .map(|(field, it)| {
                let (was, is) = match it {
                    Became::New(is) => (None, Some(is)),
                    Became::Gone(was) => (Some(was), None),
                    Became::Other(was, is) => (Some(was), Some(is)),
                };
                Change { field: field.to_owned(), was: was.cloned(), is: is.cloned() }
            })
            .collect();
        if changes.is_empty() { What::Same } else { What::Changes(changes) }
    }

    /// What a ledger says.
    fn verdict(
        &self,
        id: InstanceId,
        last: &Last,
        record: Map<String, Value>,
    ) -> Result<What, Trouble> {
        let entry: Entry = match serde_json::from_value(Value::Object(record.clone())) {
            Ok(it) => it,
            Err(_) => return Ok(What::Noted(record)),
        };
        let limits = if last.as_asked { self.lasts.limits(id)? } else { vec![] };
        let rule = |rule: &String| {
            let limit: Option<&Limit> = limits.iter().find(|it| it.rule == *rule);
            let Bounds { min, max } = limit.map(|it| it.bounds).unwrap_or_default();
            let value = entry.values.get(limit.map_or(rule.as_str(), |it| &it.value));
            Rule { rule: rule.clone(), value, min, max }
        };
        Ok(What::Judged { keep: entry.keep, rules: entry.fails.iter().map(rule).collect() })
    }
}

fn show(id: &str, events: &[Event], printer: &Printer) {
    let line = |text: String| printer.data(for_stdout(text));
    line(format!("{NAME}{id}{NAME:#}"));
    let mut table = Table::new(&[(Side::Left, ""); 3]);
    let (mut step, mut hidden): (&str, BTreeSet<&str>) = ("", BTreeSet::new());
    let children: BTreeSet<&str> =
        events.iter().map(|it| it.id.as_str()).filter(|it| *it != id).collect();
    let shown: BTreeSet<&str> = children.iter().copied().take(CHILDREN).collect();
    // That a record was kept is seen from where it goes on.
    let goes_on = |it: &Event| {
        let same = |other: &Event| other.step == it.step && other.id == it.id;
        let kept = matches!(it.what, What::Judged { keep: true, .. });
        kept && events.iter().any(|other| same(other) && !matches!(other.what, What::Judged { .. }))
    };
    for it in events.iter().filter(|it| !goes_on(it)) {
        if it.id != id && !shown.contains(it.id.as_str()) {
            hidden.insert(&it.id);
            continue;
        }
        let name = if it.step == step { String::new() } else { format!("  {}", it.step) };
        step = &it.step;
        let at = it.at.as_ref().filter(|it| it.1 > 0);
        let at = at.map(|(slot, line)| format!("{slot}:{line}")).unwrap_or_default();
        let own = if it.id == id { String::new() } else { format!("{}: ", it.id) };
        let mut said = said(&it.what).into_iter();
        table.row([name, at, own + &said.next().unwrap_or_default()]);
        said.for_each(|it| {
            table.row([String::new(), String::new(), format!("  {it}")]);
        });
    }
    table.text().lines().for_each(|it| line(it.to_owned()));
    if !hidden.is_empty() {
        let example = hidden.iter().next().map_or(id, |it| it);
        let n = match hidden.len() {
            1 => "1 more child".to_owned(),
            n => format!("{n} more children"),
        };
        line(format!(
            "  {FAINT}{n}: `kun lineage {}` tells of one{FAINT:#}",
            words::argument(example)
        ));
    }
}

/// What happened, on one line or more.
fn said(what: &What) -> Vec<String> {
    match what {
        What::Begins(record) => {
            let mut all = vec!["begins".to_owned()];
            let fields = record.iter().filter(|(name, _)| *name != "id");
            all.extend(fields.map(|(name, it)| format!("{name}: {}", value(it))));
            all
        }
        What::Same => vec!["goes on as it was".to_owned()],
        What::Changes(changes) => {
            let mut all = vec!["goes on, changed".to_owned()];
            all.extend(changes.iter().map(change));
            all
        }
        What::Judged { keep: true, .. } => vec!["is kept".to_owned()],
        What::Judged { rules, .. } => {
            let all: Vec<String> = rules.iter().map(broken).collect();
            vec![format!("is dropped by {}", all.join(", and "))]
        }
        What::Noted(record) => {
            let fields = record.iter().filter(|(name, _)| *name != "id");
            let all: Vec<String> =
                fields.map(|(name, it)| format!("{name} {}", value(it))).collect();
            vec![format!("is noted: {}", all.join(", "))]
        }
        What::Read(makes) => vec![format!("is read for {}", list(makes))],
        What::LeftOut => vec!["is left out".to_owned()],
        What::More(n) => vec![format!("and {n} more of its children")],
    }
}

fn broken(it: &Rule) -> String {
    let bounds = words::bounds(it.min, it.max);
    match it.value {
        Some(value) if bounds.is_empty() => format!("`{}` with {value}", it.rule),
        Some(value) => format!("`{}` with {value} ({bounds})", it.rule),
        None => format!("`{}`", it.rule),
    }
}

fn change(it: &Change) -> String {
    let field = &it.field;
    match (&it.was, &it.is) {
        (Some(Value::String(was)), Some(Value::String(is))) => {
            let text = report::changes::short(was, is, 6, 3);
            format!("{field}: {}", steps::model::visible(&text))
        }
        (Some(was), Some(is)) => format!("{field}: {} became {}", value(was), value(is)),
        (None, Some(is)) => format!("+ {field}: {}", value(is)),
        (was, None) => {
            let was = was.as_ref().map(value).unwrap_or_default();
            format!("- {field}: {was}")
        }
    }
}

fn value(it: &Value) -> String {
    match it {
        Value::String(it) => words::short(it, WIDTH),
        other => words::short(&other.to_string(), WIDTH),
    }
}
