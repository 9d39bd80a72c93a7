//! The row memo: answers by the digest of the question, append-only and safe against crashes.
//!
//! A space is a folder of segments. Each writer has a segment of its own, locked while it lives;
//! everyone reads all. The first row of a key counts. Rows are no part of any result's identity:
//! losing them costs work and nothing else, so what is damaged is skipped with a note.

mod check;
mod compact;
mod segment;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use plan::Digest;

use crate::attempt::host;
use crate::error::At;
use crate::frame::{self, Frame};
use crate::index::DigestMap;
use crate::store::{make_dirs, now_ms};
use crate::{Error, Result, Store, Warning};

pub(crate) use check::check_space;
pub(crate) use compact::{compact_space, mend_space};
use segment::{Segment, Slot};

/// Rows are waited for when this many bytes are not yet on the disk,
const SYNC_BYTES: u64 = 8 * 1024 * 1024;
/// or when this much time has passed.
const SYNC_AFTER: Duration = Duration::from_secs(2);
/// The bytes of a key.
const KEY: usize = 32;
/// How often segments that vanish while they are opened are looked for again.
const TRIES: usize = 100;
/// The longest row.
const MOST: usize = frame::MOST - KEY;

/// Numbers the segments of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The rows of one space.
#[derive(Debug)]
pub struct Rows {
    store: Store,
    folder: PathBuf,
    state: RwLock<State>,
    /// Locked, shared, for as long as the space is in use.
    #[expect(dead_code, reason = "held, not read")]
    in_use: File,
}

#[derive(Debug, Default)]
struct State {
    segments: Vec<Segment>,
    index: DigestMap<Digest, Slot>,
    writer: Option<Writer>,
    notes: Vec<Warning>,
}

/// The segment that this process adds to.
#[derive(Debug)]
struct Writer {
    segment: u32,
    /// Holds the segment's lock.
    file: File,
    length: u64,
    synced: u64,
    synced_at: Instant,
}

impl Rows {
    /// Opens a space, making it if need be.
    pub fn open(store: &Store, space: &Digest) -> Result<Rows> {
        let folder = folder_of(store, space);
        let in_use = use_folder(store, &folder)?;
        let rows = Rows { store: store.clone(), folder, state: RwLock::default(), in_use };
        rows.refresh()?;
        Ok(rows)
    }

    /// Notes what the answers of this space are made from besides their records.
    pub fn note_inputs(&self, inputs: &BTreeSet<Digest>) -> Result<()> {
        crate::derived::note(&self.store, &self.folder, inputs)
    }

    /// How many rows a space has; it is not made where there is none.
    pub fn count(store: &Store, space: &Digest) -> Result<usize> {
        match folder_of(store, space).is_dir() {
            true => Ok(Self::open(store, space)?.len()),
            false => Ok(0),
        }
    }

    /// The row of a key.
    pub fn get(&self, row: &Digest) -> Result<Option<Vec<u8>>> {
        let (slot, file, path) = {
            let state = self.read_state();
            let Some(slot) = state.index.get(row).copied() else { return Ok(None) };
            let segment = &state.segments[slot.segment as usize];
            (slot, Arc::clone(&segment.file), segment.path.clone())
        };
        let mut bytes = vec![0; frame::HEAD + slot.length as usize];
        let read = file.read_exact_at(&mut bytes, slot.offset);
        match read {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => bytes.clear(),
            Err(source) => return Err(Error::Io { verb: "read", path, source }),
        }
        if let Frame::Whole { payload, .. } = frame::read(&bytes)
            && payload.starts_with(&row.0)
        {
            bytes.drain(..frame::HEAD + KEY);
            return Ok(Some(bytes));
        }
        let mut state = self.write_state();
        state.index.remove(row);
        let what = format!("the row at byte {} is damaged", slot.offset);
        state.notes.push(Warning { path, what });
        Ok(None)
    }

    /// Whether there is a row, without reading it.
    pub fn has(&self, row: &Digest) -> bool {
        self.read_state().index.contains_key(row)
    }

    /// Adds a row; the first one of a key counts, so that a second is not written.
    pub fn put(&self, row: &Digest, payload: &[u8]) -> Result<()> {
        if payload.len() > MOST {
            return Err(Error::LongRow { bytes: payload.len(), most: MOST });
        }
        let mut whole = Vec::with_capacity(KEY + payload.len());
        whole.extend_from_slice(&row.0);
        whole.extend_from_slice(payload);
        let mut bytes = Vec::with_capacity(frame::HEAD + whole.len());
        frame::push(&mut bytes, &whole);
        let mut state = self.write_state();
        if state.index.contains_key(row) {
            return Ok(());
        }
        let mut writer = match state.writer.take() {
            Some(writer) => writer,
            None => self.new_writer(&mut state)?,
        };
        let path = state.segments[writer.segment as usize].path.clone();
        if let Err(source) = self.store.disk().write(&mut writer.file, &path, &bytes) {
            // What is half there goes; if it does not, the next row begins a new segment.
            if self.store.disk().truncate(&writer.file, &path, writer.length).is_ok() {
                state.writer = Some(writer);
            }
            return Err(Error::Io { verb: "write", path, source });
        }
        let length = whole.len() as u32;
        state.index.insert(*row, Slot { segment: writer.segment, offset: writer.length, length });
        writer.length += bytes.len() as u64;
        state.segments[writer.segment as usize].scanned = writer.length;
        let is_due =
            writer.length - writer.synced >= SYNC_BYTES || writer.synced_at.elapsed() >= SYNC_AFTER;
        state.writer = Some(writer);
        if is_due { self.sync_locked(state) } else { Ok(()) }
    }

    /// Waits until all rows of this writer are on the disk.
    pub fn sync(&self) -> Result<()> {
        self.sync_locked(self.write_state())
    }

    /// Reads what other writers added since.
    pub fn refresh(&self) -> Result<()> {
        let mut state = self.write_state();
        // A segment that is gone before it is opened was merged: its rows are in another one.
        for _ in 0..TRIES {
            if self.open_segments(&mut state)? {
                break;
            }
        }
        let own = state.writer.as_ref().map(|it| it.segment as usize);
        let State { segments, index, notes, .. } = &mut *state;
        for (n, segment) in segments.iter_mut().enumerate() {
            if Some(n) != own {
                segment.catch_up(&self.store, n as u32, index, notes)?;
            }
        }
        Ok(())
    }

    /// Opens the segments that are new; false: one of them was gone by then.
    fn open_segments(&self, state: &mut State) -> Result<bool> {
        let mut all = true;
        for path in segment::paths(&self.folder)? {
            if state.segments.iter().any(|it| it.path == path) {
                continue;
            }
            match Segment::open(path)? {
                Some(segment) => state.segments.push(segment),
                None => all = false,
            }
        }
        Ok(all)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.read_state().index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was found damaged or torn since the last time this was asked.
    pub fn notes(&self) -> Vec<Warning> {
        std::mem::take(&mut self.write_state().notes)
    }

    /// Merges the segments of dead writers into one; says how many there were.
    pub fn compact(&self) -> Result<usize> {
        compact::compact(&self.store, &self.folder)
    }

    fn new_writer(&self, state: &mut State) -> Result<Writer> {
        // A compaction must not see the segment before it is locked.
        let gate = gate_of(&self.store, &self.folder)?;
        gate.lock_shared().at("lock", &self.folder)?;
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("seg-{:015}.{}.{}.{serial}", now_ms(), host(), std::process::id());
        let n = state.segments.len();
        let path = self.folder.join(name);
        let (file, reader) = match self.create_segment(&path) {
            Ok(made) => made,
            Err(error) => {
                let _ = self.store.disk().unlink(&path);
                return Err(error);
            }
        };
        let length = segment::HEAD.len() as u64;
        state.segments.push(Segment {
            path,
            file: Arc::new(reader),
            scanned: length,
            ended: false,
        });
        let synced_at = Instant::now();
        Ok(Writer { segment: n as u32, file, length, synced: 0, synced_at })
    }

    fn create_segment(&self, path: &Path) -> Result<(File, File)> {
        let mut file = self.store.disk().append(path).at("create", path)?;
        file.lock().at("lock", path)?;
        self.store.disk().write(&mut file, path, segment::HEAD).at("write", path)?;
        self.store.sync_dir(&self.folder)?;
        let reader = File::open(path).at("open", path)?;
        Ok((file, reader))
    }

    fn sync_locked(&self, state: RwLockWriteGuard<'_, State>) -> Result<()> {
        let Some(writer) = &state.writer else { return Ok(()) };
        if writer.synced == writer.length {
            return Ok(());
        }
        let (n, length) = (writer.segment, writer.length);
        let segment = &state.segments[n as usize];
        let (file, path) = (Arc::clone(&segment.file), segment.path.clone());
        drop(state);
        let synced = self.store.sync_file(&file, &path);
        let mut state = self.write_state();
        let Some(writer) = state.writer.as_mut().filter(|it| it.segment == n) else {
            return synced;
        };
        if synced.is_ok() {
            writer.synced = writer.synced.max(length);
            writer.synced_at = Instant::now();
            return Ok(());
        }
        // The kernel forgets what it could not write: the rows since the last success are not
        // to be trusted, and this segment is not to be added to.
        let good = writer.synced;
        let _ = self.store.disk().truncate(&writer.file, &path, good);
        state.index.retain(|_, it| it.segment != n || it.offset < good);
        state.segments[n as usize].ended = true;
        state.writer = None;
        synced
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the rows of a space are.
pub(crate) fn folder_of(store: &Store, space: &Digest) -> PathBuf {
    store.root().join("rows").join(space.hex())
}

/// Held shared by who makes a segment, exclusively by who looks which writers are dead.
fn gate_of(store: &Store, folder: &Path) -> Result<File> {
    let path = folder.join("gate");
    store.disk().open_lock(&path).at("open", &path)
}

/// Takes a space into use: it cannot be removed while the file is open.
fn use_folder(store: &Store, folder: &Path) -> Result<File> {
    let path = folder.join("used");
    loop {
        make_dirs(store.disk(), folder)?;
        let mut file = match store.disk().open_lock(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.at("open", &path)?,
        };
        file.lock_shared().at("lock", &path)?;
        let here = file.metadata().at("look at", &path)?;
        if fs::metadata(&path).is_ok_and(|it| it.ino() == here.ino()) {
            // Its time of change tells when the space was used last.
            store.disk().truncate(&file, &path, 0).at("write", &path)?;
            store.disk().write(&mut file, &path, b"used\n").at("write", &path)?;
            return Ok(file);
        }
    }
}
