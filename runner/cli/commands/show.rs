//! `kun show`: a step as it will be run: every value resolved, and where it was written.

use plan::Input;
use plan::graph::{Instance, Work};
use report::table::{Side, Table};

use crate::args::Common;
use crate::exit::Exit;
use crate::printer::{FAINT, NAME, Printer, for_stdout};
use crate::project::{self, Opened};
use crate::trouble::Trouble;
use crate::words;

/// Show a step with every value resolved, and where each was written
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The step
    #[arg(required = true, value_name = "STEP")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.common.manifest.take_from(&mut args.words);
    let opened = project::open(&args.common, args.words.clone())?;
    super::why::say_skipped(&opened, printer);
    for id in super::why::targets(&opened) {
        let instance = &opened.graph.instances[id.0];
        let parts = opened.parts(id)?;
        if args.common.answer.json {
            printer.json(&serde_json::json!({
                "step": instance.address.to_string(),
                "also": instance.aliases.iter().map(|it| it.to_string()).collect::<Vec<_>>(),
                "place": instance.place.to_string(),
                "parts": parts,
                "key": opened.planned.keys[id.0],
            }));
            continue;
        }
        show(&opened, instance, &parts, printer);
        if let Some(key) = opened.planned.keys[id.0] {
            show_result(&opened, &key, printer)?;
        }
    }
    Ok(Exit::Good)
}

fn show(
    opened: &Opened,
    instance: &Instance,
    parts: &std::collections::BTreeMap<String, String>,
    printer: &Printer,
) {
    let line = |text: String| printer.data(for_stdout(text));
    let place = &instance.place;
    line(format!("{NAME}{}{NAME:#}  {FAINT}{place}{FAINT:#}", instance.address));
    for alias in &instance.aliases {
        line(format!("  also {alias}"));
    }
    let mut table = Table::new(&[(Side::Left, ""); 3]);
    for (name, value) in parts {
        let place = instance.origins.get(name).map(|it| it.to_string());
        let origin = input_name(opened, instance, name).or(place).unwrap_or_default();
        table.row([format!("  {name}"), short(value), origin]);
    }
    table.text().lines().for_each(|it| line(it.to_owned()));
    if matches!(instance.work, Work::Kind { .. }) {
        line(format!("  {FAINT}(parameters at their default are left out){FAINT:#}"));
    }
    let mut how: Vec<String> =
        instance.how.uses.iter().map(|(pool, n)| format!("{pool} {n}")).collect();
    how.push(words::count(instance.how.shards, "shard"));
    how.push(match instance.how.retries.max {
        1 => "1 retry".to_owned(),
        n => format!("{n} retries"),
    });
    line(format!("  uses {}", how.join(", ")));
}

/// Digests are cut: whole ones are in the answer in JSON.
fn short(value: &str) -> String {
    if value.starts_with("made:") {
        return "(not made yet)".to_owned();
    }
    value.parse::<plan::Digest>().map_or(value.to_owned(), |it| format!("b3:{}", it.short()))
}

fn input_name(opened: &Opened, instance: &Instance, part: &str) -> Option<String> {
    let rest = part.strip_prefix("in.")?;
    let (port, i) = rest.split_once('.').unwrap_or((rest, "0"));
    Some(match instance.inputs.get(port)?.get(i.parse::<usize>().ok()?)? {
        Input::Source(i) => opened.graph.sources[*i].path.display().to_string(),
        Input::Output { instance, slot } => {
            format!("{}.{slot}", opened.graph.instances[instance.0].address)
        }
    })
}

fn show_result(opened: &Opened, key: &plan::Key, printer: &Printer) -> Result<(), Trouble> {
    let Some(record) = opened.store.record(key)? else { return Ok(()) };
    let line = |text: String| printer.data(for_stdout(text));
    let when = engine::time::readable(record.started);
    let took = engine::time::duration(record.took_ms);
    line(format!("  made {when} UTC on {}, in {took}", record.host));
    let mut table = Table::new(&[(Side::Left, ""); 3]);
    for (slot, output) in &record.outputs {
        let object = &output.object;
        table.row([
            format!("    {slot}"),
            format!("b3:{}", object.digest.short()),
            words::size(object.size),
        ]);
    }
    for (name, value) in &record.counts {
        table.row([format!("    {name}"), value.to_string()]);
    }
    table.text().lines().for_each(|it| line(it.to_owned()));
    Ok(())
}
