//! Puts results into the project, below `out/`: a view that can be deleted at any time.
//!
//! What a person edited there is noticed and put aside, never overwritten and never taken for a
//! result.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use plan::{Address, Digest, Key};
use store::{Index, IndexOutput, Place, Presence, Stats, Store, Wait};

use crate::error::EngineError;
use crate::run::Home;
use crate::runs::file_name;

/// The folder of results in a project.
const OUT: &str = "out";

/// Puts results into one project.
#[derive(Debug)]
pub struct Exporter<'a> {
    home: &'a Home,
    store: &'a Store,
    stats: Stats,
    index: &'a Index,
    /// Path to the digest that was put there.
    was: BTreeMap<String, Digest>,
    changed: bool,
    /// Whether the mark of unfinished work is there.
    marked: bool,
    /// Folders that a run which was killed may have left something in, none where none was.
    unswept: Option<BTreeSet<PathBuf>>,
}

/// Where a result was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// From the project's root.
    pub path: String,
    /// Whether it was not there already.
    pub is_new: bool,
    /// Where an edited file was put aside.
    pub kept: Option<String>,
}

impl<'a> Exporter<'a> {
    /// Reads what was put into the project before.
    pub fn open(home: &'a Home, store: &'a Store, index: &'a Index) -> Result<Self, EngineError> {
        let path = home.exports();
        let was = match fs::read(&path) {
            // Derived: if it is damaged, edited files are told by their digest alone.
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(EngineError::Io { path, source }),
        };
        let stats = Stats::open(&home.stats()).on(store.shared_disk());
        let marked = home.exporting().exists();
        let unswept = marked.then(BTreeSet::new);
        Ok(Self { home, store, stats, index, was, changed: false, marked, unswept })
    }

    /// Puts one output of a result into the project. What the store does not have, or not whole, is
    /// an error: what an earlier run put there must not be taken for it.
    pub fn place(
        &mut self,
        key: &Key,
        slot: &str,
        name: (&Address, &str, Option<usize>),
    ) -> Result<Exported, EngineError> {
        let absent = |what: String| {
            Err(EngineError::NotExported { what: format!("{}.{}", name.0, name.1), reason: what })
        };
        let Some(output) = self.output(key, slot)? else {
            return absent("its result is not in the store any more".to_owned());
        };
        let path = path_for(name, &output);
        let target = self.home.root.join(&path);
        let digest = output.object.digest;
        let folder = target.parent().unwrap_or(&target);
        if let Some(swept) = &mut self.unswept
            && swept.insert(folder.to_owned())
        {
            store::sweep_unfinished(self.store.disk(), folder)?;
        }
        let found = match fs::symlink_metadata(&target) {
            Ok(_) => self.stats.digest_path(&target).ok().map(|it| it.digest),
            Err(_) => None,
        };
        if found == Some(digest) {
            self.note(&path, digest);
            return Ok(Exported { path, is_new: false, kept: None });
        }
        match self.store.reread(&output.object) {
            Presence::Present => {}
            Presence::Missing => return absent("it is not in the store any more".to_owned()),
            Presence::Damaged { why } => return absent(format!("it is damaged: {why}")),
        }
        let is_there = fs::symlink_metadata(&target).is_ok();
        // A killed run may not have come to remember what it put here; what is in the store is
        // safe there.
        let known = found.is_some_and(|it| self.store.object_path(&it).is_file());
        let edited =
            is_there && !known && self.was.get(&path).copied() != found.or(Some(Digest([0; 32])));
        let kept = if edited { Some(self.put_aside(&path)?) } else { None };
        self.mark();
        self.store.materialize(&output.object, &target, Place::Export)?;
        self.note(&path, digest);
        Ok(Exported { path, is_new: true, kept })
    }

    /// An output, from its record where the index could not be written.
    fn output(&self, key: &Key, slot: &str) -> Result<Option<IndexOutput>, EngineError> {
        if let Some(entry) = self.index.entry(key) {
            return Ok(entry.outputs.into_iter().find(|it| it.slot == slot));
        }
        let record = self.store.record(key)?;
        Ok(record.and_then(|mut it| it.outputs.remove(slot)).map(|it| IndexOutput {
            slot: slot.to_owned(),
            object: it.object,
            form: it.form,
            file: it.file,
        }))
    }

    /// Says on the disk that something is being put into the project.
    fn mark(&mut self) {
        if !self.marked {
            // Without it something unfinished may stay; nothing is taken for a result by that.
            self.marked = self.store.disk().create(&self.home.exporting()).is_ok();
        }
    }

    fn note(&mut self, path: &str, digest: Digest) {
        if self.was.insert(path.to_owned(), digest) != Some(digest) {
            self.changed = true;
        }
    }

    /// Renames what a person edited to the first free name.
    fn put_aside(&self, path: &str) -> Result<String, EngineError> {
        let from = self.home.root.join(path);
        let free = (1..)
            .map(|n| format!("{path}.edited-{n}"))
            .find(|it| fs::symlink_metadata(self.home.root.join(it)).is_err())
            .expect("there are endlessly many names");
        self.store.disk().rename(&from, &self.home.root.join(&free)).map_err(io_at(&from))?;
        Ok(free)
    }

    /// Remembers what was put into the project.
    pub fn save(self) -> Result<(), EngineError> {
        // Only a memory of what was hashed: without it the next look takes longer.
        let _ = self.stats.save();
        if self.changed {
            let path = self.home.exports();
            let text = serde_json::to_vec(&self.was).map_err(|it| io_at(&path)(it.into()))?;
            store::replace(self.store.disk(), &path, &text, Wait::Never)?;
        }
        if self.marked {
            let _ = self.store.disk().unlink(&self.home.exporting());
        }
        Ok(())
    }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    let path: PathBuf = path.to_owned();
    move |source| EngineError::Io { path, source }
}

/// `out/STEP[EACH]@VARIANT/SLOT.EXT`.
fn path_for((address, slot, n): (&Address, &str, Option<usize>), output: &IndexOutput) -> String {
    // A program's own file name is kept where it says more than the slot.
    let file = if output.file == slot {
        format!("{slot}{}", output.form.extension())
    } else {
        output.file.clone()
    };
    let folder = file_name(&address.to_string());
    match n {
        Some(n) => format!("{OUT}/{folder}/{n:05}/{file}"),
        None => format!("{OUT}/{folder}/{file}"),
    }
}
