//! Makes the instances of one step in one variant: values, inputs, arguments; and merges those
//! that are equal.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use crate::Origins;
use crate::accept;
use crate::code::CodeFinder;
use crate::digest::Digest;
use crate::endpoint::{Endpoint, is_written};
use crate::expand::{MAX_INPUTS, MAX_INSTANCES, takes_place};
use crate::graph::{Graph, Input, Instance, InstanceId, Source, Surroundings, Work};
use crate::kind::Arity;
use crate::mistake::Mistake;
use crate::model::{AxisValues, Leaves, Port, Step, Task, Workflow};
use crate::path::{Reach, resolve};
use crate::ports::Ports;
use crate::reference::{Label, Pick, Reference, StepReference, Template, VariantPick};
use crate::scope::Scope;
use crate::suggest;
use crate::text::At;
use crate::value::Value;

/// What became of a step in a variant.
pub(crate) struct Expanded {
    pub(crate) items: Vec<Made>,
    /// Labels, joined, to index in `items`; for fans.
    by_label: HashMap<String, usize>,
}

/// What became of one combination of `each` values.
pub(crate) struct Made {
    pub(crate) labels: Vec<String>,
    pub(crate) given: Given,
}

/// What a reference to an instance leads to.
pub(crate) enum Given {
    Instance(InstanceId),
    /// It does not take place; its slots stand for these.
    Passed(BTreeMap<String, Vec<Input>>),
    /// It does not take place and stands for nothing.
    Nothing,
}

/// Makes instances, one step and variant after the other.
pub(crate) struct Maker<'a> {
    pub(crate) flow: &'a Workflow,
    pub(crate) sets: &'a Leaves,
    pub(crate) code: CodeFinder<'a>,
    pub(crate) found: Vec<Mistake>,
    pub(crate) graph: Graph,
    pub(crate) source_ids: HashMap<(PathBuf, Option<Digest>), usize>,
    /// For each step what it became, sorted by variant.
    pub(crate) expanded: Vec<Vec<(u32, Expanded)>>,
    /// By a hash of the definition; where another definition has the same, by the next number.
    pub(crate) definitions: HashMap<u64, InstanceId>,
    /// What was around the last program: that of the next is mostly the same.
    pub(crate) around: Arc<Surroundings>,
    pub(crate) n_made: usize,
    pub(crate) n_inputs: usize,
    /// Two definitions.
    pub(crate) buffer: Vec<u8>,
    pub(crate) other: Vec<u8>,
}

/// More mistakes than this are not looked for: they tend to be one, over and over.
const ENOUGH: usize = 200;

impl Maker<'_> {
    /// Whether to stop.
    pub(crate) fn full(&self) -> bool {
        self.found.len() >= ENOUGH || self.n_made > MAX_INSTANCES || self.n_inputs > MAX_INPUTS
    }

    /// Makes the instances of a step in a variant.
    pub(crate) fn step(&mut self, index: usize, context: u32) {
        let flow = self.flow;
        let step = &flow.steps[index];
        let params = flow.params_in(context, self.sets);
        let Some(runs) = takes_place(step, &params) else {
            let message = format!("`when` of step `{}` is no boolean here", step.name);
            return self.say("manifest::wrong-type", step.at, message);
        };
        let Some(axes) = self.axes(step, context) else { return };
        let count = axes.iter().try_fold(1_usize, |product, it| product.checked_mul(it.0.len()));
        let limit = MAX_INSTANCES.saturating_sub(self.n_made);
        let Some(count) = count.filter(|it| *it <= limit) else {
            let message = format!("this makes more than {MAX_INSTANCES} instances");
            self.n_made = MAX_INSTANCES + 1;
            return self.say("manifest::too-many", step.at, message);
        };
        self.n_made += count;
        let stream = step.stream.as_ref().map(|it| stream_seed(flow.settings.seed, &it.0));
        let mut expanded = Expanded { items: Vec::with_capacity(count), by_label: HashMap::new() };
        for i in 0..count {
            let (values, labels) = combination(&axes, i);
            let scope = Scope {
                params,
                step,
                values: &values,
                labels: &labels,
                seed: stream,
                with: BTreeMap::new(),
            };
            let given = match runs {
                true => self.instance(index, context, scope),
                false => self.skipped(scope, context),
            };
            let Some(given) = given else { continue };
            if !labels.is_empty() {
                expanded.by_label.insert(labels.join(","), expanded.items.len());
            }
            expanded.items.push(Made { labels, given });
            if self.full() {
                break;
            }
        }
        if self.expanded[index].is_empty() {
            self.expanded[index].reserve_exact(1); // mostly the only one
        }
        self.expanded[index].push((context, expanded));
    }

    pub(crate) fn say(&mut self, code: &'static str, at: At, message: String) {
        let mistake = Mistake::new(code, message).at(&self.flow.project.texts, at, "");
        self.found.push(mistake);
    }

    /// The values and labels of each axis.
    fn axes(&mut self, step: &Step, context: u32) -> Option<Vec<(Vec<Value>, Vec<String>)>> {
        let mut axes = Vec::with_capacity(step.axes.len());
        for axis in &step.axes {
            let values: Vec<Value> = match &axis.values {
                AxisValues::Listed(it) => it.iter().map(|it| it.0.clone()).collect(),
                AxisValues::Param(name) => {
                    let value = self.flow.params_in(context, self.sets).get(name);
                    match value.as_deref() {
                        Some(Value::List(it)) => it.clone(),
                        _ => return None,
                    }
                }
            };
            let labels = crate::fan::labels(&values);
            let mut sorted: Vec<&String> = labels.iter().collect();
            sorted.sort();
            let twice = sorted.windows(2).find(|it| it[0] == it[1]).map(|it| it[0].clone());
            let nested = values.iter().any(|it| matches!(it, Value::List(_) | Value::Table(_)));
            if values.is_empty() || twice.is_some() || nested {
                let what = match twice {
                    Some(it) => format!("`{}` has {it} twice", axis.name),
                    None if nested => format!("`{}` has a value that is a list", axis.name),
                    None => format!("`{}` has no values", axis.name),
                };
                self.say("manifest::bad-value", axis.at, what);
                return None;
            }
            axes.push((values, labels));
        }
        Some(axes)
    }

    fn skipped(&mut self, scope: Scope<'_>, context: u32) -> Option<Given> {
        let Some(otherwise) = &scope.step.otherwise else { return Some(Given::Nothing) };
        let mut slots = BTreeMap::new();
        for port in otherwise {
            slots.insert(port.name.clone(), self.port(port, &scope, context)?);
        }
        Some(Given::Passed(slots))
    }

    fn instance(&mut self, index: usize, context: u32, mut scope: Scope<'_>) -> Option<Given> {
        let flow = self.flow;
        let step = scope.step;
        scope.with = self.with(&scope)?;
        let mut inputs = Ports::default();
        for port in &step.inputs {
            let things = self.port(port, &scope, context)?;
            if self.arity(step, port, &things)? {
                inputs.insert(port.name.clone(), things);
            }
        }
        let work = match &step.work {
            Task::Kind(kind) => {
                let spec = &flow.kinds.specs[*kind];
                Work::Kind {
                    name: spec.name.to_owned(),
                    version: spec.version,
                    numerics: spec
                        .numerics
                        .then_some(step.numerics.map_or_else(Default::default, |it| it.0)),
                    unkeyed: spec.unkeyed.iter().map(|it| (*it).to_owned()).collect(),
                }
            }
            Task::Program { .. } => Work::Program(self.program(&scope)?),
            Task::Unknown => return None,
        };
        let around = self.around(&scope)?;
        let address = flow.address(index, context, scope.labels);
        let instance = Instance {
            address,
            aliases: Vec::new(),
            work,
            around,
            with: scope.with,
            inputs,
            outputs: Arc::clone(&step.outputs),
            seed: scope.seed,
            how: Arc::clone(&step.how),
            place: flow.project.place(step.at),
            origins: Origins::default(),
        };
        Some(Given::Instance(self.merged(instance, &flow.steps[index])))
    }

    /// The instance, or the one before it that is equal.
    fn merged(&mut self, mut instance: Instance, step: &Arc<Step>) -> InstanceId {
        self.buffer.clear();
        crate::definition::write(&instance, &mut self.buffer);
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.buffer);
        let mut definition = hasher.finish();
        while let Some(first) = self.definitions.get(&definition) {
            let same = &mut self.graph.instances[first.0];
            self.other.clear();
            crate::definition::write(same, &mut self.other);
            if self.other == self.buffer {
                same.aliases.push(instance.address);
                return *first;
            }
            definition = definition.wrapping_add(1);
        }
        instance.origins = Origins::of(&self.flow.project, step);
        let id = InstanceId(self.graph.instances.len());
        self.definitions.insert(definition, id);
        self.graph.instances.push(instance);
        id
    }

    /// The step's parameters; those of a kind as it takes them, less those at their default.
    fn with(&mut self, scope: &Scope<'_>) -> Option<BTreeMap<String, Value>> {
        let flow = self.flow;
        let params = match &scope.step.work {
            Task::Kind(kind) => flow.kinds.params.get(kind).map(Vec::as_slice),
            _ => None,
        };
        let mut out = BTreeMap::new();
        let mut good = true;
        for (name, term) in &scope.step.with {
            let param = params.and_then(|it| it.iter().find(|it| it.name == *name));
            let value = scope.term(term).and_then(|it| match param {
                Some(param) => accept::accept(&param.accepts, name, &it),
                None => Ok(it),
            });
            match value {
                Ok(it) if param.and_then(|it| it.default.as_ref()) == Some(&it) => {}
                Ok(it) => {
                    out.insert(name.clone(), it);
                }
                Err(mistake) => {
                    let texts = &flow.project.texts;
                    let mut mistake = mistake.at(texts, term.at, "");
                    if let crate::model::TermData::Template(template) = &term.data {
                        mistake = scope.blame(mistake, template, texts);
                    }
                    self.found.push(mistake);
                    good = false;
                }
            }
        }
        good.then_some(out)
    }

    /// Checks how many things a port of a kind is given; whether it stays in the instance.
    fn arity(&mut self, step: &Step, port: &Port, things: &[Input]) -> Option<bool> {
        let served = |it: &Input| match it {
            Input::Source(i) => self.graph.sources[*i].endpoint.is_some(),
            Input::Output { .. } => false,
        };
        let served = things.iter().any(served);
        if served && matches!(step.work, Task::Program { .. }) {
            let at = port.items.first().map_or(port.at, |it| it.1);
            let message = "a program cannot be given an endpoint: it reads files".to_owned();
            self.say("manifest::not-an-endpoint", at, message);
            return None;
        }
        let Task::Kind(kind) = step.work else { return Some(true) };
        let spec = &self.flow.kinds.specs[kind];
        let known = spec.inputs.iter().find(|it| it.name == port.name)?;
        let at = port.items.first().map_or(port.at, |it| it.1);
        if served && known.arity != Arity::Model {
            let message = format!("`{}` of kind `{}` cannot be an endpoint", port.name, spec.name);
            self.say("manifest::not-an-endpoint", at, message);
            return None;
        }
        match (known.arity, things.len()) {
            (Arity::Many, 1..) | (Arity::One | Arity::Optional | Arity::Model, 1) => Some(true),
            (Arity::Optional, 0) => Some(false),
            (_, 0) => {
                let message =
                    format!("input `{}` of step `{}` is left with nothing", port.name, step.name);
                self.say("manifest::missing-input", at, message);
                None
            }
            (_, count) => {
                let message = format!("`{}` takes one input and is given {count}", port.name);
                let mistake = Mistake::new("manifest::too-many-inputs", message)
                    .at(&self.flow.project.texts, at, "")
                    .maybe_help(suggest::joining(&self.flow.kinds.specs));
                self.found.push(mistake);
                None
            }
        }
    }

    /// What a port is given, in order.
    fn port(&mut self, port: &Port, scope: &Scope<'_>, context: u32) -> Option<Vec<Input>> {
        let mut things = Vec::with_capacity(port.items.len());
        for (template, at) in &port.items {
            match template {
                Template::Whole(Reference::Step(it)) => {
                    self.outputs(it, *at, (scope, context), &mut things)?;
                }
                Template::Whole(Reference::Source(pick)) => {
                    things.push(self.given(pick, "source", scope, *at)?);
                }
                Template::Whole(Reference::Model(pick)) => {
                    things.push(self.given(pick, "model", scope, *at)?);
                }
                Template::Whole(reference) => match scope.known(reference) {
                    Ok(Value::Text(it)) => things.push(self.file(&it, *at)?),
                    Ok(Value::List(items)) => {
                        for it in &items {
                            let text = crate::scope::scalar(it);
                            let text = self.good(text, *at)?;
                            things.push(self.file(&text, *at)?);
                        }
                    }
                    Ok(it) => {
                        let message = format!("a path is {}, expected a string", it.type_name());
                        self.say("manifest::wrong-type", *at, message);
                        return None;
                    }
                    Err(it) => return self.good(Err(it), *at),
                },
                other => {
                    let text = scope.text(other);
                    let text = self.good(text, *at)?;
                    things.push(self.file(&text, *at)?);
                }
            }
        }
        self.n_inputs += things.len();
        if self.n_inputs > MAX_INPUTS {
            let message = format!("all instances together read more than {MAX_INPUTS} inputs");
            self.say("manifest::too-many", port.at, message);
            return None;
        }
        Some(things)
    }

    /// Notes a mistake at a place.
    pub(crate) fn good<T>(&mut self, result: Result<T, Mistake>, at: At) -> Option<T> {
        match result {
            Ok(it) => Some(it),
            Err(it) => {
                self.found.push(it.at(&self.flow.project.texts, at, ""));
                None
            }
        }
    }

    /// A path that is written in a step.
    fn file(&mut self, text: &str, at: At) -> Option<Input> {
        match resolve(self.flow.project.dir(at), text, Reach::Inside) {
            Ok(path) => Some(Input::Source(self.source(None, path, None, at))),
            Err(bad) => self.good(Err(crate::load::bad_path(bad, text)), at),
        }
    }

    /// A source or model.
    fn given(&mut self, pick: &Pick, what: &str, scope: &Scope<'_>, at: At) -> Option<Input> {
        let flow = self.flow;
        let name = match pick {
            Pick::Name(it) => it.clone(),
            Pick::Each(axis) => {
                let value = scope.axis(axis).and_then(|it| scope.values.get(it));
                let text = crate::scope::scalar(value?);
                self.good(text, at)?
            }
        };
        let (all, code) = match what {
            "source" => (&flow.settings.sources, "manifest::unknown-source"),
            _ => (&flow.settings.models, "manifest::unknown-model"),
        };
        let Some(given) = all.get(&name) else {
            let help = suggest::advice(&name, all.keys().map(String::as_str));
            let message = format!("no {what} `{}`", name.escape_debug());
            return self.good(Err(Mistake::new(code, message).maybe_help(help)), at);
        };
        let text = scope.text(&given.path);
        let text = self.good(text, given.at)?;
        if let Some(served) = &given.served {
            let endpoint = served.endpoint(text, scope);
            let endpoint = self.good(endpoint, given.at)?;
            return Some(Input::Source(self.endpoint(&name, endpoint, given.at)));
        }
        let dir = flow.project.dir(given.at);
        match resolve(dir, &text, given.reach) {
            Ok(path) => Some(Input::Source(self.source(Some(&name), path, given.pinned, given.at))),
            Err(bad) => self.good(Err(crate::load::bad_path(bad, &text)), given.at),
        }
    }

    /// The number of a file or folder that is read.
    pub(crate) fn source(
        &mut self,
        name: Option<&str>,
        path: PathBuf,
        pinned: Option<Digest>,
        at: At,
    ) -> usize {
        let next = self.graph.sources.len();
        let id = *self.source_ids.entry((path.clone(), pinned)).or_insert(next);
        if id == next {
            let place = self.flow.project.place(at);
            let name = name.map(str::to_owned);
            self.graph.sources.push(Source { name, path, pinned, place, endpoint: None });
        }
        id
    }

    /// The number of a server that is asked.
    fn endpoint(&mut self, name: &str, endpoint: Endpoint, at: At) -> usize {
        let same = |it: &Source| it.endpoint.as_ref() == Some(&endpoint);
        if let Some(known) = self.graph.sources.iter().position(same) {
            return known;
        }
        let name = is_written(name).then(|| name.to_owned());
        let (path, place) = (PathBuf::from(&endpoint.url), self.flow.project.place(at));
        let endpoint = Some(endpoint);
        self.graph.sources.push(Source { name, path, pinned: None, place, endpoint });
        self.graph.sources.len() - 1
    }

    /// The outputs that a reference to a step leads to.
    fn outputs(
        &mut self,
        reference: &StepReference,
        at: At,
        (scope, context): (&Scope<'_>, u32),
        things: &mut Vec<Input>,
    ) -> Option<()> {
        let flow = self.flow;
        let index = *flow.index.get(&reference.step)?;
        let contexts = match &reference.variants {
            None => context..=context,
            Some(VariantPick::All) => 1..=flow.settings.variants.len() as u32,
            Some(VariantPick::Name(name)) => {
                let variant = flow.settings.variant(name)? as u32 + 1;
                variant..=variant
            }
        };
        for context in contexts {
            let i = self.expanded[index].binary_search_by_key(&context, |it| it.0).ok()?;
            let picked = picked(&self.expanded[index][i].1, &reference.select, scope);
            if picked.is_empty() && !self.found.is_empty() {
                return None;
            }
            if picked.is_empty() {
                let message = format!("step `{}` has no such instance", reference.step);
                let labels: Vec<String> =
                    self.expanded[index][i].1.items.iter().map(|it| it.labels.join(",")).collect();
                let help = suggest::advice("", labels.iter().map(String::as_str));
                let mistake = Mistake::new("manifest::unknown-instance", message).maybe_help(help);
                return self.good(Err(mistake), at);
            }
            for item in picked {
                let made = &self.expanded[index][i].1.items[item];
                match &made.given {
                    Given::Instance(instance) => {
                        let slot = reference.slot.clone();
                        things.push(Input::Output { instance: *instance, slot });
                    }
                    Given::Passed(slots) => match slots.get(&reference.slot) {
                        Some(it) => things.extend(it.iter().cloned()),
                        None => return self.skipped_reference(reference, index, at),
                    },
                    Given::Nothing if leaves_out(reference) => {}
                    Given::Nothing => return self.skipped_reference(reference, index, at),
                }
            }
        }
        Some(())
    }

    fn skipped_reference(&mut self, reference: &StepReference, index: usize, at: At) -> Option<()> {
        let step = &self.flow.steps[index];
        let texts = &self.flow.project.texts;
        let message = format!(
            "step `{}` does not take place, and has no `else.{}`",
            step.name, reference.slot
        );
        let mut mistake = Mistake::new("manifest::skipped", message).at(texts, at, "");
        if let crate::model::When::Param(_, when) = &step.when {
            mistake = mistake.at(texts, *when, "this is false here");
        }
        let help = format!(
            "`else = {{ {} = \"${{…}}\" }}` in `{}` says what stands for it",
            reference.slot, step.name
        );
        self.found.push(mistake.help(help));
        None
    }
}

/// Whether what does not take place is left out rather than missed.
fn leaves_out(reference: &StepReference) -> bool {
    reference.variants == Some(VariantPick::All) || reference.select.contains(&Label::All)
}

/// The instances that a reference selects.
fn picked(expanded: &Expanded, select: &[Label], scope: &Scope<'_>) -> Vec<usize> {
    let all = 0..expanded.items.len();
    if matches!(select, [] | [Label::All]) {
        return all.collect();
    }
    let mut labels: Vec<Option<&str>> = Vec::with_capacity(select.len());
    for label in select {
        labels.push(match label {
            Label::All => None,
            Label::Value(it) => Some(it),
            Label::Each(axis) => {
                let label = scope.axis(axis).and_then(|it| scope.labels.get(it));
                let Some(it) = label else { return Vec::new() };
                Some(it)
            }
        });
    }
    if let Some(exact) = labels.iter().copied().collect::<Option<Vec<&str>>>() {
        return expanded.by_label.get(&exact.join(",")).copied().into_iter().collect();
    }
    let fits = |i: &usize| {
        let own = &expanded.items[*i].labels;
        let one = |(want, own): (&Option<&str>, &String)| want.is_none_or(|it| it == own);
        own.len() == labels.len() && labels.iter().zip(own).all(one)
    };
    all.filter(fits).collect()
}

/// The i-th combination; the last axis turns fastest.
fn combination(axes: &[(Vec<Value>, Vec<String>)], i: usize) -> (Vec<Value>, Vec<String>) {
    let mut rest = i;
    let mut values = Vec::with_capacity(axes.len());
    let mut labels = Vec::with_capacity(axes.len());
    for (all, names) in axes.iter().rev() {
        values.push(all[rest % all.len()].clone());
        labels.push(names[rest % all.len()].clone());
        rest /= all.len();
    }
    values.reverse();
    labels.reverse();
    (values, labels)
}

/// The seed of a stream: that of the workflow and the stream's name.
fn stream_seed(seed: u64, stream: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"kun stream 1").update(&seed.to_le_bytes()).update(stream.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}
