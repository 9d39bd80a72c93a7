//! Digests of the project's files, remembered by what `stat` says of them.
//!
//! Believes a remembered digest only if the file looks the same to the nanosecond and had been
//! left alone for two seconds when it was hashed: an edit within the clock's grain cannot hide.
//! The file is derived data: damaged or foreign, it is an empty memory.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::hash::{BuildHasherDefault, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use plan::Digest;
use rayon::prelude::*;

use crate::error::At;
use crate::hash::hash_open;
use crate::ingest::is_executable;
use crate::tree::{self, Found, Links, What};
use crate::{Disk, Error, Node, Object, RealDisk, Result, Shape, TreeEntry};

/// The first bytes of the file.
const HEAD: &[u8] = b"kun-stats 1\n";
/// The bytes of one entry.
const ENTRY: usize = 6 * 8 + 4 + 32;
/// How long a file must have been left alone before it was hashed.
const RACY_NS: i64 = 2_000_000_000;
/// Entries that nobody asked for in this many days are forgotten,
const FORGET_DAYS: u32 = 60;
/// and asking is noted once in so many days.
const NOTE_DAYS: u32 = 7;
/// How often a file that changes while it is read is read again.
const TRIES: usize = 3;

/// Digests, remembered.
#[derive(Debug)]
pub struct Stats {
    path: PathBuf,
    rehash: Rehash,
    disk: Arc<dyn Disk>,
    known: RwLock<HashMap<(u64, u64), Known, BuildHasherDefault<Mix>>>,
    is_dirty: AtomicBool,
    today: u32,
}

/// Whether what is remembered counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rehash {
    /// A file that looks unchanged is unchanged.
    #[default]
    Trust,
    /// Read every file.
    Paranoid,
}

/// What a file or a tree held, and how it looked then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// Its digest.
    pub digest: Digest,
    /// The bytes of all its files.
    pub size: u64,
    /// File or tree.
    pub shape: Shape,
    /// How it looked.
    pub stamp: Stamp,
}

impl Hashed {
    /// The object that it would be in a store.
    pub fn object(&self) -> Object {
        Object { digest: self.digest, size: self.size, shape: self.shape }
    }
}

/// How a file or a tree looked, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp([u8; 32]);

/// How one file looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    dev: u64,
    inode: u64,
    size: u64,
    changed_ns: i64,
    touched_ns: i64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    look: Look,
    taken_ns: i64,
    used: u32,
    digest: Digest,
}

/// A hash of device and inode numbers.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|it| self.write_u64(u64::from(*it)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Look {
    fn of(metadata: &Metadata) -> Look {
        let ns = |second: i64, ns: i64| second.saturating_mul(1_000_000_000).saturating_add(ns);
        Look {
            dev: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            changed_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            touched_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&self.dev.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.inode.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.size.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.changed_ns.to_le_bytes());
        bytes[32..].copy_from_slice(&self.touched_ns.to_le_bytes());
        bytes
    }
}

impl Known {
    /// Whether the file had been left alone long enough when it was hashed.
    fn is_settled(&self) -> bool {
        let latest = self.look.changed_ns.max(self.look.touched_ns);
        latest < self.taken_ns.saturating_sub(RACY_NS)
    }
}

impl Stats {
    /// Reads what is remembered; a damaged or foreign file is an empty memory.
    pub fn open(path: &Path) -> Stats {
        Stats::open_with(path, Rehash::Trust)
    }

    /// The same, believing nothing that is remembered where `rehash` says so.
    pub fn open_with(path: &Path, rehash: Rehash) -> Stats {
        let bytes = fs::read(path).unwrap_or_default();
        let known = decode(&bytes).unwrap_or_default();
        Stats { path: path.to_owned(), rehash, known: RwLock::new(known), ..Stats::empty() }
    }

    fn empty() -> Stats {
        Stats {
            path: PathBuf::new(),
            rehash: Rehash::Trust,
            disk: Arc::new(RealDisk),
            known: RwLock::default(),
            is_dirty: AtomicBool::new(false),
            today: u32::try_from(now_ns() / 86_400_000_000_000).unwrap_or(0),
        }
    }

    /// The same, with another disk to save to.
    pub fn on(self, disk: Arc<dyn Disk>) -> Stats {
        Stats { disk, ..self }
    }

    /// The digest of a file.
    pub fn digest_file(&self, path: &Path) -> Result<Hashed> {
        let metadata = fs::metadata(path).at("look at", path)?;
        if metadata.is_dir() {
            return Err(Error::Shape { path: path.to_owned(), wanted: "file" });
        }
        self.digest_seen_file(path, &metadata)
    }

    /// The digest of a file or a tree. A tree's links that lead out of it count as what they lead
    /// to; but for that it has the digest that a store would give it.
    pub fn digest_path(&self, path: &Path) -> Result<Hashed> {
        let metadata = fs::metadata(path).at("look at", path)?;
        if !metadata.is_dir() {
            return self.digest_seen_file(path, &metadata);
        }
        let found = tree::walk(path, Links::Follow)?;
        let seen: Result<Vec<(TreeEntry, Option<Look>)>> =
            found.into_par_iter().with_min_len(64).map(|it| self.digest_found(path, it)).collect();
        let mut stamper = Stamper::default();
        let mut entries = Vec::new();
        for (entry, look) in seen? {
            stamper.add(&entry.path, look.as_ref(), link_of(&entry.node));
            entries.push(entry);
        }
        let listing = tree::encode(&entries);
        let object = tree::object_of(&entries, &listing);
        let stamp = stamper.finish();
        Ok(Hashed { digest: object.digest, size: object.size, shape: object.shape, stamp })
    }

    /// Whether a file or a tree is still what it was when it was hashed. Reads nothing of what looks
    /// as it did, and all of what does not; what cannot be read is not what it was.
    pub fn unchanged(hashed: &Hashed, path: &Path) -> bool {
        let Ok(metadata) = fs::metadata(path) else { return false };
        let stamp = if metadata.is_dir() {
            stamp_tree(path).ok()
        } else {
            Some(stamp_of(&Look::of(&metadata)))
        };
        let is_dir = matches!(hashed.shape, Shape::Tree { .. });
        if is_dir != metadata.is_dir() {
            return false;
        }
        stamp == Some(hashed.stamp)
            || Stats::empty().digest_path(path).is_ok_and(|it| it.object() == hashed.object())
    }

    /// Writes what is remembered, if anything is new.
    pub fn save(&self) -> Result<()> {
        if !self.is_dirty.load(Ordering::Relaxed) {
            return Ok(());
        }
        crate::replace(&*self.disk, &self.path, &self.encode(), crate::Wait::Never)?;
        self.is_dirty.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn digest_found(&self, top: &Path, found: Found) -> Result<(TreeEntry, Option<Look>)> {
        let mut seen = None;
        let node = match found.what {
            What::File(metadata) => {
                let (digest, look) = self.digest_seen(&top.join(&found.path), &metadata)?;
                seen = Some(look);
                Node::File { digest, size: look.size, executable: is_executable(&metadata) }
            }
            What::Link(target) => Node::Link { target },
            What::EmptyDir => Node::EmptyDir,
        };
        Ok((TreeEntry { path: found.path, node }, seen))
    }

    fn digest_seen_file(&self, path: &Path, metadata: &Metadata) -> Result<Hashed> {
        if !metadata.is_file() {
            let what = tree::special(metadata.file_type());
            return Err(Error::Special { path: path.to_owned(), what });
        }
        let (digest, look) = self.digest_seen(path, metadata)?;
        let shape = Shape::File { executable: is_executable(metadata) };
        Ok(Hashed { digest, size: look.size, shape, stamp: stamp_of(&look) })
    }

    fn digest_seen(&self, path: &Path, metadata: &Metadata) -> Result<(Digest, Look)> {
        let look = Look::of(metadata);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let entry = known.get(&(look.dev, look.inode)).copied();
        drop(known);
        if let Some(mut entry) = entry
            && self.rehash == Rehash::Trust
            && entry.look == look
            && entry.is_settled()
        {
            if self.today.saturating_sub(entry.used) >= NOTE_DAYS {
                entry.used = self.today;
                self.learn(entry);
            }
            return Ok((entry.digest, look));
        }
        for _ in 0..TRIES {
            let taken_ns = now_ns();
            let file = File::open(path).at("open", path)?;
            let before = Look::of(&file.metadata().at("look at", path)?);
            let hashed = match hash_open(&file, path, before.size) {
                Err(Error::Changing { .. }) => continue,
                other => other?,
            };
            let after = Look::of(&file.metadata().at("look at", path)?);
            if before == after && hashed.1 == after.size {
                let entry = Known { look: after, taken_ns, used: self.today, digest: hashed.0 };
                self.learn(entry);
                return Ok((hashed.0, after));
            }
        }
        Err(Error::Changing { path: path.to_owned() })
    }

    fn learn(&self, entry: Known) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert((entry.look.dev, entry.look.inode), entry);
        self.is_dirty.store(true, Ordering::Relaxed);
    }

    fn encode(&self) -> Vec<u8> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut entries: Vec<&Known> = known
            .values()
            .filter(|it| self.today.saturating_sub(it.used) < FORGET_DAYS && it.is_settled())
            .collect();
        entries.sort_unstable_by_key(|it| (it.look.dev, it.look.inode));
        let mut bytes = Vec::with_capacity(HEAD.len() + entries.len() * ENTRY + 4);
        bytes.extend_from_slice(HEAD);
        for entry in entries {
            bytes.extend_from_slice(&entry.look.bytes());
            bytes.extend_from_slice(&entry.taken_ns.to_le_bytes());
            bytes.extend_from_slice(&entry.used.to_le_bytes());
            bytes.extend_from_slice(&entry.digest.0);
        }
        let sum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }
}

fn stamp_tree(path: &Path) -> Result<Stamp> {
    let mut stamper = Stamper::default();
    for found in tree::walk(path, Links::Follow)? {
        match &found.what {
            What::File(metadata) => stamper.add(&found.path, Some(&Look::of(metadata)), None),
            What::Link(target) => stamper.add(&found.path, None, Some(target)),
            What::EmptyDir => stamper.add(&found.path, None, None),
        }
    }
    Ok(stamper.finish())
}

/// Sums up how the entries of a tree look.
#[derive(Default)]
struct Stamper(blake3::Hasher);

impl Stamper {
    fn add(&mut self, path: &Path, look: Option<&Look>, link: Option<&Path>) {
        for part in [Some(path), link] {
            let bytes = part.map_or(&b""[..], |it| it.as_os_str().as_encoded_bytes());
            self.0.update(&(bytes.len() as u64).to_le_bytes());
            self.0.update(bytes);
        }
        self.0.update(&look.map_or([0; 40], Look::bytes));
    }

    fn finish(self) -> Stamp {
        Stamp(*self.0.finalize().as_bytes())
    }
}

fn link_of(node: &Node) -> Option<&Path> {
    match node {
        Node::Link { target } => Some(target),
        Node::File { .. } | Node::EmptyDir => None,
    }
}

fn stamp_of(look: &Look) -> Stamp {
    Stamp(Digest::of(&look.bytes()).0)
}

fn decode(bytes: &[u8]) -> Option<HashMap<(u64, u64), Known, BuildHasherDefault<Mix>>> {
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    let entries = body.strip_prefix(HEAD)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*sum) || entries.len() % ENTRY != 0 {
        return None;
    }
    let mut known = HashMap::with_capacity_and_hasher(entries.len() / ENTRY, Default::default());
    for entry in entries.chunks_exact(ENTRY) {
        let (numbers, rest) = entry.split_at(48);
        let (used, digest) = rest.split_first_chunk::<4>()?;
        let number =
            |n: usize| numbers[n * 8..].first_chunk::<8>().map(|it| u64::from_le_bytes(*it));
        let look = Look {
            dev: number(0)?,
            inode: number(1)?,
            size: number(2)?,
            changed_ns: number(3)?.cast_signed(),
            touched_ns: number(4)?.cast_signed(),
        };
        let taken_ns = number(5)?.cast_signed();
        let digest = Digest(digest.try_into().ok()?);
        let used = u32::from_le_bytes(*used);
        known.insert((look.dev, look.inode), Known { look, taken_ns, used, digest });
    }
    Some(known)
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
