//! Many segments of dead writers into one.
//!
//! The new segment is whole and on the disk before an old one goes; between the two moments the
//! rows are there twice, which is no harm. Who has the old ones open reads on in them.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::attempt::tree_bytes;
use crate::error::At;
use crate::frame;
use crate::store::now_ms;
use crate::{Error, Result, Store};

use super::gate_of;
use super::segment::{self, Seen, scan, side_path};

/// Rows are written when this many bytes have come together.
const BATCH: usize = 1024 * 1024;

/// Numbers the merged segments of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The bytes that a space is smaller by when its dead segments are one.
pub(crate) fn compact_space(store: &Store, folder: &Path) -> Result<u64> {
    let before = tree_bytes(folder);
    compact(store, folder)?;
    Ok(before.saturating_sub(tree_bytes(folder)))
}

/// What mending a space took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mended {
    /// Segments that were put aside.
    pub(crate) aside: u64,
}

/// Writes what is good in the segments of dead writers into a new one, and puts aside those in which
/// something is damaged, torn, or said otherwise before.
pub(crate) fn mend_space(store: &Store, folder: &Path) -> Result<Mended> {
    let dead = lock_dead(store, folder)?;
    let mut mended = Mended::default();
    merge_dead(store, folder, &dead)?;
    for (path, _) in &dead {
        mended.aside += u64::from(store.set_aside(path)?.is_some());
        remove_side(store, path)?;
    }
    Ok(mended)
}

pub(super) fn compact(store: &Store, folder: &Path) -> Result<usize> {
    let dead = lock_dead(store, folder)?;
    if dead.len() < 2 {
        return Ok(0);
    }
    merge_dead(store, folder, &dead)?;
    for (path, _) in &dead {
        store.disk().unlink(path).at("remove", path)?;
        remove_side(store, path)?;
    }
    Ok(dead.len())
}

fn remove_side(store: &Store, path: &Path) -> Result<()> {
    let side = side_path(path);
    if side.exists() {
        store.disk().unlink(&side).at("remove", &side)?;
    }
    Ok(())
}

/// The rows of dead segments in a new one, beside them.
fn merge_dead(store: &Store, folder: &Path, dead: &[(PathBuf, File)]) -> Result<()> {
    let Some((first, _)) = dead.first() else { return Ok(()) };
    let scratch = store.scratch()?;
    let merged = merge(store, dead, &scratch).and_then(|()| {
        let name = first.file_name().unwrap_or_default().to_string_lossy();
        let base = name.split(".merged").next().unwrap_or(&name);
        // A name that no segment ever had: one of an old segment would be removed with it.
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        let target = folder.join(format!("{base}.merged{:015}.{id}.{serial}", now_ms()));
        store.rename_in(&scratch, &target)?;
        store.sync_dir(folder)
    });
    if merged.is_err() {
        let _ = store.disk().unlink(&scratch);
    }
    merged
}

/// The segments that nobody writes, locked so that no other compaction takes them.
fn lock_dead(store: &Store, folder: &Path) -> Result<Vec<(PathBuf, File)>> {
    let gate = gate_of(store, folder)?;
    gate.lock().at("lock", folder)?;
    let mut dead = Vec::new();
    for path in segment::paths(folder)? {
        let file = File::open(&path).at("open", &path)?;
        match file.try_lock() {
            Ok(()) => dead.push((path, file)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => {
                return Err(Error::Io { verb: "lock", path, source });
            }
        }
    }
    Ok(dead)
}

fn merge(store: &Store, dead: &[(PathBuf, File)], scratch: &Path) -> Result<()> {
    let mut target = store.disk().create(scratch).at("create", scratch)?;
    let mut batch = segment::HEAD.to_vec();
    let mut seen = BTreeSet::new();
    let mut result = Ok(());
    for (path, file) in dead {
        scan(file, path, 0, &mut |it| {
            let Seen::Row { key, payload, .. } = it else { return };
            if result.is_err() || !seen.insert(key) {
                return;
            }
            frame::push(&mut batch, &[&key.0[..], payload].concat());
            if batch.len() >= BATCH {
                result = store.disk().write(&mut target, scratch, &batch).at("write", scratch);
                batch.clear();
            }
        })?;
    }
    result?;
    store.disk().write(&mut target, scratch, &batch).at("write", scratch)?;
    store.sync_file(&target, scratch)
}
