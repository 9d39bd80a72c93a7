//! One file of rows: a head, then frames of key and payload; and the small file beside it that
//! says where its rows are.
//!
//! The small file is believed only up to the length that it names, and only if its own checksum
//! is right; every row is checked again when it is read.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plan::Digest;

use crate::commit::list;
use crate::error::At;
use crate::frame::{self, Frame};
use crate::index::DigestMap;
use crate::{Error, Result, Store, Warning};

use super::KEY;

/// The first bytes of a segment.
pub(super) const HEAD: &[u8] = b"kun-rows 1\n";
/// The first bytes of the file beside it.
const SIDE_HEAD: &[u8] = b"kun-rows-at 1\n";
/// The bytes of one row in the file beside it: key, offset, length.
const SIDE_ENTRY: usize = KEY + 8 + 4;
/// A segment is worth a file beside it when this many bytes had to be read.
const SIDE_WORTH: u64 = 4 * 1024 * 1024;
/// Bytes that are read at once.
const WINDOW: usize = 1024 * 1024;

/// Where a row is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) segment: u32,
    /// Bytes of key and payload.
    pub(super) length: u32,
    /// Where its frame begins.
    pub(super) offset: u64,
}

/// A segment that is being read.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    /// How far it was read.
    pub(super) scanned: u64,
    /// Nothing more is to be read: its writer is dead, or it is damaged.
    pub(super) ended: bool,
}

/// What a scan came upon.
pub(super) enum Seen<'a> {
    /// A row.
    Row { key: Digest, offset: u64, payload: &'a [u8] },
    /// A frame whose checksum is wrong, with a right one behind it.
    Damaged { offset: u64 },
}

impl Segment {
    /// None: it is gone by now, or no segment.
    pub(super) fn open(path: PathBuf) -> Result<Option<Segment>> {
        match File::open(&path) {
            Ok(file) => Ok(Some(Segment { path, file: Arc::new(file), scanned: 0, ended: false })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { verb: "open", path, source }),
        }
    }

    /// Reads what was added since the last time; earlier rows of a key stay.
    pub(super) fn catch_up(
        &mut self,
        store: &Store,
        n: u32,
        index: &mut DigestMap<Digest, Slot>,
        notes: &mut Vec<Warning>,
    ) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        // Asked before the length: what a writer that is dead by now wrote is all there.
        let is_dead = is_dead(&self.path)?;
        let length = self.file.metadata().at("look at", &self.path)?.len();
        if self.scanned == 0 {
            self.scanned = self.load_side(length, n, index);
        }
        let from = self.scanned;
        let mut places = Vec::new();
        let end = scan(&self.file, &self.path, from, &mut |seen| match seen {
            Seen::Row { key, offset, payload } => {
                let length = (KEY + payload.len()) as u32;
                places.push((key, Slot { segment: n, length, offset }));
            }
            Seen::Damaged { offset } => {
                let what = format!("the row at byte {offset} is damaged");
                notes.push(Warning { path: self.path.clone(), what });
            }
        })?;
        for (key, slot) in places {
            index.entry(key).or_insert(slot);
        }
        self.scanned = end;
        // A file without a head may be one whose writer has not locked it yet.
        if is_dead && length >= HEAD.len() as u64 {
            self.ended = true;
            if end < length {
                let what = format!("{} of {length} bytes at the end are torn", length - end);
                notes.push(Warning { path: self.path.clone(), what });
            }
            if end - from >= SIDE_WORTH {
                self.save_side(store, n, index);
            }
        }
        Ok(())
    }

    /// How far the file beside the segment reaches; 0: it is of no use.
    fn load_side(&self, length: u64, n: u32, index: &mut DigestMap<Digest, Slot>) -> u64 {
        let bytes = std::fs::read(side_path(&self.path)).unwrap_or_default();
        let Some((covered, entries)) = parse_side(&bytes) else { return 0 };
        if covered > length {
            return 0;
        }
        index.reserve(entries.len() / SIDE_ENTRY);
        for entry in entries.chunks_exact(SIDE_ENTRY) {
            let (key, rest) = entry.split_at(KEY);
            let (offset, length) = rest.split_at(8);
            if let (Ok(key), Ok(offset), Ok(length)) =
                (key.try_into(), offset.try_into(), length.try_into())
            {
                let (offset, length) = (u64::from_le_bytes(offset), u32::from_le_bytes(length));
                index.entry(Digest(key)).or_insert(Slot { segment: n, length, offset });
            }
        }
        covered
    }

    /// Derived data: not being able to write it costs time and nothing else.
    fn save_side(&self, store: &Store, n: u32, index: &DigestMap<Digest, Slot>) {
        let mut rows: Vec<(&Digest, &Slot)> = index.iter().filter(|it| it.1.segment == n).collect();
        rows.sort_unstable_by_key(|it| it.1.offset);
        let mut bytes = Vec::with_capacity(SIDE_HEAD.len() + 12 + rows.len() * SIDE_ENTRY);
        bytes.extend_from_slice(SIDE_HEAD);
        bytes.extend_from_slice(&self.scanned.to_le_bytes());
        for (key, slot) in rows {
            bytes.extend_from_slice(&key.0);
            bytes.extend_from_slice(&slot.offset.to_le_bytes());
            bytes.extend_from_slice(&slot.length.to_le_bytes());
        }
        let sum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        let written = store
            .write_scratch(&bytes)
            .and_then(|(scratch, _)| store.rename_in(&scratch, &side_path(&self.path)));
        if let Err(error) = written {
            store.warn(&self.path, error.to_string());
        }
    }
}

fn parse_side(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    let (covered, entries) = body.strip_prefix(SIDE_HEAD)?.split_first_chunk::<8>()?;
    let is_right = crc32fast::hash(body) == u32::from_le_bytes(*sum);
    (is_right && entries.len() % SIDE_ENTRY == 0).then_some((u64::from_le_bytes(*covered), entries))
}

/// `at-…` beside `seg-…`.
pub(super) fn side_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(name.replacen("seg-", "at-", 1))
}

/// The segments of a space, in their order.
pub(super) fn paths(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_segment =
        |it: &PathBuf| it.file_name().is_some_and(|it| it.as_encoded_bytes().starts_with(b"seg-"));
    Ok(list(folder)?.into_iter().filter(is_segment).collect())
}

/// Whether nobody adds to a segment any more.
fn is_dead(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(source) => return Err(Error::Io { verb: "open", path: path.to_owned(), source }),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).at("lock", path),
    }
}

/// Tells the rows from an offset on; gives the end of the last good one. A damaged frame is
/// stepped over if a good one follows it, else it is the end.
pub(super) fn scan(
    file: &File,
    path: &Path,
    from: u64,
    tell: &mut dyn FnMut(Seen<'_>),
) -> Result<u64> {
    let mut window = Window { file, path, bytes: Vec::new(), start: from };
    let mut at = from;
    if at == 0 {
        window.need(0, HEAD.len())?;
        if !window.bytes.starts_with(HEAD) {
            return Ok(0);
        }
        at = HEAD.len() as u64;
    }
    let mut good = at;
    let mut damaged = Vec::new();
    loop {
        let rest = window.need(at, frame::HEAD)?;
        let Some(length) = frame::payload_length(rest) else { return Ok(good) };
        let rest = window.need(at, frame::HEAD + length)?;
        match frame::read(rest) {
            Frame::Whole { payload, length } if payload.len() >= KEY => {
                damaged.drain(..).for_each(|offset| tell(Seen::Damaged { offset }));
                let (key, payload) = payload.split_at(KEY);
                let key = Digest(key.try_into().unwrap_or_default());
                tell(Seen::Row { key, offset: at, payload });
                at += length as u64;
                good = at;
            }
            Frame::Whole { length, .. } | Frame::Damaged { length } => {
                damaged.push(at);
                at += length as u64;
            }
            Frame::Torn => return Ok(good),
        }
    }
}

/// A stretch of a file in memory.
struct Window<'a> {
    file: &'a File,
    path: &'a Path,
    bytes: Vec<u8>,
    start: u64,
}

impl Window<'_> {
    /// At least `length` bytes from `at` on, or as many as there are.
    fn need(&mut self, at: u64, length: usize) -> Result<&[u8]> {
        let skip = usize::try_from(at - self.start).unwrap_or(usize::MAX).min(self.bytes.len());
        if self.bytes.len() - skip < length {
            self.bytes.drain(..skip);
            self.start = at;
            let mut filled = self.bytes.len();
            let end = self.file.metadata().at("look at", self.path)?.len();
            let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            self.bytes.resize(left.min(length.max(WINDOW)).max(filled), 0);
            while filled < self.bytes.len() {
                let place = at + filled as u64;
                let got = self.file.read_at(&mut self.bytes[filled..], place);
                match got.at("read", self.path)? {
                    0 => self.bytes.truncate(filled),
                    got => filled += got,
                }
            }
            return Ok(&self.bytes);
        }
        Ok(&self.bytes[skip..])
    }
}
