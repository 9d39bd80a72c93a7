//! What happens during a run.
//!
//! The one interface between the engine and all that shows or keeps a run: the terminal, `--json`,
//! the run record, later the report. Written as JSON lines; fields may be added, never renamed or
//! removed.

use std::collections::BTreeMap;

use plan::{Digest, Key};
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// What will be done, before anything is.
    RunStarted {
        /// The run's name; none: there is nothing to do, and no record is kept.
        run: Option<String>,
        /// Instances that the targets need or could need.
        n_steps: usize,
        /// Results that are there.
        n_cached: usize,
        /// Instances that will run.
        n_stale: usize,
        /// Instances that run unless what they read comes out as it was.
        n_maybe: usize,
        /// What it runs on, for people.
        #[serde(default)]
        machine: String,
    },
    /// Another process is making this result; it is waited for.
    StepWaiting {
        /// The instance.
        step: String,
        /// Who holds the lock, for people.
        holder: String,
        /// Whether the engine that started the work is gone.
        orphan: bool,
    },
    /// A step's result was there already.
    StepReused {
        /// The instance.
        step: String,
        /// Its key.
        key: Key,
        /// Why it did not have to run.
        how: Reuse,
    },
    /// A step began.
    StepStarted {
        /// The instance.
        step: String,
        /// Its key.
        key: Key,
        /// Why it runs, one line.
        why: String,
        /// Into how many shards it is split.
        shards: usize,
        /// How many of them were done before this run.
        shards_done: usize,
        /// Where its output goes.
        log: String,
    },
    /// How far a step is.
    StepProgress {
        /// The instance.
        step: String,
        /// Units done, the skipped ones among them.
        done: u64,
        /// Units in all, where that is known.
        total: Option<u64>,
        /// What is counted.
        unit: String,
        /// Units that were known from earlier runs.
        skipped: u64,
    },
    /// A step says something worth keeping.
    StepNote {
        /// The instance.
        step: String,
        /// What it says.
        text: String,
    },
    /// A step failed and is tried again.
    StepRetried {
        /// The instance, with its shard if it has several.
        step: String,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// The wait before the next.
        wait_ms: u64,
        /// What went wrong.
        reason: String,
    },
    /// A step ended well, and its result is on disk.
    StepDone {
        /// The instance.
        step: String,
        /// Its key.
        key: Key,
        /// Wall time.
        took_ms: u64,
        /// What the kind counted.
        counts: BTreeMap<String, u64>,
        /// Slot to content.
        outputs: BTreeMap<String, Digest>,
    },
    /// A step failed for good.
    StepFailed {
        /// The instance, with its shard if it has several.
        step: String,
        /// What went wrong.
        reason: String,
        /// Where its output is.
        log: String,
        /// The last lines of it.
        tail: Vec<String>,
    },
    /// A step was asked to stop and did; what it had done is kept.
    StepStopped {
        /// The instance.
        step: String,
    },
    /// A step did not run, because something that it needs did not.
    StepSkipped {
        /// The instance.
        step: String,
        /// What is missing.
        because: String,
    },
    /// The run was asked to stop.
    Stopping {
        /// Whether steps are killed rather than asked.
        now: bool,
    },
    /// The run has spent what it may: it stops as if it were asked to.
    BudgetReached {
        /// What is used up: `wall`, `tokens` or `records`.
        what: String,
        /// How much that is, for people.
        limit: String,
    },
    /// A result was put into the project.
    Exported {
        /// The instance and slot.
        what: String,
        /// Where it is, from the project's root.
        path: String,
        /// What a person had edited there and where that was put aside.
        kept: Option<String>,
    },
    /// Something a person should know.
    Warning {
        /// What.
        text: String,
    },
    /// The run is over.
    RunEnded {
        /// How it ended.
        end: End,
        /// Instances that ran.
        n_ran: usize,
        /// Instances whose result was there, or came out as it was.
        n_reused: usize,
        /// Instances that failed.
        n_failed: usize,
        /// Instances that could not run.
        n_skipped: usize,
        /// Instances that were stopped on the way.
        #[serde(default)]
        n_stopped: usize,
        /// Wall time.
        took_ms: u64,
    },
}

/// Why a step did not have to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reuse {
    /// Something above it ran and came out as it was.
    CutOff,
    /// Another process made it while this one waited.
    Elsewhere,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All targets are there.
    Good,
    /// A step failed, or results could not be put into the project.
    Failed,
    /// It was asked to stop.
    Interrupted,
    /// Its budget is used up.
    Budget,
}

/// Who wants to know. Called in order, from one task.
pub trait Sink {
    /// Takes one event; must not block for long.
    fn take(&mut self, event: &Event);
}

impl Sink for Vec<Event> {
    fn take(&mut self, event: &Event) {
        self.push(event.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_readers_expect() {
        let event = Event::StepRetried {
            step: "label[wudao]".into(),
            attempt: 1,
            wait_ms: 1500,
            reason: "exit status 3".into(),
        };
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(
            line,
            r#"{"event":"step_retried","step":"label[wudao]","attempt":1,"wait_ms":1500,"reason":"exit status 3"}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }

    #[test]
    fn a_line_of_an_earlier_version_is_read() {
        let line = r#"{"event":"run_ended","end":"good","n_ran":1,"n_reused":0,"n_failed":0,"n_skipped":0,"took_ms":7}"#;
        let Event::RunEnded { n_ran, n_stopped, .. } = serde_json::from_str(line).unwrap() else {
            panic!("{line}");
        };
        assert_eq!((n_ran, n_stopped), (1, 0));
    }
}
