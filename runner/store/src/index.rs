//! The index: derived data that answers what is known in one read.
//!
//! `idx/log` is a line of frames, each with its length and checksum, appended under a lock. What
//! it says can always be said again from the records: a damaged index is made anew, and one that
//! lacks a record only costs the reading of that record.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use plan::kind::Form;
use plan::{Digest, Key, RecursiveKey};

use crate::error::At;
use crate::frame::{self, Frame, Reader, Writer};
use crate::{Committed, Error, Object, Record, Result, Shape, Store};

/// The first bytes of the log.
const HEAD: &[u8] = b"kun-index 1\n";
/// A frame that holds a record.
const RECORD: u8 = 1;
/// A frame that holds a recursive key and the key that it led to.
const ALIAS: u8 = 2;

/// A hash of what is a hash already.
#[derive(Default)]
pub(crate) struct Identity(u64);

/// A map by digest or key.
pub(crate) type DigestMap<K, V> = HashMap<K, V, BuildHasherDefault<Identity>>;

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

/// A snapshot of the index.
#[derive(Debug)]
pub struct Index {
    store: Store,
    /// The log, or what it would be.
    bytes: Vec<u8>,
    /// The file that was read, and how far; 0: none.
    inode: u64,
    by_key: DigestMap<Key, usize>,
    by_recursive: DigestMap<RecursiveKey, Key>,
    families: DigestMap<Digest, ()>,
}

/// What the index knows of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its key.
    pub key: Key,
    /// The recursive key that it was committed with.
    pub recursive: RecursiveKey,
    /// The digest of all parts of its key but the inputs.
    pub family: Digest,
    /// The step instance that asked first.
    pub address: String,
    /// When it began: milliseconds since 1970.
    pub started: u64,
    /// How long it took.
    pub took_ms: u64,
    /// What came out, by slot, sorted.
    pub outputs: Vec<IndexOutput>,
}

/// One output of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexOutput {
    /// The slot.
    pub slot: String,
    /// Its content.
    pub object: Object,
    /// What it is.
    pub form: Form,
    /// The file name that it has in the project.
    pub file: String,
}

impl Index {
    /// The key that a recursive key led to, if it has a record.
    pub fn key(&self, recursive: &RecursiveKey) -> Option<Key> {
        self.by_recursive.get(recursive).copied().filter(|it| self.has(it))
    }

    /// Whether any record is of a family.
    pub fn has_family(&self, family: &Digest) -> bool {
        self.families.contains_key(family)
    }

    /// One output of a key, without decoding the others' names.
    pub fn output(&self, key: &Key, slot: &str) -> Option<Object> {
        let offset = *self.by_key.get(key)?;
        let mut reader = Reader::new(self.bytes.get(offset..)?);
        for _ in 0..Head::read(&mut reader)?.n_outputs {
            let (name, object) = read_object(&mut reader)?;
            if name == slot {
                return Some(object);
            }
            reader.text()?;
            reader.text()?;
        }
        None
    }

    /// What is known of a key.
    pub fn entry(&self, key: &Key) -> Option<IndexEntry> {
        let offset = *self.by_key.get(key)?;
        decode(Reader::new(self.bytes.get(offset..)?))
    }

    /// Whether a key has a record, without decoding it.
    pub fn has(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    /// The newest record of a step instance.
    pub fn newest(&self, address: &str) -> Option<Key> {
        let entries = self.by_key.keys().filter_map(|it| self.entry(it));
        let same = entries.filter(|it| it.address == address);
        same.max_by_key(|it| (it.started, it.key)).map(|it| it.key)
    }

    /// Knows nothing of these keys from now on, as if their records were gone.
    pub fn hide(&mut self, keys: &BTreeSet<Key>) {
        self.by_key.retain(|it, _| !keys.contains(it));
    }

    /// How many records it knows.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Reads what was added since.
    pub fn refresh(&mut self) -> Result<()> {
        let path = log_path(&self.store);
        let known = self.bytes.len();
        if let Ok(mut file) = File::open(&path)
            && let Ok(metadata) = file.metadata()
            && metadata.ino() == self.inode
            && metadata.len() >= known as u64
        {
            let lock = lock_index(&self.store)?;
            lock.lock_shared().at("lock", &path)?;
            file.seek(SeekFrom::Start(known as u64)).at("read", &path)?;
            file.read_to_end(&mut self.bytes).at("read", &path)?;
            if self.absorb(known).is_ok() {
                return Ok(());
            }
        }
        *self = self.store.index()?;
        Ok(())
    }

    /// Notes what [`Store::remember`] notes, by this snapshot: nothing is read again. The snapshot
    /// itself learns of it with the next refresh.
    pub fn remember(&self, pairs: &[(RecursiveKey, Key)]) -> Result<()> {
        let mut bytes = Vec::new();
        for (recursive, key) in pairs {
            if !self.has(key)
                && let Some(record) = self.store.record(key)?
            {
                frame::push(&mut bytes, &encode(&record));
            }
            if self.by_recursive.get(recursive) != Some(key) {
                frame::push(&mut bytes, &encode_alias(recursive, key));
            }
        }
        append(&self.store, &bytes)
    }

    /// The keys of all records.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let mut keys: Vec<Key> = self.by_key.keys().copied().collect();
        keys.sort_unstable();
        keys.into_iter()
    }

    /// How long its log is: another length is another index.
    pub(crate) fn log_length(&self) -> usize {
        self.bytes.len()
    }

    fn empty(store: &Store) -> Index {
        Index {
            store: store.clone(),
            bytes: Vec::new(),
            inode: 0,
            by_key: DigestMap::default(),
            by_recursive: DigestMap::default(),
            families: DigestMap::default(),
        }
    }

    /// None: there is no log. An error within: where it is damaged, and how.
    fn load(store: &Store) -> Result<Option<Result<Index, String>>> {
        let path = log_path(store);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Io { verb: "open", path, source }),
        };
        let metadata = file.metadata().at("look at", &path)?;
        let mut index = Index::empty(store);
        index.inode = metadata.ino();
        index.bytes.reserve(usize::try_from(metadata.len()).unwrap_or(0) + 1);
        file.read_to_end(&mut index.bytes).at("read", &path)?;
        if !index.bytes.starts_with(HEAD) {
            return Ok(Some(Err("its first bytes are not an index's".to_owned())));
        }
        let entries = index.bytes.len() / 200;
        index.by_key.reserve(entries);
        index.by_recursive.reserve(entries);
        Ok(Some(index.absorb(HEAD.len()).map(|()| index)))
    }

    /// Takes in the frames from an offset on.
    fn absorb(&mut self, from: usize) -> Result<(), String> {
        let bytes = std::mem::take(&mut self.bytes);
        let mut at = from;
        let mut result = Ok(());
        while at < bytes.len() {
            let taken = match frame::read(&bytes[at..]) {
                Frame::Whole { payload, length } => {
                    let offset = at + frame::HEAD;
                    self.absorb_frame(payload, offset).map(|()| length)
                }
                Frame::Torn | Frame::Damaged { .. } => None,
            };
            let Some(length) = taken else {
                result = Err(format!("{} bytes from byte {at} on are no frames", bytes.len() - at));
                break;
            };
            at += length;
        }
        self.bytes = bytes;
        result
    }

    fn absorb_frame(&mut self, payload: &[u8], offset: usize) -> Option<()> {
        let mut reader = Reader::new(payload);
        match reader.byte()? {
            RECORD => {
                let key = Key(reader.digest()?);
                self.by_recursive.insert(RecursiveKey(reader.digest()?), key);
                self.families.insert(Digest(reader.digest()?), ());
                self.by_key.insert(key, offset);
            }
            ALIAS => {
                let recursive = RecursiveKey(reader.digest()?);
                self.by_recursive.insert(recursive, Key(reader.digest()?));
            }
            _ => return None,
        }
        Some(())
    }
}

impl Store {
    /// The index as it is now; made anew from the records where it is missing or damaged.
    pub fn index(&self) -> Result<Index> {
        if let Some(Ok(index)) = Index::load(self)? {
            return Ok(index);
        }
        // Either somebody is writing at this moment, or it is damaged indeed.
        let lock = lock_index(self)?;
        lock.lock().at("lock", &log_path(self))?;
        match Index::load(self)? {
            Some(Ok(index)) => return Ok(index),
            Some(Err(why)) => self.warn(&log_path(self), why),
            None => {}
        }
        rebuild(self)
    }

    /// Notes that recursive keys led to keys whose records are there already (an early cut-off,
    /// or a record that the index did not know).
    pub fn remember(&self, pairs: &[(RecursiveKey, Key)]) -> Result<()> {
        let mut bytes = Vec::new();
        for (recursive, key) in pairs {
            // Said again rather than looked up: the whole log would have to be read for that.
            if let Some(record) = self.record(key)? {
                frame::push(&mut bytes, &encode(&record));
                frame::push(&mut bytes, &encode_alias(recursive, key));
            }
        }
        append(self, &bytes)
    }
}

/// Makes the log anew from the records.
pub(crate) fn rebuild_now(store: &Store) -> Result<()> {
    let lock = lock_index(store)?;
    lock.lock().at("lock", &log_path(store))?;
    rebuild(store).map(drop)
}

/// Makes the log anew from the records; the lock is held.
pub(crate) fn rebuild(store: &Store) -> Result<Index> {
    let mut bytes = HEAD.to_vec();
    for record in store.records()? {
        frame::push(&mut bytes, &encode(&record));
    }
    let path = log_path(store);
    let written = store.write_scratch(&bytes).and_then(|(scratch, _)| {
        store.rename_in(&scratch, &path)?;
        Ok(fs::metadata(&path).at("look at", &path)?.ino())
    });
    let mut index = Index::empty(store);
    index.inode = match written {
        Ok(inode) => inode,
        Err(error) => {
            store.warn(&path, format!("the index cannot be written: {error}"));
            0
        }
    };
    index.bytes = bytes;
    if let Err(why) = index.absorb(HEAD.len()) {
        store.warn(&path, why);
    }
    Ok(index)
}

/// Adds what was committed just now.
pub(crate) fn append_records(
    store: &Store,
    records: &[Record],
    committed: &[Committed],
) -> Result<()> {
    let mut bytes = Vec::new();
    for (record, committed) in records.iter().zip(committed) {
        match committed {
            Committed::New | Committed::Healed { .. } => frame::push(&mut bytes, &encode(record)),
            Committed::Same => {
                // The record that stays may have been asked by another recursive key, and the
                // index may lack it.
                if let Some(standing) = store.record(&record.key)? {
                    frame::push(&mut bytes, &encode(&standing));
                }
                frame::push(&mut bytes, &encode_alias(&record.recursive, &record.key));
            }
            Committed::Diverged { kept } => {
                frame::push(&mut bytes, &encode(kept));
                frame::push(&mut bytes, &encode_alias(&record.recursive, &record.key));
            }
        }
    }
    append(store, &bytes)
}

fn append(store: &Store, frames: &[u8]) -> Result<()> {
    if frames.is_empty() {
        return Ok(());
    }
    let path = log_path(store);
    let lock = lock_index(store)?;
    lock.lock().at("lock", &path)?;
    if !path.exists() {
        // Records that were there before must be in it too.
        rebuild(store)?;
    }
    let mut file = store.disk().append(&path).at("open", &path)?;
    let length = file.metadata().at("look at", &path)?.len();
    if let Err(source) = store.disk().write(&mut file, &path, frames) {
        let _ = store.disk().truncate(&file, &path, length);
        return Err(Error::Io { verb: "write", path, source });
    }
    Ok(())
}

/// Held while the log is written; exclusively while it is replaced.
pub(crate) fn lock_index(store: &Store) -> Result<File> {
    let path = store.root().join("idx").join("lock");
    match store.disk().open_lock(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            store.parent_of(&path)?;
            store.disk().open_lock(&path).at("open", &path)
        }
        other => other.at("open", &path),
    }
}

fn log_path(store: &Store) -> PathBuf {
    store.root().join("idx").join("log")
}

fn encode_alias(recursive: &RecursiveKey, key: &Key) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.byte(ALIAS);
    writer.digest(&recursive.0);
    writer.digest(&key.0);
    writer.bytes
}

fn encode(record: &Record) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.byte(RECORD);
    writer.digest(&record.key.0);
    writer.digest(&record.recursive.0);
    writer.digest(&record.family.0);
    writer.number(record.started);
    writer.number(record.took_ms);
    writer.text(&record.address);
    writer.number(record.outputs.len() as u64);
    for (slot, output) in &record.outputs {
        writer.text(slot);
        writer.digest(&output.object.digest.0);
        writer.number(output.object.size);
        match output.object.shape {
            Shape::File { executable } => writer.byte(u8::from(executable)),
            Shape::Tree { files } => {
                writer.byte(2);
                writer.number(files);
            }
        }
        writer.text(output.form.word());
        writer.text(&output.file);
    }
    writer.bytes
}

fn decode(mut reader: Reader<'_>) -> Option<IndexEntry> {
    let head = Head::read(&mut reader)?;
    let mut outputs = Vec::new();
    for _ in 0..head.n_outputs {
        let (slot, object) = read_object(&mut reader)?;
        let word = reader.text()?;
        let form = Form::ALL.iter().find(|it| it.0 == word)?.1;
        let file = reader.text()?.to_owned();
        outputs.push(IndexOutput { slot: slot.to_owned(), object, form, file });
    }
    let Head { key, recursive, family, started, took_ms, address, .. } = head;
    let address = address.to_owned();
    Some(IndexEntry { key, recursive, family, address, started, took_ms, outputs })
}

/// What stands before the outputs of a record.
struct Head<'a> {
    key: Key,
    recursive: RecursiveKey,
    family: Digest,
    started: u64,
    took_ms: u64,
    address: &'a str,
    n_outputs: u64,
}

impl<'a> Head<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Head<'a>> {
        if reader.byte()? != RECORD {
            return None;
        }
        Some(Head {
            key: Key(reader.digest()?),
            recursive: RecursiveKey(reader.digest()?),
            family: Digest(reader.digest()?),
            started: reader.number()?,
            took_ms: reader.number()?,
            address: reader.text()?,
            n_outputs: reader.number()?,
        })
    }
}

fn read_object<'a>(reader: &mut Reader<'a>) -> Option<(&'a str, Object)> {
    let slot = reader.text()?;
    let digest = Digest(reader.digest()?);
    let size = reader.number()?;
    let shape = match reader.byte()? {
        0 => Shape::PLAIN,
        1 => Shape::File { executable: true },
        2 => Shape::Tree { files: reader.number()? },
        _ => return None,
    };
    Some((slot, Object { digest, size, shape }))
}
