//! The checked manifest's own types: what is known before parameters are chosen.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::endpoint::Served;
use crate::graph::{How, Output};
use crate::kind::{KindSpec, Numerics, Param};
use crate::load::Project;
use crate::path::Reach;
use crate::reference::{Template, VariantPick};
use crate::text::At;
use crate::tree::Table;
use crate::workflow::{Budget, Slots};
use crate::{Digest, Value};

/// A checked workflow.
#[derive(Debug)]
pub struct Workflow {
    pub(crate) project: Arc<Project>,
    /// The merged tree, for the record of a run.
    pub(crate) tree: Table,
    pub(crate) settings: Settings,
    /// In the order of the files.
    pub(crate) steps: Vec<Arc<Step>>,
    /// Name to index in `steps`.
    pub(crate) index: HashMap<String, usize>,
    /// Indices of steps; what a step reads comes before it.
    pub(crate) order: Vec<usize>,
    pub(crate) kinds: Kinds,
}

/// The step kinds that there are, with the parameters of those that are used.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    pub(crate) specs: Vec<KindSpec>,
    pub(crate) params: HashMap<usize, Vec<Param>>,
}

/// All that is not a step.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) desc: String,
    pub(crate) seed: u64,
    pub(crate) targets: Vec<(String, At)>,
    /// Leaves by dotted name.
    pub(crate) params: Leaves,
    pub(crate) variants: Vec<Variant>,
    pub(crate) sources: BTreeMap<String, Given>,
    pub(crate) models: BTreeMap<String, Given>,
    pub(crate) pools: BTreeMap<String, (Slots, At)>,
    pub(crate) budget: Budget,
    pub(crate) how: Arc<How>,
    pub(crate) env: Arc<Env>,
}

/// Parameters by dotted name.
pub(crate) type Leaves = BTreeMap<String, (Value, At)>;

/// A named change of parameters.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) name: String,
    pub(crate) at: At,
    /// Index of the one that it changes further.
    pub(crate) extends: Option<usize>,
    pub(crate) leaves: Leaves,
}

/// A file or folder that is declared.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) path: Template,
    pub(crate) pinned: Option<Digest>,
    pub(crate) license: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) reach: Reach,
    /// Where the path is written.
    pub(crate) at: At,
    /// Where the path is the address of a server: what it is asked for.
    pub(crate) served: Option<Box<Served>>,
}

impl Given {
    /// A path with what its table says for people.
    pub(crate) fn of(table: &Table, path: Template, (reach, at): (Reach, At)) -> Self {
        let text = |name| table.get(name).and_then(|it| it.node.text()).map(str::to_owned);
        let (license, from) = (text("license"), text("from"));
        Self { path, pinned: None, license, from, reach, at, served: None }
    }
}

/// A step as it is written.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) at: At,
    pub(crate) desc: Option<String>,
    pub(crate) work: Task,
    /// Patterns of files for the program that it runs.
    pub(crate) code: Vec<(String, At)>,
    /// The environment of the program that it runs.
    pub(crate) env: Arc<Env>,
    pub(crate) inputs: Vec<Port>,
    /// In the order of the names.
    pub(crate) with: Vec<(String, Term)>,
    pub(crate) outputs: Arc<BTreeMap<String, Output>>,
    pub(crate) out_at: Option<At>,
    pub(crate) axes: Vec<Axis>,
    pub(crate) when: When,
    pub(crate) otherwise: Option<Vec<Port>>,
    pub(crate) how: Arc<How>,
    /// The name of its random stream, where it draws.
    pub(crate) stream: Option<(String, At)>,
    /// Which numbers it computes with, where that is said.
    pub(crate) numerics: Option<(Numerics, At)>,
    /// The steps that it reads when it takes place, and those that stand in for it otherwise.
    pub(crate) reads: Vec<Link>,
    pub(crate) passes: Vec<Link>,
}

/// What a step does, as it is written.
#[derive(Debug)]
pub(crate) enum Task {
    /// Index into [`Kinds::specs`].
    Kind(usize),
    Program {
        at: At,
        argv: Vec<(Template, At)>,
        shell: bool,
    },
    /// A mistake that has been said.
    Unknown,
}

/// The declared environment of a program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Env {
    pub(crate) pass: Vec<String>,
    pub(crate) set: BTreeMap<String, (Template, At)>,
    pub(crate) at: Option<At>,
}

/// A port or a slot, with what is said of it.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) at: At,
    pub(crate) items: Vec<(Template, At)>,
}

/// A value with references in it.
#[derive(Debug)]
pub(crate) struct Term {
    pub(crate) at: At,
    pub(crate) data: TermData,
}

/// See [`Term`].
#[derive(Debug)]
pub(crate) enum TermData {
    Constant(Value),
    Template(Template),
    List(Vec<Term>),
    Table(Vec<(String, Term)>),
}

/// One list of values to fan out over.
#[derive(Debug)]
pub(crate) struct Axis {
    pub(crate) name: String,
    pub(crate) at: At,
    pub(crate) values: AxisValues,
}

/// See [`Axis`].
#[derive(Debug)]
pub(crate) enum AxisValues {
    Listed(Vec<(Value, At)>),
    Param(String),
}

/// Whether a step takes place.
#[derive(Debug)]
pub(crate) enum When {
    Constant(bool),
    Param(String, At),
}

/// An edge between steps.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) step: usize,
    pub(crate) variants: Option<VariantPick>,
    pub(crate) at: At,
}

impl Settings {
    /// Index of a variant.
    pub(crate) fn variant(&self, name: &str) -> Option<usize> {
        self.variants.iter().position(|it| it.name == name)
    }

    /// The variant and those that it extends, itself first.
    pub(crate) fn chain(&self, variant: Option<usize>) -> impl Iterator<Item = &Variant> {
        let first = variant.and_then(|it| self.variants.get(it));
        std::iter::successors(first, |it| it.extends.and_then(|it| self.variants.get(it)))
            .take(self.variants.len())
    }
}

/// Whether a dotted name is a parameter or a table of some.
pub(crate) fn has_param(leaves: &Leaves, name: &str) -> bool {
    leaves.contains_key(name) || under(leaves, name).next().is_some()
}

/// The parameters below a dotted name.
pub(crate) fn under<'a>(
    leaves: &'a Leaves,
    name: &str,
) -> impl Iterator<Item = (&'a String, &'a (Value, At))> {
    let prefix = format!("{name}.");
    leaves.range(prefix.clone()..).take_while(move |it| it.0.starts_with(&prefix))
}

/// The value of a parameter, or of a table of some, as a table.
pub(crate) fn param_value(leaves: &Leaves, name: &str) -> Option<Value> {
    if let Some((value, _)) = leaves.get(name) {
        return Some(value.clone());
    }
    let mut table = BTreeMap::new();
    for (full, (value, _)) in under(leaves, name) {
        put(&mut table, &full[name.len() + 1..], value.clone());
    }
    (!table.is_empty()).then_some(Value::Table(table))
}

fn put(table: &mut BTreeMap<String, Value>, name: &str, value: Value) {
    match name.split_once('.') {
        None => {
            table.insert(name.to_owned(), value);
        }
        Some((head, rest)) => {
            let inner =
                table.entry(head.to_owned()).or_insert_with(|| Value::Table(BTreeMap::new()));
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}
