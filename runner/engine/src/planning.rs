//! What will run, decided before anything does.
//!
//! Two look-ups make this exact. A recursive key leads to a key without anything being known of
//! what lies above; a key, where all inputs are known by content, leads to a result. A step whose
//! recursive key is new and whose key is not is an early cut-off. A result counts only if its
//! objects are there wherever something needs them.
//!
//! One coincidence is beyond any plan: steps that are the same but for their inputs, and whose
//! inputs come out with the same bytes in this very run, ask one question and are run once.

use std::collections::HashMap;

use plan::{Digest, Facts, Gatherer, Graph, Input, InstanceId, Key, Known, RecursiveKey};
use store::{Index, Presence, Store};

/// What is known of each instance before a run. All vectors are by [`InstanceId`].
#[derive(Debug)]
pub struct Planned {
    /// What will happen to it.
    pub standings: Vec<Standing>,
    /// Its recursive key.
    pub recursive: Vec<RecursiveKey>,
    /// The key of its result, where that is there.
    pub keys: Vec<Option<Key>>,
}

/// What will happen to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its result is there.
    Cached,
    /// Nothing that will run needs it, and its result is not there.
    NotNeeded,
    /// It will run.
    Stale(Stale),
    /// It will run, unless what it reads comes out as it was.
    MaybeCutOff,
}

/// Why an instance runs, as far as the plan alone can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stale {
    /// No result has these parts.
    NoResult,
    /// Its result is known, but an object that is needed is not there any more, or not whole.
    Lost {
        /// The slot.
        slot: String,
        /// What is wrong with it.
        what: String,
    },
    /// It reads sources that are not there: indices into [`Graph::sources`].
    Absent(Vec<usize>),
}

impl Standing {
    /// Whether it will or may run.
    pub fn may_run(&self) -> bool {
        matches!(self, Standing::Stale(_) | Standing::MaybeCutOff)
    }
}

/// Decides for every instance of the graph.
pub fn plan(graph: &Graph, facts: &Facts, store: &Store, index: &Index) -> Planned {
    let mut planner = Planner {
        graph,
        facts,
        store,
        index,
        gatherer: Gatherer::default(),
        families: vec![None; graph.instances.len()],
        asked: vec![None; graph.instances.len()],
        planned: Planned { standings: vec![], recursive: vec![], keys: vec![] },
    };
    for id in 0..graph.instances.len() {
        planner.look_up(InstanceId(id));
    }
    planner.demand();
    planner.classify();
    planner.planned
}

struct Planner<'a> {
    graph: &'a Graph,
    facts: &'a Facts,
    store: &'a Store,
    index: &'a Index,
    gatherer: Gatherer,
    families: Vec<Option<Digest>>,
    /// The key of an instance whose recursive key is new and whose inputs are all known.
    asked: Vec<Option<Key>>,
    planned: Planned,
}

impl Planner<'_> {
    /// Finds the key and result of an instance whose upstream was looked up before.
    fn look_up(&mut self, id: InstanceId) {
        let instance = &self.graph.instances[id.0];
        let recursive_keys = &self.planned.recursive;
        let sources = &self.facts.sources;
        self.gatherer.gather(instance, self.facts, &mut |input| match input {
            Input::Source(i) => sources[*i].map_or(Known::Absent, Known::Content),
            Input::Output { instance, .. } => Known::Maker(recursive_keys[instance.0]),
        });
        let recursive = self.gatherer.recursive_key();
        let mut found = self.index.key(&recursive);
        if found.is_none() {
            self.families[id.0] = Some(self.gatherer.family());
            let asked = self.key_by_content(id);
            self.asked[id.0] = asked;
            found = asked.filter(|it| self.index.has(it));
        }
        self.planned.recursive.push(recursive);
        self.planned.keys.push(found);
        self.planned.standings.push(match found {
            Some(_) => Standing::Cached,
            None => Standing::NotNeeded, // until something asks for it
        });
    }

    /// The key, if the content of every input is known.
    fn key_by_content(&mut self, id: InstanceId) -> Option<Key> {
        let instance = &self.graph.instances[id.0];
        let mut complete = true;
        let (keys, index, sources) = (&self.planned.keys, self.index, &self.facts.sources);
        self.gatherer.gather(instance, self.facts, &mut |input| {
            let digest = match input {
                Input::Source(i) => sources[*i],
                Input::Output { instance, slot } => keys[instance.0]
                    .and_then(|key| index.output(&key, slot))
                    .map(|object| object.digest),
            };
            complete &= digest.is_some();
            digest.map_or(Known::Absent, Known::Content)
        });
        complete.then(|| self.gatherer.key())
    }

    /// From the targets upwards: what is needed and not there has to run.
    fn demand(&mut self) {
        let n = self.graph.instances.len();
        let mut wanted = vec![false; n];
        for target in &self.graph.targets {
            if let Some(instance) = target.instance {
                wanted[instance.0] = true;
            }
            for input in target.slots.values().flatten() {
                if let Input::Output { instance, .. } = input {
                    wanted[instance.0] = true;
                }
            }
        }
        for id in (0..n).rev() {
            if !wanted[id] {
                continue;
            }
            let standing = match self.planned.keys[id] {
                Some(key) => self.check_objects(&key),
                None => Standing::Stale(Stale::NoResult),
            };
            if standing.may_run() {
                for input in self.graph.instances[id].inputs.values().flatten() {
                    if let Input::Output { instance, .. } = input {
                        wanted[instance.0] = true;
                    }
                }
            }
            self.planned.standings[id] = standing;
        }
    }

    fn check_objects(&self, key: &Key) -> Standing {
        let outputs = self.index.entry(key).map_or(vec![], |it| it.outputs);
        for output in outputs {
            let what = match self.store.present(&output.object) {
                Presence::Present => continue,
                Presence::Missing => "is not in the store any more".to_owned(),
                Presence::Damaged { why } => format!("is damaged: {why}"),
            };
            return Standing::Stale(Stale::Lost { slot: output.slot, what });
        }
        Standing::Cached
    }

    /// Tells apart what will run and what may be cut off, and what cannot run at all.
    fn classify(&mut self) {
        let stale: Vec<usize> = (0..self.graph.instances.len())
            .filter(|id| self.planned.standings[*id] == Standing::Stale(Stale::NoResult))
            .collect();
        let mut askers: HashMap<Key, usize> = HashMap::new();
        for &id in &stale {
            if let Some(key) = self.asked[id] {
                *askers.entry(key).or_default() += 1;
            }
        }
        for id in stale {
            let absent = self.absent_sources(id);
            self.planned.standings[id] = match self.asked[id] {
                _ if !absent.is_empty() => Standing::Stale(Stale::Absent(absent)),
                // Two that ask the same are run once, and nobody knows which.
                Some(key) if askers[&key] > 1 => Standing::MaybeCutOff,
                Some(_) => continue,
                // A cut-off needs an older result that is the same but for its inputs.
                None if self.index.has_family(&self.family(id)) => Standing::MaybeCutOff,
                None => continue,
            };
        }
    }

    fn family(&self, id: usize) -> Digest {
        self.families[id].expect("gathered for every instance without a result")
    }

    fn absent_sources(&self, id: usize) -> Vec<usize> {
        let inputs = self.graph.instances[id].inputs.values().flatten();
        let absent = |input: &Input| match input {
            Input::Source(i) if self.facts.sources[*i].is_none() => Some(*i),
            Input::Source(_) | Input::Output { .. } => None,
        };
        inputs.filter_map(absent).collect()
    }
}
