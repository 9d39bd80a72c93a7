//! What a checked workflow says of itself: names, places, pools, parameters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ask::Ask;
use crate::endpoint::is_written;
use crate::load::Manifest;
use crate::model::{Given, Task};
use crate::path::Reach;
use crate::reference::{Part, Template};
use crate::tree::{Data, Node, Table};
use crate::{Digest, Place, Value};

use crate::model::Workflow;

/// A step, as screens list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepInfo {
    /// Its name.
    pub name: String,
    /// Its kind; none: it runs a program.
    pub kind: Option<&'static str>,
    /// What it is for, in the words of its author.
    pub desc: Option<String>,
    /// The names of the steps that it reads or passes through.
    pub reads: Vec<String>,
    /// Where it was written.
    pub place: Place,
}

/// A file or folder declared in `[sources]` or `[models]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// As it was written.
    pub path: String,
    /// The digest that it must have.
    pub pinned: Option<Digest>,
    /// Whether it may lie outside the project.
    pub outside: bool,
    /// Under which terms it may be used.
    pub license: Option<String>,
    /// Where it came from.
    pub from: Option<String>,
    /// Where it was written.
    pub place: Place,
}

/// A parameter, with where its value comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its value in `[params]`.
    pub value: Value,
    /// Where the value was written.
    pub place: Place,
}

/// What one run may spend; nothing: as much as it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// How long it may take.
    pub wall: Option<Duration>,
    /// How many tokens models may read and write.
    pub tokens: Option<u64>,
    /// About how many records models may be asked.
    pub records: Option<u64>,
}

/// Something of which there is a limited number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// How many.
    pub slots: Slots,
    /// Where it was written.
    pub place: Place,
}

/// How many slots a pool has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slots {
    /// As many as the machine has.
    Auto,
    /// This many.
    Count(u64),
    /// These devices.
    Devices(Vec<u32>),
}

impl Manifest {
    /// The files that it was read from, the entry first.
    pub fn files(&self) -> Vec<PathBuf> {
        self.project.texts.iter().map(|it| it.name().as_ref().clone()).collect()
    }
}

impl Workflow {
    /// Its name: `[workflow] name`, else that of the entry's folder, else `workflow`.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// The question that it is to answer, in the words of its author.
    pub fn desc(&self) -> &str {
        &self.settings.desc
    }

    /// The seed from which every stream is derived.
    pub fn seed(&self) -> u64 {
        self.settings.seed
    }

    /// The project's root: the folder of the entry manifest, as it was named.
    pub fn root(&self) -> &Path {
        &self.project.root
    }

    /// The files that it was read from, the entry first.
    pub fn files(&self) -> Vec<PathBuf> {
        self.project.texts.iter().map(|it| it.name().as_ref().clone()).collect()
    }

    /// What `[workflow] targets` names.
    pub fn targets(&self) -> Vec<String> {
        self.settings.targets.iter().map(|it| it.0.clone()).collect()
    }

    /// The names of the variants, in the order of the file.
    pub fn variants(&self) -> Vec<&str> {
        self.settings.variants.iter().map(|it| it.name.as_str()).collect()
    }

    /// The steps, in the order of the file.
    pub fn steps(&self) -> Vec<StepInfo> {
        self.steps.iter().map(|it| self.info(it)).collect()
    }

    fn info(&self, step: &crate::model::Step) -> StepInfo {
        let kind = match step.work {
            Task::Kind(it) => self.kinds.specs.get(it).map(|it| it.name),
            _ => None,
        };
        let links = step.reads.iter().chain(&step.passes);
        let mut reads: Vec<String> = links.map(|it| self.steps[it.step].name.clone()).collect();
        reads.sort();
        reads.dedup();
        StepInfo {
            name: step.name.clone(),
            kind,
            desc: step.desc.clone(),
            reads,
            place: self.project.place(step.at),
        }
    }

    /// What `[sources]` declares.
    pub fn sources(&self) -> BTreeMap<String, Declared> {
        self.declared(&self.settings.sources)
    }

    /// What `[models]` declares.
    pub fn models(&self) -> BTreeMap<String, Declared> {
        self.declared(&self.settings.models)
    }

    fn declared(&self, given: &BTreeMap<String, Given>) -> BTreeMap<String, Declared> {
        let declared = |it: &Given| Declared {
            path: written(&it.path),
            pinned: it.pinned,
            outside: it.reach == Reach::Anywhere,
            license: it.license.clone(),
            from: it.from.clone(),
            place: self.project.place(it.at),
        };
        let named = given.iter().filter(|(name, _)| is_written(name));
        named.map(|(name, it)| (name.clone(), declared(it))).collect()
    }

    /// What `[pools]` declares.
    pub fn pools(&self) -> BTreeMap<String, Pool> {
        let pools = self.settings.pools.iter();
        pools
            .map(|(name, (slots, at))| {
                (name.clone(), Pool { slots: slots.clone(), place: self.project.place(*at) })
            })
            .collect()
    }

    /// What `[budget]` says.
    pub fn budget(&self) -> Budget {
        self.settings.budget
    }

    /// The parameters by their dotted names, with the places of their values.
    pub fn params(&self) -> BTreeMap<String, Parameter> {
        let params = self.settings.params.iter();
        params
            .map(|(name, (value, at))| {
                let place = self.project.place(*at);
                (name.clone(), Parameter { value: value.clone(), place })
            })
            .collect()
    }

    /// What a variant changes, with what it extends: by dotted name.
    pub fn overlay(&self, variant: &str) -> Option<BTreeMap<String, Parameter>> {
        let index = self.settings.variant(variant)?;
        let mut out = BTreeMap::new();
        for it in self.settings.chain(Some(index)) {
            for (name, (value, at)) in &it.leaves {
                let place = self.project.place(*at);
                let parameter = Parameter { value: value.clone(), place };
                out.entry(name.clone()).or_insert(parameter);
            }
        }
        Some(out)
    }
}

impl Workflow {
    /// The manifest with all that it extends and includes merged in, and what was asked of it:
    /// canonical JSON for the record of a run.
    pub fn resolved(&self, ask: &Ask) -> serde_json::Value {
        let sets: BTreeMap<&str, &str> =
            ask.sets.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        serde_json::json!({
            "ask": { "sets": sets, "targets": ask.targets, "variants": ask.variants },
            "manifest": table_json(&self.tree),
        })
    }
}

fn table_json(table: &Table) -> serde_json::Value {
    table.iter().map(|it| (it.name.clone(), node_json(&it.node))).collect()
}

fn node_json(node: &Node) -> serde_json::Value {
    match &node.data {
        Data::Bool(it) => (*it).into(),
        Data::Int(it) => (*it).into(),
        Data::Float(it) => (*it).into(),
        Data::Text(it) => it.as_str().into(),
        Data::List(it) => it.iter().map(node_json).collect(),
        Data::Table(it) => table_json(it),
        Data::Broken => serde_json::Value::Null,
    }
}

/// A template as it was written, near enough for people.
fn written(template: &Template) -> String {
    match template {
        Template::Plain(it) => it.clone(),
        Template::Whole(_) => "${…}".to_owned(),
        Template::Mixed(parts) => {
            let part = |it: &Part| match it {
                Part::Text(it) => it.clone(),
                Part::Reference(_) => "${…}".to_owned(),
            };
            parts.iter().map(part).collect()
        }
    }
}
