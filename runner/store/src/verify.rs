//! Reads everything and says what is not as it was written, who can make it again, and what was made
//! from it.
//!
//! Changes nothing unless asked to. Then everything that it finds is put aside in the folder `bad`,
//! records that lack an object or were made from a damaged one are forgotten, and the next check
//! finds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use plan::{Digest, Key};
use rayon::prelude::*;

use crate::commit::{list, name_of, object_paths, read_record, split_files};
use crate::{
    Error, Locking, Node, Object, Presence, Result, Shape, Store, gc, hash_file, index, rows,
};

/// Objects that are read before their findings are told.
const BATCH: usize = 1024;

/// The steps whose records name an object.
type Makers = Vec<(String, Key)>;

/// What to do with what is not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quarantine {
    /// Leave it where it is.
    Leave,
    /// Move it to the folder `bad`, and forget the records that name it, that lack an object, or
    /// that were made from a damaged one.
    Move,
}
/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An object's bytes are not what its name says.
    DamagedObject {
        /// Its name.
        digest: Digest,
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// The steps whose records can make it again.
        makers: Vec<(String, Key)>,
    },
    /// A record names an object that is not there.
    MissingObject {
        /// Its name.
        digest: Digest,
        /// The steps whose records name it.
        makers: Vec<(String, Key)>,
    },
    /// A result that was made from a damaged object, directly or through others.
    MadeFromDamaged {
        /// The step instance that asked it first.
        address: String,
        /// Its key.
        key: Key,
    },
    /// An unfinished state or rows that were made from a damaged object, or do not say from what.
    NotBelieved {
        /// Its folder.
        path: PathBuf,
    },
    /// A record that cannot be read.
    DamagedRecord {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Rows that cannot be read.
    DamagedRows {
        /// The segment.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A row that is stored twice, with different content; the first one counts.
    DifferingRow {
        /// The space.
        space: Digest,
        /// The row.
        row: Digest,
    },
    /// A file that no store puts there.
    Stray {
        /// The file.
        path: PathBuf,
    },
}
/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Rows.
    pub rows: u64,
    /// Findings.
    pub findings: u64,
    /// What was moved to `bad`: objects, records, rows, files.
    pub moved: u64,
    /// Records that were forgotten, because an object of theirs is damaged or gone, or because
    /// they were made from a damaged one.
    pub forgotten: u64,
    /// Findings that the next check will not have.
    pub mended: u64,
}
/// A check under way.
struct Check<'a> {
    store: &'a Store,
    quarantine: Quarantine,
    tell: &'a mut dyn FnMut(Finding),
    report: VerifyReport,
    makers: BTreeMap<Digest, Makers>,
    trees: BTreeSet<Object>,
    /// Records that lack an object.
    lacking: BTreeSet<Key>,
    damaged: BTreeSet<Digest>,
    /// Records and files that go to `bad`.
    aside: Vec<PathBuf>,
}

impl Store {
    /// The unfinished states of steps; what is in them is the steps' to check.
    pub fn parts(&self) -> Result<Vec<PathBuf>> {
        list(&self.root().join("part"))
    }

    /// Puts a damaged file or folder of a step's unfinished state aside; false: the step is at it
    /// now, or it is gone.
    pub fn put_state_aside(&self, part: &Path, damaged: &Path) -> Result<bool> {
        let key = part.file_name().and_then(|it| it.to_str()).and_then(|it| it.parse().ok());
        let Some(key) = key else { return Ok(self.set_aside(part)?.is_some()) };
        let Locking::Held(_lock) = self.try_lock(&key)? else { return Ok(false) };
        Ok(self.set_aside(damaged)?.is_some())
    }

    /// Reads everything, with all cores.
    pub fn verify(
        &self,
        quarantine: Quarantine,
        report: &mut dyn FnMut(Finding),
    ) -> Result<VerifyReport> {
        let mut check = Check {
            store: self,
            quarantine,
            tell: report,
            report: VerifyReport::default(),
            makers: BTreeMap::new(),
            trees: BTreeSet::new(),
            lacking: BTreeSet::new(),
            damaged: BTreeSet::new(),
            aside: Vec::new(),
        };
        check.records()?;
        check.trees();
        check.objects()?;
        check.made_from()?;
        check.forget()?;
        check.rows()?;
        check.put_aside()?;
        Ok(check.report)
    }
}

impl Check<'_> {
    fn find(&mut self, finding: Finding) {
        self.report.findings += 1;
        (self.tell)(finding);
    }

    fn records(&mut self) -> Result<()> {
        for path in split_files(&self.store.root().join("act"))? {
            if name_of(&path).is_none() || path.extension().is_none() {
                self.stray(path);
                continue;
            }
            let record = match read_record(&path, None)? {
                Some(Ok(record)) => record,
                Some(Err(why)) => {
                    self.aside.push(path.clone());
                    self.find(Finding::DamagedRecord { path, why });
                    continue;
                }
                None => continue,
            };
            self.report.records += 1;
            for output in record.outputs.values() {
                let maker = (record.address.clone(), record.key);
                self.makers.entry(output.object.digest).or_default().push(maker);
                if let Shape::Tree { .. } = output.object.shape {
                    self.trees.insert(output.object);
                }
            }
        }
        Ok(())
    }

    /// The files of trees have the makers of their trees.
    fn trees(&mut self) {
        for object in std::mem::take(&mut self.trees) {
            let makers = self.makers.get(&object.digest).cloned().unwrap_or_default();
            let entries = match self.store.listing(&object.digest) {
                Ok(entries) => entries,
                // Said when the objects are read.
                Err(_) => continue,
            };
            for entry in entries {
                if let Node::File { digest, .. } = entry.node {
                    self.makers.entry(digest).or_default().extend(makers.iter().cloned());
                }
            }
        }
        for makers in self.makers.values_mut() {
            makers.sort();
            makers.dedup();
        }
    }

    fn objects(&mut self) -> Result<()> {
        for path in split_files(&self.store.root().join("obj"))? {
            if name_of(&path).is_none() {
                self.stray(path);
            }
        }
        let objects = object_paths(self.store.root())?;
        for batch in objects.chunks(BATCH) {
            let checked: Vec<(u64, Option<String>)> =
                batch.par_iter().map(|(digest, path)| check_bytes(digest, path)).collect();
            for ((digest, path), (bytes, why)) in batch.iter().zip(checked) {
                self.report.objects += 1;
                self.report.bytes += bytes;
                if let Some(why) = why {
                    self.damaged(digest, path, why);
                }
            }
        }
        let there: BTreeSet<Digest> = objects.iter().map(|it| it.0).collect();
        let missing: Vec<(Digest, Makers)> = self
            .makers
            .iter()
            .filter(|it| !there.contains(it.0))
            .map(|(digest, makers)| (*digest, makers.clone()))
            .collect();
        for (digest, makers) in missing {
            self.lacking.extend(makers.iter().map(|it| it.1));
            if self.store.is_aside(&digest) {
                self.damaged.insert(digest);
            }
            self.find(Finding::MissingObject { digest, makers });
            self.mend();
        }
        Ok(())
    }

    fn mend(&mut self) {
        self.report.mended += u64::from(self.quarantine == Quarantine::Move);
    }

    fn stray(&mut self, path: PathBuf) {
        self.aside.push(path.clone());
        self.find(Finding::Stray { path });
    }

    fn damaged(&mut self, digest: &Digest, path: &Path, why: String) {
        let makers = self.makers.get(digest).cloned().unwrap_or_default();
        self.lacking.extend(makers.iter().map(|it| it.1));
        self.damaged.insert(*digest);
        self.find(Finding::DamagedObject { digest: *digest, path: path.to_owned(), why, makers });
        self.mend();
    }

    /// What was made from damaged objects may be wrong, and is forgotten before they are put aside:
    /// killed between the two, the next check finds them again.
    fn made_from(&mut self) -> Result<()> {
        let derived = match self.quarantine {
            Quarantine::Leave => self.store.made_from(&self.damaged)?,
            Quarantine::Move => {
                let quarantined = self.store.quarantine(&self.damaged)?;
                self.report.moved += quarantined.objects.len() as u64;
                self.report.forgotten += quarantined.derived.keys().len() as u64;
                quarantined.derived
            }
        };
        for (address, key) in derived.records {
            self.find(Finding::MadeFromDamaged { address, key });
            self.mend();
        }
        for path in derived.parts.into_iter().chain(derived.row_spaces) {
            self.find(Finding::NotBelieved { path });
            self.mend();
        }
        Ok(())
    }

    /// A record without its objects is no sign of a result; the step runs when it is needed.
    fn forget(&mut self) -> Result<()> {
        if self.quarantine == Quarantine::Leave || self.lacking.is_empty() {
            return Ok(());
        }
        let store = self.store;
        let paths: Vec<PathBuf> = self.lacking.iter().map(|it| store.record_path(it)).collect();
        self.report.forgotten += gc::forget(store, &paths, |path| {
            // It may have been made again since it was read.
            let Some(Ok(record)) = read_record(path, None)? else { return Ok(false) };
            let mut objects = record.outputs.values().map(|it| &it.object);
            Ok(objects.any(|it| store.present(it) != Presence::Present))
        })?;
        Ok(())
    }

    /// Damaged records and strange files go to `bad`, and the index follows.
    fn put_aside(&mut self) -> Result<()> {
        if self.quarantine == Quarantine::Leave || self.aside.is_empty() {
            return Ok(());
        }
        let mut records = false;
        for path in std::mem::take(&mut self.aside) {
            // A damaged record may have been replaced by a good one since it was read.
            let is_record = path.starts_with(self.store.root().join("act"));
            if is_record && matches!(read_record(&path, None), Ok(Some(Ok(_)))) {
                self.mend();
                continue;
            }
            records |= is_record;
            self.report.moved += u64::from(self.store.set_aside(&path)?.is_some());
            self.mend();
        }
        if records {
            index::rebuild_now(self.store)?;
        }
        Ok(())
    }

    fn rows(&mut self) -> Result<()> {
        for folder in list(&self.store.root().join("rows"))? {
            let mut found = Vec::new();
            self.report.rows += rows::check_space(&folder, &mut |it| found.push(it))?;
            if found.is_empty() {
                continue;
            }
            let is_space = !matches!(found[..], [Finding::Stray { .. }]);
            if self.quarantine == Quarantine::Move && is_space {
                let mended = rows::mend_space(self.store, &folder)?;
                self.report.moved += mended.aside;
                // A writer that is at work cuts its own tail; what is damaged before it stays.
                let mut left = 0;
                rows::check_space(&folder, &mut |_| left += 1)?;
                self.report.mended += (found.len() as u64).saturating_sub(left);
            }
            for it in found {
                match it {
                    Finding::Stray { path } => self.stray(path),
                    other => self.find(other),
                }
            }
        }
        Ok(())
    }
}

fn check_bytes(digest: &Digest, path: &Path) -> (u64, Option<String>) {
    match hash_file(path) {
        Ok((found, bytes)) if found == *digest => (bytes, None),
        Ok((found, bytes)) => (bytes, Some(format!("its digest is `{found}`"))),
        // Removed meanwhile by a garbage collection.
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => (0, None),
        Err(error) => (0, Some(error.to_string())),
    }
}
