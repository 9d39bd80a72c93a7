//! What a plan will cost: records, tokens and time of each step that may run, from what the step, or
//! one like it, did before.
//!
//! A finished step's record says how many bytes it read, how many records it worked on and how long
//! that took. A step that runs again is taken to do as much for each byte. What a step above will
//! write is taken to grow with what it reads. So a forecast is a rule of three, and says from which
//! result it is made; a step that has no such result has none.

use std::collections::{BTreeMap, BTreeSet};

use plan::graph::{Instance, Work};
use plan::{Digest, Gatherer, Graph, Input, Known, Value};
use serde::Serialize;
use store::{Index, Record, Rows, Store};

use crate::facts::Gathered;
use crate::heads::Heads;
use crate::planning::{Planned, Standing};

/// Ports whose size says nothing about how much there is to do.
const NOT_DATA: [&str; 4] = ["model", "tokenizer", "prompt", "template"];

/// What a step will cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// What it counts: `records`, `steps`.
    pub unit: Option<String>,
    /// How many of them it works on.
    pub units: Option<u64>,
    /// How many of those were answered before and cost nothing.
    pub known: u64,
    /// How many tokens it reads and writes.
    pub tokens: Option<u64>,
    /// How long it takes.
    pub took_ms: u64,
    /// The step whose result says so.
    pub like: String,
}

/// What a plan will cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Total {
    /// Steps that may run.
    pub steps: usize,
    /// Those of them that nothing is known of.
    pub without_history: usize,
    /// Tokens of all.
    pub tokens: u64,
    /// Records of the steps that ask a model.
    pub records: u64,
    /// The time of all, one after another.
    pub took_ms: u64,
    /// The time of the longest chain of steps that wait for one another.
    pub longest_ms: u64,
}

/// What a forecast is made of.
pub struct Facts<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Its sources.
    pub gathered: &'a Gathered,
    /// What will happen.
    pub planned: &'a Planned,
    /// Where results are.
    pub store: &'a Store,
    /// What is in it.
    pub index: &'a Index,
    /// What names stood for.
    pub heads: &'a Heads,
}

/// The forecast of each instance: none for those that do not run, and for those without history.
pub fn forecasts(facts: &Facts<'_>) -> Vec<Option<Forecast>> {
    // Most plans have nothing to do: then nothing is looked up.
    if !facts.planned.standings.iter().any(Standing::may_run) {
        return vec![None; facts.graph.instances.len()];
    }
    let mut teller = Teller { facts, sizes: vec![], by_kind: None };
    (0..facts.graph.instances.len()).map(|i| teller.instance(i)).collect()
}

/// The whole of some forecasts.
pub fn total(facts: &Facts<'_>, all: &[Option<Forecast>], counts: impl Fn(usize) -> bool) -> Total {
    let mut total = Total::default();
    let mut ends = vec![0; all.len()];
    for (i, instance) in facts.graph.instances.iter().enumerate() {
        let above = instance.inputs.values().flatten().filter_map(maker).map(|it| ends[it]);
        ends[i] = above.max().unwrap_or(0);
        if !facts.planned.standings[i].may_run() || !counts(i) {
            continue;
        }
        total.steps += 1;
        let Some(it) = &all[i] else {
            total.without_history += 1;
            continue;
        };
        ends[i] += it.took_ms;
        total.took_ms += it.took_ms;
        total.tokens += it.tokens.unwrap_or(0);
        if asks_a_model(instance) && it.unit.as_deref() == Some("records") {
            total.records += it.units.unwrap_or(0).saturating_sub(it.known);
        }
    }
    total.longest_ms = ends.into_iter().max().unwrap_or(0);
    total
}

/// Whether a step asks a model about records: what a budget of records counts.
pub fn asks_a_model(instance: &Instance) -> bool {
    let Work::Kind { name, .. } = &instance.work else { return false };
    let Some(kind) = steps::kind(name) else { return false };
    let spec = kind.spec();
    spec.shards.is_some() && spec.inputs.iter().any(|it| it.name == "model")
}

fn maker(input: &Input) -> Option<usize> {
    match input {
        Input::Output { instance, .. } => Some(instance.0),
        Input::Source(_) => None,
    }
}

struct Teller<'a> {
    facts: &'a Facts<'a>,
    /// The bytes of each output, as they are or as they are taken to become.
    sizes: Vec<BTreeMap<String, f64>>,
    /// The newest result of each kind, read when a step has none of its own.
    by_kind: Option<BTreeMap<String, Record>>,
}

impl Teller<'_> {
    fn instance(&mut self, i: usize) -> Option<Forecast> {
        let facts = self.facts;
        let instance = &facts.graph.instances[i];
        if !facts.planned.standings[i].may_run() {
            let entry = facts.planned.keys[i].and_then(|it| facts.index.entry(&it));
            let sizes = entry.into_iter().flat_map(|it| it.outputs);
            self.sizes.push(sizes.map(|it| (it.slot, it.object.size as f64)).collect());
            return None;
        }
        let history = self.history(instance);
        let (Some(record), Some(reads)) = (history, self.reads(instance)) else {
            self.sizes.push(BTreeMap::new());
            return None;
        };
        let did: u64 = record.read.iter().filter(|it| is_data(it.0)).map(|it| *it.1).sum();
        let grown = if did == 0 { 1.0 } else { reads / did as f64 };
        let sizes = record.outputs.iter();
        let grows = |size: u64| size as f64 * grown;
        self.sizes.push(sizes.map(|(slot, it)| (slot.clone(), grows(it.object.size))).collect());
        Some(self.cost(i, &record, grown))
    }

    fn cost(&self, i: usize, record: &Record, grown: f64) -> Forecast {
        let instance = &self.facts.graph.instances[i];
        // How often as much as before it does.
        let mut grown = grown;
        let work = record.work.as_ref();
        let asked = instance.with.get("max_steps");
        if let (Some(work), Some(Value::Int(n))) = (work.filter(|it| it.unit == "steps"), asked) {
            grown = *n as f64 / work.done.max(1) as f64;
        }
        let units = work.map(|it| (it.done as f64 * grown).round() as u64);
        let known = self.known(i).min(units.unwrap_or(0));
        // What was known before took no time then; what is known now takes none now.
        let (done, new) = work.map_or((1, 1), |it| (it.done, it.done.saturating_sub(it.skipped)));
        let new_now = units.map_or(1.0, |it| (it - known) as f64 / it.max(1) as f64);
        let each = if new == 0 { 1.0 } else { done as f64 / new as f64 };
        let took = record.took_ms as f64 * grown * each * new_now;
        let counted = ["tokens", "prompt_tokens"].iter().filter_map(|it| record.counts.get(*it));
        let tokens = counted.copied().reduce(|a, b| a + b);
        Forecast {
            unit: work.map(|it| it.unit.clone()),
            units,
            known,
            tokens: tokens.map(|it| (it as f64 * grown * new_now).round() as u64),
            took_ms: took.round() as u64,
            like: record.address.clone(),
        }
    }

    /// The bytes that an instance will read; none where something above has no history.
    fn reads(&self, instance: &Instance) -> Option<f64> {
        let mut all = 0.0;
        let ports = instance.inputs.iter().filter(|it| is_data(it.0));
        for input in ports.flat_map(|it| it.1) {
            all += match input {
                Input::Source(i) => self.facts.gathered.hashed[*i]?.size as f64,
                Input::Output { instance, slot } => *self.sizes[instance.0].get(slot)?,
            };
        }
        Some(all)
    }

    /// How many records have an answer already, for kinds that keep answers.
    fn known(&self, i: usize) -> u64 {
        let facts = self.facts;
        let instance = &facts.graph.instances[i];
        let Work::Kind { name, .. } = &instance.work else { return 0 };
        let Some(spec) = steps::kind(name).map(|it| it.spec()) else { return 0 };
        let Some(port) = spec.shards else { return 0 };
        let above = |input: &Input| match input {
            Input::Source(i) => facts.gathered.facts.sources[*i],
            Input::Output { instance, slot } => {
                let there = facts.planned.standings[instance.0] == Standing::Cached;
                let key = facts.planned.keys[instance.0].filter(|_| there)?;
                Some(facts.index.output(&key, slot)?.digest)
            }
        };
        let mut others = instance.inputs.iter().filter(|it| it.0 != port).flat_map(|it| it.1);
        if others.any(|it| above(it).is_none()) {
            return 0;
        }
        let mut gatherer = Gatherer::default();
        gatherer.gather(instance, &facts.gathered.facts, &mut |input| {
            Known::Content(above(input).unwrap_or(Digest([0; 32])))
        });
        Rows::count(facts.store, &gatherer.row_space(port, spec.cuts)).unwrap_or(0) as u64
    }

    /// A result of the step under this name; else of the same step under another; else of its kind.
    fn history(&mut self, instance: &Instance) -> Option<Record> {
        let (store, heads) = (self.facts.store, self.facts.heads);
        let read = |key| store.record(&key).ok().flatten();
        let names = std::iter::once(&instance.address).chain(&instance.aliases);
        let own = names.filter_map(|it| heads.get(&it.to_string())).find_map(read);
        if own.is_some() {
            return own;
        }
        let step = &instance.address.step;
        let is_step = |name: &str| {
            let rest = name.strip_prefix(step.as_str());
            rest.is_some_and(|it| it.starts_with(['[', '@']) || it.is_empty())
        };
        let of_step =
            heads.starting_with(step).filter(|it| is_step(it.0)).filter_map(|it| read(it.1));
        if let Some(it) = of_step.max_by_key(|it| it.started) {
            return Some(it);
        }
        let Work::Kind { name, .. } = &instance.work else { return None };
        let by_kind = self.by_kind.get_or_insert_with(|| {
            let keys: BTreeSet<_> = heads.all().map(|it| it.1).collect();
            let mut newest: BTreeMap<String, Record> = BTreeMap::new();
            for record in keys.into_iter().filter_map(read) {
                let Some(op) = record.parts.get("op") else { continue };
                if newest.get(op).is_none_or(|it| it.started < record.started) {
                    newest.insert(op.clone(), record);
                }
            }
            newest
        });
        by_kind.get(name).cloned()
    }
}

fn is_data(port: &str) -> bool {
    !NOT_DATA.contains(&port)
}
