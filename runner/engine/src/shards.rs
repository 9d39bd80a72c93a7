//! Finished shards: kept beside the step's resumable state until all are there, then joined in
//! order. A shard that was finished before a kill is not done again; one whose files do not have
//! the digests noted for them is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use plan::Digest;
use plan::graph::Instance;
use serde::{Deserialize, Serialize};
use store::hash_file;

use crate::unit::Said;

/// What is noted of a finished shard; written last.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Finished {
    digests: BTreeMap<String, Digest>,
    counts: BTreeMap<String, u64>,
    cpu_ms: u64,
    peak_bytes: u64,
}

const NOTE: &str = "finished.json";

/// The folder of one shard. Another number of shards is another folder.
fn folder(state: &Path, index: usize, count: usize) -> PathBuf {
    state.join(format!("shards-{count}")).join(format!("{index:05}"))
}

/// Keeps the outputs of a shard that ended well.
pub(crate) fn keep(
    state: &Path,
    (index, count): (usize, usize),
    out: &Path,
    said: &Said,
) -> io::Result<()> {
    let kept = folder(state, index, count);
    if kept.exists() {
        fs::remove_dir_all(&kept)?;
    }
    fs::create_dir_all(kept.parent().unwrap_or(state))?;
    let mut digests = BTreeMap::new();
    for entry in fs::read_dir(out)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let (digest, _) = hash_file(&entry.path()).map_err(io::Error::other)?;
        digests.insert(name, digest);
    }
    fs::rename(out, &kept)?;
    let note = Finished {
        digests,
        counts: said.counts.clone(),
        cpu_ms: said.cpu_ms,
        peak_bytes: said.peak_bytes,
    };
    let fresh = kept.join("finished.new");
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec(&note)?)?;
    file.sync_all()?;
    fs::rename(fresh, kept.join(NOTE))
}

/// What a shard said when it was finished, if it was and its files are whole.
pub(crate) fn finished(state: &Path, (index, count): (usize, usize)) -> Option<Said> {
    let kept = folder(state, index, count);
    let note: Finished = serde_json::from_slice(&fs::read(kept.join(NOTE)).ok()?).ok()?;
    let whole = note
        .digests
        .iter()
        .all(|(name, digest)| hash_file(&kept.join(name)).is_ok_and(|(found, _)| found == *digest));
    whole.then(|| Said::known(note.counts, note.cpu_ms, note.peak_bytes))
}

/// Joins the outputs of all shards, in order, into the folder `out`.
pub(crate) fn join(state: &Path, count: usize, instance: &Instance, out: &Path) -> io::Result<()> {
    for output in instance.outputs.values() {
        let mut whole = File::create(out.join(&output.file))?;
        for index in 0..count {
            let mut part = File::open(folder(state, index, count).join(&output.file))?;
            io::copy(&mut part, &mut whole)?;
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
        let said = Said::known(BTreeMap::from([("kept".to_owned(), 1)]), 5, 6);
        assert!(finished(&state, (0, 2)).is_none());
        keep(&state, (0, 2), &out, &said).unwrap();
        assert_eq!(finished(&state, (0, 2)).unwrap().counts["kept"], 1);
        assert!(finished(&state, (0, 3)).is_none());
        fs::write(state.join("shards-2/00000/data"), "abd\n").unwrap();
        assert!(finished(&state, (0, 2)).is_none());
    }
}
