//! The dispatcher's hands: what is ready is started, what has ended is taken in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use plan::graph::{Instance, Work};
use plan::{Digest, Gatherer, Input, Key};
use store::{Attempt, Locking, Store};

use crate::attempt::{Given, Prepared};
use crate::dispatch::{Active, Dispatcher, News, Node, Piece, Ticket, UnitResult};
use crate::error::chain;
use crate::events::{Event, Reuse};
use crate::finish;
use crate::job::Memory;
use crate::slots::Held;
use crate::unit::{self, Said, Unit, UnitEnd};
use crate::why::{Effort, Reasons, one_line};
use crate::worker::AUTHORITIES;
use crate::{shards, time};

/// Outputs larger than this are hashed beside the dispatcher, not in it.
const LARGE: u64 = 1 << 20;

impl Dispatcher<'_, '_, '_, '_> {
    /// Starts whatever is ready and has slots, the most urgent first.
    pub(crate) fn schedule(&mut self) {
        if self.draining {
            return;
        }
        let mut passed: Vec<Ticket> = vec![];
        loop {
            self.resolve_due();
            let Some(ticket) = self.ready.pop_first() else { break };
            let (_, i, piece) = ticket;
            let uses = &self.setup.graph.instances[i].how.uses;
            match self.slots.take(uses) {
                // Something smaller behind it may still fit.
                None => passed.push(ticket),
                Some(held) => self.start(i, piece, held),
            }
            if self.draining || passed.len() > 64 {
                break;
            }
        }
        self.ready.extend(passed);
    }

    fn start(&mut self, i: usize, piece: Piece, held: Held) {
        if piece != Piece::Begin {
            return self.start_unit(i, piece, held);
        }
        match self.begin(i) {
            Ok(Some(first)) => self.start_unit(i, first, held),
            Ok(None) => self.slots.release(held),
            Err(reason) => {
                self.slots.release(held);
                self.fail(i, reason, (String::new(), vec![]));
            }
        }
    }

    /// Takes the lock of an instance and prepares it; gives the first piece of work, if there is
    /// any to do here.
    fn begin(&mut self, i: usize) -> Result<Option<Piece>, String> {
        let (key, parts, family) = self.keys[&i].clone();
        if let Some(leader) = self.at_work.get(&key) {
            self.followers.entry(*leader).or_default().push(i);
            self.nodes[i] = Node::Follows;
            return Ok(None);
        }
        let lock = match self.setup.store.try_lock(&key).map_err(|it| chain(&it))? {
            Locking::Held(lock) => lock,
            Locking::Busy(holder) => {
                self.waits(i, &holder);
                return Ok(None);
            }
        };
        // Whoever held the lock before may have made it.
        let waited = self.told.remove(&i).is_some();
        if (waited || !self.is_lost(i))
            && let Some(found) = self.find(&key)
        {
            self.reuse(i, key, found, Reuse::Elsewhere);
            return Ok(None);
        }
        let prepared = self.prepare(i, &key)?;
        note_inputs(&self.setup.store, &key, &prepared).map_err(|it| chain(&it))?;
        let count = prepared.instance.how.shards.max(1);
        let (said, mut pieces) = pieces(&prepared, count);
        let first = pieces.remove(0);
        let causes = self.reasons().compare_parts(plan::InstanceId(i), &parts).0;
        let log = self.log(i, first)(1);
        self.speaker.say(&Event::StepStarted {
            step: self.name(i),
            key,
            why: one_line(&causes),
            shards: count,
            shards_done: match first {
                Piece::Shard { .. } => count - 1 - pieces.len(),
                Piece::Join => count,
                Piece::Begin | Piece::Whole => 0,
            },
            log: log.display().to_string(),
        });
        self.at_work.insert(key, i);
        self.nodes[i] = Node::Running(Box::new(Active {
            key,
            parts,
            family,
            lock: Arc::new(lock),
            prepared: Rc::new(prepared),
            began: Instant::now(),
            began_ms: time::now_ms(),
            units_left: 1 + pieces.len(),
            said,
            attempts: 0,
        }));
        for piece in pieces {
            self.ready.insert((Reverse(self.urgency[i]), i, piece));
        }
        Ok(Some(first))
    }

    fn reasons(&self) -> Reasons<'_> {
        Reasons {
            graph: self.setup.graph,
            facts: &self.setup.gathered.facts,
            planned: self.setup.planned,
            store: &self.setup.store,
            index: self.setup.index,
            heads: &self.heads,
            effort: Effort::Named,
        }
    }

    fn prepare(&self, i: usize, key: &Key) -> Result<Prepared, String> {
        let instance = self.setup.graph.instances[i].clone();
        let mut inputs = BTreeMap::new();
        for (port, list) in &instance.inputs {
            let given: Result<Vec<Given>, String> = list.iter().map(|it| self.given(it)).collect();
            inputs.insert(port.clone(), given?);
        }
        let mut code = BTreeMap::new();
        let mut environment = vec![];
        let around = &instance.around;
        for (path, source) in &around.code {
            match self.given(&Input::Source(*source))? {
                Given::Source(from, hashed) => drop(code.insert(path.clone(), (from, hashed))),
                Given::Object(_) | Given::Endpoint(_) => {}
            }
        }
        environment.extend(server_keys(&inputs)?);
        for name in &around.pass {
            if let Some(value) = self.setup.gathered.facts.environment.get(name) {
                environment.push((name.clone(), value.clone()));
            }
        }
        environment.extend(around.set.iter().map(|(a, b)| (a.clone(), b.clone())));
        let state = self.setup.store.part(key);
        let memory = Memory {
            store: self.setup.store.root().to_owned(),
            space: self.row_space(i, &instance),
            inputs: Some(lineage(&inputs, row_port(&instance))),
        };
        Ok(Prepared { instance, inputs, code, environment, state, memory })
    }

    fn given(&self, input: &Input) -> Result<Given, String> {
        match input {
            Input::Source(i) => {
                let source = &self.setup.graph.sources[*i];
                if let Some(it) = &source.endpoint {
                    return Ok(Given::Endpoint(it.clone()));
                }
                let path = self.setup.home.root.join(&source.path);
                match self.setup.gathered.hashed[*i] {
                    Some(hashed) => Ok(Given::Source(path, hashed)),
                    None => Err(format!("source `{}` is not there", path.display())),
                }
            }
            Input::Output { instance, slot } => self
                .object(instance.0, slot)
                .map(Given::Object)
                .ok_or_else(|| format!("`{}` has no output `{slot}`", self.name(instance.0))),
        }
    }

    fn row_space(&self, i: usize, instance: &Instance) -> Digest {
        let Some(spec) = spec(instance) else { return Digest([0; 32]) };
        let (port, cuts) = (spec.shards.unwrap_or_default(), spec.cuts);
        let mut gatherer = Gatherer::default();
        let instance = &self.setup.graph.instances[i];
        gatherer.gather(instance, &self.setup.gathered.facts, &mut |input| self.known(input));
        gatherer.row_space(port, cuts)
    }

    fn log(&self, i: usize, piece: Piece) -> Box<dyn Fn(u32) -> PathBuf> {
        let name = self.unit_name(i, piece);
        let folder = self.speaker.record.as_ref().map(|it| it.folder().to_owned());
        Box::new(move |attempt| match &folder {
            Some(folder) => crate::runs::log_path(folder, &name, attempt),
            None => PathBuf::from("/dev/null"),
        })
    }

    fn start_unit(&mut self, i: usize, piece: Piece, held: Held) {
        let Node::Running(active) = &self.nodes[i] else {
            // The instance failed while this shard waited for slots.
            return self.slots.release(held);
        };
        let unit = Unit {
            prepared: Rc::clone(&active.prepared),
            shard: piece.shard(),
            lock: Arc::clone(&active.lock),
            devices: held.devices.clone(),
            log: self.log(i, piece),
        };
        self.n_running += 1;
        let (shared, stop, news) =
            (Rc::clone(&self.shared), self.stop.subscribe(), self.news.clone());
        tokio::task::spawn_local(async move {
            let mut tell = |it| drop(news.send(News::Unit { id: i, piece, news: it }));
            let end = if piece == Piece::Join {
                joined(&shared.store, &unit.prepared)
            } else {
                unit::work(&shared, &unit, stop, &mut tell).await
            };
            let result = take_in(&shared.store, &unit, end).await;
            drop(unit); // with its hold on the lock, before the dispatcher hears of it
            let _ = news.send(News::Ended { id: i, piece, held, result });
        });
    }

    pub(crate) fn unit_ended(&mut self, i: usize, piece: Piece, result: UnitResult) {
        let Node::Running(active) = &mut self.nodes[i] else { return };
        match result {
            UnitResult::Kept { said, attempts } => {
                active.said.add(&said);
                active.attempts = active.attempts.max(attempts);
                active.units_left -= 1;
                if active.units_left == 0 {
                    active.units_left = 1; // joining them
                    self.ready.insert((Reverse(u64::MAX), i, Piece::Join));
                }
            }
            UnitResult::Taken { objects, said, attempts } => {
                self.put_damaged_aside();
                let Node::Running(mut active) = std::mem::replace(&mut self.nodes[i], Node::Lost)
                else {
                    return;
                };
                active.said.add(&said);
                active.attempts = active.attempts.max(attempts);
                self.publish(i, *active, objects);
            }
            UnitResult::Failed { reason, log, tail } => {
                let name = self.unit_name(i, piece);
                self.fail_named(i, name, reason, (log, tail));
            }
            UnitResult::Stopped => {
                let step = self.name(i);
                self.forget(i);
                self.ended.n_stopped += 1;
                self.speaker.say(&Event::StepStopped { step });
            }
        }
    }

    fn fail(&mut self, i: usize, reason: String, log: (String, Vec<String>)) {
        let name = self.name(i);
        self.fail_named(i, name, reason, log);
    }

    fn fail_named(&mut self, i: usize, step: String, reason: String, log: (String, Vec<String>)) {
        let (log, tail) = log;
        self.speaker.say(&Event::StepFailed { step, reason, log, tail });
        self.ended.n_failed += 1;
        self.forget(i);
        self.skip_below(i);
        if !self.setup.options.keep_going {
            self.draining = true;
            self.waiting_for.clear();
        }
    }

    /// An instance will not come to its end in this run; its lock is let go.
    fn forget(&mut self, i: usize) {
        if let Some((key, ..)) = self.keys.get(&i)
            && self.at_work.get(key) == Some(&i)
        {
            self.at_work.remove(key);
        }
        self.nodes[i] = Node::Lost;
        for follower in self.followers.remove(&i).unwrap_or_default() {
            // The same question under another name would come to the same end.
            self.nodes[follower] = Node::Lost;
            self.ended.n_skipped += 1;
            self.skip_below(follower);
        }
    }

    fn skip_below(&mut self, i: usize) {
        let mut stack = self.dependents[i].clone();
        while let Some(below) = stack.pop() {
            if !matches!(self.nodes[below], Node::Waiting(_)) {
                continue;
            }
            self.nodes[below] = Node::Lost;
            self.ended.n_skipped += 1;
            let (step, because) = (self.name(below), format!("`{}` has no result", self.name(i)));
            self.speaker.say(&Event::StepSkipped { step, because });
            stack.extend(self.dependents[below].iter().copied());
        }
    }

    pub(crate) fn wake_followers(&mut self, i: usize) {
        self.due.extend(self.followers.remove(&i).unwrap_or_default());
    }
}

/// What the registry says of an instance's kind; none: it runs a program.
fn spec(instance: &Instance) -> Option<&'static plan::KindSpec> {
    let Work::Kind { name, .. } = &instance.work else { return None };
    steps::kind(name).map(|it| it.spec())
}

/// The port whose records have rows of their own.
fn row_port(instance: &Instance) -> &'static str {
    spec(instance).and_then(|it| it.shards).unwrap_or_default()
}

/// The digests of what a step reads, but for one port.
fn lineage(inputs: &BTreeMap<String, Vec<Given>>, but: &str) -> BTreeSet<Digest> {
    let read = inputs.iter().filter(|it| it.0 != but).flat_map(|it| it.1);
    let digest = |given: &Given| match given {
        Given::Object(it) => Some(it.digest),
        Given::Source(_, it) => Some(it.digest),
        Given::Endpoint(_) => None,
    };
    read.filter_map(digest).collect()
}

/// A state that outlives a kill says what it is made from.
fn note_inputs(store: &Store, key: &Key, prepared: &Prepared) -> Result<(), store::Error> {
    let is_kind = matches!(prepared.instance.work, Work::Kind { .. });
    if !is_kind && prepared.instance.how.shards <= 1 {
        return Ok(());
    }
    store.note_part_inputs(key, &lineage(&prepared.inputs, ""))
}

/// The variables that hold the keys of the servers that a step asks, and where whom to trust stands:
/// they alone are handed on, and to nothing but the worker.
fn server_keys(inputs: &BTreeMap<String, Vec<Given>>) -> Result<Vec<(String, String)>, String> {
    let mut keys = vec![];
    for given in inputs.values().flatten() {
        let Given::Endpoint(endpoint) = given else { continue };
        if let Ok(file) = std::env::var(AUTHORITIES)
            && endpoint.url.starts_with("https://")
        {
            keys.push((AUTHORITIES.to_owned(), file));
        }
        let Some(name) = &endpoint.key_env else { continue };
        let value = std::env::var(name).ok().filter(|it| !it.is_empty());
        let url = &endpoint.url;
        let Some(value) = value else {
            return Err(format!("`{name}`, which holds the key of `{url}`, is not set"));
        };
        keys.push((name.clone(), value));
    }
    Ok(keys)
}

/// What is left to do of an instance, at least one piece, and what its finished shards said.
fn pieces(prepared: &Prepared, count: usize) -> (Said, Vec<Piece>) {
    if count == 1 {
        return (Said::default(), vec![Piece::Whole]);
    }
    let (mut said, mut pieces) = (Said::default(), vec![]);
    for index in 0..count {
        match shards::finished(&prepared.state, (index, count)) {
            Some(known) => said.add(&known),
            None => pieces.push(Piece::Shard { index, count }),
        }
    }
    if pieces.is_empty() {
        pieces.push(Piece::Join);
    }
    (said, pieces)
}

/// The outputs of all shards, one after another, in a folder like that of an attempt.
fn joined(store: &Store, prepared: &Prepared) -> UnitEnd {
    let join = || -> Result<Attempt, String> {
        let attempt = store.attempt().map_err(|it| chain(&it))?;
        let out = attempt.path().join("out");
        let count = prepared.instance.how.shards;
        store::make_dirs(store.disk(), &out).map_err(|it| chain(&it))?;
        shards::join(store.disk(), &prepared.state, count, &prepared.instance, &out)
            .map_err(|it| format!("cannot join the shards: {}", chain(&it)))?;
        Ok(attempt)
    };
    match join() {
        Ok(attempt) => UnitEnd::Good { attempt, said: Said::default(), attempts: 1 },
        Err(reason) => UnitEnd::Failed { reason, log: PathBuf::new(), tail: vec![] },
    }
}

/// Takes the outputs of a unit that ended well.
async fn take_in(store: &Store, unit: &Unit, end: UnitEnd) -> UnitResult {
    let (attempt, said, attempts) = match end {
        UnitEnd::Good { attempt, said, attempts } => (attempt, said, attempts),
        UnitEnd::Failed { reason, log, tail } => {
            return UnitResult::Failed { reason, log: log.display().to_string(), tail };
        }
        UnitEnd::Stopped => return UnitResult::Stopped,
    };
    let failed = |reason: String| UnitResult::Failed { reason, log: String::new(), tail: vec![] };
    if let Err(error) = finish::check_inputs(store, &unit.prepared, &attempt) {
        return failed(chain(&error));
    }
    let out = attempt.path().join("out");
    if let Some(shard) = unit.shard {
        return match shards::keep(store.disk(), &unit.prepared.state, shard, &out, &said) {
            Ok(()) => UnitResult::Kept { said, attempts },
            Err(error) => failed(format!("cannot keep the shard: {}", chain(&error))),
        };
    }
    let taken = if is_large(&unit.prepared.instance, &out) {
        let (store, instance) = (store.clone(), unit.prepared.instance.clone());
        let work =
            tokio::task::spawn_blocking(move || finish::take_outputs(&store, &instance, &out));
        match work.await {
            Ok(taken) => taken,
            Err(error) => return failed(format!("taking its outputs panicked: {error}")),
        }
    } else {
        finish::take_outputs(store, &unit.prepared.instance, &out)
    };
    match taken {
        Ok(objects) => UnitResult::Taken { objects, said, attempts },
        Err(error) => failed(chain(&error)),
    }
}

fn is_large(instance: &Instance, out: &std::path::Path) -> bool {
    instance.outputs.values().any(|output| {
        let size = std::fs::metadata(out.join(&output.file)).map_or(0, |it| it.len());
        output.form.is_dir() || size > LARGE
    })
}
