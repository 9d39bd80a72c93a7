//! From a checked workflow to the graph of instances that were asked for.
//!
//! Which steps are needed in which variants is found first, backwards from the targets; then each
//! is made, forwards, and equal ones are merged. Time is linear in instances and their inputs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::ask::Ask;
use crate::code::CodeFinder;
use crate::files::Files;
use crate::glob::matches;
use crate::graph::{Graph, Input, InstanceId, Target};
use crate::instance::{Expanded, Given, Made, Maker};
use crate::mistake::{Mistake, Mistakes};
use crate::model::{Leaves, Link, Step, When, Workflow};
use crate::reference::VariantPick;
use crate::scope::Params;
use crate::settings::fit;
use crate::suggest;
use crate::text::At;
use crate::{Address, Value};

/// More instances than this are refused.
pub(crate) const MAX_INSTANCES: usize = 1_000_000;

/// More inputs than this, of all instances together, are refused.
pub(crate) const MAX_INPUTS: usize = 20_000_000;

/// No variant: the parameters as they stand.
pub(crate) const BASE: u32 = 0;

impl Workflow {
    /// Every step instance that was asked for and what it needs, equal ones merged.
    pub fn expand(&self, ask: &Ask, files: &dyn Files) -> Result<Graph, Mistakes> {
        let mut found = Vec::new();
        let sets = self.sets(&ask.sets, &mut found);
        let contexts = self.contexts(&ask.variants, &mut found);
        let wanted = self.wanted(ask, &contexts, &mut found);
        if !found.is_empty() {
            return Err(Mistakes::sorted(found, &self.project.texts));
        }
        let need = self.need(&wanted, &sets);
        let n_steps = need.iter().filter(|it| !it.is_empty()).count();
        let mut maker = Maker {
            flow: self,
            sets: &sets,
            code: CodeFinder::new(files, &self.project.root),
            found: Vec::new(),
            graph: Graph { instances: Vec::with_capacity(n_steps), ..Graph::default() },
            source_ids: HashMap::new(),
            expanded: (0..self.steps.len()).map(|_| Vec::new()).collect(),
            definitions: HashMap::with_capacity(n_steps),
            around: Arc::default(),
            n_made: 0,
            n_inputs: 0,
            buffer: Vec::new(),
            other: Vec::new(),
        };
        for step in &self.order {
            for context in &need[*step] {
                if maker.full() {
                    break;
                }
                maker.step(*step, *context);
            }
        }
        let Maker { mut graph, mut found, expanded, .. } = maker;
        self.aim(&wanted, &expanded, &mut graph, &mut found);
        if !found.is_empty() {
            return Err(Mistakes::sorted(found, &self.project.texts));
        }
        prune(&mut graph);
        Ok(graph)
    }

    /// Reads `--set a.b=c`.
    fn sets(&self, sets: &[(String, String)], found: &mut Vec<Mistake>) -> Leaves {
        let mut out = Leaves::new();
        for (name, text) in sets {
            let is_text = matches!(self.settings.params.get(name), Some((Value::Text(_), _)));
            let parsed = set_value(text);
            let value = match parsed {
                Some(it @ Value::Text(_)) => it,
                Some(it) if !is_text => it,
                _ => Value::Text(text.clone()),
            };
            match fit(&self.settings.params, name, &value) {
                Ok(it) => {
                    let nowhere = At { file: u32::MAX, ..At::default() };
                    out.insert(name.clone(), (it, nowhere));
                }
                Err(mut it) => {
                    it.message = format!("--set {name}={text}: {}", it.message);
                    let names = self.settings.params.keys().map(String::as_str);
                    let unknown = !self.settings.params.contains_key(name);
                    found.push(
                        it.maybe_help(unknown.then(|| suggest::advice(name, names)).flatten()),
                    );
                }
            }
        }
        out
    }

    /// The variants that were asked for.
    fn contexts(&self, patterns: &[String], found: &mut Vec<Mistake>) -> Vec<u32> {
        if patterns.is_empty() {
            return vec![BASE];
        }
        for pattern in patterns {
            if self.variants_like(pattern).is_empty() {
                let help = suggest::advice(pattern, self.variants());
                let message = format!("no variant `{}`", pattern.escape_debug());
                found.push(Mistake::new("manifest::unknown-variant", message).maybe_help(help));
            }
        }
        let like = |it: &str| patterns.iter().any(|pattern| matches(pattern, it));
        let variants = self.settings.variants.iter().enumerate();
        variants.filter(|(_, it)| like(&it.name)).map(|(i, _)| i as u32 + 1).collect()
    }

    fn variants_like(&self, pattern: &str) -> Vec<u32> {
        let variants = self.settings.variants.iter().enumerate();
        variants.filter(|(_, it)| matches(pattern, &it.name)).map(|(i, _)| i as u32 + 1).collect()
    }

    /// Reads the patterns of the targets.
    fn wanted(&self, ask: &Ask, contexts: &[u32], found: &mut Vec<Mistake>) -> Vec<Wanted> {
        if ask.targets.is_empty() && self.settings.targets.is_empty() {
            let steps = self.sinks();
            let contexts = contexts.to_vec();
            return vec![Wanted { steps, contexts, each: None, pattern: "*".to_owned(), at: None }];
        }
        let own = self.settings.targets.iter().map(|(it, at)| (it.as_str(), Some(*at)));
        let asked = ask.targets.iter().map(|it| (it.as_str(), None));
        let patterns: Vec<(&str, Option<At>)> =
            if ask.targets.is_empty() { own.collect() } else { asked.collect() };
        let read = |(pattern, at)| self.pattern(pattern, at, contexts);
        let mut wanted = Vec::new();
        for it in patterns.into_iter().map(read) {
            match it {
                Ok(it) => wanted.push(it),
                Err(it) => found.push(it),
            }
        }
        wanted
    }

    /// Steps that no other step reads.
    fn sinks(&self) -> Vec<usize> {
        let mut read = vec![false; self.steps.len()];
        for link in self.steps.iter().flat_map(|it| it.reads.iter().chain(&it.passes)) {
            read[link.step] = true;
        }
        (0..self.steps.len()).filter(|it| !read[*it]).collect()
    }

    fn pattern(&self, text: &str, at: Option<At>, contexts: &[u32]) -> Result<Wanted, Mistake> {
        let placed = |it: Mistake| match at {
            Some(at) => it.at(&self.project.texts, at, ""),
            None => it,
        };
        let Some((step, each, variant)) = split_address(text) else {
            let message = format!("`{}` is not like `step[each]@variant`", text.escape_debug());
            return Err(placed(Mistake::new("manifest::bad-target", message)));
        };
        let mut steps: Vec<usize> = self.index.get(step).copied().into_iter().collect();
        if steps.is_empty() && step.contains(['*', '?']) {
            steps =
                (0..self.steps.len()).filter(|it| matches(step, &self.steps[*it].name)).collect();
        }
        if steps.is_empty() {
            let names = self.steps.iter().map(|it| it.name.as_str());
            let message = format!("no step `{}`", step.escape_debug());
            let mistake = Mistake::new("manifest::unknown-step", message);
            return Err(placed(mistake.maybe_help(suggest::advice(step, names))));
        }
        let contexts = match variant {
            None => contexts.to_vec(),
            Some(it) => self.variants_like(it),
        };
        // Patterns of variants that match none are told once, not again for each target.
        if let Some(variant) = variant
            && contexts.is_empty()
        {
            let message = format!("no variant `{}`", variant.escape_debug());
            let mistake = Mistake::new("manifest::unknown-variant", message);
            return Err(placed(mistake.maybe_help(suggest::advice(variant, self.variants()))));
        }
        let each = each.map(str::to_owned);
        Ok(Wanted { steps, contexts, each, pattern: text.to_owned(), at })
    }

    /// For each step, the variants in which it is needed, sorted.
    fn need(&self, wanted: &[Wanted], sets: &Leaves) -> Vec<Vec<u32>> {
        let mut need: Vec<Vec<u32>> = vec![Vec::new(); self.steps.len()];
        for it in wanted {
            for step in &it.steps {
                need[*step].extend(&it.contexts);
            }
        }
        for i in self.order.iter().rev() {
            let mut contexts = std::mem::take(&mut need[*i]);
            contexts.sort_unstable();
            contexts.dedup();
            let step = &self.steps[*i];
            let everywhere = matches!(step.when, When::Constant(true));
            for context in &contexts {
                let runs =
                    everywhere || takes_place(step, &self.params_in(*context, sets)) != Some(false);
                for link in if runs { &step.reads } else { &step.passes } {
                    self.need_link(link, *context, &mut need);
                }
            }
            need[*i] = contexts;
        }
        need
    }

    fn need_link(&self, link: &Link, context: u32, need: &mut [Vec<u32>]) {
        match &link.variants {
            None => need[link.step].push(context),
            Some(VariantPick::Name(name)) => {
                need[link.step].extend(self.settings.variant(name).map(|it| it as u32 + 1));
            }
            Some(VariantPick::All) => {
                need[link.step].extend(1..=self.settings.variants.len() as u32);
            }
        }
        // Many readers name the same variants: without this, need grows with their product.
        if need[link.step].len() > 4 * (self.settings.variants.len() + 2) {
            need[link.step].sort_unstable();
            need[link.step].dedup();
        }
    }

    /// The parameters of a variant.
    pub(crate) fn params_in<'a>(&'a self, context: u32, sets: &'a Leaves) -> Params<'a> {
        let variant = (context as usize).checked_sub(1);
        Params { settings: &self.settings, variant, sets }
    }

    /// Notes which instances the targets are.
    fn aim(
        &self,
        wanted: &[Wanted],
        expanded: &[Vec<(u32, Expanded)>],
        graph: &mut Graph,
        found: &mut Vec<Mistake>,
    ) {
        let mut seen = HashSet::new();
        for it in wanted {
            let mut any = it.each.is_none();
            for step in &it.steps {
                for context in &it.contexts {
                    let Ok(i) = expanded[*step].binary_search_by_key(context, |it| it.0) else {
                        // Only where a limit stopped the expansion.
                        any = true;
                        continue;
                    };
                    for made in &expanded[*step][i].1.items {
                        let label = made.labels.join(",");
                        if it.each.as_ref().is_some_and(|it| !matches(it, &label)) {
                            continue;
                        }
                        any = true;
                        if seen.insert((*step, *context, label)) {
                            graph.targets.push(self.target(*step, *context, made));
                        }
                    }
                }
            }
            if !any && found.is_empty() {
                let message = format!("no instance is like `{}`", it.pattern.escape_debug());
                let mistake = Mistake::new("manifest::unknown-instance", message);
                found.push(match it.at {
                    Some(at) => mistake.at(&self.project.texts, at, ""),
                    None => mistake,
                });
            }
        }
    }

    fn target(&self, step: usize, context: u32, made: &Made) -> Target {
        let slots = match &made.given {
            Given::Instance(instance) => {
                let slot = |slot: &String| {
                    let input = Input::Output { instance: *instance, slot: slot.clone() };
                    (slot.clone(), vec![input])
                };
                self.steps[step].outputs.keys().map(slot).collect()
            }
            Given::Passed(it) => it.clone(),
            Given::Nothing => Default::default(),
        };
        let instance = match made.given {
            Given::Instance(it) => Some(it),
            _ => None,
        };
        Target { address: self.address(step, context, &made.labels), instance, slots }
    }

    /// The name of an instance.
    pub(crate) fn address(&self, step: usize, context: u32, labels: &[String]) -> Address {
        let variant =
            (context as usize).checked_sub(1).and_then(|it| self.settings.variants.get(it));
        Address {
            step: self.steps[step].name.clone(),
            each: labels.to_vec(),
            variant: variant.map(|it| it.name.clone()),
        }
    }
}

/// A target's pattern, read.
pub(crate) struct Wanted {
    steps: Vec<usize>,
    contexts: Vec<u32>,
    each: Option<String>,
    pattern: String,
    at: Option<At>,
}

/// Whether a step takes place; none where its `when` is no boolean.
pub(crate) fn takes_place(step: &Step, params: &Params<'_>) -> Option<bool> {
    match &step.when {
        When::Constant(it) => Some(*it),
        When::Param(name, _) => match params.get(name)?.as_ref() {
            Value::Bool(it) => Some(*it),
            _ => None,
        },
    }
}

/// Splits `step[each]@variant`.
fn split_address(text: &str) -> Option<(&str, Option<&str>, Option<&str>)> {
    let end = text.find(['[', '@']).unwrap_or(text.len());
    let (step, rest) = text.split_at(end);
    let (each, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (each, rest) = rest.rsplit_once(']')?;
            (Some(each), rest)
        }
        None => (None, rest),
    };
    let variant = match rest {
        "" => None,
        it => Some(it.strip_prefix('@')?),
    };
    (!step.is_empty()).then_some((step, each, variant))
}

/// A value as TOML writes it; none where it is no TOML value, or one that a manifest cannot have.
fn set_value(text: &str) -> Option<Value> {
    if text.len() > 4096 {
        return None;
    }
    let document = format!("x = {text}");
    let table: toml::Table = document.parse().ok()?;
    from_toml(table.get("x").filter(|_| table.len() == 1)?)
}

fn from_toml(value: &toml::Value) -> Option<Value> {
    Some(match value {
        toml::Value::String(it) => Value::Text(it.clone()),
        toml::Value::Integer(it) => Value::Int(*it),
        toml::Value::Float(it) if it.is_finite() => Value::Float(*it),
        toml::Value::Boolean(it) => Value::Bool(*it),
        toml::Value::Array(it) => Value::List(it.iter().map(from_toml).collect::<Option<_>>()?),
        _ => return None,
    })
}

/// Drops instances and sources that no target needs, and numbers the rest anew.
fn prune(graph: &mut Graph) {
    let mut needed = vec![false; graph.instances.len()];
    let mut used = vec![false; graph.sources.len()];
    let mut mark = |input: &Input, needed: &mut Vec<bool>| match input {
        Input::Output { instance, .. } => needed[instance.0] = true,
        Input::Source(it) => used[*it] = true,
    };
    for input in graph.targets.iter().flat_map(|it| it.slots.values().flatten()) {
        mark(input, &mut needed);
    }
    // A target without outputs is needed for what it does.
    for it in graph.targets.iter().filter_map(|it| it.instance) {
        needed[it.0] = true;
    }
    for i in (0..graph.instances.len()).rev() {
        if !needed[i] {
            continue;
        }
        let instance = &graph.instances[i];
        for input in instance.inputs.values().flatten() {
            mark(input, &mut needed);
        }
        for source in instance.around.code.values() {
            mark(&Input::Source(*source), &mut needed);
        }
    }
    if needed.iter().all(|it| *it) && used.iter().all(|it| *it) {
        return;
    }
    let instances = numbers(&needed);
    let sources = numbers(&used);
    let renumber = |input: &mut Input| match input {
        Input::Output { instance, .. } => *instance = InstanceId(instances[instance.0]),
        Input::Source(it) => *it = sources[*it],
    };
    let mut i = 0..;
    graph.instances.retain(|_| i.next().is_some_and(|it: usize| needed[it]));
    let mut i = 0..;
    graph.sources.retain(|_| i.next().is_some_and(|it: usize| used[it]));
    for target in &mut graph.targets {
        target.slots.values_mut().flatten().for_each(renumber);
        target.instance = target.instance.map(|it| InstanceId(instances[it.0]));
    }
    for instance in &mut graph.instances {
        instance.inputs.values_mut().flatten().for_each(renumber);
        if !instance.around.code.is_empty() {
            let around = Arc::make_mut(&mut instance.around);
            around.code.values_mut().for_each(|it| *it = sources[*it]);
        }
    }
}

/// The new number of each that is kept.
fn numbers(kept: &[bool]) -> Vec<usize> {
    kept.iter()
        .scan(0, |next, kept| {
            let number = *next;
            *next += usize::from(*kept);
            Some(number)
        })
        .collect()
}
