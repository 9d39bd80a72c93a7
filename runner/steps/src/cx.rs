//! What a kind sees: inputs, outputs, its resumable state, the row memo, and a door for news.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kernels::cuda::Settings;
use kernels::{AnyDevice, Cpu, Cuda};
use plan::graph::Checkpoint;
use plan::kind::Numerics;
use plan::{Digest, Endpoint};
use serde_json::Value;

use crate::StepError;

/// All that a kind sees of the world.
///
/// Made by the engine's worker, one for each attempt. The fields are open so that the worker can
/// build it; a kind uses the methods.
pub struct Cx<'a> {
    /// Port to the files or folders that it reads, in order.
    pub inputs: BTreeMap<String, Vec<PathBuf>>,
    /// Port to the server that is asked, for ports that were given one instead of a folder.
    pub servers: BTreeMap<String, Server>,
    /// Slot to the file or folder to write; its parent exists, it does not.
    pub outputs: BTreeMap<String, PathBuf>,
    /// A folder of this key that survives a kill, for resumable state. A finished step's is removed.
    pub state: PathBuf,
    /// The seed, where the kind draws.
    pub seed: Option<u64>,
    /// The part of the work to do, where the step is sharded.
    pub shard: Option<Shard>,
    /// How often to write resumable state.
    pub checkpoint: Option<Checkpoint>,
    /// How many threads the step may use; the result does not depend on it.
    pub threads: usize,
    /// With which numbers the step computes on a CUDA device, where it does; with the exact ones the result
    /// does not depend on it.
    pub gpu: Option<Numerics>,
    /// The results of single records.
    pub memo: &'a mut dyn Memo,
    /// Takes news; must be quick.
    pub report: &'a mut dyn FnMut(Say),
    /// Whether the step is asked to stop: then write state and return [`StepError::Stopped`].
    pub stop: &'a dyn Fn() -> bool,
}

impl Cx<'_> {
    /// What the step computes on: the processor, or the first CUDA device that this process sees.
    pub(crate) fn device(&self) -> Result<AnyDevice, StepError> {
        let numerics = match self.gpu {
            None => return processor(self.threads),
            Some(Numerics::Exact) => kernels::cuda::Numerics::Exact,
            Some(Numerics::Bf16) => kernels::cuda::Numerics::Bf16,
        };
        let cuda = Cuda::open(Settings::new(numerics))?;
        Ok(AnyDevice::Cuda(Box::new(cuda)))
    }
}

/// The processor with this many threads.
pub fn processor(threads: usize) -> Result<AnyDevice, StepError> {
    Ok(AnyDevice::Cpu(Cpu::new(threads)?))
}

/// A server that has a model, with its key.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is, and how often it may be asked.
    pub endpoint: Endpoint,
    /// Its key, where it has one.
    pub key: Option<Secret>,
    /// The file of certificates to trust, where one is named.
    pub authorities: Option<PathBuf>,
}

/// A text that is never shown.
#[derive(Clone)]
pub struct Secret(String);

/// What stands for a secret.
const MASK: &str = "…";
/// No key that guards something has fewer bytes.
const SHORTEST_SECRET: usize = 8;

impl Secret {
    /// Takes the text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the server that it is for.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// A text without it.
    pub(crate) fn masked(&self, text: &str) -> String {
        text.replace(&self.0, MASK)
    }

    /// Takes it out of every text of a value, and says whether it was there. A key as short as
    /// `EMPTY`, which servers without keys are given, is no secret but a word that answers may hold.
    pub(crate) fn mask(&self, value: &mut Value) -> bool {
        self.0.len() >= SHORTEST_SECRET && mask(value, &self.0)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn mask(value: &mut Value, secret: &str) -> bool {
    match value {
        Value::String(text) if text.contains(secret) => {
            *text = text.replace(secret, MASK);
            true
        }
        // Every one of them, so no `any`.
        Value::Array(all) => all.iter_mut().fold(false, |found, it| mask(it, secret) | found),
        Value::Object(map) => {
            let mut found = map.values_mut().fold(false, |found, it| mask(it, secret) | found);
            if map.keys().any(|it| it.contains(secret)) {
                let all = std::mem::take(map).into_iter();
                *map = all.map(|(name, it)| (name.replace(secret, MASK), it)).collect();
                found = true;
            }
            found
        }
        _ => false,
    }
}

/// One of the parts into which a sharded step is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 0.
    pub index: usize,
    /// Of how many; at least 1.
    pub count: usize,
}

impl Shard {
    /// The records that this shard works on, of `n` in all. The ranges of all shards cover every
    /// record once, in order, so the shards' outputs one after another are the whole.
    pub fn range(self, n: u64) -> std::ops::Range<u64> {
        let at = |i: usize| (u128::from(n) * i as u128 / self.count.max(1) as u128) as u64;
        at(self.index)..at(self.index + 1)
    }
}

/// The results of single records, under the step's parts less its data. Kept across runs.
pub trait Memo {
    /// The result for a record with this digest.
    fn get(&mut self, record: &Digest) -> Result<Option<Vec<u8>>, StepError>;
    /// Keeps a result: [`Memo::get`] gives it at once, a later one for the same record replaces it,
    /// and it is durable after [`Memo::sync`].
    fn put(&mut self, record: &Digest, result: &[u8]) -> Result<(), StepError>;
    /// Makes all that was put survive a power cut.
    fn sync(&mut self) -> Result<(), StepError>;
}

/// News from a kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Say {
    /// How far it is.
    Progress {
        /// How many units are done, those from the memo included.
        done: u64,
        /// How many there are, when that is known.
        total: Option<u64>,
        /// What is counted: `records`, `bytes`.
        unit: String,
        /// How many of `done` came from the memo: they say nothing about the speed.
        skipped: u64,
    },
    /// A number about the result, kept with it. Said once for each name, at the end.
    Count {
        /// Its name, such as `kept`.
        name: String,
        /// The number.
        value: u64,
    },
    /// A model read and wrote so many tokens; what was remembered costs none.
    Spent {
        /// How many.
        tokens: u64,
    },
    /// A sentence for the step's log.
    Note(String),
}

impl Cx<'_> {
    /// The only input of a port.
    pub fn input(&self, port: &'static str) -> Result<&Path, StepError> {
        match self.inputs(port) {
            [it] => Ok(it),
            _ => Err(StepError::Wiring { what: "input", name: port }),
        }
    }

    /// The server of a port that was given one instead of a folder.
    pub fn server(&self, port: &str) -> Option<&Server> {
        self.servers.get(port)
    }

    /// All inputs of a port, in order; none where an optional port is empty.
    pub fn inputs(&self, port: &str) -> &[PathBuf] {
        self.inputs.get(port).map_or(&[], Vec::as_slice)
    }

    /// Where a slot is to be written.
    pub fn output(&self, slot: &'static str) -> Result<&Path, StepError> {
        let path =
            self.outputs.get(slot).ok_or(StepError::Wiring { what: "output", name: slot })?;
        Ok(path)
    }

    /// The seed of a kind that draws.
    pub fn seed(&self) -> Result<u64, StepError> {
        self.seed.ok_or(StepError::Wiring { what: "seed", name: "seed" })
    }

    /// An error when the step is asked to stop. Ask at every record.
    pub fn check_stop(&self) -> Result<(), StepError> {
        if (self.stop)() { Err(StepError::Stopped) } else { Ok(()) }
    }

    /// Says a number about the result.
    pub fn count(&mut self, name: &str, value: u64) {
        (self.report)(Say::Count { name: name.to_owned(), value });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_every_record_once() {
        for n in [0, 1, 7, 64, 1_000_003, u64::MAX] {
            for count in [1, 2, 3, 64] {
                let ranges = (0..count).map(|index| Shard { index, count }.range(n));
                let mut next = 0;
                for it in ranges {
                    assert_eq!(it.start, next);
                    next = it.end;
                }
                assert_eq!(next, n);
            }
        }
    }
}
