//! Why a step runs: which part of its key is not what it was, and where that comes from.
//!
//! Total: a step that runs has at least one cause, and each cause names what differs.

use std::collections::BTreeSet;

use plan::{Address, Difference, Facts, Gatherer, Graph, Input, InstanceId, Key, Known, Parts};
use serde::Serialize;
use store::{Index, Record, Store};

use crate::facts::source_name;
use crate::heads::Heads;
use crate::planning::{Planned, Stale, Standing};

/// How many older results are compared when none has the step's name and it is asked for one step.
const CANDIDATES: usize = 200;
/// The same, when it is asked for many steps: only results of other instances of the same step.
const SIBLINGS: usize = 2;

/// How hard an older result to compare with is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// By name, and among other variants of the same step.
    Named,
    /// Among all steps of the same kind.
    Nearest,
}

/// Why one instance runs, or does not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Why {
    /// The instance.
    pub step: String,
    /// Whether it runs.
    pub verdict: Verdict,
    /// The older result that it is compared with: its name.
    pub compared_with: Option<String>,
    /// What differs.
    pub causes: Vec<Cause>,
}

/// What happens to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Its result is there.
    Cached,
    /// Its result is not there, and nothing that runs needs it.
    NotNeeded,
    /// It runs.
    Runs,
    /// It runs unless what it reads comes out as it was.
    MayBeCutOff,
    /// It cannot run: a source is not there.
    Blocked,
}

/// One thing that makes a step run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// No step like it has a result.
    Never,
    /// A part of its key differs.
    Part {
        /// How.
        #[serde(flatten)]
        difference: Difference,
        /// Where the part was written, or whose content it is.
        origin: Option<String>,
    },
    /// A step that it reads from runs first.
    Above {
        /// The port.
        port: String,
        /// The instance.
        step: String,
    },
    /// The parts are those of an older result, and that result is gone from the store.
    Forgotten,
    /// An object of its result is needed and not there.
    Lost {
        /// The slot.
        slot: String,
        /// What is wrong with it.
        what: String,
    },
    /// A source is not there.
    Absent {
        /// Its name.
        source: String,
        /// Where it should be.
        path: String,
    },
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cause::Never => f.write_str("it never ran"),
            Cause::Part { difference, origin } => match (content(difference, origin), origin) {
                (Some(name), _) => write!(f, "{name} changed: {difference}"),
                (None, Some(origin)) => write!(f, "{difference} ({origin})"),
                (None, None) => write!(f, "{difference}"),
            },
            Cause::Above { port, step } => write!(f, "`in.{port}`: `{step}` runs first"),
            Cause::Forgotten => f.write_str("its result is not in the store any more"),
            Cause::Lost { slot, what } => write!(f, "output `{slot}` {what}"),
            Cause::Absent { source, path } => write!(f, "source `{source}` is not at `{path}`"),
        }
    }
}

/// What is read, if it is the content of something read that differs.
fn content(difference: &Difference, origin: &Option<String>) -> Option<String> {
    let both = difference.was.is_some() && difference.is.is_some();
    let code = difference.part.strip_prefix("code.").map(|it| format!("`{it}`"));
    let input = origin.clone().filter(|_| difference.part.starts_with("in."));
    code.or(input).filter(|_| both)
}

/// Answers for one plan.
pub struct Reasons<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// What keys are made of.
    pub facts: &'a Facts,
    /// What is decided.
    pub planned: &'a Planned,
    /// Where results are.
    pub store: &'a Store,
    /// Which results there are.
    pub index: &'a Index,
    /// What the names stood for.
    pub heads: &'a Heads,
    /// How hard it is looked for what to compare with.
    pub effort: Effort,
}

impl Reasons<'_> {
    /// Why this instance runs or does not.
    pub fn why(&self, id: InstanceId) -> Why {
        let step = self.name(id);
        let (verdict, causes, compared_with) = match &self.planned.standings[id.0] {
            Standing::Cached => (Verdict::Cached, vec![], None),
            Standing::NotNeeded => (Verdict::NotNeeded, vec![], None),
            Standing::Stale(Stale::Lost { slot, what }) => {
                let lost = Cause::Lost { slot: slot.clone(), what: what.clone() };
                (Verdict::Runs, vec![lost], None)
            }
            Standing::Stale(Stale::Absent(sources)) => {
                (Verdict::Blocked, self.absent(sources), None)
            }
            Standing::Stale(Stale::NoResult) => {
                let (causes, with) = self.compare(id);
                (Verdict::Runs, causes, with)
            }
            Standing::MaybeCutOff => {
                let (causes, with) = self.compare(id);
                (Verdict::MayBeCutOff, causes, with)
            }
        };
        Why { step, verdict, compared_with, causes }
    }

    /// The instance and all that it depends on and that runs, nearest first: the way from an
    /// effect to its causes.
    pub fn chain(&self, id: InstanceId) -> Vec<Why> {
        let mut seen = vec![false; self.graph.instances.len()];
        let mut queue = std::collections::VecDeque::from([id]);
        let mut chain = vec![];
        while let Some(id) = queue.pop_front() {
            if std::mem::replace(&mut seen[id.0], true) {
                continue;
            }
            chain.push(self.why(id));
            for input in self.graph.instances[id.0].inputs.values().flatten() {
                if let Input::Output { instance, .. } = input
                    && self.planned.standings[instance.0].may_run()
                {
                    queue.push_back(*instance);
                }
            }
        }
        chain
    }

    fn name(&self, id: InstanceId) -> String {
        self.graph.instances[id.0].address.to_string()
    }

    fn absent(&self, sources: &[usize]) -> Vec<Cause> {
        let absent = |i: &usize| {
            let source = &self.graph.sources[*i];
            Cause::Absent { source: source_name(source), path: source.path.display().to_string() }
        };
        sources.iter().map(absent).collect()
    }

    /// What differs from the nearest older result. Inputs that are not made yet are told apart
    /// from inputs that differ.
    fn compare(&self, id: InstanceId) -> (Vec<Cause>, Option<String>) {
        let (parts, unknown) = self.parts(id);
        let (causes, with) = self.compare_parts(id, &parts);
        let above = self.above(id, &unknown);
        let known = |cause: &Cause| match cause {
            Cause::Part { difference, .. } => !unknown.contains(&difference.part),
            Cause::Never => true,
            _ => above.is_empty(),
        };
        let causes: Vec<Cause> = causes.into_iter().filter(known).chain(above.clone()).collect();
        (causes, with)
    }

    /// What differs between parts that are wholly known and the nearest older result.
    pub fn compare_parts(&self, id: InstanceId, parts: &Parts) -> (Vec<Cause>, Option<String>) {
        let Some((name, record)) = self.nearest(id, parts) else {
            // A head without a record: it ran once, and its record is gone.
            let forgotten = self.heads.get(&self.name(id)).is_some();
            return (vec![if forgotten { Cause::Forgotten } else { Cause::Never }], None);
        };
        let differences = parts.differences(&Parts(record.parts));
        if differences.is_empty() {
            return (vec![Cause::Forgotten], Some(name));
        }
        let cause = |difference: Difference| {
            let origin = self.origin(id, &difference.part);
            Cause::Part { difference, origin }
        };
        (differences.into_iter().map(cause).collect(), Some(name))
    }

    /// The parts as far as they are known, and the names of those that are not.
    pub fn parts(&self, id: InstanceId) -> (Parts, BTreeSet<String>) {
        let mut gatherer = Gatherer::default();
        gatherer.gather(&self.graph.instances[id.0], self.facts, &mut |input| self.known(input));
        let parts = gatherer.parts();
        let unknown = parts
            .0
            .iter()
            .filter(|(name, value)| name.starts_with("in.") && value.starts_with("made:"))
            .map(|(name, _)| name.clone())
            .collect();
        (parts, unknown)
    }

    fn known(&self, input: &Input) -> Known {
        match input {
            Input::Source(i) => self.facts.sources[*i].map_or(Known::Absent, Known::Content),
            Input::Output { instance, slot } => {
                let runs = self.planned.standings[instance.0].may_run();
                self.planned.keys[instance.0]
                    .filter(|_| !runs)
                    .and_then(|key| self.index.output(&key, slot))
                    .map_or(Known::Maker(self.planned.recursive[instance.0]), |it| {
                        Known::Content(it.digest)
                    })
            }
        }
    }

    fn above(&self, id: InstanceId, unknown: &BTreeSet<String>) -> Vec<Cause> {
        let mut causes = vec![];
        for (port, inputs) in &self.graph.instances[id.0].inputs {
            let mut named = BTreeSet::new();
            for input in inputs {
                let Input::Output { instance, .. } = input else { continue };
                let runs = self.planned.standings[instance.0].may_run();
                if runs && !unknown.is_empty() && named.insert(*instance) {
                    causes.push(Cause::Above { port: port.clone(), step: self.name(*instance) });
                }
            }
        }
        causes
    }

    /// Where a part comes from: the line that says it, or the step or source that is read.
    fn origin(&self, id: InstanceId, part: &str) -> Option<String> {
        let instance = &self.graph.instances[id.0];
        if let Some(rest) = part.strip_prefix("in.") {
            let (port, i) = rest.split_once('.').unwrap_or((rest, "0"));
            let input = instance.inputs.get(port)?.get(i.parse::<usize>().ok()?)?;
            return Some(match input {
                Input::Source(i) => {
                    let source = &self.graph.sources[*i];
                    format!("`{}`", source.path.display())
                }
                Input::Output { instance, slot } => format!("`{}.{slot}`", self.name(*instance)),
            });
        }
        instance.origins.get(part).map(|place| place.to_string())
    }

    /// The older result to compare with: of the same name, else of the same step in another
    /// variant, else, if that much effort is wanted, of the same kind; the one with the fewest
    /// differences.
    fn nearest(&self, id: InstanceId, parts: &Parts) -> Option<(String, Record)> {
        let instance = &self.graph.instances[id.0];
        let names = std::iter::once(&instance.address).chain(&instance.aliases);
        for name in names.map(|it| it.to_string()) {
            if let Some(record) = self.heads.get(&name).and_then(|key| self.record(&key)) {
                return Some((name, record));
            }
        }
        let plain = Address { variant: None, ..instance.address.clone() }.to_string();
        let is_variant = |name: &str| {
            name.strip_prefix(&plain).is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
        };
        let variants = self.heads.starting_with(&plain).filter(|(name, _)| is_variant(name));
        let mut candidates: Vec<(&str, Key)> = variants.take(SIBLINGS).collect();
        if self.effort == Effort::Nearest {
            candidates.extend(self.heads.all().take(CANDIDATES));
        }
        let mut best: Option<(usize, String, Record)> = None;
        for (name, key) in candidates {
            let Some(record) = self.record(&key) else { continue };
            if record.parts.get("op") != parts.0.get("op") {
                continue;
            }
            let n = parts.differences(&Parts(record.parts.clone())).len();
            let total_change = n >= parts.0.len().max(2);
            if !total_change && best.as_ref().is_none_or(|(least, ..)| n < *least) {
                best = Some((n, name.to_owned(), record));
            }
        }
        best.map(|(_, name, record)| (name, record))
    }

    fn record(&self, key: &Key) -> Option<Record> {
        self.store.record(key).ok().flatten()
    }
}

/// The causes in one line.
pub fn one_line(causes: &[Cause]) -> String {
    match causes {
        [] => "nothing changed".to_owned(),
        // That it reads what is yet to be made goes without saying.
        [only] | [only @ Cause::Never, ..] => only.to_string(),
        [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
    }
}
