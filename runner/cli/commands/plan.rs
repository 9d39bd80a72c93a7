//! `kun plan`: what a run would do, exactly, before anything is done.

use engine::planning::{Planned, Standing};
use engine::run::counts;
use engine::why::{Effort, Verdict, Why, one_line};
use plan::graph::Target;
use plan::{Graph, InstanceId};
use report::table::{Side, Table};

use crate::args::Common;
use crate::exit::Exit;
use crate::printer::{GOOD, NAME, Printer, for_stdout};
use crate::progress::plan_line;
use crate::project::{self, Opened};
use crate::trouble::Trouble;
use crate::words;

/// To how many columns names of steps are filled up.
const NAMES: usize = 40;

/// Say what a run would do, and why
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest, then targets; nothing: the workflow's own targets
    #[arg(value_name = "TARGET")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
    /// Show what each variant adds to what is shared
    #[arg(long = "variants")]
    by_variant: bool,
    /// Show cached steps too
    #[arg(long, conflicts_with = "by_variant")]
    all: bool,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.common.manifest.take_from(&mut args.words);
    if args.by_variant {
        return show_variants(&args, printer);
    }
    let opened = project::open(&args.common, args.words.clone())?;
    let heads = opened.heads()?;
    let reasons = opened.reasons(&heads, Effort::Named);
    let (n_cached, n_stale, n_maybe) = counts(&opened.planned);
    let mut shown: Vec<Why> = vec![];
    for (i, standing) in opened.planned.standings.iter().enumerate() {
        if standing.may_run() || args.all {
            shown.push(reasons.why(InstanceId(i)));
        }
    }
    if args.common.answer.json {
        printer.json(&serde_json::json!({
            "cached": n_cached, "to_run": n_stale, "may_be_cut_off": n_maybe, "steps": shown,
        }));
        return Ok(Exit::Good);
    }
    let names = shown.iter().map(|it| report::table::width(&it.step));
    let widest = names.max().unwrap_or(0).min(NAMES);
    for why in &shown {
        let (style, _) = super::why::verdict(why.verdict);
        let word = word(why);
        let gap = " ".repeat(widest.saturating_sub(report::table::width(&why.step)));
        let causes = if why.causes.is_empty() { String::new() } else { one_line(&why.causes) };
        let line = format!("{style}{word:>12}{style:#} {NAME}{}{NAME:#}{gap}  {causes}", why.step);
        printer.data(for_stdout(line.trim_end().to_owned()));
    }
    let n_steps = n_cached + n_stale + n_maybe;
    let n_blocked = shown.iter().filter(|it| it.verdict == Verdict::Blocked).count();
    let mut line = plan_line(n_steps, n_cached, n_stale - n_blocked, n_maybe);
    if n_blocked > 0 {
        line.push_str(&format!(", {n_blocked} cannot run"));
    }
    printer.act(GOOD, "Plan", line);
    Ok(Exit::Good)
}

fn word(why: &Why) -> &'static str {
    match why.verdict {
        Verdict::Cached => "cached",
        Verdict::NotNeeded => "not needed",
        Verdict::Runs => "runs",
        Verdict::MayBeCutOff => "may run",
        Verdict::Blocked => "cannot run",
    }
}

/// What one variant needs, and how much of it no variant before it has.
#[derive(Debug, serde::Serialize)]
struct Marginal {
    variant: String,
    steps: usize,
    shared: usize,
    adds: usize,
    adds_to_run: usize,
    added: Vec<String>,
}

fn show_variants(args: &Args, printer: &Printer) -> Result<Exit, Trouble> {
    let mut common = args.common.clone();
    if common.scope.variants.is_empty() {
        common.scope.variants = vec!["*".to_owned()];
    }
    let opened = project::open(&common, args.words.clone())?;
    let rows = marginals(&opened);
    if common.answer.json {
        printer.json(&rows);
        return Ok(Exit::Good);
    }
    let right = |title| (Side::Right, title);
    let mut table = Table::new(&[
        (Side::Left, "variant"),
        right("steps"),
        right("shared"),
        right("adds"),
        right("to run"),
    ]);
    for row in &rows {
        let numbers = [row.steps, row.shared, row.adds, row.adds_to_run].map(|it| it.to_string());
        table.row(std::iter::once(row.variant.clone()).chain(numbers));
    }
    printer.data(table.text().trim_end());
    let all: usize = rows.iter().map(|it| it.steps).sum();
    let (all, n) = (words::count(all, "step"), opened.graph.instances.len());
    let text = format!("{all} in all variants, {n} after sharing");
    printer.act(GOOD, "Plan", text);
    Ok(Exit::Good)
}

fn marginals(opened: &Opened) -> Vec<Marginal> {
    let (graph, planned): (&Graph, &Planned) = (&opened.graph, &opened.planned);
    let mut seen = vec![false; graph.instances.len()];
    let mut rows = vec![];
    for variant in opened.workflow.variants() {
        let mut needs = vec![false; graph.instances.len()];
        for target in &graph.targets {
            if target.address.variant.as_deref() == Some(variant) {
                mark(graph, target, &mut needs);
            }
        }
        let needed: Vec<usize> = (0..needs.len()).filter(|it| needs[*it]).collect();
        if needed.is_empty() {
            continue;
        }
        let new: Vec<usize> = needed.iter().copied().filter(|it| !seen[*it]).collect();
        let to_run = |it: &&usize| {
            !matches!(planned.standings[**it], Standing::Cached | Standing::NotNeeded)
        };
        rows.push(Marginal {
            variant: variant.to_owned(),
            steps: needed.len(),
            shared: needed.len() - new.len(),
            adds: new.len(),
            adds_to_run: new.iter().filter(to_run).count(),
            added: new.iter().map(|it| graph.instances[*it].address.to_string()).collect(),
        });
        new.into_iter().for_each(|it| seen[it] = true);
    }
    rows
}

/// Marks a target and all that it depends on.
fn mark(graph: &Graph, target: &Target, needs: &mut [bool]) {
    let passed_through = target.slots.values().flatten().filter_map(maker);
    let mut stack: Vec<usize> = target.instance.map(|it| it.0).into_iter().collect();
    stack.extend(passed_through);
    while let Some(i) = stack.pop() {
        if !std::mem::replace(&mut needs[i], true) {
            stack.extend(graph.instances[i].inputs.values().flatten().filter_map(maker));
        }
    }
}

fn maker(input: &plan::Input) -> Option<usize> {
    match input {
        plan::Input::Output { instance, .. } => Some(instance.0),
        plan::Input::Source(_) => None,
    }
}
