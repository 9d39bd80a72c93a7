//! Records into and out of the store.
//!
//! The order is everything: objects on the disk first, then the record under its name, which is
//! made by a hard link and so is never replaced by another engine's. A record that is there means
//! that its step is finished; a damaged one means nothing.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use plan::{Digest, Key};

use crate::error::At;
use crate::{Committed, Durability, Error, Node, Presence, Record, Result, Shape, Store, index};

/// Up to this many files are waited for one by one; from there on for the whole file system.
const FEW: usize = 8;

/// A record on its way.
struct Written<'a> {
    record: &'a Record,
    scratch: PathBuf,
    file: File,
}

impl Store {
    /// The record of a key. A damaged one is no record, and a warning.
    pub fn record(&self, key: &Key) -> Result<Option<Record>> {
        match read_record(&self.record_path(key), Some(key))? {
            None => Ok(None),
            Some(Ok(record)) => Ok(Some(record)),
            Some(Err(why)) => {
                self.warn(&self.record_path(key), why);
                Ok(None)
            }
        }
    }

    /// Makes objects and records durable, together: all objects first, then the records.
    pub fn commit(&self, records: &[Record]) -> Result<Vec<Committed>> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let gate = self.gate()?;
        gate.lock_shared().at("lock", &self.gate_path())?;
        self.hold_more(&mut records.iter().map(|it| it.key))?;
        let files = self.backing(records)?;
        self.sync_objects(&files)?;
        let mut written = Vec::with_capacity(records.len());
        let named = self.write_and_name(records, &mut written);
        // The second names of what has its name, and what has none because something failed.
        for it in &written {
            let _ = self.disk().unlink(&it.scratch);
        }
        let committed = named?;
        if let Err(error) = index::append_records(self, records, &committed) {
            let path = error.path().map_or_else(|| self.root().join("idx"), Path::to_owned);
            self.warn(&path, format!("the index does not have the newest records: {error}"));
        }
        Ok(committed)
    }

    /// All records, in the order of their keys; damaged ones are warnings.
    pub fn records(&self) -> Result<impl Iterator<Item = Record>> {
        let paths = split_files(&self.root().join("act"))?;
        let store = self.clone();
        Ok(paths.into_iter().filter_map(move |path| match read_record(&path, None) {
            Ok(Some(Ok(record))) => Some(record),
            Ok(Some(Err(why))) => {
                store.warn(&path, why);
                None
            }
            Ok(None) => None,
            Err(error) => {
                store.warn(&path, error.to_string());
                None
            }
        }))
    }

    /// Held shared while records and their objects are joined, exclusively while objects go.
    pub(crate) fn gate(&self) -> Result<File> {
        let path = self.gate_path();
        match self.disk().open_lock(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.parent_of(&path)?;
                self.disk().open_lock(&path).at("open", &path)
            }
            other => other.at("open", &path),
        }
    }

    fn gate_path(&self) -> PathBuf {
        self.root().join("lock").join("gate")
    }

    /// The objects that the records stand on, all of which must be there.
    fn backing(&self, records: &[Record]) -> Result<BTreeSet<PathBuf>> {
        let mut files = BTreeSet::new();
        for record in records {
            for output in record.outputs.values() {
                let digest = output.object.digest;
                let path = self.object_path(&digest);
                if !path.is_file() {
                    return Err(Error::Unbacked { key: record.key, digest });
                }
                files.insert(path);
                if matches!(output.object.shape, Shape::Tree { .. }) {
                    for entry in self.listing(&digest)? {
                        let Node::File { digest, .. } = entry.node else { continue };
                        let path = self.object_path(&digest);
                        if !path.is_file() {
                            return Err(Error::Unbacked { key: record.key, digest });
                        }
                        files.insert(path);
                    }
                }
            }
        }
        Ok(files)
    }

    fn sync_objects(&self, files: &BTreeSet<PathBuf>) -> Result<()> {
        if self.durability() == Durability::Fast || files.is_empty() {
            return Ok(());
        }
        if files.len() > FEW {
            return self.disk().sync_all(self.handle(), self.root()).at("sync", self.root());
        }
        let mut folders = BTreeSet::from([self.root().join("obj")]);
        for path in files {
            let file = File::open(path).at("open", path)?;
            self.disk().sync(&file, path).at("sync", path)?;
            folders.extend(path.parent().map(Path::to_owned));
        }
        folders.iter().try_for_each(|it| self.sync_dir(it))
    }

    fn write_and_name<'a>(
        &self,
        records: &'a [Record],
        written: &mut Vec<Written<'a>>,
    ) -> Result<Vec<Committed>> {
        for record in records {
            let (scratch, file) = self.write_scratch(&record.encode())?;
            written.push(Written { record, scratch, file });
        }
        let few = written.len() <= FEW;
        if few {
            for it in written.iter() {
                self.sync_file(&it.file, &it.scratch)?;
            }
        }
        let mut committed = Vec::with_capacity(records.len());
        let mut folders = BTreeSet::from([self.root().join("act")]);
        for it in written.iter() {
            let path = self.record_path(&it.record.key);
            committed.push(self.name_record(it, &path)?);
            folders.extend(path.parent().map(Path::to_owned));
        }
        if few {
            folders.iter().try_for_each(|it| self.sync_dir(it))?;
        } else if self.durability() == Durability::Full {
            self.disk().sync_all(self.handle(), self.root()).at("sync", self.root())?;
        }
        Ok(committed)
    }

    fn name_record(&self, written: &Written<'_>, path: &Path) -> Result<Committed> {
        let mut linked = self.disk().link(&written.scratch, path);
        if linked.as_ref().is_err_and(|it| it.kind() == ErrorKind::NotFound) {
            self.parent_of(path)?;
            linked = self.disk().link(&written.scratch, path);
        }
        match linked {
            Ok(()) => return Ok(Committed::New),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(Error::Io { verb: "link", path: path.to_owned(), source });
            }
        }
        let standing = match read_record(path, Some(&written.record.key))? {
            Some(Ok(standing)) => standing,
            Some(Err(why)) => {
                self.warn(path, why);
                self.rename_in(&written.scratch, path)?;
                return Ok(Committed::New);
            }
            None => {
                self.rename_in(&written.scratch, path)?;
                return Ok(Committed::New);
            }
        };
        if same_outputs(&standing, written.record) {
            return Ok(Committed::Same);
        }
        let whole =
            standing.outputs.values().all(|it| self.present(&it.object) == Presence::Present);
        if whole {
            return Ok(Committed::Diverged { kept: Box::new(standing) });
        }
        self.rename_in(&written.scratch, path)?;
        Ok(Committed::Healed { was: Box::new(standing) })
    }
}

fn same_outputs(one: &Record, other: &Record) -> bool {
    one.outputs.len() == other.outputs.len()
        && one.outputs.iter().all(|(slot, output)| {
            other.outputs.get(slot).is_some_and(|it| it.object == output.object)
        })
}

/// None: there is no file. The inner error says what is wrong with the record.
pub(crate) fn read_record(
    path: &Path,
    key: Option<&Key>,
) -> Result<Option<Result<Record, String>>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Io { verb: "read", path: path.to_owned(), source }),
    };
    let named = key.copied().or_else(|| name_of(path).map(|it| Key(it.0)));
    Ok(Some(Record::decode(&bytes).and_then(|record| {
        if named == Some(record.key) {
            Ok(record)
        } else {
            Err("it is the record of another key".to_owned())
        }
    })))
}

/// The digits that a file `ab/cdef…` or `ab/cdef….json` stands for.
pub(crate) fn name_of(path: &Path) -> Option<Digest> {
    let prefix = path.parent()?.file_name()?.to_str()?;
    let rest = path.file_name()?.to_str()?;
    let rest = rest.strip_suffix(".json").unwrap_or(rest);
    let hex = format!("{prefix}{rest}");
    let digest: Digest = hex.parse().ok()?;
    (digest.hex() == hex && prefix.len() == 2).then_some(digest)
}

/// All files below folders of one level, sorted by folder and name.
pub(crate) fn split_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in list(root)? {
        if folder.is_dir() {
            files.extend(list(&folder)?);
        } else {
            files.push(folder);
        }
    }
    Ok(files)
}

/// What is in a folder, sorted; a folder that is not there is empty.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let names = match fs::read_dir(folder) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Io { verb: "list", path: folder.to_owned(), source }),
    };
    let mut paths = Vec::new();
    for name in names {
        paths.push(name.at("list", folder)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// All objects of a store, by name.
pub(crate) fn object_paths(root: &Path) -> Result<Vec<(Digest, PathBuf)>> {
    let files = split_files(&root.join("obj"))?;
    Ok(files.into_iter().filter_map(|it| name_of(&it).map(|digest| (digest, it))).collect())
}
