//! Opens a project: finds its manifest, reads it, hashes its sources, looks into its store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::Home;
use engine::facts::{self, Gathered};
use engine::forecast;
use engine::heads::Heads;
use engine::planning::{self, Planned};
use engine::why::{Effort, Reasons};
use plan::{Digest, Graph, InstanceId, Key, KindSpec, Workflow};
use store::{
    Disk, Index, Isolation, Object, Place, RealDisk, Rehash, Settings, Shape, Stats, Store,
};

use crate::args::{Common, Manifest, Results};
use crate::disk::Disk as Files;
use crate::trouble::Trouble;

/// The names that a manifest has where none is said.
const NAMES: [&str; 2] = ["workflow.toml", "kun.toml"];

/// A project whose manifest holds.
pub(crate) struct Project {
    pub(crate) workflow: Workflow,
    pub(crate) home: Home,
}

/// A project with its graph, its sources and its store.
pub(crate) struct Opened {
    pub(crate) workflow: Workflow,
    pub(crate) home: Home,
    pub(crate) graph: Graph,
    pub(crate) gathered: Gathered,
    pub(crate) store: Store,
    pub(crate) index: Index,
    pub(crate) planned: Planned,
    /// Objects that the planning found damaged.
    pub(crate) damaged: BTreeSet<Digest>,
}

/// The manifest that is meant.
pub(crate) fn find_manifest(manifest: &Manifest) -> Result<PathBuf, Trouble> {
    if let Some(file) = &manifest.file {
        if !file.is_dir() {
            return Ok(file.clone());
        }
        let inside = NAMES.iter().map(|name| file.join(name)).find(|it| it.is_file());
        return inside.ok_or_else(|| {
            let text = format!("no `workflow.toml` or `kun.toml` in `{}`", file.display());
            Trouble::helped(text, format!("`kun new {}` makes one", file.display()))
        });
    }
    let here = std::env::current_dir().map_err(|it| Trouble::io(Path::new("."), it))?;
    for folder in here.ancestors() {
        if let Some(found) = NAMES.iter().map(|name| folder.join(name)).find(|it| it.is_file()) {
            // Paths on screen are as short as they can be.
            return Ok(found.strip_prefix(&here).map(Path::to_owned).unwrap_or(found));
        }
    }
    Err(Trouble::helped(
        "no `workflow.toml` or `kun.toml` here or in a folder above",
        "`kun new` makes one, and `-f MANIFEST` names another",
    ))
}

/// Every kind, as the planner wants them.
pub(crate) fn kinds() -> Vec<&'static KindSpec> {
    steps::KINDS.iter().map(|it| it.spec()).collect()
}

/// Reads and checks the manifest that is meant.
pub(crate) fn read(manifest: &Manifest) -> Result<Project, Trouble> {
    let manifest = find_manifest(manifest)?;
    let workflow = plan::read(&manifest, &Files, &kinds())?;
    Ok(Project { workflow, home: beside(&manifest) })
}

/// The home of the manifest that is meant, whatever stands in it.
pub(crate) fn home(manifest: &Manifest) -> Result<Home, Trouble> {
    Ok(beside(&find_manifest(manifest)?))
}

fn beside(manifest: &Path) -> Home {
    let root = manifest.parent().filter(|it| !it.as_os_str().is_empty());
    Home::of(root.unwrap_or(Path::new(".")))
}

/// Opens the store of a project.
pub(crate) fn open_store(results: &Results, home: &Home) -> Result<Store, Trouble> {
    open_store_on(disk()?, results, home)
}

fn open_store_on(disk: Arc<dyn Disk>, results: &Results, home: &Home) -> Result<Store, Trouble> {
    let root = results.store.clone().unwrap_or_else(|| home.store());
    Ok(Store::open_with(&root, Settings { disk, ..Settings::default() })?)
}

/// What changes the file system: all of a command goes through one.
pub(crate) fn disk() -> Result<Arc<dyn Disk>, Trouble> {
    match std::env::var(crate::env::FAULT) {
        Ok(spec) => Ok(store::testing::FaultyDisk::from_spec(&spec)?),
        Err(_) => Ok(Arc::new(RealDisk)),
    }
}

/// How steps are to get their inputs, where somebody says so.
pub(crate) fn isolation() -> Result<Option<Isolation>, Trouble> {
    let Ok(word) = std::env::var(crate::env::INPUTS) else { return Ok(None) };
    match word.as_str() {
        "" => Ok(None),
        "reflink" => Ok(Some(Isolation::Reflink)),
        "mount" => Ok(Some(Isolation::Mount)),
        "copy" => Ok(Some(Isolation::Copy)),
        "link" => Ok(Some(Isolation::Link)),
        _ => Err(Trouble::helped(
            format!("`{}` is `{word}`", crate::env::INPUTS),
            "it is one of `reflink`, `mount`, `copy` and `link`, or not set",
        )),
    }
}

/// Opens a project as far as a plan of these targets, to look at it.
pub(crate) fn open(common: &Common, targets: Vec<String>) -> Result<Opened, Trouble> {
    open_and(common, targets, |_, _| Ok(()))
}

/// The same, to run it: what the plan finds in the store is not collected before the run is over.
pub(crate) fn open_to_run(common: &Common, targets: Vec<String>) -> Result<Opened, Trouble> {
    open_and(common, targets, |store, home| Ok(store.lease(&home.state)?))
}

fn open_and(
    common: &Common,
    targets: Vec<String>,
    before: impl FnOnce(&Store, &Home) -> Result<(), Trouble>,
) -> Result<Opened, Trouble> {
    let Project { workflow, home } = read(&common.manifest)?;
    let ask = common.scope.ask(targets);
    let graph = workflow.expand(&ask, &Files)?;
    let disk = disk()?;
    store::make_dirs(&*disk, &home.state)?;
    let rehash = if common.trust.paranoid { Rehash::Paranoid } else { Rehash::Trust };
    let stats = Stats::open_with(&home.stats(), rehash).on(Arc::clone(&disk));
    let mut gathered = facts::gather(&graph, &home.root, &stats);
    if !gathered.troubles.is_empty() {
        let troubles = std::mem::take(&mut gathered.troubles);
        return Err(engine::EngineError::Sources(troubles).into());
    }
    // Only a memory of what was hashed: a plan is as good without it.
    let _ = stats.save();
    let store = open_store_on(disk, &common.results, &home)?;
    before(&store, &home)?;
    let mut index = store.index()?;
    let mut planned = planning::plan(&graph, &gathered.facts, &store, &index);
    let damaged = store.take_damaged();
    if !damaged.is_empty() {
        // A run forgets what was made from them; whoever only looks sees what it would do.
        let derived = store.made_from(&damaged)?;
        index.hide(&derived.records.iter().map(|it| it.1).collect());
        planned = planning::plan(&graph, &gathered.facts, &store, &index);
    }
    Ok(Opened { workflow, home, graph, gathered, store, index, planned, damaged })
}

impl Opened {
    /// Plans again with what is in the store now.
    pub(crate) fn plan_again(&mut self) -> Result<(), Trouble> {
        self.index = self.store.index()?;
        self.planned = planning::plan(&self.graph, &self.gathered.facts, &self.store, &self.index);
        Ok(())
    }

    /// What the names stood for.
    pub(crate) fn heads(&self) -> Result<Heads, Trouble> {
        let path = self.home.heads();
        Heads::open(&path).map_err(|it| Trouble::io(&path, it))
    }

    /// Who answers why.
    pub(crate) fn reasons<'a>(&'a self, heads: &'a Heads, effort: Effort) -> Reasons<'a> {
        Reasons {
            graph: &self.graph,
            facts: &self.gathered.facts,
            planned: &self.planned,
            store: &self.store,
            index: &self.index,
            heads,
            effort,
        }
    }

    /// What forecasts are made of.
    pub(crate) fn forecast_facts<'a>(&'a self, heads: &'a Heads) -> forecast::Facts<'a> {
        forecast::Facts {
            graph: &self.graph,
            gathered: &self.gathered,
            planned: &self.planned,
            store: &self.store,
            index: &self.index,
            heads,
        }
    }

    /// The parts of an instance's key, as far as they are known.
    pub(crate) fn parts(&self, id: InstanceId) -> Result<BTreeMap<String, String>, Trouble> {
        Ok(self.reasons(&self.heads()?, Effort::Named).parts(id).0.0)
    }

    /// The key of an instance, if all that it reads is there.
    pub(crate) fn key_now(&self, id: InstanceId) -> Result<Option<Key>, Trouble> {
        let (parts, unknown) = self.reasons(&self.heads()?, Effort::Named).parts(id);
        Ok(unknown.is_empty().then(|| parts.key()))
    }

    /// Where an object can be read: a file in the store itself, a folder as a view of it.
    pub(crate) fn readable(&self, object: &Object) -> Result<PathBuf, Trouble> {
        if matches!(object.shape, Shape::File { .. }) {
            return Ok(self.store.object_path(&object.digest));
        }
        let view = self.home.state.join("views").join(object.digest.hex());
        if !view.is_dir() {
            self.store.materialize(object, &view, Place::Export)?;
        }
        Ok(view)
    }
}
