//! Finished shards: kept beside the step's resumable state until all are there, then joined in
//! order. A shard that was finished before a kill is not done again; one whose files do not have
//! the digests noted for them is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use plan::Digest;
use plan::graph::Instance;
use serde::{Deserialize, Serialize};
use store::{Disk, Wait, Work, hash_file};

use crate::attempt::{AttemptError, io_at};
use crate::unit::Said;

/// What is noted of a finished shard; written last.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Finished {
    digests: BTreeMap<String, Digest>,
    counts: BTreeMap<String, u64>,
    cpu_ms: u64,
    peak_bytes: u64,
    #[serde(default)]
    work: Option<Work>,
}

const NOTE: &str = "finished.json";

/// The folder of one shard. Another number of shards is another folder.
fn folder(state: &Path, index: usize, count: usize) -> PathBuf {
    state.join(format!("shards-{count}")).join(format!("{index:05}"))
}

/// Keeps the outputs of a shard that ended well.
pub(crate) fn keep(
    disk: &dyn Disk,
    state: &Path,
    (index, count): (usize, usize),
    out: &Path,
    said: &Said,
) -> Result<(), AttemptError> {
    let kept = folder(state, index, count);
    if kept.exists() {
        store::remove_tree(disk, &kept)?;
    }
    store::make_dirs(disk, kept.parent().unwrap_or(state))?;
    let mut digests = BTreeMap::new();
    for entry in fs::read_dir(out).map_err(io_at(out))? {
        let entry = entry.map_err(io_at(out))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let (digest, _) = hash_file(&path)?;
        File::open(&path).and_then(|it| disk.sync(&it, &path)).map_err(io_at(&path))?;
        digests.insert(name, digest);
    }
    disk.rename(out, &kept).map_err(io_at(&kept))?;
    let note = Finished {
        digests,
        counts: said.counts.clone(),
        cpu_ms: said.cpu_ms,
        peak_bytes: said.peak_bytes,
        work: said.work.clone(),
    };
    let path = kept.join(NOTE);
    let text = serde_json::to_vec(&note).map_err(|it| io_at(&path)(it.into()))?;
    Ok(store::replace(disk, &path, &text, Wait::ForDisk)?)
}

/// What a shard said when it was finished, if it was and its files are whole.
pub(crate) fn finished(state: &Path, (index, count): (usize, usize)) -> Option<Said> {
    let kept = folder(state, index, count);
    let note: Finished = serde_json::from_slice(&fs::read(kept.join(NOTE)).ok()?).ok()?;
    let whole = note
        .digests
        .iter()
        .all(|(name, digest)| hash_file(&kept.join(name)).is_ok_and(|(found, _)| found == *digest));
    whole.then(|| Said::known(note.counts, note.cpu_ms, note.peak_bytes, note.work))
}

/// What is damaged among the finished shards in the state of a step, each with what is wrong.
pub fn damaged_shards(state: &Path) -> Vec<(PathBuf, String)> {
    let mut damaged = vec![];
    let folders = |top: &Path| fs::read_dir(top).into_iter().flatten().flatten();
    for all in folders(state).filter(|it| it.file_name().to_string_lossy().starts_with("shards-")) {
        let count = all.file_name().to_string_lossy()["shards-".len()..].parse().unwrap_or(0);
        for shard in folders(&all.path()) {
            let index = shard.file_name().to_string_lossy().parse().unwrap_or(count);
            // One without a note is not finished.
            if shard.path().join(NOTE).exists() && finished(state, (index, count)).is_none() {
                damaged.push((shard.path(), "its files have other digests".to_owned()));
            }
        }
    }
    damaged.sort();
    damaged
}

/// Joins the outputs of all shards, in order, into the folder `out`.
pub(crate) fn join(
    disk: &dyn Disk,
    state: &Path,
    count: usize,
    instance: &Instance,
    out: &Path,
) -> Result<(), AttemptError> {
    let mut buffer = vec![0; 1 << 20];
    for output in instance.outputs.values() {
        let path = out.join(&output.file);
        let mut whole = disk.create(&path).map_err(io_at(&path))?;
        for index in 0..count {
            let from = folder(state, index, count).join(&output.file);
            let mut part = File::open(&from).map_err(io_at(&from))?;
            loop {
                let n = part.read(&mut buffer).map_err(io_at(&from))?;
                if n == 0 {
                    break;
                }
                disk.write(&mut whole, &path, &buffer[..n]).map_err(io_at(&path))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_shard_counts_only_while_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (state, out) = (folder.path().join("state"), folder.path().join("out"));
        fs::create_dir_all(&out).unwrap();
        fs::write(out.join("data"), "abc\n").unwrap();
        let said = Said::known(BTreeMap::from([("kept".to_owned(), 1)]), 5, 6, None);
        assert!(finished(&state, (0, 2)).is_none());
        keep(&store::RealDisk, &state, (0, 2), &out, &said).unwrap();
        assert_eq!(finished(&state, (0, 2)).unwrap().counts["kept"], 1);
        assert!(finished(&state, (0, 3)).is_none());
        fs::write(state.join("shards-2/00000/data"), "abd\n").unwrap();
        assert!(finished(&state, (0, 2)).is_none());
    }
}
