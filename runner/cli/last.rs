//! The newest result of a step, and the newest run: what commands look at. Nothing is run for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use engine::heads::Heads;
use engine::{Home, runs};
use plan::graph::{Instance, Work};
use plan::{Digest, Input, InstanceId, Key, Value};
use steps::text::ledger::Limit;
use store::Record;

use crate::project::Opened;
use crate::trouble::Trouble;
use crate::words;

/// The run that a name means; `last` and `last~2` count from the end.
pub(crate) fn run(home: &Home, name: &str) -> Result<String, Trouble> {
    let folder = home.runs();
    let all = runs::list(&folder).map_err(|it| Trouble::io(&folder, it))?;
    let id = match name.strip_prefix("last") {
        Some(rest) => {
            let back = rest.strip_prefix('~').map_or(Some(0), |it| it.parse::<usize>().ok());
            back.and_then(|it| all.iter().rev().nth(it))
        }
        None => all.iter().find(|it| *it == name),
    };
    id.cloned().ok_or_else(|| {
        if all.is_empty() {
            return Trouble::helped("there are no runs yet", "`kun run` makes one");
        }
        let newest: Vec<&str> = all.iter().rev().take(5).map(String::as_str).collect();
        let help = format!("the newest runs are {}; `last~1` is the one before", newest.join(", "));
        Trouble::helped(format!("no run `{name}`"), help)
    })
}

/// Whether a name means a run rather than a step: as `last` and `last~2` do where no step is called so.
pub(crate) fn is_run(home: &Home, name: &str) -> bool {
    let counts = |rest: &str| rest.strip_prefix('~').is_some_and(|it| it.parse::<usize>().is_ok());
    name.strip_prefix("last").is_some_and(|rest| rest.is_empty() || counts(rest))
        || runs::list(&home.runs()).is_ok_and(|all| all.iter().any(|it| it == name))
}

/// The newest result of a step.
pub(crate) struct Last {
    pub(crate) record: Record,
    /// Whether it is the answer to what the manifest asks now.
    pub(crate) fresh: bool,
    /// Whether its kind and parameters are those of the manifest: then its thresholds are known.
    pub(crate) as_asked: bool,
}

/// Finds newest results.
pub(crate) struct Lasts<'a> {
    pub(crate) opened: &'a Opened,
    heads: Heads,
}

impl<'a> Lasts<'a> {
    pub(crate) fn new(opened: &'a Opened) -> Result<Self, Trouble> {
        Ok(Self { opened, heads: opened.heads()? })
    }

    /// The newest result of an instance, if it has one.
    pub(crate) fn of(&self, id: InstanceId) -> Result<Option<Last>, Trouble> {
        let opened = self.opened;
        let instance = &opened.graph.instances[id.0];
        let now = opened.planned.keys[id.0].filter(|it| opened.index.has(it));
        let names = std::iter::once(&instance.address).chain(&instance.aliases);
        let before = || names.filter_map(|it| self.heads.get(&it.to_string())).next();
        match now.or_else(before) {
            Some(key) => self.at(Some(id), &key),
            None => Ok(None),
        }
    }

    /// The result with this key, as one of an instance.
    pub(crate) fn at(&self, id: Option<InstanceId>, key: &Key) -> Result<Option<Last>, Trouble> {
        let opened = self.opened;
        let Some(record) = opened.store.record(key)? else { return Ok(None) };
        let Some(id) = id else { return Ok(Some(Last { record, fresh: false, as_asked: false })) };
        let fresh = opened.planned.keys[id.0].as_ref() == Some(key);
        let as_asked = fresh || asked(&record.parts) == asked(&opened.parts(id)?);
        Ok(Some(Last { record, fresh, as_asked }))
    }

    /// Where an output of a result can be read; nothing where it was collected.
    pub(crate) fn output(&self, last: &Last, slot: &str) -> Option<PathBuf> {
        let object = &last.record.outputs.get(slot)?.object;
        Some(self.opened.store.object_path(&object.digest)).filter(|it| it.is_file())
    }

    /// The file that a result was made of; nothing where it is gone or has changed since.
    pub(crate) fn input(&self, id: InstanceId, last: &Last, port: &str) -> Option<PathBuf> {
        let opened = self.opened;
        let digest: Digest = last.record.parts.get(&format!("in.{port}"))?.parse().ok()?;
        let stored = opened.store.object_path(&digest);
        if stored.is_file() {
            return Some(stored);
        }
        let [Input::Source(i)] = &opened.graph.instances[id.0].inputs.get(port)?[..] else {
            return None;
        };
        let known = opened.gathered.facts.sources[*i] == Some(digest);
        let path = opened.home.root.join(&opened.graph.sources[*i].path);
        Some(path).filter(|it| known && it.is_file())
    }

    /// Port to the files and folders that an instance reads, as the manifest says now.
    pub(crate) fn reads(&self, id: InstanceId) -> Result<BTreeMap<String, Vec<PathBuf>>, Trouble> {
        let opened = self.opened;
        let instance = &opened.graph.instances[id.0];
        let mut all: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for (port, inputs) in &instance.inputs {
            for input in inputs {
                let path = match input {
                    Input::Source(i) => self.source(*i)?,
                    Input::Output { instance: maker, slot } => {
                        let key = opened.planned.keys[maker.0];
                        let object = key.and_then(|it| opened.index.output(&it, slot));
                        let Some(object) = object else {
                            let maker = opened.graph.instances[maker.0].address.to_string();
                            let step = &instance.address;
                            let text =
                                format!("`{step}` reads `{maker}.{slot}`, which is not made yet");
                            let help = format!("`kun run {}` makes it", words::argument(&maker));
                            return Err(Trouble::helped(text, help));
                        };
                        opened.readable(&object)?
                    }
                };
                all.entry(port.to_owned()).or_default().push(path);
            }
        }
        Ok(all)
    }

    fn source(&self, i: usize) -> Result<PathBuf, Trouble> {
        let source = &self.opened.graph.sources[i];
        if let Some(it) = &source.endpoint {
            let text = format!("`{}` renders its prompts itself", it.url);
            return Err(Trouble::helped(text, "name a model in a folder to see them here"));
        }
        let path = self.opened.home.root.join(&source.path);
        match path.exists() {
            true => Ok(path),
            false => Err(Trouble::helped(
                format!("`{}` is not there", words::near(&path)),
                "put it there, or point the manifest to where it is",
            )),
        }
    }

    /// Where the thresholds of an instance stand, as the manifest says now.
    pub(crate) fn limits(&self, id: InstanceId) -> Result<Vec<Limit>, Trouble> {
        let instance = &self.opened.graph.instances[id.0];
        let Some(name) = kind_name(instance) else { return Ok(vec![]) };
        let Some(kind) = steps::kind(name) else { return Ok(vec![]) };
        let with = instance.with.iter().map(|(name, it)| (name.clone(), it.to_toml())).collect();
        let mut limits =
            kind.limits_table(with).map_err(|it| Trouble::user(engine::error::chain(&it)))?;
        // A cut whose other rules stand has the thresholds of the ledger that it cuts.
        let ignores = Value::Text("ignored".to_owned());
        if name == "cut"
            && instance.with.get("others") != Some(&ignores)
            && let Some([Input::Output { instance, .. }]) =
                instance.inputs.get("ledger").map(Vec::as_slice)
        {
            let own: BTreeSet<String> = limits.iter().map(|it| it.rule.clone()).collect();
            let others = self.limits(*instance)?;
            limits.extend(others.into_iter().filter(|it| !own.contains(&it.rule)));
        }
        Ok(limits)
    }
}

/// The step kind of an instance.
pub(crate) fn kind_name(instance: &Instance) -> Option<&str> {
    match &instance.work {
        Work::Kind { name, .. } => Some(name),
        Work::Program(_) => None,
    }
}

/// What thresholds are made of.
fn asked(parts: &BTreeMap<String, String>) -> Vec<(&String, &String)> {
    parts.iter().filter(|(name, _)| *name == "op" || name.starts_with("with.")).collect()
}
