//! `kun diff`: two runs, or two variants: which steps differ, and in which parts.

use std::collections::{BTreeMap, BTreeSet};

use engine::runs;
use engine::why::Effort;
use plan::kind::Form;
use plan::{Key, Parts};
use serde::Serialize;
use serde_json::{Map, Value};
use store::{Record, RecordOutput, Store};

use crate::args::{Answer, Common, Manifest, Results, Scope, Sets, Trust};
use crate::exit::Exit;
use crate::last;
use crate::printer::{FAINT, NAME, Printer, for_stdout};
use crate::project::{self, Opened, open_store};
use crate::trouble::Trouble;
use crate::words;

/// A metrics file is no longer than this.
const MAX_METRICS_BYTES: u64 = 1 << 20;

/// Compare two runs, or two variants: what was asked, what came out
#[derive(Debug, clap::Args)]
#[command(override_usage = "kun diff [OPTIONS] [MANIFEST] <RUN> <RUN>")]
pub(crate) struct Args {
    /// Two runs (`kun diff last~1 last`, `kun diff 20261120-140355 last`) or two variants
    #[arg(required = true, num_args = 2..=3, value_name = "RUN")]
    words: Vec<String>,
    #[command(flatten)]
    at: Manifest,
    #[command(flatten)]
    sets: Sets,
    #[command(flatten)]
    results: Results,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    answer: Answer,
}

#[derive(Debug, Serialize)]
pub(super) struct Difference {
    pub(super) step: String,
    pub(super) what: Vec<String>,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.at.take_from(&mut args.words);
    let [a, b] = args.words.as_slice() else {
        return Err(Trouble::user("expected two runs or two variants"));
    };
    let project = project::read(&args.at)?;
    let store = open_store(&args.results, &project.home)?;
    let variants = project.workflow.variants();
    let is_variant = |it: &String| variants.contains(&it.as_str());
    let (was, is) = if is_variant(a) && is_variant(b) {
        (variant(&args, a)?, variant(&args, b)?)
    } else if is_variant(a) || is_variant(b) {
        let other = if is_variant(a) { b } else { a };
        let help = format!("the variants are {}", variants.join(", "));
        return Err(Trouble::helped(format!("no variant `{other}`"), help));
    } else if args.trust.paranoid || !args.sets.sets.is_empty() {
        return Err(Trouble::user(
            "`--set` and `--paranoid` are for two variants, not for two runs",
        ));
    } else {
        (of_run(&project.home, a)?, of_run(&project.home, b)?)
    };
    let found = compare(&store, &was, &is)?;
    if args.answer.json {
        printer.json(&found);
        return Ok(Exit::Good);
    }
    for it in &found {
        printer.data(for_stdout(format!("{NAME}{}{NAME:#}", it.step)));
        it.what.iter().for_each(|it| printer.data(for_stdout(format!("  {it}"))));
    }
    let n = found.len();
    let all: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let of = words::count(all.len(), "step");
    printer
        .say(format!("{FAINT}{n} of {of} {}{FAINT:#}", if n == 1 { "differs" } else { "differ" }));
    Ok(Exit::Good)
}

/// What a step was asked: its key, or as much of its parts as is known before it runs.
pub(super) struct Asked {
    key: Option<Key>,
    parts: Parts,
}

/// The results of a run, by step.
pub(super) fn of_run(home: &engine::Home, name: &str) -> Result<BTreeMap<String, Asked>, Trouble> {
    let (folder, id) = (home.runs(), last::run(home, name)?);
    let keys = runs::keys(&folder, &id).map_err(|it| Trouble::io(&folder.join(&id), it))?;
    let keys = without_variant(keys.into_iter().collect());
    let asked = |(step, key)| (step, Asked { key: Some(key), parts: Parts::default() });
    Ok(keys.into_iter().map(asked).collect())
}

/// The names without that of the variant, if all steps of the run belong to one: so that a run of
/// one variant can be compared with a run of another.
fn without_variant(keys: BTreeMap<String, Key>) -> BTreeMap<String, Key> {
    let mut found = BTreeMap::new();
    for (name, key) in &keys {
        let plain = name.rsplit_once('@').map_or(name.as_str(), |it| it.0);
        if found.insert(plain.to_owned(), *key).is_some_and(|it| it != *key) {
            return keys;
        }
    }
    found
}

/// What the steps of a variant are asked now, by step without the variant's name.
fn variant(args: &Args, name: &str) -> Result<BTreeMap<String, Asked>, Trouble> {
    let common = Common {
        manifest: args.at.clone(),
        scope: Scope { variants: vec![name.to_owned()], sets: args.sets.clone() },
        results: args.results.clone(),
        trust: args.trust.clone(),
        answer: args.answer.clone(),
    };
    of_now(&project::open(&common, vec![])?)
}

/// What the steps are asked now, by step without the variant's name.
pub(super) fn of_now(opened: &Opened) -> Result<BTreeMap<String, Asked>, Trouble> {
    let heads = opened.heads()?;
    let reasons = opened.reasons(&heads, Effort::Named);
    let mut found = BTreeMap::new();
    for (i, instance) in opened.graph.instances.iter().enumerate() {
        let address = plan::Address { variant: None, ..instance.address.clone() };
        let (parts, unknown) = reasons.parts(plan::InstanceId(i));
        let key = unknown.is_empty().then(|| parts.key());
        found.insert(address.to_string(), Asked { key, parts });
    }
    Ok(found)
}

/// The steps that differ, each with what differs.
pub(super) fn compare(
    store: &Store,
    was: &BTreeMap<String, Asked>,
    is: &BTreeMap<String, Asked>,
) -> Result<Vec<Difference>, Trouble> {
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let mut found = vec![];
    for name in names {
        let what = match (was.get(name), is.get(name)) {
            (Some(was), Some(is)) => match (was.key, is.key) {
                (Some(was), Some(is)) if was == is => continue,
                (Some(before), Some(after)) => {
                    match (store.record(&before)?, store.record(&after)?) {
                        (Some(before), Some(after)) => records(store, &before, &after),
                        _ => questions(&was.parts, &is.parts),
                    }
                }
                _ => questions(&was.parts, &is.parts),
            },
            (Some(_), None) => vec!["only in the first".to_owned()],
            _ => vec!["only in the second".to_owned()],
        };
        if !what.is_empty() {
            found.push(Difference { step: name.clone(), what });
        }
    }
    Ok(found)
}

/// How two questions differ whose answers are not both there.
fn questions(was: &Parts, is: &Parts) -> Vec<String> {
    if was.0.is_empty() || is.0.is_empty() {
        return vec!["one of the two results is not in the store any more".to_owned()];
    }
    let said = |it: &plan::Difference| match (&it.was, &it.is) {
        (Some(was), Some(is)) if was.starts_with("made:") || is.starts_with("made:") => {
            format!("`{}`: a step above differs, and is not made yet", it.part)
        }
        _ => it.to_string(),
    };
    is.differences(was).iter().map(said).collect()
}

fn records(store: &Store, was: &Record, is: &Record) -> Vec<String> {
    let differences = Parts(is.parts.clone()).differences(&Parts(was.parts.clone()));
    let mut what: Vec<String> = differences.iter().map(|it| it.to_string()).collect();
    for (slot, output) in &is.outputs {
        let same = was.outputs.get(slot).is_some_and(|it| it.object.digest == output.object.digest);
        if same {
            what.push(format!("output `{slot}` is the same"));
            continue;
        }
        let numbers = numbers(store, was.outputs.get(slot), output);
        if !numbers.is_empty() {
            what.extend(numbers);
            continue;
        }
        let is = words::size(output.object.size);
        let was =
            was.outputs.get(slot).map_or("nothing".to_owned(), |it| words::size(it.object.size));
        what.push(if was == is {
            format!("output `{slot}` differs, with {is} in both")
        } else {
            format!("output `{slot}` had {was}, has {is}")
        });
    }
    for (name, value) in &is.counts {
        // What is a metric too has been told.
        let start = format!("`{name}` was ");
        if what.iter().any(|it| it.starts_with(&start)) {
            continue;
        }
        if let Some(old) = was.counts.get(name).filter(|it| *it != value) {
            what.push(format!("`{name}` was {old}, is {value}"));
        }
    }
    what
}

/// Metrics that differ, each with its interval where one is told.
fn numbers(store: &Store, was: Option<&RecordOutput>, is: &RecordOutput) -> Vec<String> {
    let read = |it: &RecordOutput| {
        let small = it.form == Form::Metrics && it.object.size <= MAX_METRICS_BYTES;
        let bytes = small.then(|| std::fs::read(store.object_path(&it.object.digest)).ok())??;
        serde_json::from_slice::<Map<String, Value>>(&bytes).ok()
    };
    let Some((was, is)) = was.and_then(read).zip(read(is)) else { return vec![] };
    let number = |map: &Map<String, Value>, name: &str| match map.get(name) {
        Some(it @ Value::Number(_)) => Some(it.to_string()),
        _ => None,
    };
    let ends = |map: &Map<String, Value>, name: &str| {
        let end = |which: &str| number(map, &format!("{name}_{which}"));
        end("low").zip(end("high"))
    };
    let shown = |map: &Map<String, Value>, name: &str| match (number(map, name), ends(map, name)) {
        (None, _) => "nothing".to_owned(),
        (Some(it), None) => it,
        (Some(it), Some((low, high))) => format!("{it} [{low}, {high}]"),
    };
    // An interval stands with its number.
    let is_end = |name: &str| {
        let of = ["_low", "_high"].iter().find_map(|it| name.strip_suffix(it));
        of.is_some_and(|it| [&was, &is].iter().any(|map| map.contains_key(it)))
    };
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let told = |name: &&String| {
        let (was, is) = (shown(&was, name), shown(&is, name));
        (was != is && !is_end(name)).then(|| format!("`{name}` was {was}, is {is}"))
    };
    names.iter().filter_map(told).collect()
}
