//! `kun status`: every step instance, whether its result is there, and who is making it.

use std::collections::{BTreeMap, BTreeSet};

use engine::planning::{Stale, Standing};
use plan::{InstanceId, Key};
use report::table::{Side, Table};
use serde::Serialize;

use crate::args::Common;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::project::{self, Opened};
use crate::trouble::Trouble;

/// List the steps, with what is there, what is stale, and what runs now
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest, then targets; nothing: the workflow's own targets
    #[arg(value_name = "TARGET")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Serialize)]
struct Row {
    step: String,
    state: &'static str,
    took_ms: Option<u64>,
    bytes: Option<u64>,
    key: Option<plan::Key>,
    also: Vec<String>,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.common.manifest.take_from(&mut args.words);
    let opened = project::open(&args.common, args.words.clone())?;
    let running = running(&opened)?;
    let mut rows = vec![];
    for (i, instance) in opened.graph.instances.iter().enumerate() {
        let key = opened.planned.keys[i];
        let entry = key.and_then(|it| opened.index.entry(&it));
        let mut state = match &opened.planned.standings[i] {
            Standing::Cached => "cached",
            Standing::NotNeeded => "not needed",
            Standing::Stale(Stale::Absent(_)) => "source missing",
            Standing::Stale(_) => "stale",
            Standing::MaybeCutOff => "may be stale",
        };
        if running.contains(&i) {
            state = "running";
        }
        rows.push(Row {
            step: instance.address.to_string(),
            state,
            took_ms: entry.as_ref().map(|it| it.took_ms),
            bytes: entry.map(|it| it.outputs.iter().map(|it| it.object.size).sum()),
            key,
            also: instance.aliases.iter().map(|it| it.to_string()).collect(),
        });
    }
    if args.common.answer.json {
        printer.json(&rows);
        return Ok(Exit::Good);
    }
    let left = |title| (Side::Left, title);
    let right = |title| (Side::Right, title);
    let columns = [left("step"), left("state"), right("took"), right("size"), left("also")];
    let mut table = Table::new(&columns);
    for row in rows {
        let took = row.took_ms.map(engine::time::duration).unwrap_or_default();
        let bytes = row.bytes.map(crate::words::size).unwrap_or_default();
        table.row([row.step, row.state.to_owned(), took, bytes, row.also.join(" ")]);
    }
    printer.data(table.text().trim_end());
    Ok(Exit::Good)
}

/// Instances that somebody makes at this moment. Only looked at: a run never waits for a look.
fn running(opened: &Opened) -> Result<BTreeSet<usize>, Trouble> {
    let mut keys = BTreeMap::new();
    for (i, standing) in opened.planned.standings.iter().enumerate() {
        if standing.may_run()
            && let Some(key) = opened.key_now(InstanceId(i))?
        {
            keys.insert(i, key);
        }
    }
    let all: Vec<Key> = keys.values().copied().collect();
    let locked = opened.store.locked(&all);
    keys.retain(|_, it| locked.contains(it));
    Ok(keys.into_keys().collect())
}
