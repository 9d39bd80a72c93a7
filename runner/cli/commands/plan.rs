//! `kun plan`: what a run would do, exactly, before anything is done.

use std::collections::BTreeMap;

use engine::forecast::{self, Forecast, Total, forecasts};
use engine::planning::{Planned, Standing};
use engine::probe;
use engine::run::counts;
use engine::why::{Effort, Verdict, Why, one_line};
use plan::graph::Target;
use plan::{Budget, Graph, InstanceId};
use report::table::{Side, Table};

use crate::args::Common;
use crate::exit::Exit;
use crate::printer::{FAINT, GOOD, NAME, Printer, for_stdout};
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
    /// Work on a few records of each step without history, and forecast from that
    #[arg(long, conflicts_with = "by_variant")]
    probe: bool,
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
    let facts = opened.forecast_facts(&heads);
    let mut costs = forecasts(&facts);
    if args.probe {
        probe_all(&opened, &facts, &mut costs, printer);
    }
    let total = forecast::total(&facts, &costs, |_| true);
    if args.common.answer.json {
        let by_step: BTreeMap<String, &Forecast> = costs
            .iter()
            .enumerate()
            .filter_map(|(i, it)| {
                Some((opened.graph.instances[i].address.to_string(), it.as_ref()?))
            })
            .collect();
        printer.json(&serde_json::json!({
            "cached": n_cached, "to_run": n_stale, "may_be_cut_off": n_maybe, "steps": shown,
            "forecast": { "steps": by_step, "total": total },
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
    if total.steps > total.without_history {
        show_costs(&opened, &costs, &total, printer);
    } else if total.steps > 0 {
        printer.act(FAINT, "Forecast", "no history: nothing like these steps has run yet");
    }
    Ok(Exit::Good)
}

/// Fills in what a few records tell of steps without history.
fn probe_all(
    opened: &Opened,
    facts: &forecast::Facts<'_>,
    costs: &mut [Option<Forecast>],
    printer: &Printer,
) {
    for i in probe::steps(facts, costs) {
        printer.act(FAINT, "Probing", opened.graph.instances[i].address.to_string());
        match probe::probe(facts, &opened.home, i) {
            Ok(it) => costs[i] = Some(it),
            Err(it) => printer.warn(probe::reason(&it)),
        }
    }
}

/// What each step will cost, as far as that is known, and all together.
fn show_costs(opened: &Opened, costs: &[Option<Forecast>], total: &Total, printer: &Printer) {
    let right = |title| (Side::Right, title);
    let left = |title| (Side::Left, title);
    let columns = [
        left("forecast"),
        right("records"),
        right("known"),
        right("tokens"),
        left("as it was for"),
        left("time"),
    ];
    let mut table = Table::new(&columns);
    for (i, cost) in costs.iter().enumerate() {
        if opened.planned.standings[i].may_run() {
            let step = opened.graph.instances[i].address.to_string();
            table.row(std::iter::once(step).chain(cost_cells(cost.as_ref())));
        }
    }
    printer.data(format!("\n{}", table.text().trim_end()));
    printer.act(GOOD, "Forecast", said(total));
    over(&opened.workflow.budget(), total).iter().for_each(|it| printer.warn(it));
}

fn cost_cells(cost: Option<&Forecast>) -> [String; 5] {
    let number = |it: Option<u64>| it.map(|it| it.to_string()).unwrap_or_default();
    let Some(it) = cost else {
        return ["", "", "", "no history", ""].map(str::to_owned);
    };
    let units = match it.unit.as_deref() {
        Some("records") => number(it.units),
        Some("steps") => format!("{} steps", it.units.unwrap_or(0)),
        _ => String::new(),
    };
    let known = number(Some(it.known).filter(|it| *it > 0));
    let took = engine::time::duration(it.took_ms);
    [units, known, number(it.tokens), it.like.clone(), took]
}

/// What of the budget will not do, as far as the forecast knows.
fn over(budget: &Budget, total: &Total) -> Vec<String> {
    let mut all = vec![];
    if let Some(wall) = budget.wall.map(|it| it.as_millis() as u64)
        && wall < total.longest_ms
    {
        let wall = engine::time::duration(wall);
        all.push(format!("the budget's `wall` is {wall}: one run will not do"));
    }
    for (name, limit, needs) in
        [("tokens", budget.tokens, total.tokens), ("records", budget.records, total.records)]
    {
        if let Some(limit) = limit.filter(|it| *it < needs) {
            let text = format!("the budget's `{name}` is {limit}, and about {needs} are needed");
            all.push(format!("{text}: one run will not do"));
        }
    }
    all
}

/// All together, in words.
fn said(total: &Total) -> String {
    let mut text = format!(
        "done in {} one after another, in {} side by side",
        engine::time::duration(total.took_ms),
        engine::time::duration(total.longest_ms),
    );
    if total.tokens > 0 {
        text.push_str(&format!(", {}", words::count(total.tokens as usize, "token")));
    }
    if total.without_history > 0 {
        let n = words::count(total.without_history, "step");
        text.push_str(&format!("; {n} without history"));
    }
    text
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
    forecast: Total,
}

fn show_variants(args: &Args, printer: &Printer) -> Result<Exit, Trouble> {
    let mut common = args.common.clone();
    if common.scope.variants.is_empty() {
        common.scope.variants = vec!["*".to_owned()];
    }
    let opened = project::open(&common, args.words.clone())?;
    let rows = marginals(&opened)?;
    if common.answer.json {
        printer.json(&rows);
        return Ok(Exit::Good);
    }
    let right = |title| (Side::Right, title);
    let mut columns = vec![
        (Side::Left, "variant"),
        right("steps"),
        right("shared"),
        right("adds"),
        right("to run"),
    ];
    let costs = rows.iter().any(|it| it.forecast.steps > it.forecast.without_history);
    if costs {
        columns.extend([right("tokens"), right("time"), right("no history")]);
    }
    let mut table = Table::new(&columns);
    for row in &rows {
        let numbers = [row.steps, row.shared, row.adds, row.adds_to_run].map(|it| it.to_string());
        let mut cells: Vec<String> = std::iter::once(row.variant.clone()).chain(numbers).collect();
        if costs {
            let it = &row.forecast;
            let took = engine::time::duration(it.took_ms);
            cells.extend([it.tokens.to_string(), took, it.without_history.to_string()]);
        }
        table.row(cells);
    }
    printer.data(table.text().trim_end());
    let all: usize = rows.iter().map(|it| it.steps).sum();
    let (all, n) = (words::count(all, "step"), opened.graph.instances.len());
    let text = format!("{all} in all variants, {n} after sharing");
    printer.act(GOOD, "Plan", text);
    Ok(Exit::Good)
}

fn marginals(opened: &Opened) -> Result<Vec<Marginal>, Trouble> {
    let heads = opened.heads()?;
    let facts = opened.forecast_facts(&heads);
    let costs = forecasts(&facts);
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
            forecast: forecast::total(&facts, &costs, |i| new.binary_search(&i).is_ok()),
        });
        new.into_iter().for_each(|it| seen[it] = true);
    }
    Ok(rows)
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
