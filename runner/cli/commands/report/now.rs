//! What the newest run does at this moment, for a page: folded from its events.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use ::report::page::{Block, Cell, Section, Table};
use engine::events::{End, Event};
use engine::follow::Follow;
use engine::{runs, time};
use plan::Key;

use super::words::Words;
use crate::progress::far;

/// Of what ended, the newest are shown.
const ENDED: usize = 12;

/// The newest run, as far as its events were read.
#[derive(Default)]
pub(super) struct Now {
    run: Option<(String, Follow)>,
    goes_on: bool,
    running: BTreeMap<String, Running>,
    /// Steps that ended: what is said of each.
    ended: Vec<(String, Ended)>,
    n_steps: usize,
    end: Option<End>,
}

struct Running {
    key: Key,
    since: u64,
    far: Vec<Event>,
}

enum Ended {
    Done(u64),
    Reused,
    Failed(String),
    Other,
}

impl Now {
    /// Reads what is new.
    pub(super) fn look(&mut self, folder: &Path) -> io::Result<()> {
        let Some(newest) = runs::list(folder)?.pop() else { return Ok(()) };
        if self.run.as_ref().is_none_or(|it| it.0 != newest) {
            let follow = Follow::open(folder, &newest)?;
            *self = Self { run: Some((newest, follow)), ..Self::default() };
        }
        let Some((_, follow)) = &mut self.run else { return Ok(()) };
        self.goes_on = follow.goes_on();
        let (news, progress) = (follow.news()?, follow.progress());
        for it in news {
            self.take(it.at, it.event);
        }
        for (step, running) in &mut self.running {
            let shards = format!("{step} shard ");
            let of = |it: &&Event| match it {
                Event::StepProgress { step: it, .. } => it == step || it.starts_with(&shards),
                _ => false,
            };
            running.far = progress.iter().filter(of).cloned().collect();
        }
        Ok(())
    }

    fn take(&mut self, at: u64, event: Event) {
        let (step, how) = match event {
            Event::RunStarted { n_stale, n_maybe, .. } => {
                self.n_steps = n_stale + n_maybe;
                return;
            }
            Event::StepStarted { step, key, .. } => {
                self.running.insert(step, Running { key, since: at, far: Vec::new() });
                return;
            }
            Event::RunEnded { end, .. } => {
                self.end = Some(end);
                return;
            }
            Event::StepDone { step, took_ms, .. } => (step, Ended::Done(took_ms)),
            Event::StepReused { step, .. } => (step, Ended::Reused),
            Event::StepFailed { step, reason, .. } => (step, Ended::Failed(reason)),
            Event::StepStopped { step } | Event::StepSkipped { step, .. } => (step, Ended::Other),
            _ => return,
        };
        self.running.remove(&step);
        self.ended.push((step, how));
    }

    /// The steps that run, with their keys.
    pub(super) fn running(&self) -> impl Iterator<Item = (&str, Key)> {
        self.running.iter().map(|(step, it)| (step.as_str(), it.key))
    }

    /// Changes when there are results that were not there; `more` says how much there is of a result
    /// that is not finished.
    pub(super) fn version(&self, more: impl Fn(&Key) -> u64) -> String {
        let run = self.run.as_ref().map_or("", |it| &it.0);
        let more: Vec<String> = self.running.values().map(|it| more(&it.key).to_string()).collect();
        format!("{run} {} {}", self.ended.len(), more.join(" "))
    }

    /// As a part of the page.
    pub(super) fn section(&self, words: &Words) -> Section {
        let title = words.now.to_owned();
        let Some((run, _)) = &self.run else {
            return Section { title, blocks: vec![Block::Text(words.no_run.to_owned())] };
        };
        let (n, of) = (self.ended.len(), self.n_steps);
        let state = match (self.end, self.goes_on) {
            (Some(End::Good), _) => words.done,
            (Some(End::Failed), _) => words.failed,
            (Some(_), _) => words.ended,
            (None, true) => words.running,
            (None, false) => words.killed,
        };
        let head = format!("{run}: {state}; {n} / {of} {}", words.steps.to_lowercase());
        let columns = [words.step, words.state, words.progress].map(str::to_owned).to_vec();
        let running = self.running.iter().filter(|_| self.goes_on).map(|(step, it)| {
            let far: Vec<String> =
                it.far.iter().filter_map(|event| said(event, it.since)).collect();
            [step.clone(), words.running.to_owned(), far.join("; ")]
        });
        let newest = self.ended.iter().rev().take(ENDED).map(|(step, how)| match how {
            Ended::Done(ms) => [step.clone(), words.done.to_owned(), time::duration(*ms)],
            Ended::Reused => [step.clone(), words.reused.to_owned(), String::new()],
            Ended::Failed(reason) => [step.clone(), words.failed.to_owned(), reason.clone()],
            Ended::Other => [step.clone(), words.ended.to_owned(), String::new()],
        });
        let rows = running.chain(newest).map(|row| row.map(Cell::Text).to_vec()).collect();
        let table = Table { title: words.steps.to_owned(), columns, rows };
        Section { title, blocks: vec![Block::Text(head), Block::Table(table)] }
    }
}

/// How far a step is, in words.
fn said(event: &Event, since: u64) -> Option<String> {
    let Event::StepProgress { step, done, total, unit, skipped } = event else { return None };
    let seconds = time::now_ms().saturating_sub(since) as f64 / 1000.0;
    let shard = step.split_once(" shard ").map_or(String::new(), |it| format!("{}: ", it.1));
    Some(format!("{shard}{}", far((*done, *skipped), *total, unit, seconds)))
}

/// What is said where the record of a run cannot be read.
pub(super) fn unreadable(reason: &str, words: &Words) -> Section {
    Section { title: words.now.to_owned(), blocks: vec![Block::Text(reason.to_owned())] }
}

#[cfg(test)]
mod tests {
    use super::super::words;
    use super::*;
    use ::report::page::Language;

    fn rows(now: &Now) -> Vec<String> {
        let section = now.section(words::of(Language::English));
        let row = |it: &Vec<Cell>| it.iter().map(Cell::shown).collect::<Vec<_>>().join(" | ");
        let told = |it: &Block| match it {
            Block::Text(it) => vec![it.clone()],
            Block::Table(it) => it.rows.iter().map(row).collect(),
            _ => vec![],
        };
        section.blocks.iter().flat_map(told).collect()
    }

    #[test]
    fn a_run_is_told_as_far_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut now = Now::default();
        now.look(folder.path()).unwrap();
        assert_eq!(rows(&now), ["There is no run yet."]);
        let run = folder.path().join("20261121-101010");
        std::fs::create_dir(&run).unwrap();
        let started = |step: &str, key| {
            let key = Key([key; 32]);
            format!(
                r#"{{"at":1,"event":"step_started","step":"{step}","key":"{key}","why":"","shards":1,"shards_done":0,"log":""}}"#
            )
        };
        let lines = [
            r#"{"at":1,"event":"run_started","run":"x","n_steps":3,"n_cached":0,"n_stale":3,"n_maybe":0}"#
                .to_owned(),
            started("a", 1),
            started("b", 2),
            r#"{"at":2,"event":"step_failed","step":"a","reason":"exit status 3","log":"","tail":[]}"#
                .to_owned(),
        ];
        let text = lines.map(|it| it + "\n").concat();
        let events = run.join("events.jsonl");
        std::fs::write(&events, text).unwrap();
        let file = std::fs::File::open(&events).unwrap();
        file.lock().unwrap();
        let progress = r#"[{"event":"step_progress","step":"b","done":3,"total":9,"unit":"records","skipped":3}]"#;
        std::fs::write(run.join("now.json"), progress).unwrap();
        now.look(folder.path()).unwrap();
        let told = rows(&now);
        assert_eq!(told[0], "20261121-101010: running; 1 / 3 steps");
        assert!(told[1].starts_with("b | running | 3/9 records"), "{told:?}");
        assert_eq!(told[2], "a | failed | exit status 3");
        let version = now.version(|_| 5);
        assert!(version.contains("20261121-101010 1 5") && version != now.version(|_| 6));
        drop(file);
        now.look(folder.path()).unwrap();
        assert!(rows(&now)[0].contains("was killed") && rows(&now).len() == 2);
    }
}
