//! What the engine tells a worker process, and what the worker says back.
//!
//! The job is a JSON file in the worker's own folder; the answers are JSON lines on its standard
//! output. Paths in a job are absolute, or relative to that folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use plan::{Digest, Endpoint, Value};
use serde::{Deserialize, Serialize};

/// The name of the job file in a worker's folder.
pub const FILE: &str = "job.json";

/// One piece of work for one worker process: a step, or a shard of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The step kind.
    pub op: String,
    /// Its parameters.
    pub with: BTreeMap<String, Value>,
    /// Port to files.
    pub inputs: BTreeMap<String, Vec<PathBuf>>,
    /// Port to the server that is asked, where it is one.
    #[serde(default)]
    pub endpoints: BTreeMap<String, Endpoint>,
    /// Slot to the file or folder to write.
    pub outputs: BTreeMap<String, PathBuf>,
    /// A folder that outlives a kill.
    pub state: PathBuf,
    /// The seed, where the kind draws.
    pub seed: Option<u64>,
    /// Which shard of how many.
    pub shard: Option<(usize, usize)>,
    /// How many threads it may keep busy.
    pub threads: usize,
    /// Whether it computes on a CUDA device: the first of those that it sees.
    #[serde(default)]
    pub gpu: bool,
    /// Whether it does so with numbers in bf16, not with those of the processor.
    #[serde(default)]
    pub bf16: bool,
    /// How often it writes its state, in milliseconds, and how many states it keeps.
    pub checkpoint: Option<(u64, usize)>,
    /// Where results of single records are kept.
    pub memo: Memory,
}

/// Where results of single records are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// The store.
    pub store: PathBuf,
    /// Which records' results may be taken for one another.
    pub space: Digest,
    /// What the results are made from besides the records: if it turns out to have been damaged,
    /// they are not believed any more. None: who only reads does not say.
    pub inputs: Option<BTreeSet<Digest>>,
}

/// One line from a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Message {
    /// How far it is.
    Progress {
        /// Units done, the skipped ones among them.
        done: u64,
        /// Units in all.
        total: Option<u64>,
        /// What is counted.
        unit: String,
        /// Units known from earlier runs.
        skipped: u64,
    },
    /// A number for the record.
    Count {
        /// Its name.
        name: String,
        /// Its value.
        value: u64,
    },
    /// A remark for people.
    Note {
        /// The remark.
        text: String,
    },
    /// A model read and wrote tokens.
    Spent {
        /// How many.
        tokens: u64,
    },
    /// Why it ends badly.
    Failed {
        /// The reason.
        reason: String,
    },
    /// What it used.
    Used {
        /// Processor time.
        cpu_ms: u64,
        /// The most memory it held.
        peak_bytes: u64,
    },
}
