//! The record of each run: `runs/ID/{events.jsonl,now.json,keys,manifest.json,logs/}`.
//!
//! Written while the run goes on, readable at any moment, never needed to continue. A run that had
//! nothing to do leaves no record. Who writes it holds a lock on the events, so that who reads them
//! can tell a run that goes on from one that was killed: see [`crate::follow`].

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plan::{Digest, Key};
use serde::{Deserialize, Serialize};
use store::Disk;

use crate::events::{Event, Sink};
use crate::follow::Now;
use crate::time;

/// An event as it is kept: with the time at which it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Milliseconds since 1970; zero in records of earlier versions.
    #[serde(default)]
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The record of a run that goes on.
#[derive(Debug)]
pub struct RunRecord {
    id: String,
    folder: PathBuf,
    events: File,
    now: Now,
    keys: File,
    disk: Arc<dyn Disk>,
    state: State,
}

/// Whether all of a record could be written.
#[derive(Debug)]
enum State {
    Whole,
    /// Something could not, and nobody was told yet.
    Failed(io::Error),
    Told,
}

impl RunRecord {
    /// Starts a record below `runs`.
    pub fn start(disk: Arc<dyn Disk>, runs: &Path, manifest: &Manifest<'_>) -> io::Result<Self> {
        store::make_dirs(&*disk, runs).map_err(|it| io::Error::other(crate::error::chain(&it)))?;
        let stem = time::compact(time::now_ms());
        let (id, folder) = (0..)
            .map(|n| if n == 0 { stem.clone() } else { format!("{stem}-{n}") })
            .map(|id| (runs.join(&id), id))
            .find_map(|(folder, id)| match disk.mkdir(&folder) {
                Ok(()) => Some(Ok((id, folder))),
                Err(it) if it.kind() == io::ErrorKind::AlreadyExists => None,
                Err(it) => Some(Err(it)),
            })
            .unwrap_or_else(|| Err(io::Error::other("no free run name")))?;
        disk.mkdir(&folder.join("logs"))?;
        manifest.put(&*disk, runs, &folder.join("manifest.json"))?;
        let (events, keys) =
            (disk.append(&folder.join("events.jsonl"))?, disk.append(&folder.join("keys"))?);
        // Where locks are not to be had, a run that goes on looks like a killed one to who watches it.
        let _ = events.lock();
        let now = Now::new(folder.join("now.json"));
        Ok(Self { id, folder, events, now, keys, disk, state: State::Whole })
    }

    /// The run's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Remembers which results belong to this run: roots for `kun gc`.
    pub fn keep<'a>(&mut self, keys: impl IntoIterator<Item = (&'a str, Key)>) {
        let mut text = String::new();
        for (name, key) in keys {
            text.push_str(&format!("{} {}\n", key.hex(), name.replace('\n', " ")));
        }
        let path = self.folder.join("keys");
        let written = self.disk.write(&mut self.keys, &path, text.as_bytes());
        self.note(written);
    }

    /// The first thing that could not be written is kept for [`RunRecord::trouble`].
    fn note(&mut self, written: io::Result<()>) {
        if let (State::Whole, Err(error)) = (&self.state, written) {
            self.state = State::Failed(error);
        }
    }
}

impl Sink for RunRecord {
    /// Keeps every event; of progress, only the newest. A record that cannot be written does not
    /// break the run: the first error is kept for [`RunRecord::trouble`].
    fn take(&mut self, event: &Event) {
        if !matches!(self.state, State::Whole) {
            return;
        }
        let kept = self.now.take(&*self.disk, event);
        self.note(kept);
        if matches!(event, Event::StepProgress { .. }) {
            return;
        }
        let path = self.folder.join("events.jsonl");
        let kept = Kept { at: time::now_ms(), event: event.clone() };
        let written = serde_json::to_string(&kept).map_err(io::Error::other).and_then(|line| {
            self.disk.write(&mut self.events, &path, format!("{line}\n").as_bytes())
        });
        self.note(written);
    }
}

impl RunRecord {
    /// Why the record is not complete, if so; told once.
    pub fn trouble(&mut self) -> Option<String> {
        if matches!(self.state, State::Whole) {
            return None;
        }
        let State::Failed(error) = std::mem::replace(&mut self.state, State::Told) else {
            return None;
        };
        Some(format!(
            "the record of this run is not complete: `{}`: {error}",
            self.folder.display()
        ))
    }
}

/// The file, in the folder of a run, for the output of one attempt of one unit of work.
pub fn log_path(run: &Path, unit: &str, attempt: u32) -> PathBuf {
    let again = if attempt > 1 { format!(".{attempt}") } else { String::new() };
    run.join("logs").join(format!("{}{again}.log", file_name(unit)))
}

/// The resolved manifest of a run, as JSON.
pub struct Manifest<'a> {
    /// The same for every run that resolves to the same. Asked for only where a record is kept.
    pub fingerprint: Box<dyn Fn() -> Digest + 'a>,
    /// Makes it; asked for only where no run before had the same.
    pub text: Box<dyn Fn() -> String + 'a>,
}

impl Manifest<'_> {
    /// Puts it at `path`: runs with the same manifest share one file, `manifests/FINGERPRINT.json`.
    fn put(&self, disk: &dyn Disk, runs: &Path, path: &Path) -> io::Result<()> {
        let folder = runs.join("manifests");
        let shared = folder.join(format!("{}.json", (self.fingerprint)().hex()));
        if disk.link(&shared, path).is_ok() {
            return Ok(());
        }
        let write = |to: &Path| {
            let text = (self.text)();
            disk.create(to).and_then(|mut it| disk.write(&mut it, to, text.as_bytes()))
        };
        write(path)?;
        // Without the shared name the next run writes its own.
        let _ = disk.mkdir(&folder);
        let _ = disk.link(path, &shared);
        Ok(())
    }
}

/// The names of the runs that left a record, oldest first.
pub fn list(runs: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(runs) {
        Err(it) if it.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        other => other?,
    };
    let mut names = vec![];
    for entry in entries {
        let entry = entry?;
        if entry.path().join("events.jsonl").exists()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The events of a run; a torn last line is left out.
pub fn events(runs: &Path, id: &str) -> io::Result<Vec<Event>> {
    let file = File::open(runs.join(id).join("events.jsonl"))?;
    let mut events = vec![];
    for line in BufReader::new(file).lines() {
        if let Ok(kept) = serde_json::from_str::<Kept>(&line?) {
            events.push(kept.event);
        }
    }
    Ok(events)
}

/// The results that belong to a run, by name.
pub fn keys(runs: &Path, id: &str) -> io::Result<Vec<(String, Key)>> {
    let text = fs::read_to_string(runs.join(id).join("keys"))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(key, name)| Some((name.to_owned(), key.parse().ok()?)))
        .collect())
}

/// A file name for any address: other letters than the plain ones are written as `%XX`.
pub fn file_name(address: &str) -> String {
    let mut name = String::with_capacity(address.len());
    for byte in address.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'@' | b'[' | b']' | b',' => {
                name.push(byte as char);
            }
            b'.' if !name.is_empty() => name.push('.'),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    if name.len() > 200 {
        let digest = plan::Digest::of(address.as_bytes()).short();
        let mut end = 180;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
        name.push_str(&format!("~{digest}"));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_is_a_file_name() {
        assert_eq!(file_name("eval[ceval]@kun-9k"), "eval[ceval]@kun-9k");
        assert_eq!(file_name("a[../x\n]"), "a[..%2fx%0a]");
        assert_eq!(file_name(".."), "%2e.");
        assert!(file_name(&"中".repeat(500)).len() < 220);
    }

    #[test]
    fn a_record_reads_back_without_its_torn_tail() {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(store::RealDisk);
        let asked = std::cell::Cell::new(0);
        let manifest = Manifest {
            fingerprint: Box::new(|| Digest([7; 32])),
            text: Box::new(|| {
                asked.set(asked.get() + 1);
                "{}".to_owned()
            }),
        };
        let mut record = RunRecord::start(Arc::clone(&disk), folder.path(), &manifest).unwrap();
        let second = RunRecord::start(disk, folder.path(), &manifest).unwrap();
        assert_ne!(record.id(), second.id());
        let manifest = folder.path().join(second.id()).join("manifest.json");
        assert_eq!((fs::read_to_string(manifest).unwrap().as_str(), asked.get()), ("{}", 1));
        let event = Event::Warning { text: "x".into() };
        record.take(&event);
        record.keep([("a", Key([1; 32]))]);
        std::io::Write::write_all(&mut record.events, b"{\"event\":\"warn").unwrap();
        let id = record.id().to_owned();
        assert_eq!(events(folder.path(), &id).unwrap(), [event]);
        assert_eq!(keys(folder.path(), &id).unwrap(), [("a".to_owned(), Key([1; 32]))]);
        assert_eq!(list(folder.path()).unwrap().len(), 2);
    }
}
