//! `kun run`: does what is stale and puts the results into the project.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use engine::events::{End, Sink};
use engine::execute::Local;
use engine::planning::Standing;
use engine::runs::Manifest;
use engine::scrub::{self, Inputs, Scrub};
use engine::slots::Capacity;
use engine::{Options, Setup};
use plan::{Ask, Digest, Slots};
use steps::machine::Cuda;

use super::lock;
use crate::args::Common;
use crate::exit::Exit;
use crate::inside;
use crate::printer::Printer;
use crate::progress::{JsonLines, Screen};
use crate::project::{self, Opened};
use crate::trouble::Trouble;
use crate::words;

/// Run what is stale
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest, then targets; nothing: the workflow's own targets
    #[arg(value_name = "TARGET")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
    /// Refuse to run on other sources than those in `kun.lock`, and to end with other results;
    /// believes no more than `--paranoid`
    #[arg(long)]
    locked: bool,
    /// How many bytes of the store are re-read beside the run, to find what has rotted: first what
    /// steps will read, then objects in turn
    #[arg(long, value_name = "BYTES", value_parser = words::bytes, default_value = "256MiB",
        env = crate::env::SCRUB, hide_env_values = true)]
    scrub: u64,
    /// How many processors steps may use together (default: all)
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    jobs: Option<u64>,
    /// Go on with other branches when a step fails
    #[arg(short, long)]
    keep_going: bool,
    /// How many seconds steps may take to stop
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    grace: u64,
    /// End work that an engine left behind, instead of waiting for it
    #[arg(long)]
    break_orphans: bool,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.common.manifest.take_from(&mut args.words);
    args.common.trust.paranoid |= args.locked;
    let mut opened = project::open_to_run(&args.common, args.words.clone())?;
    if args.locked {
        check_before(&opened)?;
    }
    let isolation = project::isolation()?;
    if opened.planned.standings.iter().any(Standing::may_run) {
        inside::begin_again(&opened.store, isolation)?;
    }
    let warnings = without_damage(&args, &mut opened)?;
    let options = Options { isolation, warnings, ..options(&args, &opened) };
    let setup = Setup {
        graph: &opened.graph,
        gathered: &opened.gathered,
        planned: &opened.planned,
        index: &opened.index,
        store: opened.store.clone(),
        executor: Rc::new(Local),
        home: opened.home.clone(),
        options,
    };
    let mut screen = Screen::new(printer);
    let mut lines = JsonLines(printer);
    let sinks: &mut [&mut dyn Sink] =
        if args.common.answer.json { &mut [&mut lines] } else { &mut [&mut screen] };
    let summary = engine::run(setup, sinks)?;
    if !args.common.answer.json {
        for path in summary.exported.values() {
            printer.data(shown(&opened, path));
        }
    }
    // The process ends here: giving a large graph back piece by piece would only take time.
    std::mem::forget(opened);
    match summary.end {
        End::Good if args.locked => check_after(&args, printer),
        end => Ok(end.into()),
    }
}

/// Puts aside what is damaged of what the run would read, and plans again until nothing is; says
/// what was.
fn without_damage(args: &Args, opened: &mut Opened) -> Result<Vec<String>, Trouble> {
    let mut warnings = vec![];
    let damaged = std::mem::take(&mut opened.damaged);
    let mut found = scrub::quarantine(&opened.store, damaged)?;
    loop {
        if let Some(it) = &found {
            warnings.push(scrub::said(it));
            opened.plan_again()?;
        }
        let Opened { store, graph, planned, index, .. } = &*opened;
        found = scrub::before(store, graph, planned, index, closeness(args))?;
        if found.is_none() {
            return Ok(warnings);
        }
    }
}

fn closeness(args: &Args) -> Scrub {
    let inputs = if args.common.trust.paranoid { Inputs::All } else { Inputs::Budget };
    Scrub { budget: args.scrub, inputs }
}

/// Sources must be the locked ones before anything runs.
fn check_before(opened: &Opened) -> Result<(), Trouble> {
    let locked = lock::read(&opened.home)?;
    if locked.is_empty() {
        return Err(Trouble::helped("there is no `kun.lock`", "`kun lock` writes it"));
    }
    let sources = |lines: lock::Lines| -> lock::Lines {
        lines.into_iter().filter(|(name, _)| name.starts_with("source ")).collect()
    };
    let found = lock::differences(&sources(locked), &sources(lock::lines(opened)));
    if found.is_empty() {
        return Ok(());
    }
    let help = "bring the sources back, or `kun lock` the new ones";
    Err(Trouble::helped(format!("sources are not the locked ones\n{}", found.join("\n")), help))
}

/// Results must be the locked ones when all is done.
fn check_after(args: &Args, printer: &Printer) -> Result<Exit, Trouble> {
    let opened = project::open(&args.common, args.words.clone())?;
    let found = lock::differences(&lock::read(&opened.home)?, &lock::lines(&opened));
    found.iter().for_each(|it| printer.warn(it));
    Ok(if found.is_empty() { Exit::Good } else { Exit::Failed })
}

/// A path of the project as it is reached from here.
fn shown(opened: &Opened, path: &str) -> String {
    let path = opened.home.root.join(path);
    path.strip_prefix("./").unwrap_or(&path).display().to_string()
}

fn options<'a>(args: &Args, opened: &'a Opened) -> Options<'a> {
    let cores = std::thread::available_parallelism().map_or(1, |it| it.get() as u64);
    let mut pools: BTreeMap<String, Capacity> = BTreeMap::new();
    for (name, pool) in opened.workflow.pools() {
        let capacity = match pool.slots {
            Slots::Count(n) => Capacity::Count(n),
            Slots::Devices(devices) => Capacity::Devices(devices),
            Slots::Auto => automatic(&name),
        };
        pools.insert(name, capacity);
    }
    for name in ["gpu", "mem"] {
        // Asking a driver takes time: only where a step wants to know.
        let asks = |it: &plan::Instance| it.how.uses.contains_key(name);
        if opened.graph.instances.iter().any(asks) {
            pools.entry(name.to_owned()).or_insert_with(|| automatic(name));
        }
    }
    let pools_ask_for_devices = pools.contains_key("gpu");
    let ask = args.common.scope.ask(args.words.clone());
    let same = ask.clone();
    let manifest = Manifest {
        fingerprint: Box::new(move || fingerprint(&same, opened)),
        text: Box::new(move || opened.workflow.resolved(&ask).to_string()),
    };
    Options {
        isolation: None,
        scrub: closeness(args),
        warnings: vec![],
        budget: opened.workflow.budget(),
        jobs: args.jobs.unwrap_or(cores),
        pools,
        keep_going: args.keep_going,
        grace: Duration::from_secs(args.grace),
        break_orphans: args.break_orphans,
        manifest,
        machine: machine(pools_ask_for_devices),
    }
}

/// The machine in words. A driver is asked only where a step has a use for it.
fn machine(devices: bool) -> String {
    let steps::machine::Cpu { isa, cores } = steps::machine::Cpu::here();
    let memory = steps::machine::memory_bytes() >> 20;
    let mut text = format!("{cores} cores, {}, {memory} MiB", isa.word());
    if devices {
        for it in Cuda::here().devices.iter().flatten() {
            text.push_str(&format!(", {it}"));
        }
    }
    text
}

/// What a resolved manifest is made of: the files as they are written, and what was asked of them.
fn fingerprint(ask: &Ask, opened: &Opened) -> Digest {
    let mut text = format!("{} {ask:?}", env!("CARGO_PKG_VERSION"));
    for file in opened.workflow.files() {
        // A file that cannot be read any more is another one than it was.
        let bytes = std::fs::read(&file).unwrap_or_default();
        text.push_str(&format!(" {}", Digest::of(&bytes)));
    }
    Digest::of(text.as_bytes())
}

/// What the machine has of a pool that says `auto`.
fn automatic(pool: &str) -> Capacity {
    match pool {
        "gpu" => {
            let n = Cuda::here().devices.map_or(0, |it| it.len() as u32);
            Capacity::Devices((0..n).collect())
        }
        "mem" => Capacity::Count(steps::machine::memory_bytes()),
        _ => Capacity::Count(1),
    }
}
