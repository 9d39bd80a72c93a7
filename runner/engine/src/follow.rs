//! A run, watched from outside while it goes on: what happened, read as it is written, and how far its
//! steps are, of which only the newest is kept.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use store::Disk;

use crate::events::Event;
use crate::runs::Kept;

/// How often the newest progress is put on the disk.
const EVERY: Duration = Duration::from_secs(1);

/// How far each running step is, in a file that is put anew, whole, again and again.
#[derive(Debug)]
pub(crate) struct Now {
    path: PathBuf,
    steps: BTreeMap<String, Event>,
    put: Option<Instant>,
}

impl Now {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, steps: BTreeMap::new(), put: None }
    }

    pub(crate) fn take(&mut self, disk: &dyn Disk, event: &Event) -> io::Result<()> {
        match event {
            Event::StepProgress { step, .. } => {
                self.steps.insert(step.clone(), event.clone());
            }
            Event::StepDone { step, .. }
            | Event::StepFailed { step, .. }
            | Event::StepStopped { step } => {
                let shards = format!("{step} shard ");
                self.steps.retain(|it, _| it != step && !it.starts_with(&shards));
                return Ok(());
            }
            _ => return Ok(()),
        }
        if self.put.is_some_and(|it| it.elapsed() < EVERY) {
            return Ok(());
        }
        self.put = Some(Instant::now());
        let beside = self.path.with_extension("partial");
        let text: Vec<&Event> = self.steps.values().collect();
        let text = serde_json::to_vec(&text).map_err(io::Error::other)?;
        let mut file = disk.create(&beside)?;
        disk.write(&mut file, &beside, &text)?;
        disk.rename(&beside, &self.path)
    }
}

/// Follows the record of a run.
#[derive(Debug)]
pub struct Follow {
    folder: PathBuf,
    events: File,
    /// The begin of a line whose end is not written yet.
    torn: Vec<u8>,
}

impl Follow {
    /// Follows a run from its first event on.
    pub fn open(runs: &Path, id: &str) -> io::Result<Self> {
        let folder = runs.join(id);
        let events = File::open(folder.join("events.jsonl"))?;
        Ok(Self { folder, events, torn: Vec::new() })
    }

    /// What happened since this was asked last.
    pub fn news(&mut self) -> io::Result<Vec<Kept>> {
        self.events.read_to_end(&mut self.torn)?;
        let whole = self.torn.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
        let lines: Vec<u8> = self.torn.drain(..whole).collect();
        let lines = lines.split(|it| *it == b'\n').filter(|it| !it.is_empty());
        Ok(lines.filter_map(|it| serde_json::from_slice(it).ok()).collect())
    }

    /// How far the steps are that run: nothing where none has said so.
    pub fn progress(&self) -> Vec<Event> {
        let text = fs::read(self.folder.join("now.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Whether somebody still writes to it.
    pub fn goes_on(&self) -> bool {
        let free = self.events.try_lock_shared().is_ok();
        let _ = self.events.unlock();
        !free
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::events::{End, Sink as _};
    use crate::runs::{Manifest, RunRecord};

    fn record(folder: &Path) -> RunRecord {
        let manifest = Manifest {
            fingerprint: Box::new(|| plan::Digest([7; 32])),
            text: Box::new(|| "{}".to_owned()),
        };
        RunRecord::start(std::sync::Arc::new(store::RealDisk), folder, &manifest).unwrap()
    }

    fn progress(step: &str, done: u64) -> Event {
        let unit = "records".to_owned();
        Event::StepProgress { step: step.to_owned(), done, total: None, unit, skipped: 0 }
    }

    #[test]
    fn who_watches_sees_what_is_written_and_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = record(folder.path());
        let mut follow = Follow::open(folder.path(), record.id()).unwrap();
        assert!(follow.news().unwrap().is_empty() && follow.goes_on());
        let warning = Event::Warning { text: "x".into() };
        record.take(&warning);
        record.take(&progress("a", 3));
        // The next is within the same second: it waits for its turn.
        record.take(&progress("a", 4));
        let news = follow.news().unwrap();
        assert_eq!((news.len(), &news[0].event), (1, &warning));
        assert!(news[0].at > 1_600_000_000_000);
        assert_eq!(follow.progress(), [progress("a", 3)]);
        let ended = Event::RunEnded {
            end: End::Good,
            n_ran: 1,
            n_reused: 0,
            n_failed: 0,
            n_skipped: 0,
            n_stopped: 0,
            took_ms: 1,
        };
        record.take(&ended);
        assert_eq!(follow.news().unwrap()[0].event, ended);
        drop(record);
        assert!(!follow.goes_on());
    }

    #[test]
    fn a_line_is_taken_when_its_end_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path();
        fs::create_dir(runs.join("1")).unwrap();
        let mut file = File::create(runs.join("1/events.jsonl")).unwrap();
        let mut follow = Follow::open(runs, "1").unwrap();
        file.write_all(b"{\"event\":\"warning\",").unwrap();
        assert!(follow.news().unwrap().is_empty());
        file.write_all("\"text\":\"中\"}\nnot ours\n".as_bytes()).unwrap();
        let news = follow.news().unwrap();
        assert_eq!(news, [Kept { at: 0, event: Event::Warning { text: "中".into() } }]);
    }

    #[test]
    fn a_step_that_ended_is_not_on_its_way() {
        let folder = tempfile::tempdir().unwrap();
        let mut now = Now::new(folder.path().join("now.json"));
        let disk = store::RealDisk;
        now.take(&disk, &progress("a shard 1", 1)).unwrap();
        now.take(&disk, &progress("ab", 1)).unwrap();
        now.take(&disk, &Event::StepStopped { step: "a".into() }).unwrap();
        assert_eq!(now.steps.keys().collect::<Vec<_>>(), ["ab"]);
    }
}
