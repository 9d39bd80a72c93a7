//! `kun show`: a step as it will be run: every value resolved, and where it was written.

use plan::graph::{Instance, Work};
use plan::{Input, InstanceId};
use report::table::{Side, Table};
use steps::preview::At;

use crate::args::Common;
use crate::exit::Exit;
use crate::last::{Lasts, kind_name};
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
    /// Show what the step asks its model about the N-th record it reads, or trains of it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    prompt: Option<u64>,
    /// Show the tokens too; those that are trained stand between ⟦ and ⟧
    #[arg(long, requires = "prompt")]
    tokens: bool,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.common.manifest.take_from(&mut args.words);
    let opened = project::open(&args.common, args.words.clone())?;
    super::why::say_skipped(&opened, printer);
    if let Some(record) = args.prompt {
        let lasts = Lasts::new(&opened)?;
        for id in super::why::targets(&opened) {
            prompt(&lasts, (id, record), &args, printer)?;
        }
        return Ok(Exit::Good);
    }
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

/// Shows a record as the model sees it.
fn prompt(
    lasts: &Lasts<'_>,
    (id, record): (InstanceId, u64),
    args: &Args,
    printer: &Printer,
) -> Result<(), Trouble> {
    let instance = &lasts.opened.graph.instances[id.0];
    let step = &instance.address;
    let none =
        || Trouble::user(format!("`{step}` asks no model, and trains none on conversations"));
    let kind = kind_name(instance).and_then(steps::kind).ok_or_else(none)?;
    if !kind.spec().inputs.iter().any(|it| it.name == "model") {
        return Err(none());
    }
    let served = instance.inputs.values().flatten().find_map(|it| match it {
        Input::Source(i) => lasts.opened.graph.sources[*i].endpoint.as_ref(),
        Input::Output { .. } => None,
    });
    if let Some(it) = served {
        let url = &it.url;
        return Err(Trouble::user(format!("`{step}` asks `{url}`, which renders its own prompts")));
    }
    let inputs = lasts.reads(id)?;
    let with = instance.with.iter().map(|(name, it)| (name.clone(), it.to_toml())).collect();
    let at = At { inputs: &inputs, seed: instance.seed, record };
    let preview = kind.preview_table(with, at);
    let preview = preview.map_err(|it| Trouble::user(engine::error::chain(&it)))?;
    let Some(it) = preview else {
        return Err(Trouble::user(format!("`{step}` reads fewer than {record} records")));
    };
    if args.common.answer.json {
        let step = step.to_string();
        printer.json(&serde_json::json!({ "step": step, "record": record, "preview": it }));
        return Ok(());
    }
    let line = |text: String| printer.data(for_stdout(text));
    line(format!("{NAME}{step}{NAME:#}  record {record}"));
    let mut table = Table::new(&[(Side::Left, ""); 2]);
    if let Some((name, digest)) = &it.prompt {
        table.row(["  prompt".to_owned(), format!("{name} b3:{}", digest.short())]);
    }
    table.row(["  template", it.template.as_str()]);
    let (n, room) = (it.tokens.len(), it.room);
    let trained = it.tokens.iter().filter(|it| it.trained).count();
    let said = if trained > 0 { format!(", {trained} of them trained") } else { String::new() };
    table.row(["  tokens".to_owned(), format!("{n}{said}; there is room for {room}")]);
    for (choice, n) in &it.choices {
        table.row(["  choice".to_owned(), format!("{choice} ({})", words::count(*n, "token"))]);
    }
    table.text().lines().for_each(|it| line(it.to_owned()));
    it.note.iter().for_each(|it| printer.warn(it));
    line(format!("{FAINT}---{FAINT:#}"));
    if args.tokens {
        super::model::show_marked(&it.tokens, "│", printer);
    } else {
        printer.piece(&it.text);
        printer.piece("\n");
    }
    Ok(())
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
