//! A run from plan to end: sets the stage, lets the dispatcher work, puts results into the project.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use plan::{Digest, Graph, Input, Key};
use store::{Index, Isolation, Store};

use crate::dispatch::Dispatcher;
use crate::error::{Absent, EngineError};
use crate::events::{End, Event, Sink};
use crate::execute::Executor;
use crate::export::Exporter;
use crate::facts::{Gathered, source_name};
use crate::heads::Heads;
use crate::isolation;
use crate::planning::{Planned, Stale, Standing};
use crate::runs::{Manifest, RunRecord};
use crate::scrub::{self, Scrub, Scrubbing};
use crate::slots::{Capacity, Slots};

/// Where a project keeps things.
#[derive(Clone, Debug)]
pub struct Home {
    /// The project: the folder of its manifest.
    pub root: PathBuf,
    /// The folder for all that the project itself keeps, `.kun`.
    pub state: PathBuf,
}

impl Home {
    /// The home of a project.
    pub fn of(root: &Path) -> Self {
        Self { root: root.to_owned(), state: root.join(".kun") }
    }

    /// The records of runs.
    pub fn runs(&self) -> PathBuf {
        self.state.join("runs")
    }

    /// Which key each name had last.
    pub fn heads(&self) -> PathBuf {
        self.state.join("heads")
    }

    /// What is remembered of the digests of sources.
    pub fn stats(&self) -> PathBuf {
        self.state.join("stat.cache")
    }

    /// What was put into the project.
    pub fn exports(&self) -> PathBuf {
        self.state.join("exports")
    }

    /// There while results are being put into the project.
    pub fn exporting(&self) -> PathBuf {
        self.state.join("exporting")
    }

    /// The store, where no other is named.
    pub fn store(&self) -> PathBuf {
        self.state.join("store")
    }
}

/// How a run is made; nothing here changes a result.
pub struct Options<'a> {
    /// How many processors steps may use together.
    pub jobs: u64,
    /// What there is of each other pool.
    pub pools: BTreeMap<String, Capacity>,
    /// Whether other branches go on when a step fails.
    pub keep_going: bool,
    /// How long steps may take to stop.
    pub grace: Duration,
    /// Whether work that an engine left behind is ended instead of waited for.
    pub break_orphans: bool,
    /// What keeps steps from changing objects; none: the best that this machine can do.
    pub isolation: Option<Isolation>,
    /// How closely it looks at the objects that it uses.
    pub scrub: Scrub,
    /// What is to be said before anything else: what was found while the run was planned.
    pub warnings: Vec<String>,
    /// What the run may spend.
    pub budget: plan::Budget,
    /// The resolved manifest, for the record.
    pub manifest: Manifest<'a>,
    /// What it runs on, for the record.
    pub machine: String,
}

/// Everything a run needs.
pub struct Setup<'a> {
    /// What could run.
    pub graph: &'a Graph,
    /// What keys are made of.
    pub gathered: &'a Gathered,
    /// What is decided.
    pub planned: &'a Planned,
    /// Which results there are.
    pub index: &'a Index,
    /// Where results are.
    pub store: Store,
    /// Who does the work.
    pub executor: Rc<dyn Executor>,
    /// Where the project is.
    pub home: Home,
    /// How.
    pub options: Options<'a>,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How it ended.
    pub end: End,
    /// Its name, if it left a record.
    pub run: Option<String>,
    /// Instances that ran.
    pub n_ran: usize,
    /// Paths of results in the project, from its root, by instance and slot.
    pub exported: BTreeMap<String, String>,
}

/// What the dispatcher and the screens need to know of a plan at a glance.
pub fn counts(planned: &Planned) -> (usize, usize, usize) {
    let count =
        |which: fn(&Standing) -> bool| planned.standings.iter().filter(|it| which(it)).count();
    (
        count(|it| *it == Standing::Cached),
        count(|it| matches!(it, Standing::Stale(_))),
        count(|it| *it == Standing::MaybeCutOff),
    )
}

/// Runs what is stale, tells `sinks` what happens, and puts the targets' outputs into the project.
pub fn run(mut setup: Setup<'_>, sinks: &mut [&mut dyn Sink]) -> Result<Summary, EngineError> {
    let began = Instant::now();
    // Steps run in folders of their own: what they are told must not depend on ours.
    let root = std::path::absolute(&setup.home.root)
        .map_err(|source| EngineError::Io { path: setup.home.root.clone(), source })?;
    setup.home = Home::of(&root);
    let slots = check(&setup)?;
    let (n_cached, n_stale, n_maybe) = counts(setup.planned);
    let n_steps = n_cached + n_stale + n_maybe;
    let record = if n_stale + n_maybe > 0 {
        let runs = setup.home.runs();
        Some(RunRecord::start(setup.store.shared_disk(), &runs, &setup.options.manifest))
    } else {
        None
    };
    // A run is worth more than what is kept about it.
    let (record, no_record) = match record.transpose() {
        Ok(record) => (record, None),
        Err(error) => (None, Some(format!("no record is kept of this run: {error}"))),
    };
    let run = record.as_ref().map(|it| it.id().to_owned());
    if n_stale + n_maybe > 0 || !setup.store.has_roots() {
        setup.store.hold(&mut setup.planned.keys.iter().flatten().copied())?;
    }
    let mut speaker = Speaker { record, sinks };
    if let Some(text) = no_record {
        speaker.say(&Event::Warning { text });
    }
    let machine = setup.options.machine.clone();
    speaker.say(&Event::RunStarted {
        run: run.clone(),
        n_steps,
        n_cached,
        n_stale,
        n_maybe,
        machine,
    });
    for text in std::mem::take(&mut setup.options.warnings) {
        speaker.say(&Event::Warning { text });
    }
    let mut ended = if n_stale + n_maybe > 0 {
        let scrubbing = Scrubbing::start(&setup.store, setup.options.scrub.budget);
        let ended = dispatch(&setup, slots, &mut speaker)?;
        scrubbing.end();
        ended
    } else {
        Ended {
            end: End::Good,
            n_ran: 0,
            n_reused: 0,
            n_failed: 0,
            n_skipped: 0,
            n_stopped: 0,
            made: BTreeMap::new(),
            forgotten: BTreeSet::new(),
        }
    };
    let exported = export(&setup, &ended, &mut speaker);
    let lacks = lacks(&setup, &mut ended, &mut speaker)?;
    if exported.is_err() || lacks {
        ended.end = End::Failed;
    }
    setup.store.end_lease()?;
    for store::Warning { path, what } in setup.store.warnings() {
        speaker.say(&Event::Warning { text: format!("`{}`: {what}", path.display()) });
    }
    if let Some(text) = speaker.record.as_mut().and_then(RunRecord::trouble) {
        speaker.say(&Event::Warning { text });
    }
    speaker.say(&Event::RunEnded {
        end: ended.end,
        n_ran: ended.n_ran,
        n_reused: ended.n_reused + n_cached,
        n_failed: ended.n_failed,
        n_skipped: ended.n_skipped,
        n_stopped: ended.n_stopped,
        took_ms: began.elapsed().as_millis() as u64,
    });
    Ok(Summary { end: ended.end, run, n_ran: ended.n_ran, exported: exported? })
}

/// Deals with damaged objects that were found beside the run; whether a result that it stands on
/// is forgotten, by this or before, and was not made again.
fn lacks(
    setup: &Setup<'_>,
    ended: &mut Ended,
    speaker: &mut Speaker<'_, '_>,
) -> Result<bool, EngineError> {
    if let Some(found) = scrub::found(&setup.store)? {
        speaker.say(&Event::Warning { text: scrub::said(&found) });
        ended.forgotten.extend(found.derived.keys());
    }
    for (i, key) in setup.planned.keys.iter().enumerate() {
        let cached = key.filter(|_| setup.planned.standings[i] == Standing::Cached);
        let Some(key) = ended.made.get(&i).copied().or(cached) else { continue };
        if ended.forgotten.contains(&key) && setup.store.record(&key)?.is_none() {
            let step = &setup.graph.instances[i].address;
            let text =
                format!("the result of `{step}` is forgotten: the same command makes it again");
            speaker.say(&Event::Warning { text });
            return Ok(true);
        }
    }
    Ok(false)
}

/// What can be known to fail is said before anything costs anything.
fn check(setup: &Setup<'_>) -> Result<Slots, EngineError> {
    let mut absent = vec![];
    for (instance, standing) in setup.graph.instances.iter().zip(&setup.planned.standings) {
        let Standing::Stale(Stale::Absent(sources)) = standing else { continue };
        for i in sources {
            let source = &setup.graph.sources[*i];
            absent.push(Absent {
                source: source_name(source),
                path: source.path.clone(),
                place: source.place.to_string(),
                step: instance.address.to_string(),
            });
        }
    }
    if !absent.is_empty() {
        return Err(EngineError::Absent(absent));
    }
    let mut pools = setup.options.pools.clone();
    pools.insert("cpu".to_owned(), Capacity::Count(setup.options.jobs.max(1)));
    let slots = Slots::new(pools);
    for (instance, standing) in setup.graph.instances.iter().zip(&setup.planned.standings) {
        if standing.may_run()
            && let Some(reason) = slots.refusal(&instance.how.uses)
        {
            return Err(EngineError::Slots { step: instance.address.to_string(), reason });
        }
    }
    Ok(slots)
}

/// What the dispatcher did.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) end: End,
    pub(crate) n_ran: usize,
    pub(crate) n_reused: usize,
    pub(crate) n_failed: usize,
    pub(crate) n_skipped: usize,
    pub(crate) n_stopped: usize,
    /// Instance number to the key of its result, of those that this run made or found.
    pub(crate) made: BTreeMap<usize, Key>,
    /// Results that turned out to be damaged, or made from something damaged.
    pub(crate) forgotten: BTreeSet<Key>,
}

fn dispatch(
    setup: &Setup<'_>,
    slots: Slots,
    speaker: &mut Speaker<'_, '_>,
) -> Result<Ended, EngineError> {
    let path = setup.home.heads();
    let heads =
        Heads::open(&path).map_err(|source| EngineError::Io { path: path.clone(), source })?;
    let heads = heads.on(setup.store.shared_disk());
    let unfinished = store::sweep_unfinished(setup.store.disk(), &setup.home.state);
    if let Err(error) = unfinished.and(setup.store.sweep().map(drop)) {
        speaker.say(&Event::Warning { text: crate::error::chain(&error) });
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| EngineError::Io { path, source })?;
    let isolation = isolation::choose(&setup.store, &*setup.executor, setup.options.isolation)?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, Dispatcher::new(setup, slots, heads, speaker, isolation).run())
}

/// Passes events on to the record and to whoever else wants them.
pub(crate) struct Speaker<'a, 'b> {
    pub(crate) record: Option<RunRecord>,
    sinks: &'a mut [&'b mut dyn Sink],
}

impl Speaker<'_, '_> {
    pub(crate) fn say(&mut self, event: &Event) {
        if let Some(record) = &mut self.record {
            record.take(event);
        }
        for sink in self.sinks.iter_mut() {
            sink.take(event);
        }
    }
}

/// Puts the outputs of every target that is there into the project.
fn export(
    setup: &Setup<'_>,
    ended: &Ended,
    speaker: &mut Speaker<'_, '_>,
) -> Result<BTreeMap<String, String>, EngineError> {
    // What this run made is newer than the index that it was planned with.
    let newer = if ended.made.is_empty() { None } else { Some(setup.store.index()?) };
    let index = newer.as_ref().unwrap_or(setup.index);
    let mut exporter = Exporter::open(&setup.home, &setup.store, index)?;
    let mut exported = BTreeMap::new();
    for target in &setup.graph.targets {
        for (slot, inputs) in &target.slots {
            for (i, input) in inputs.iter().enumerate() {
                let Input::Output { instance, slot: from } = input else { continue };
                let key = ended.made.get(&instance.0).copied().or(setup.planned.keys[instance.0]);
                let is_there = ended.made.contains_key(&instance.0)
                    || setup.planned.standings[instance.0] == Standing::Cached;
                let Some(key) = key.filter(|_| is_there) else { continue };
                let n = (inputs.len() > 1).then_some(i);
                let what = format!("{}.{slot}", target.address);
                let placed = exporter.place(&key, from, (&target.address, slot, n))?;
                if placed.is_new {
                    let (path, kept) = (placed.path.clone(), placed.kept);
                    speaker.say(&Event::Exported { what: what.clone(), path, kept });
                }
                exported.insert(what, placed.path);
            }
        }
    }
    if let Err(error) = exporter.save() {
        let text = format!(
            "what was put into the project is not remembered: {}",
            crate::error::chain(&error)
        );
        speaker.say(&Event::Warning { text });
    }
    Ok(exported)
}

/// Digest of each output of a result, for events.
pub(crate) fn digests(outputs: &BTreeMap<String, store::RecordOutput>) -> BTreeMap<String, Digest> {
    outputs.iter().map(|(slot, it)| (slot.clone(), it.object.digest)).collect()
}
