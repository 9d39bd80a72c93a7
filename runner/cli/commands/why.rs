//! `kun why`: which part of a step's key is not what it was, and where that comes from.

use engine::why::{Effort, Verdict, Why};
use plan::InstanceId;

use crate::args::Common;
use crate::exit::Exit;
use crate::printer::{BAD, FAINT, GOOD, NAME, Printer, WARNING};
use crate::project::{self, Opened};
use crate::trouble::Trouble;

/// Say why a step runs, or why it does not
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The step: `step`, `step[each]`, `step@variant`; `*` is wild
    #[arg(required = true, value_name = "STEP")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.common.manifest.take_from(&mut args.words);
    let opened = project::open(&args.common, args.words.clone())?;
    let heads = opened.heads()?;
    let reasons = opened.reasons(&heads, Effort::Nearest);
    say_skipped(&opened, printer);
    for id in targets(&opened) {
        let chain = reasons.chain(id);
        if args.common.answer.json {
            printer.json(&chain);
        } else {
            for (i, why) in chain.iter().enumerate() {
                show(printer, why, if i == 0 { "" } else { "  " });
            }
        }
    }
    Ok(Exit::Good)
}

/// A step that `when` skips has nothing to say for itself.
pub(crate) fn say_skipped(opened: &Opened, printer: &Printer) {
    for target in opened.graph.targets.iter().filter(|it| it.instance.is_none()) {
        let mut from: Vec<String> = vec![];
        for (slot, inputs) in &target.slots {
            let names = inputs.iter().map(|it| match it {
                plan::Input::Output { instance, slot } => {
                    format!("`{}.{slot}`", opened.graph.instances[instance.0].address)
                }
                plan::Input::Source(i) => {
                    format!("`{}`", opened.graph.sources[*i].path.display())
                }
            });
            from.push(format!("`{slot}` is {}", names.collect::<Vec<_>>().join(", ")));
        }
        let from = if from.is_empty() { String::new() } else { format!(": {}", from.join("; ")) };
        printer.say(format!("{NAME}{}{NAME:#} is skipped by `when`{from}", target.address));
    }
}

/// The instances that the targets stand for.
pub(crate) fn targets(opened: &Opened) -> Vec<InstanceId> {
    let mut ids: Vec<InstanceId> = vec![];
    for id in opened.graph.targets.iter().filter_map(|it| it.instance) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

fn show(printer: &Printer, why: &Why, indent: &str) {
    let (style, verdict) = verdict(why.verdict);
    let step = &why.step;
    printer.data(styled(format!("{indent}{NAME}{step}{NAME:#} {style}{verdict}{style:#}")));
    if let Some(name) = why.compared_with.as_ref().filter(|it| **it != why.step) {
        let text = format!("it never ran by this name; compared with `{name}`:");
        printer.data(styled(format!("{indent}  {FAINT}{text}{FAINT:#}")));
    }
    for cause in &why.causes {
        printer.data(styled(format!("{indent}  {cause}")));
    }
}

/// How a verdict is said.
pub(crate) fn verdict(verdict: Verdict) -> (anstyle::Style, &'static str) {
    match verdict {
        Verdict::Cached => (GOOD, "is cached: nothing it depends on changed"),
        Verdict::NotNeeded => (FAINT, "is not needed"),
        Verdict::Runs => (WARNING, "runs"),
        Verdict::MayBeCutOff => (WARNING, "may run: not if what it reads comes out as it was"),
        Verdict::Blocked => (BAD, "cannot run"),
    }
}

fn styled(text: String) -> String {
    crate::printer::for_stdout(text)
}
