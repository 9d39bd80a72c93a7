//! What was made from a damaged object, directly or through others, and the forgetting of it.
//!
//! A record names the digests of what its step read. Nothing tells a record that was made before an
//! object was damaged from one made after, so both are forgotten: making a result again costs time,
//! and a wrong one that looks right costs more. Unfinished states and row spaces note what they
//! were made from in a file of their own; one that does not say so is not believed either.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use plan::{Digest, Key};

use crate::commit::{list, read_record, split_files};
use crate::error::At;
use crate::store::make_dirs;
use crate::{Error, Node, Record, Result, Shape, Store, Wait, gc, hash_file, replace};

/// The file that says what an unfinished state or a row space was made from: a digest a line.
const INPUTS: &str = "inputs";

/// What was made from damaged objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Derived {
    /// Steps whose records name a damaged object as their own output.
    pub makers: BTreeSet<(String, Key)>,
    /// Steps whose records were made from a damaged object, directly or through others.
    pub records: BTreeSet<(String, Key)>,
    /// Unfinished states of steps.
    pub parts: Vec<PathBuf>,
    /// Spaces of rows.
    pub row_spaces: Vec<PathBuf>,
}

/// What became of damaged objects and of what was made from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantined {
    /// The objects that were put aside.
    pub objects: BTreeSet<Digest>,
    /// What was forgotten.
    pub derived: Derived,
}

impl Derived {
    /// All records that cannot be believed.
    pub fn keys(&self) -> BTreeSet<Key> {
        self.makers.iter().chain(&self.records).map(|it| it.1).collect()
    }

    /// Whether nothing was made from the objects.
    pub fn is_empty(&self) -> bool {
        self.makers.is_empty()
            && self.records.is_empty()
            && self.parts.is_empty()
            && self.row_spaces.is_empty()
    }
}

impl Store {
    /// Looks for what was made from these objects; changes nothing.
    pub fn made_from(&self, damaged: &BTreeSet<Digest>) -> Result<Derived> {
        if damaged.is_empty() {
            return Ok(Derived::default());
        }
        let mut records = Vec::new();
        for path in split_files(&self.root().join("act"))? {
            if let Some(Ok(record)) = read_record(&path, None)? {
                records.push(record);
            }
        }
        let mut lineage = Lineage::new(self, &records);
        lineage.spread(damaged);
        let mut derived = Derived::default();
        for (i, record) in records.iter().enumerate() {
            let name = (record.address.clone(), record.key);
            if lineage.tainted.contains(&i) {
                derived.records.insert(name);
            } else if outputs(record).any(|it| lineage.damaged.contains(&it)) {
                derived.makers.insert(name);
            }
        }
        derived.parts = noted(&self.root().join("part"), &lineage.digests)?;
        derived.row_spaces = noted(&self.root().join("rows"), &lineage.digests)?;
        Ok(derived)
    }

    /// Forgets what was made from these objects, directly or through others: records go,
    /// unfinished states and rows are put aside. The records that say how to make the objects
    /// themselves stay.
    pub fn forget_made_from(&self, damaged: &BTreeSet<Digest>) -> Result<Derived> {
        let derived = self.made_from(damaged)?;
        let paths: Vec<PathBuf> =
            derived.records.iter().map(|it| self.record_path(&it.1)).collect();
        gc::forget(self, &paths, |_| Ok(true))?;
        for path in derived.parts.iter().chain(&derived.row_spaces) {
            self.set_aside(path)?;
        }
        Ok(derived)
    }

    /// Forgets what was made from damaged objects, then the records that lack them, and puts the
    /// objects aside. In this order: killed on the way, the damaged object is still there for the
    /// next who looks. Objects that are whole again by now stay, and so do their records.
    pub fn quarantine(&self, damaged: &BTreeSet<Digest>) -> Result<Quarantined> {
        let mut derived = self.forget_made_from(damaged)?;
        let is_bad = |it: &&Digest| !self.is_whole(it);
        let bad: BTreeSet<Digest> = damaged.iter().filter(is_bad).copied().collect();
        let lacking = self.made_from(&bad)?.makers;
        let paths: Vec<PathBuf> = lacking.iter().map(|it| self.record_path(&it.1)).collect();
        gc::forget(self, &paths, |_| Ok(true))?;
        derived.makers = lacking;
        let mut objects = BTreeSet::new();
        for digest in bad {
            if self.put_object_aside(&digest)? {
                objects.insert(digest);
            }
        }
        Ok(Quarantined { objects, derived })
    }

    fn is_whole(&self, digest: &Digest) -> bool {
        let found = hash_file(&self.object_path(digest));
        let is_whole = found.is_ok_and(|it| it.0 == *digest);
        if !is_whole {
            self.taken().remove(digest);
        }
        is_whole
    }

    /// Remembers a damaged object for whoever asks with [`Store::take_damaged`].
    pub(crate) fn note_damaged(&self, digest: &Digest) {
        self.damaged().insert(*digest);
    }

    /// Damaged objects that this process came upon since it was asked last.
    pub fn take_damaged(&self) -> BTreeSet<Digest> {
        std::mem::take(&mut *self.damaged())
    }

    /// Puts an object aside; false: it is not there, or somebody has made it again by now.
    fn put_object_aside(&self, digest: &Digest) -> Result<bool> {
        let path = self.object_path(digest);
        let Some(aside) = self.set_aside(&path)? else { return Ok(false) };
        if hash_file(&aside).is_ok_and(|it| it.0 == *digest) {
            self.rename_in(&aside, &path)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Moves something to the folder `bad`, under a name that is free there; none: it is gone.
    pub(crate) fn set_aside(&self, path: &Path) -> Result<Option<PathBuf>> {
        let bad = self.root().join("bad");
        make_dirs(self.disk(), &bad)?;
        let below = path.strip_prefix(self.root()).unwrap_or(path);
        let parts: Vec<String> = below.iter().map(|it| it.to_string_lossy().into_owned()).collect();
        let name = match parts.as_slice() {
            // An object has its whole name there.
            [top, split @ ..] if top == "obj" => split.concat(),
            other => other.join("-"),
        };
        let free = (0_u32..)
            .map(|n| if n == 0 { name.clone() } else { format!("{name}.{n}") })
            .map(|it| bad.join(it))
            .find(|it| fs::symlink_metadata(it).is_err())
            .expect("there are more names than files");
        match self.disk().rename(path, &free) {
            Ok(()) => Ok(Some(free)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { verb: "rename to", path: free, source }),
        }
    }

    /// Whether an object of this name was put aside before.
    pub(crate) fn is_aside(&self, digest: &Digest) -> bool {
        self.root().join("bad").join(digest.hex()).exists()
    }

    /// Notes what the unfinished state of a key is made from.
    pub fn note_part_inputs(&self, key: &Key, inputs: &BTreeSet<Digest>) -> Result<()> {
        note(self, &self.part(key), inputs)
    }
}

/// Who read what, among records.
struct Lineage<'a> {
    store: &'a Store,
    records: &'a [Record],
    /// Digest to the records that read it.
    readers: BTreeMap<Digest, Vec<usize>>,
    /// File to the trees that hold it.
    holders: BTreeMap<Digest, Vec<Digest>>,
    /// What was damaged, and the trees that hold it.
    damaged: BTreeSet<Digest>,
    /// That, and all that was made from it.
    digests: BTreeSet<Digest>,
    tainted: BTreeSet<usize>,
}

impl<'a> Lineage<'a> {
    fn new(store: &'a Store, records: &'a [Record]) -> Self {
        let mut readers: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
        for (i, record) in records.iter().enumerate() {
            for digest in inputs(record) {
                readers.entry(digest).or_default().push(i);
            }
        }
        let mut lineage = Self {
            store,
            records,
            readers,
            holders: BTreeMap::new(),
            damaged: BTreeSet::new(),
            digests: BTreeSet::new(),
            tainted: BTreeSet::new(),
        };
        lineage.find_trees();
        lineage
    }

    fn find_trees(&mut self) {
        let (mut trees, mut files) = (BTreeSet::new(), BTreeSet::new());
        for output in self.records.iter().flat_map(|it| it.outputs.values()) {
            match output.object.shape {
                Shape::Tree { .. } => trees.insert(output.object.digest),
                Shape::File { .. } => files.insert(output.object.digest),
            };
        }
        // What nobody's record says to be a file may be a tree whose maker is forgotten.
        trees.extend(self.readers.keys().filter(|it| !files.contains(it)));
        for tree in trees {
            // A listing that cannot be read is damaged itself, or no listing.
            for entry in self.store.listing(&tree).unwrap_or_default() {
                if let Node::File { digest, .. } = entry.node {
                    self.holders.entry(digest).or_default().push(tree);
                }
            }
        }
    }

    fn spread(&mut self, damaged: &BTreeSet<Digest>) {
        for digest in damaged {
            self.damaged.insert(*digest);
            self.damaged.extend(self.holders.get(digest).into_iter().flatten());
        }
        let mut due: Vec<Digest> = self.damaged.iter().copied().collect();
        while let Some(digest) = due.pop() {
            if !self.digests.insert(digest) {
                continue;
            }
            for &reader in self.readers.get(&digest).into_iter().flatten() {
                if self.tainted.insert(reader) {
                    due.extend(outputs(&self.records[reader]));
                }
            }
        }
    }
}

/// What a record's step read from steps or sources, by content.
fn inputs(record: &Record) -> impl Iterator<Item = Digest> {
    let ports = record.parts.iter().filter(|it| it.0.starts_with("in."));
    ports.filter_map(|it| it.1.parse().ok())
}

fn outputs(record: &Record) -> impl Iterator<Item = Digest> {
    record.outputs.values().map(|it| it.object.digest)
}

/// Notes in a folder what it is made from; the first note stays, since the folder's name is a
/// digest of the same.
pub(crate) fn note(store: &Store, folder: &Path, inputs: &BTreeSet<Digest>) -> Result<()> {
    make_dirs(store.disk(), folder)?;
    let path = folder.join(INPUTS);
    if path.exists() {
        return Ok(());
    }
    let text: String = inputs.iter().map(|it| format!("{it}\n")).collect();
    replace(store.disk(), &path, text.as_bytes(), Wait::Never)
}

/// The folders that were made from one of these, or do not say from what.
fn noted(top: &Path, digests: &BTreeSet<Digest>) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in list(top)? {
        let path = folder.join(INPUTS);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::from("?"),
            other => other.at("read", &path)?,
        };
        let is_clean = |line: &str| line.parse().is_ok_and(|it| !digests.contains(&it));
        if folder.is_dir() && !text.lines().all(is_clean) {
            found.push(folder);
        }
    }
    Ok(found)
}
