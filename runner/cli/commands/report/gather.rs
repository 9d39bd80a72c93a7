//! Which results a report is about, and which of their outputs it may have a use for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use engine::runs;
use plan::kind::Form;
use plan::{InstanceId, Key};
use steps::reporting::Item;

use crate::last::{self, Last, Lasts};
use crate::project::Opened;
use crate::trouble::Trouble;

/// A step with its result.
pub(super) struct Made {
    pub(super) name: String,
    pub(super) last: Option<Last>,
}

/// What a report is about.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) made: Vec<Made>,
    pub(super) items: Vec<Item>,
}

impl Gathered {
    fn add(
        &mut self,
        lasts: &Lasts<'_>,
        (id, name): (Option<InstanceId>, String),
        last: Option<Last>,
    ) -> Result<(), Trouble> {
        if let Some(last) = &last {
            self.items.extend(told(lasts, (id, &name), last)?);
        }
        self.made.push(Made { name, last });
        Ok(())
    }
}

/// The newest result of each step.
pub(super) fn newest(opened: &Opened) -> Result<Gathered, Trouble> {
    let lasts = Lasts::new(opened)?;
    let mut gathered = Gathered::default();
    for (i, instance) in opened.graph.instances.iter().enumerate() {
        let id = InstanceId(i);
        gathered.add(&lasts, (Some(id), instance.address.to_string()), lasts.of(id)?)?;
    }
    Ok(gathered)
}

/// The results of some runs. A step that came out differently in them has the run's name beside its
/// own.
pub(super) fn of_runs(opened: &Opened, names: &[String]) -> Result<Gathered, Trouble> {
    let lasts = Lasts::new(opened)?;
    let folder = opened.home.runs();
    let mut all: Vec<(String, String, Key)> = Vec::new();
    for name in names {
        let run = last::run(&opened.home, name)?;
        let keys = runs::keys(&folder, &run).map_err(|it| Trouble::io(&folder.join(&run), it))?;
        // A step that runs again has its last key last.
        let keys: BTreeMap<String, Key> = keys.into_iter().collect();
        all.extend(keys.into_iter().map(|(step, key)| (step, run.clone(), key)));
    }
    let mut keys: BTreeMap<&str, BTreeSet<Key>> = BTreeMap::new();
    for (step, _, key) in &all {
        keys.entry(step).or_default().insert(*key);
    }
    let mut ids: BTreeMap<String, InstanceId> = BTreeMap::new();
    for (i, it) in opened.graph.instances.iter().enumerate() {
        let names = std::iter::once(&it.address).chain(&it.aliases);
        ids.extend(names.map(|it| (it.to_string(), InstanceId(i))));
    }
    // In the order of the workflow; what it has no more comes last.
    let place = |step: &String| ids.get(step).map_or(usize::MAX, |it| it.0);
    let mut order: Vec<&(String, String, Key)> = all.iter().collect();
    order.sort_by_key(|it| place(&it.0));
    let (mut gathered, mut told) = (Gathered::default(), BTreeSet::new());
    for (step, run, key) in order {
        if !told.insert(*key) {
            continue;
        }
        let differs = keys.get(step.as_str()).is_some_and(|it| it.len() > 1);
        let name = if differs { format!("{step} · {run}") } else { step.clone() };
        let id = ids.get(step).copied();
        gathered.add(&lasts, (id, name), lasts.at(id, key)?)?;
    }
    Ok(gathered)
}

/// The outputs of a result that a report may have a use for.
fn told(
    lasts: &Lasts<'_>,
    (id, name): (Option<InstanceId>, &str),
    last: &Last,
) -> Result<Vec<Item>, Trouble> {
    let limits = match id {
        Some(id) if last.as_asked => lasts.limits(id)?,
        _ => Vec::new(),
    };
    // What came in as it was; else what went on, under the same id.
    let came = id.and_then(|it| lasts.input(it, last, "data"));
    let records: Vec<PathBuf> = [came, lasts.output(last, "data")].into_iter().flatten().collect();
    let mut items = Vec::new();
    for (slot, output) in &last.record.outputs {
        if !matches!(output.form, Form::Metrics | Form::Records) {
            continue;
        }
        if let Some(path) = lasts.output(last, slot) {
            let (name, records) = (name.to_owned(), records.clone());
            items.push(Item { name, path, records, limits: limits.clone() });
        }
    }
    Ok(items)
}
