//! Joins the steps: every reference to a step, its slot, its instances and its variants must lead
//! somewhere, and none in a circle.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::kind::KindSpec;
use crate::load::Manifest;
use crate::mistake::{Mistake, Mistakes};
use crate::model::{Axis, AxisValues, Kinds, Link, Settings, Step, Task, Workflow, param_value};
use crate::reference::{Label, Reference, StepReference, VariantPick};
use crate::settings::Checker;
use crate::step::StepReader;
use crate::text::At;
use crate::tree::Table;
use crate::value::Value;

/// Codes of mistakes that stay true where a file has syntax mistakes: the others may only be
/// echoes of what could not be read.
const LOCAL: &[&str] = &[
    "manifest::unknown-key",
    "manifest::wrong-type",
    "manifest::bad-value",
    "manifest::bad-name",
    "manifest::bad-reference",
    "manifest::unknown-kind",
    "manifest::path-leaves",
];

impl Manifest {
    /// Checks everything that can be checked before parameters are chosen.
    pub fn check(self, kinds: &[&KindSpec]) -> Result<Workflow, Mistakes> {
        let Manifest { root, project, found } = self;
        let halfway = found.iter().any(|it| STOPS.contains(&it.code));
        let before = found.len();
        let mut checker = Checker::new(&project, found);
        let settings = checker.settings(&root);
        let mut kinds = Kinds { specs: kinds.iter().map(|it| **it).collect(), ..Kinds::default() };
        let mut steps = read_steps(&mut checker, &root, &settings, &mut kinds);
        let index: HashMap<String, usize> =
            steps.iter().enumerate().map(|(i, it)| (it.name.clone(), i)).collect();
        let links = Linker::new(&settings, &steps, &index).links(&mut checker);
        for (step, (reads, passes)) in steps.iter_mut().zip(links) {
            let step = Arc::get_mut(step).expect("nobody else has it yet");
            step.reads = reads;
            step.passes = passes;
        }
        check_targets(&mut checker, &settings, &index);
        let order = crate::order::order(&steps, &project.texts, &mut checker.found);
        let Checker { mut found, .. } = checker;
        if halfway {
            found = without_echoes(found, before);
        }
        if !found.is_empty() {
            return Err(Mistakes::sorted(found, &project.texts));
        }
        let project = Arc::new(project);
        Ok(Workflow { project, tree: root, settings, steps, index, order, kinds })
    }
}

/// After these a file is read in part.
const STOPS: &[&str] = &[
    "manifest::syntax",
    "manifest::unreadable",
    "manifest::too-large",
    "manifest::not-utf8",
    "manifest::too-deep",
    "manifest::include-cycle",
];

fn without_echoes(found: Vec<Mistake>, before: usize) -> Vec<Mistake> {
    let place = |it: &Mistake| it.labels.first().map(|it| it.0.clone());
    // What an unclosed bracket swallowed reaches to the end of the file.
    let open = |it: &Mistake| it.message.contains("array") || it.message.contains("inline table");
    // Of each file: the lines with syntax mistakes, and the first one from which on all is in doubt.
    let mut lines: HashSet<(Arc<PathBuf>, u32)> = HashSet::new();
    let mut open_from: HashMap<Arc<PathBuf>, u32> = HashMap::new();
    for it in found.iter().filter(|it| it.code == "manifest::syntax") {
        let Some(at) = place(it) else { continue };
        if open(it) {
            let first = open_from.entry(Arc::clone(&at.file)).or_insert(at.line);
            *first = at.line.min(*first);
        }
        lines.insert((at.file, at.line));
    }
    let echo = |it: &Mistake| {
        place(it).is_some_and(|own| {
            open_from.get(&own.file).is_some_and(|first| own.line > *first)
                || lines.contains(&(own.file, own.line))
        })
    };
    let keep = |(i, it): &(usize, Mistake)| {
        let first_hand = STOPS.contains(&it.code) || (*i < before && !echo(it));
        first_hand || (LOCAL.contains(&it.code) && !echo(it))
    };
    found.into_iter().enumerate().filter(keep).map(|it| it.1).collect()
}

fn read_steps(
    checker: &mut Checker<'_>,
    root: &Table,
    settings: &Settings,
    kinds: &mut Kinds,
) -> Vec<Arc<Step>> {
    let Some(table) = root.get("steps").and_then(|it| it.node.table()) else { return Vec::new() };
    let kind_index = kinds.specs.iter().enumerate().map(|(i, it)| (it.name, i)).collect();
    let items = table.as_written(&checker.project.rank);
    let outputs = Arc::default();
    let mut reader = StepReader { checker, settings, kinds, kind_index, outputs };
    let mut steps = Vec::with_capacity(items.len());
    steps.extend(items.into_iter().filter_map(|it| reader.read(it).map(Arc::new)));
    steps
}

/// The step in a target's pattern must be like one.
fn check_targets(checker: &mut Checker<'_>, settings: &Settings, index: &HashMap<String, usize>) {
    for (target, at) in &settings.targets {
        let name = target.split(['[', '@']).next().unwrap_or(target);
        let known = index.contains_key(name)
            || (name.contains(['*', '?']) && index.keys().any(|it| crate::glob::matches(name, it)));
        if !known {
            let names = || {
                let mut names: Vec<&str> = index.keys().map(String::as_str).collect();
                names.sort_unstable();
                names
            };
            let help = checker.advice(name, names);
            let message = format!("no step `{}` to be a target", name.escape_debug());
            checker.say("manifest::unknown-step", *at, message).help = help;
        }
    }
}

struct Linker<'a> {
    settings: &'a Settings,
    steps: &'a [Arc<Step>],
    index: &'a HashMap<String, usize>,
    /// The labels of axes by where they stand; a long one may be asked for often.
    labels: RefCell<HashMap<At, Rc<HashSet<String>>>>,
}

type Links = (Vec<Link>, Vec<Link>);

impl<'a> Linker<'a> {
    fn new(
        settings: &'a Settings,
        steps: &'a [Arc<Step>],
        index: &'a HashMap<String, usize>,
    ) -> Self {
        Self { settings, steps, index, labels: RefCell::default() }
    }

    fn links(&self, checker: &mut Checker<'_>) -> Vec<Links> {
        let mut links = Vec::with_capacity(self.steps.len());
        for step in self.steps {
            let reads = self.ports(step.inputs.iter(), checker);
            let passes = self.ports(step.otherwise.iter().flatten(), checker);
            links.push((reads, passes));
        }
        links
    }

    fn ports<'b>(
        &self,
        ports: impl Iterator<Item = &'b crate::model::Port>,
        checker: &mut Checker<'_>,
    ) -> Vec<Link> {
        let mut links = Vec::new();
        for (template, at) in ports.flat_map(|it| &it.items) {
            for reference in template.references() {
                if let Reference::Step(it) = reference {
                    if links.is_empty() {
                        links.reserve_exact(1); // mostly the only one
                    }
                    links.extend(self.link(it, *at, checker));
                }
            }
        }
        links
    }

    fn link(&self, reference: &StepReference, at: At, checker: &mut Checker<'_>) -> Option<Link> {
        self.variants(reference, at, checker);
        let name = &reference.step;
        let Some(index) = self.index.get(name).copied() else {
            let help = checker.advice(name, || self.steps.iter().map(|it| it.name.as_str()));
            let message = format!("no step `{name}`");
            checker.say("manifest::unknown-step", at, message).help = help;
            return None;
        };
        let step = &self.steps[index];
        if !step.outputs.contains_key(&reference.slot) && !matches!(step.work, Task::Unknown) {
            let message = format!("step `{name}` has no output `{}`", reference.slot);
            let names = || step.outputs.keys().map(String::as_str);
            let help = checker.advice(&reference.slot, names);
            checker.say("manifest::unknown-slot", at, message).help = help;
        }
        self.select(step, reference, at, checker);
        Some(Link { step: index, variants: reference.variants.clone(), at })
    }

    fn variants(&self, reference: &StepReference, at: At, checker: &mut Checker<'_>) {
        match &reference.variants {
            Some(VariantPick::All) if self.settings.variants.is_empty() => {
                let message = "`variants.*` stands for none: there are no variants".to_owned();
                checker.say("manifest::unknown-variant", at, message);
            }
            Some(VariantPick::Name(name)) if self.settings.variant(name).is_none() => {
                let names = || self.settings.variants.iter().map(|it| it.name.as_str());
                let help = checker.advice(name, names);
                let message = format!("no variant `{name}`");
                checker.say("manifest::unknown-variant", at, message).help = help;
            }
            _ => {}
        }
    }

    fn select(&self, step: &Step, reference: &StepReference, at: At, checker: &mut Checker<'_>) {
        let (name, slot) = (&reference.step, &reference.slot);
        match reference.select.as_slice() {
            [] if step.axes.is_empty() => {}
            [] => {
                let count: usize =
                    step.axes.iter().map(|it| self.values(it).len().max(1)).product();
                let noun = if count == 1 { "instance" } else { "instances" };
                let message = format!("step `{name}` has {count} {noun} (`each`)");
                checker.say("manifest::fanned", at, message).help = Some(format!(
                    "`${{steps.{name}[*].{slot}}}` is all of them, `${{steps.{name}[VALUE].{slot}}}` one"
                ));
            }
            [Label::All] => {}
            labels if labels.len() != step.axes.len() => {
                let message = format!(
                    "step `{name}` has {} lists in `each`, and {} values are named",
                    step.axes.len(),
                    labels.len()
                );
                checker.say("manifest::unknown-instance", at, message);
            }
            labels => {
                for (axis, label) in step.axes.iter().zip(labels) {
                    if let Some((message, help)) = self.label(step, axis, label, checker) {
                        checker.say("manifest::unknown-instance", at, message).help = help;
                    }
                }
            }
        }
    }

    /// What is wrong with a label, where it can be known already.
    fn label(
        &self,
        step: &Step,
        axis: &Axis,
        label: &Label,
        checker: &Checker<'_>,
    ) -> Option<(String, Option<String>)> {
        let (Label::Value(label), AxisValues::Listed(_)) = (label, &axis.values) else {
            return None;
        };
        let known = self.labels.borrow().get(&axis.at).cloned();
        let labels = known.unwrap_or_else(|| {
            let labels = Rc::new(crate::fan::labels(&self.values(axis)).into_iter().collect());
            self.labels.borrow_mut().insert(axis.at, Rc::clone(&labels));
            labels
        });
        if labels.contains(label) {
            return None;
        }
        let names = || {
            let mut names: Vec<&str> = labels.iter().map(String::as_str).collect();
            names.sort_unstable();
            names
        };
        let help = checker.advice(label, names);
        Some((format!("step `{}` has no instance `{label}`", step.name), help))
    }

    fn values(&self, axis: &Axis) -> Vec<Value> {
        match &axis.values {
            AxisValues::Listed(it) => it.iter().map(|it| it.0.clone()).collect(),
            AxisValues::Param(name) => match param_value(&self.settings.params, name) {
                Some(Value::List(it)) => it,
                _ => Vec::new(),
            },
        }
    }
}
