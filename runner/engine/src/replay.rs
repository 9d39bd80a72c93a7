//! Asks models again about some of what is kept: a record's answer may be reused only because it
//! depends on nothing but the record, and this is how anyone can see that it does not.
//!
//! A share of the records of a finished step is drawn by a seed and put into one file, in another
//! order and so in other company. A worker process, the same as in a run, works on that file with
//! another number of rows at once and of threads, and with an empty memory. What it keeps for each
//! record is then compared, byte for byte, with what the store has.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use plan::graph::Work;
use plan::{Input, Key, Value};
use serde::Serialize;
use steps::Memo as _;

use crate::attempt::{Given, Prepared};
use crate::error::{EngineError, chain};
use crate::forecast::{Facts, asks_a_model};
use crate::job::Memory;
use crate::memo::RowMemo;
use crate::planning::Standing;
use crate::run::Home;
pub use crate::sampled::Share;
use crate::sampled::{self, Drawn, asked, draw, with_sample, work};

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replayed {
    /// The step.
    pub step: String,
    /// How many records were asked about again.
    pub asked: u64,
    /// How many of them have the same answer, to the byte.
    pub same: u64,
    /// How many have no kept answer to compare with.
    pub without_answer: u64,
    /// Those whose answers differ: at most twenty.
    pub differ: Vec<Differing>,
    /// How many differ.
    pub n_differ: u64,
}

/// A record whose answers differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Differing {
    /// Its line in the step's data, from 1.
    pub line: u64,
    /// What is kept.
    pub kept: String,
    /// What was answered now.
    pub now: String,
}

/// So many differing records are named.
const NAMED: usize = 20;

/// Why a step could not be asked again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The engine could not.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The worker failed.
    #[error("no sample of `{step}` can be worked on: {reason}")]
    Step {
        /// The step.
        step: String,
        /// What went wrong.
        reason: String,
    },
}

/// The finished steps of a graph that ask a model in a folder, with the keys of their results. A server
/// need not answer twice alike, and costs.
pub fn steps(facts: &Facts<'_>) -> Vec<(usize, Key)> {
    let server = |input: &Input| match input {
        Input::Source(i) => facts.graph.sources[*i].endpoint.is_some(),
        Input::Output { .. } => false,
    };
    let mut all = vec![];
    for (i, instance) in facts.graph.instances.iter().enumerate() {
        let key = facts.planned.keys[i].filter(|_| facts.planned.standings[i] == Standing::Cached);
        let asks = asks_a_model(instance) && !instance.inputs.values().flatten().any(server);
        if let Some(key) = key.filter(|_| asks) {
            all.push((i, key));
        }
    }
    all
}

/// Kinds whose answers are kept, but under another name than that of a record of their data: an exam's
/// under its questions as the model reads them.
const KEPT_OTHERWISE: [&str; 1] = ["eval"];

/// The finished steps that ask a model and cannot be asked again about some of their records.
pub fn passed_over(facts: &Facts<'_>) -> Vec<(usize, Key)> {
    let otherwise = |i: &usize| match &facts.graph.instances[*i].work {
        Work::Kind { name, .. } => KEPT_OTHERWISE.contains(&name.as_str()),
        Work::Program(_) => false,
    };
    let cached = |i: usize| {
        let key = facts.planned.keys[i];
        Some((i, key.filter(|_| facts.planned.standings[i] == Standing::Cached)?))
    };
    (0..facts.graph.instances.len()).filter(otherwise).filter_map(cached).collect()
}

/// Asks a step again about a share of its records.
pub fn replay(
    facts: &Facts<'_>,
    home: &Home,
    i: usize,
    share: Share,
) -> Result<Replayed, ReplayError> {
    let step = facts.graph.instances[i].address.to_string();
    let failed = |reason: String| ReplayError::Step { step: step.clone(), reason };
    let (port, inputs, space) = asked(facts, home, i).map_err(failed)?;
    let room = facts.store.attempt().map_err(EngineError::from)?;
    let data = sampled::data(facts.store, (port, &inputs)).map_err(failed)?;
    let sample = room.path().join("sample.jsonl");
    let drawn = draw(&data, &sample, share).map_err(|it| failed(it.to_string()))?;
    let memory = Memory { store: room.path().join("kept"), space, inputs: None };
    let prepared = prepared(facts, i, (port, inputs, &sample), (room.path(), memory.clone()));
    let prepared = prepared.map_err(failed)?;
    work(facts.store, &prepared).map_err(failed)?;
    let kept = Memory { store: facts.store.root().to_owned(), space, inputs: None };
    compare(step.clone(), &drawn, (kept, memory)).map_err(|it| failed(chain(&it)))
}

/// The step with the sample for its data, in other company.
fn prepared(
    facts: &Facts<'_>,
    i: usize,
    given: (&str, BTreeMap<String, Vec<Given>>, &Path),
    place: (&Path, Memory),
) -> Result<Prepared, String> {
    let mut prepared = with_sample(facts, i, given, place)?;
    let instance = &mut prepared.instance;
    if let Work::Kind { unkeyed, .. } = &instance.work
        && unkeyed.iter().any(|it| it == "rows")
    {
        let rows = if instance.with.get("rows") == Some(&Value::Int(5)) { 7 } else { 5 };
        instance.with.insert("rows".to_owned(), Value::Int(rows));
    }
    let mut how = (*instance.how).clone();
    let threads = how.uses.entry("cpu".to_owned()).or_insert(1);
    *threads = if *threads == 1 { 2 } else { 1 };
    instance.how = Arc::new(how);
    Ok(prepared)
}

fn compare(
    step: String,
    drawn: &[Drawn],
    (kept, now): (Memory, Memory),
) -> Result<Replayed, steps::StepError> {
    let (mut kept, mut now) = (RowMemo::new(kept), RowMemo::new(now));
    let (same, without_answer, n_differ, differ) = (0, 0, 0, vec![]);
    let asked = drawn.len() as u64;
    let mut all = Replayed { step, asked, same, without_answer, differ, n_differ };
    for it in drawn {
        let (kept, now) = (kept.get(&it.digest)?, now.get(&it.digest)?);
        let Some(kept) = kept else {
            all.without_answer += 1;
            continue;
        };
        if now.as_ref() == Some(&kept) {
            all.same += 1;
            continue;
        }
        all.n_differ += 1;
        if all.differ.len() < NAMED {
            let shown = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
            let now = now.map_or_else(|| "nothing".to_owned(), |it| shown(&it));
            all.differ.push(Differing { line: it.line, kept: shown(&kept), now });
        }
    }
    all.differ.sort_by_key(|it| it.line);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use plan::Digest;

    use super::*;

    #[test]
    fn answers_that_differ_or_are_gone_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let space = Digest::of(b"space");
        let memory = |name: &str| Memory { store: folder.path().join(name), space, inputs: None };
        let drawn: Vec<Drawn> = (1..=4)
            .map(|line| {
                let digest = Digest::of(&[line as u8]);
                Drawn { lot: 9 - line, line, offset: 0, length: 0, digest }
            })
            .collect();
        let (mut kept, mut now) = (RowMemo::new(memory("kept")), RowMemo::new(memory("now")));
        for (i, a, b) in [(0, "x", "x"), (1, "x", "y"), (3, "z", "")] {
            kept.put(&drawn[i].digest, a.as_bytes()).unwrap();
            if !b.is_empty() {
                now.put(&drawn[i].digest, b.as_bytes()).unwrap();
            }
        }
        kept.sync().unwrap();
        now.sync().unwrap();
        drop((kept, now));
        let memories = (memory("kept"), memory("now"));
        let all = compare("s".to_owned(), &drawn, memories).unwrap();
        assert_eq!((all.asked, all.same, all.without_answer, all.n_differ), (4, 1, 1, 2));
        let said: Vec<String> =
            all.differ.iter().map(|it| format!("{} {} {}", it.line, it.kept, it.now)).collect();
        assert_eq!(said, ["2 x y", "4 z nothing"]);
    }
}
