//! Checkpoints: what a run needs to go on as if nothing had happened.
//!
//! A folder `step-N` with the trained numbers, both moments and a state file that names the
//! checksum of each. It is written beside its place, synced and renamed, and only then are older
//! ones removed: whenever the run is killed, one whole checkpoint is there. One that is damaged is
//! never resumed from: whoever puts it aside goes on from the one before, or begins anew.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::bf16;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::error::{Error, Result};
use super::order::Cursor;
use super::trainer::{OnDeviceState, Progress, Trainer};
use crate::decoder::train::{read_exact, write_exact};
use crate::device::{View, ViewMut};
use crate::{Buffer, Device, Dtype};

/// The version of the format.
const FORMAT: u32 = 1;
/// How many elements are held at once.
const CHUNK: usize = 1 << 20;
/// The largest state file that is read.
const MOST_BYTES: u64 = 1 << 20;
const WEIGHTS: &str = "weights.bin";
const FILES: [&str; 3] = [WEIGHTS, "m.bin", "v.bin"];
const STATE: &str = "state.json";
const PREFIX: &str = "step-";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    step: u64,
    cursor: Cursor,
    /// The bits of the last losses: decimal text is for people, and one rounding is too many.
    losses: Vec<u64>,
    settings: String,
    data: String,
    files: BTreeMap<String, StoredFile>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFile {
    bytes: u64,
    xxh64: String,
}

impl<D: Device> Trainer<'_, D> {
    /// Writes a checkpoint below a folder, and removes older ones.
    pub fn checkpoint(&self, folder: &Path) -> Result<()> {
        self.checkpoint_keeping(folder, 1)
    }

    /// Writes a checkpoint below a folder, and removes all but the newest `keep`.
    pub fn checkpoint_keeping(&self, folder: &Path, keep: usize) -> Result<()> {
        fs::create_dir_all(folder).map_err(write(folder))?;
        let name = format!("{PREFIX}{:010}", self.progress.step);
        let (to, partial) = (folder.join(&name), folder.join(format!("{name}.partial")));
        if to.exists() {
            return Ok(());
        }
        remove(&partial)?;
        fs::create_dir(&partial).map_err(write(&partial))?;
        let mut files = BTreeMap::new();
        for name in FILES {
            let stored = self.write_numbers(&partial.join(name), name)?;
            files.insert(name.to_owned(), stored);
        }
        let stored = Stored {
            format: FORMAT,
            step: self.progress.step,
            cursor: self.progress.cursor,
            losses: self.progress.losses.iter().map(|it| it.to_bits()).collect(),
            settings: hex(self.settings.digest()),
            data: hex(self.data.train.digest()),
            files,
        };
        let path = partial.join(STATE);
        let mut text = serde_json::to_string(&stored).map_err(|it| write(&path)(it.into()))?;
        text.push_str(&format!("\n{}\n", hex(Digest::of(text.as_bytes()))));
        crate::decoder::save::write_file(&path, text.as_bytes())?;
        crate::decoder::save::sync(&partial)?;
        fs::rename(&partial, &to).map_err(write(&to))?;
        crate::decoder::save::sync(folder)?;
        found(folder)?.iter().rev().skip(keep.max(1)).try_for_each(|it| remove(&it.1))
    }

    /// The checkpoints below a folder that are not as they were written, each with what is wrong.
    /// All of their bytes are read.
    pub fn damaged_checkpoints(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
        let mut damaged = Vec::new();
        for (step, path) in found(folder)? {
            match check(&path, step) {
                Ok(()) => {}
                // A run that goes on may have removed it by now.
                Err(_) if !path.exists() => {}
                Err(error) => damaged.push((path, error.to_string())),
            }
        }
        Ok(damaged)
    }

    /// Renames damaged checkpoints, so that none is resumed from; says which, and what is wrong.
    pub fn put_damaged_aside(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
        let damaged = Self::damaged_checkpoints(folder)?;
        for (path, _) in &damaged {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let aside = path.with_file_name(format!("damaged-{name}"));
            remove(&aside)?;
            fs::rename(path, &aside).map_err(write(&aside))?;
        }
        Ok(damaged)
    }

    /// Goes on from the last checkpoint below a folder, if there is one. After an error the run
    /// must not be used.
    pub fn resume(&mut self, folder: &Path) -> Result<bool> {
        let Some((step, from)) = found(folder)?.pop() else { return Ok(false) };
        let path = from.join(STATE);
        let stored = read_state(&path)?;
        let refuse = |reason: &str| Err(refuse(&path, reason));
        if stored.step != step {
            return refuse("is of another step");
        }
        if stored.settings != hex(self.settings.digest()) {
            return refuse("is of a run with other settings");
        }
        if stored.data != hex(self.data.train.digest()) {
            return refuse("is of a run with other texts");
        }
        if step > self.steps() || !self.has(stored.cursor) {
            return refuse("is of a place that the run does not have");
        }
        for name in FILES {
            let Some(file) = stored.files.get(name) else {
                return refuse("names too few files");
            };
            self.read_numbers(&from.join(name), name, file)?;
        }
        if let Some(master) = self.state.master.as_ref().filter(|it| it.dtype() == Dtype::F32) {
            let to = ViewMut::all(self.state.model.trained_mut());
            self.device.copy(View::all(master), to)?;
        }
        let losses = stored.losses.iter().map(|it| f64::from_bits(*it)).collect();
        self.progress = Progress { step, cursor: stored.cursor, losses };
        Ok(true)
    }

    /// How many elements a file has, and the bytes of each.
    fn size(&self, name: &str) -> (usize, usize) {
        match name {
            WEIGHTS => (self.state.model.trained().len(), size_of::<f32>()),
            _ => (self.state.m.len(), self.state.m.dtype().bytes()),
        }
    }

    /// Some of a file's elements; of weights the exact ones.
    fn bytes(&self, name: &str, range: Range<usize>) -> crate::Result<Vec<u8>> {
        let OnDeviceState { model, master, m, v, .. } = &self.state;
        let kept = match (name, master) {
            (WEIGHTS, Some(master)) => {
                let exact = read_exact(self.device, (model.trained(), master), range)?;
                return Ok(exact.iter().flat_map(|it| it.to_le_bytes()).collect());
            }
            (WEIGHTS, None) => model.trained(),
            ("m.bin", _) => m,
            _ => v,
        };
        let from = View::all(kept).part(range);
        Ok(match kept.dtype() {
            Dtype::Bf16 => {
                let all = self.device.read::<bf16>(from)?;
                all.iter().flat_map(|it| it.to_le_bytes()).collect()
            }
            Dtype::U8 => self.device.read(from)?,
            _ => {
                let all = self.device.read::<f32>(from)?;
                all.iter().flat_map(|it| it.to_le_bytes()).collect()
            }
        })
    }

    /// Takes elements of a file from `start` on.
    fn take(&mut self, name: &str, start: usize, bytes: &[u8]) -> crate::Result<()> {
        let OnDeviceState { model, master, m, v, .. } = &mut self.state;
        let wide = || -> Vec<f32> {
            bytes.as_chunks().0.iter().map(|it| f32::from_le_bytes(*it)).collect()
        };
        let to = match (name, master) {
            (WEIGHTS, Some(master)) => {
                return write_exact(self.device, (model.trained_mut(), master), start, &wide());
            }
            (WEIGHTS, None) => model.trained_mut(),
            ("m.bin", _) => m,
            _ => v,
        };
        let (dtype, n) = (to.dtype(), bytes.len() / to.dtype().bytes());
        let to = ViewMut::all(to).part(start..start + n);
        match dtype {
            Dtype::Bf16 => {
                let all = bytes.as_chunks().0.iter();
                self.device.write(to, &all.map(|it| bf16::from_le_bytes(*it)).collect::<Vec<_>>())
            }
            Dtype::U8 => self.device.write(to, bytes),
            _ => self.device.write(to, &wide()),
        }
    }

    fn write_numbers(&self, path: &Path, name: &str) -> Result<StoredFile> {
        let mut file = BufWriter::new(File::create(path).map_err(write(path))?);
        let mut digest = Digest::new();
        let (len, each) = self.size(name);
        for start in (0..len).step_by(CHUNK) {
            let bytes = self.bytes(name, start..(start + CHUNK).min(len))?;
            digest.update(&bytes);
            file.write_all(&bytes).map_err(write(path))?;
        }
        let file = file.into_inner().map_err(|it| write(path)(it.into_error()))?;
        file.sync_all().map_err(write(path))?;
        Ok(StoredFile { bytes: (each * len) as u64, xxh64: hex(digest.finish()) })
    }

    fn read_numbers(&mut self, path: &Path, name: &str, stored: &StoredFile) -> Result<()> {
        let read = |it: io::Error| refuse(path, &format!("cannot be read: {it}"));
        let file = File::open(path).map_err(read)?;
        let (len, each) = self.size(name);
        let bytes = file.metadata().map_err(read)?.len();
        if bytes != (each * len) as u64 || bytes != stored.bytes {
            return Err(refuse(path, &format!("has {bytes} bytes, not {}", each * len)));
        }
        let mut file = BufReader::new(file);
        let mut digest = Digest::new();
        for start in (0..len).step_by(CHUNK) {
            let range = start..(start + CHUNK).min(len);
            let mut bytes = vec![0; each * range.len()];
            file.read_exact(&mut bytes).map_err(read)?;
            digest.update(&bytes);
            self.take(name, start, &bytes)?;
        }
        if hex(digest.finish()) == stored.xxh64 {
            return Ok(());
        }
        Err(refuse(path, "is damaged: its checksum is another"))
    }
}

/// Whether a checkpoint is as it was written, whatever run it is of.
fn check(folder: &Path, step: u64) -> Result<()> {
    let path = folder.join(STATE);
    let stored = read_state(&path)?;
    if stored.step != step {
        return Err(refuse(&path, "is of another step"));
    }
    for name in FILES {
        let Some(told) = stored.files.get(name) else {
            return Err(refuse(&path, "names too few files"));
        };
        let path = folder.join(name);
        let read = |it: io::Error| refuse(&path, &format!("cannot be read: {it}"));
        let mut file = File::open(&path).map_err(read)?;
        let bytes = file.metadata().map_err(read)?.len();
        if bytes != told.bytes {
            return Err(refuse(&path, &format!("has {bytes} bytes, not {}", told.bytes)));
        }
        let (mut digest, mut buffer) = (Digest::new(), vec![0; CHUNK]);
        loop {
            let n = file.read(&mut buffer).map_err(read)?;
            if n == 0 {
                break;
            }
            digest.update(&buffer[..n]);
        }
        if hex(digest.finish()) != told.xxh64 {
            return Err(refuse(&path, "is damaged: its checksum is another"));
        }
    }
    Ok(())
}

fn read_state(path: &Path) -> Result<Stored> {
    let read = |it: io::Error| refuse(path, &format!("cannot be read: {it}"));
    if fs::metadata(path).map_err(read)?.len() > MOST_BYTES {
        return Err(refuse(path, "is too large to be one"));
    }
    let text = fs::read_to_string(path).map_err(read)?;
    let mut lines = text.lines();
    let (line, digest) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    if hex(Digest::of(line.as_bytes())) != digest {
        return Err(refuse(path, "is damaged: its checksum is another"));
    }
    let stored: Stored =
        serde_json::from_str(line).map_err(|it| refuse(path, &format!("is not valid: {it}")))?;
    if stored.format != FORMAT {
        return Err(refuse(path, &format!("has format {}, not {FORMAT}", stored.format)));
    }
    Ok(stored)
}

/// The checkpoints below a folder, by step.
fn found(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(refuse(folder, &format!("cannot be read: {why}"))),
    };
    let mut all: Vec<(u64, PathBuf)> = entries
        .flatten()
        .filter_map(|it| {
            let name = it.file_name();
            let step = name.to_str()?.strip_prefix(PREFIX)?.parse().ok()?;
            Some((step, it.path()))
        })
        .collect();
    all.sort();
    Ok(all)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(write(folder)(why)),
        _ => Ok(()),
    }
}

fn write(path: &Path) -> impl Fn(io::Error) -> Error + Copy + '_ {
    |source| Error::Write { path: path.to_owned(), source }
}

fn refuse(path: &Path, reason: &str) -> Error {
    Error::Checkpoint { path: path.to_owned(), reason: reason.to_owned() }
}

fn hex(digest: u64) -> String {
    format!("{digest:016x}")
}
