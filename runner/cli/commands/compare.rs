//! `kun compare`: exams of several variants, or of several steps, side by side.

use std::collections::BTreeMap;

use ::report::page::{number, per_cent};
use ::report::table::{Side, Table};
use plan::InstanceId;
use plan::kind::Form;
use serde::Serialize;
use steps::StepError;
use steps::verdicts::{Share, Verdicts};

use crate::args::{Answer, Common, Manifest, Results, Scope, Sets, Trust};
use crate::exit::Exit;
use crate::last::Lasts;
use crate::printer::{FAINT, Printer, for_stdout};
use crate::project::{self, Opened};
use crate::trouble::Trouble;

/// Compare exams of variants, or of steps: accuracy, differences
///
/// Nothing is run. An exam is an output of records with `id` and `right`, as `eval` writes it. Of
/// variants each step with such an output is a column, of steps there is one column. A number is the
/// mean over subjects; differences are over the same questions, of all subjects together, with an
/// interval of 95 % from samples drawn again and McNemar's p.
#[derive(Debug, clap::Args)]
#[command(override_usage = "kun compare [OPTIONS] [MANIFEST] <NAME>...")]
pub(crate) struct Args {
    /// Variants, or steps; the first is what the others are compared with
    #[arg(required = true, value_name = "NAME")]
    words: Vec<String>,
    /// Also tell the differences between the others
    #[arg(long)]
    pairs: bool,
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

/// What a row of the table has in a column.
#[derive(Debug, Serialize)]
struct Told {
    /// The mean over subjects.
    accuracy: f64,
    /// The share of all questions, with its interval.
    of_questions: f64,
    low: f64,
    high: f64,
    questions: u64,
    /// Whether it is the answer to what the manifest asks now.
    fresh: bool,
}

#[derive(Debug, Serialize)]
struct Difference {
    exam: String,
    first: String,
    second: String,
    /// The second less the first; nothing where the questions are not the same.
    difference: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    p: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Answered {
    names: Vec<String>,
    exams: Vec<String>,
    /// By exam, then by name.
    accuracy: BTreeMap<String, BTreeMap<String, Told>>,
    differences: Vec<Difference>,
}

/// An exam that was taken.
struct Exam {
    verdicts: Verdicts,
    fresh: bool,
}

/// By column, then by row.
type Exams = BTreeMap<String, BTreeMap<String, Exam>>;

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.at.take_from(&mut args.words);
    let names = args.words.clone();
    if let Some(it) = names.iter().enumerate().find(|(i, it)| names[..*i].contains(it)) {
        return Err(Trouble::user(format!("`{}` is named twice", it.1)));
    }
    let exams = exams(&args, &names)?;
    let all = answered((&names, args.pairs), &exams);
    if args.answer.json {
        printer.json(&all);
        return Ok(Exit::Good);
    }
    printer.data(for_stdout(table(&all).trim_end().to_owned()));
    if !all.differences.is_empty() {
        printer.data("");
        printer.data(differences(&all.differences).trim_end());
    }
    printer.say(format!("{FAINT}* is the best of a column, + the second{FAINT:#}"));
    let stale = |told: &&BTreeMap<String, Told>| told.values().any(|it| !it.fresh);
    if all.accuracy.values().any(|it| stale(&it)) {
        printer.warn("what stands in brackets is of an earlier state of the workflow");
    }
    Ok(Exit::Good)
}

fn exams(args: &Args, names: &[String]) -> Result<Exams, Trouble> {
    let project = project::read(&args.at)?;
    let variants = project.workflow.variants();
    let is_variant = |it: &&String| variants.contains(&it.as_str());
    let mut exams = Exams::new();
    if !names.iter().any(|it| is_variant(&it)) {
        let opened = open(args, None, names.to_vec())?;
        for name in names {
            let named = |address: &plan::Address| address.to_string() == *name;
            for (step, exam) in exams_of(&opened, &named)? {
                // A step has one such output, as a rule; of several each is a column.
                let column = step.split_once(' ').map_or("exam", |it| it.1).to_owned();
                exams.entry(column).or_default().insert(name.clone(), exam);
            }
        }
    } else if let Some(other) = names.iter().find(|it| !is_variant(it)) {
        let help = format!("the variants are {}", variants.join(", "));
        return Err(Trouble::helped(format!("no variant `{other}`"), help));
    } else {
        for name in names {
            let opened = open(args, Some(name), vec![])?;
            for (column, exam) in exams_of(&opened, &|_| true)? {
                exams.entry(column).or_default().insert(name.clone(), exam);
            }
        }
    }
    let has = |name: &&String| exams.values().any(|it| it.contains_key(*name));
    match names.iter().find(|it| !has(it)) {
        None => Ok(exams),
        Some(it) => Err(Trouble::helped(
            format!("`{it}` has no exam with a result"),
            "an exam is an output of records with `id` and `right`, as `eval` writes it",
        )),
    }
}

fn open(args: &Args, variant: Option<&String>, targets: Vec<String>) -> Result<Opened, Trouble> {
    let common = Common {
        manifest: args.at.clone(),
        scope: Scope { variants: variant.into_iter().cloned().collect(), sets: args.sets.clone() },
        results: args.results.clone(),
        trust: args.trust.clone(),
        answer: args.answer.clone(),
    };
    project::open(&common, targets)
}

/// The exams among the newest results, by step without the variant's name, with the slot where a step has several.
fn exams_of(
    opened: &Opened,
    wanted: &dyn Fn(&plan::Address) -> bool,
) -> Result<Vec<(String, Exam)>, Trouble> {
    let lasts = Lasts::new(opened)?;
    let wrong = |it: StepError| Trouble::user(engine::error::chain(&it));
    let mut all = Vec::new();
    for (i, instance) in opened.graph.instances.iter().enumerate() {
        if !wanted(&instance.address) {
            continue;
        }
        let Some(last) = lasts.of(InstanceId(i))? else { continue };
        let step = plan::Address { variant: None, ..instance.address.clone() }.to_string();
        let mut found = Vec::new();
        for (slot, output) in &last.record.outputs {
            if output.form != Form::Records {
                continue;
            }
            let Some(path) = lasts.output(&last, slot) else { continue };
            if let Some(verdicts) = Verdicts::of_exam(&path).map_err(wrong)? {
                found.push((slot, verdicts));
            }
        }
        let several = found.len() > 1;
        all.extend(found.into_iter().map(|(slot, verdicts)| {
            let name = if several { format!("{step} {slot}") } else { step.clone() };
            (name, Exam { verdicts, fresh: last.fresh })
        }));
    }
    Ok(all)
}

/// Differences to the first, or those of all pairs.
fn answered((names, pairs): (&[String], bool), exams: &Exams) -> Answered {
    let mut differences = Vec::new();
    let mut accuracy: BTreeMap<String, BTreeMap<String, Told>> = BTreeMap::new();
    for (exam, rows) in exams {
        for (name, it) in rows {
            let all = Share::of(&it.verdicts.of_group(None));
            let told = Told {
                accuracy: it.verdicts.mean(),
                of_questions: all.share,
                low: all.low,
                high: all.high,
                questions: all.n,
                fresh: it.fresh,
            };
            accuracy.entry(exam.clone()).or_default().insert(name.clone(), told);
        }
        let firsts = if pairs { names } else { &names[..names.len().min(1)] };
        for (i, name) in firsts.iter().enumerate() {
            let Some(first) = rows.get(name) else { continue };
            let others = names[i + 1..].iter().filter_map(|it| Some((it, rows.get(it)?)));
            differences.extend(others.map(|it| difference(exam, (name, first), it)));
        }
    }
    let exams = exams.keys().cloned().collect();
    Answered { names: names.to_vec(), exams, accuracy, differences }
}

/// The second exam less the first.
fn difference(exam: &str, first: (&String, &Exam), second: (&String, &Exam)) -> Difference {
    let paired = first.1.verdicts.against(&second.1.verdicts);
    Difference {
        exam: exam.to_owned(),
        first: first.0.clone(),
        second: second.0.clone(),
        difference: paired.map(|it| it.difference),
        low: paired.map(|it| it.low),
        high: paired.map(|it| it.high),
        p: paired.map(|it| it.p),
    }
}

/// Rows are names, columns exams.
fn table(all: &Answered) -> String {
    let mut columns = vec![(Side::Left, "")];
    columns.extend(all.exams.iter().map(|it| (Side::Right, it.as_str())));
    let mut table = Table::new(&columns);
    for name in &all.names {
        let cell = |exam: &String| {
            let rows = &all.accuracy[exam];
            let Some(it) = rows.get(name) else { return "–".to_owned() };
            // A mark stands in a column of its own, so that numbers stand under one another.
            let better = rows.values().map(|it| it.accuracy).filter(|other| *other > it.accuracy);
            let mut better: Vec<f64> = better.collect();
            better.sort_by(f64::total_cmp);
            better.dedup();
            let mark = match better.len() {
                _ if rows.len() < 2 => "",
                0 => " *",
                1 => " +",
                _ => "  ",
            };
            let shown = per_cent(it.accuracy);
            format!("{}{mark}", if it.fresh { shown } else { format!("[{shown}]") })
        };
        let cells: Vec<String> = all.exams.iter().map(cell).collect();
        table.row(std::iter::once(name.clone()).chain(cells));
    }
    table.text()
}

fn differences(all: &[Difference]) -> String {
    let right = |title| (Side::Right, title);
    let mut table = Table::new(&[
        (Side::Left, "exam"),
        (Side::Left, "second"),
        (Side::Left, "less first"),
        right("points"),
        right("95 %"),
        right("p"),
    ]);
    for it in all {
        let names = [it.exam.clone(), it.second.clone(), it.first.clone()];
        let points = |it: f64| number(it * 100.0, 1);
        let numbers = match (it.difference, it.low, it.high, it.p) {
            (Some(difference), Some(low), Some(high), Some(p)) => [
                points(difference),
                format!("{} to {}", points(low), points(high)),
                if p < 0.0001 { "< 0.0001".to_owned() } else { number(p, 4) },
            ],
            _ => ["other questions".to_owned(), String::new(), String::new()],
        };
        table.row(names.into_iter().chain(numbers));
    }
    table.text()
}
