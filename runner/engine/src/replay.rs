//! Asks models again about some of what is kept: a record's answer may be reused only because it
//! depends on nothing but the record, and this is how anyone can see that it does not.
//!
//! A share of the records of a finished step is drawn by a seed and put into one file, in another
//! order and so in other company. A worker process, the same as in a run, works on that file with
//! another number of rows at once and of threads, and with an empty memory. What it keeps for each
//! record is then compared, byte for byte, with what the store has.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use plan::graph::Work;
use plan::{Digest, Gatherer, Input, Key, Known, Value};
use serde::Serialize;
use steps::Memo as _;
use store::{Object, Stats, Store};

use crate::attempt::{self, Given, Prepared};
use crate::error::{EngineError, chain};
use crate::forecast::{Facts, asks_a_model};
use crate::job::{Memory, Message};
use crate::memo::RowMemo;
use crate::planning::Standing;
use crate::run::Home;

/// How much is asked again.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Which part of the records, up to 1; of every step at least one.
    pub of_records: f64,
    /// Which ones.
    pub seed: u64,
}

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
    #[error("`{step}` cannot be asked again: {reason}")]
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
    let data = match inputs.get(port).map(Vec::as_slice) {
        Some([Given::Object(it)]) => facts.store.object_path(&it.digest),
        Some([Given::Source(path, _)]) => path.clone(),
        _ => return Err(failed(format!("it reads no file as `{port}`"))),
    };
    let sample = room.path().join("sample.jsonl");
    let drawn = draw(&data, &sample, share).map_err(|it| failed(it.to_string()))?;
    let memory = Memory { store: room.path().join("kept"), space };
    let prepared = prepared(facts, i, (port, inputs, &sample), (room.path(), memory.clone()));
    let prepared = prepared.map_err(failed)?;
    work(facts.store, &prepared).map_err(failed)?;
    let kept = Memory { store: facts.store.root().to_owned(), space };
    compare(step.clone(), &drawn, (kept, memory)).map_err(|it| failed(chain(&it)))
}

/// The port of the records, all that is read, and where answers are kept.
type Asked = (&'static str, BTreeMap<String, Vec<Given>>, Digest);

fn asked(facts: &Facts<'_>, home: &Home, i: usize) -> Result<Asked, String> {
    let instance = &facts.graph.instances[i];
    let Work::Kind { name, .. } = &instance.work else { return Err("it is no kind".to_owned()) };
    let spec = steps::kind(name).map(|it| it.spec());
    let (Some(spec), Some(port)) = (spec, spec.and_then(|it| it.shards)) else {
        return Err("it keeps no answers".to_owned());
    };
    let object = |input: &Input| -> Option<Object> {
        match input {
            Input::Source(i) => Some(facts.gathered.hashed[*i]?.object()),
            Input::Output { instance, slot } => {
                facts.index.output(&facts.planned.keys[instance.0]?, slot)
            }
        }
    };
    let mut inputs = BTreeMap::new();
    for (port, list) in &instance.inputs {
        let mut given = vec![];
        for input in list {
            let Some(it) = object(input) else { return Err(format!("`{port}` is gone")) };
            given.push(match input {
                Input::Output { .. } => Given::Object(it),
                Input::Source(i) => match facts.gathered.hashed[*i] {
                    Some(hashed) => {
                        Given::Source(home.root.join(&facts.graph.sources[*i].path), hashed)
                    }
                    None => return Err(format!("`{port}` is gone")),
                },
            });
        }
        inputs.insert(port.clone(), given);
    }
    let mut gatherer = Gatherer::default();
    gatherer.gather(instance, &facts.gathered.facts, &mut |input| {
        object(input).map_or(Known::Absent, |it| Known::Content(it.digest))
    });
    Ok((port, inputs, gatherer.row_space(port, spec.cuts)))
}

/// A record that was drawn.
struct Drawn {
    lot: u64,
    line: u64,
    offset: u64,
    length: usize,
    digest: Digest,
}

/// Draws records and writes them in the order of their lots.
fn draw(data: &Path, sample: &Path, share: Share) -> std::io::Result<Vec<Drawn>> {
    let mut reader = BufReader::with_capacity(1 << 18, File::open(data)?);
    let (mut drawn, mut seen): (Vec<Drawn>, HashSet<Digest>) = (vec![], HashSet::new());
    let mut least: Option<Drawn> = None;
    let (mut line, mut n, mut offset) = (vec![], 0, 0);
    let below = (share.of_records.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        n += 1;
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let digest = Digest::of(text);
        let mut lot = [0; 8];
        lot.copy_from_slice(
            &Digest::of(&[&share.seed.to_le_bytes()[..], &digest.0].concat()).0[..8],
        );
        let lot = u64::from_le_bytes(lot);
        let it = Drawn { lot, line: n, offset, length: text.len(), digest };
        offset += read as u64;
        if lot <= below && seen.insert(digest) {
            drawn.push(it);
        } else if drawn.is_empty() && least.as_ref().is_none_or(|least| lot < least.lot) {
            least = Some(it);
        }
    }
    if drawn.is_empty() {
        drawn.extend(least);
    }
    drawn.sort_by_key(|it| (it.lot, it.line));
    let mut from = File::open(data)?;
    let mut to = BufWriter::new(File::create(sample)?);
    for it in &drawn {
        from.seek(SeekFrom::Start(it.offset))?;
        let mut bytes = vec![0; it.length];
        from.read_exact(&mut bytes)?;
        to.write_all(&bytes)?;
        to.write_all(b"\n")?;
    }
    to.flush()?;
    Ok(drawn)
}

/// The step with the sample for its data, in other company.
fn prepared(
    facts: &Facts<'_>,
    i: usize,
    (port, mut inputs, sample): (&str, BTreeMap<String, Vec<Given>>, &Path),
    (room, memory): (&Path, Memory),
) -> Result<Prepared, String> {
    let mut instance = facts.graph.instances[i].clone();
    let hashed = Stats::open(&room.join("stats")).digest_path(sample).map_err(|it| chain(&it))?;
    inputs.insert(port.to_owned(), vec![Given::Source(sample.to_owned(), hashed)]);
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
    let (code, environment) = (BTreeMap::new(), vec![]);
    let state = room.join("state");
    Ok(Prepared { instance, inputs, code, environment, state, memory })
}

/// Has a worker do the work; its outputs are thrown away.
fn work(store: &Store, prepared: &Prepared) -> Result<(), String> {
    let ready = attempt::make(store, prepared, None).map_err(|it| chain(&it))?;
    let output = Command::new(&ready.argv[0])
        .args(&ready.argv[1..])
        .current_dir(ready.attempt.path())
        .env_clear()
        .envs(ready.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()
        .map_err(|it| format!("the worker cannot be started: {it}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let reason = said.lines().find_map(|it| match serde_json::from_str(it) {
        Ok(Message::Failed { reason }) => Some(reason),
        _ => None,
    });
    Err(reason.unwrap_or_else(|| format!("the worker ended with {}", output.status)))
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
    use super::*;

    #[test]
    fn answers_that_differ_or_are_gone_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let space = Digest::of(b"space");
        let memory = |name: &str| Memory { store: folder.path().join(name), space };
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

    #[test]
    fn a_share_is_drawn_by_seed_and_content_and_is_never_empty() {
        let folder = tempfile::tempdir().unwrap();
        let (data, sample) = (folder.path().join("data"), folder.path().join("sample"));
        let lines: Vec<String> = (0..1000).map(|it| format!("{{\"n\":{it}}}")).collect();
        std::fs::write(&data, lines.join("\n")).unwrap();
        let drawn = |of_records, seed| {
            let all = draw(&data, &sample, Share { of_records, seed }).unwrap();
            let text = std::fs::read_to_string(&sample).unwrap();
            assert_eq!(text.lines().count(), all.len());
            for (it, text) in all.iter().zip(text.lines()) {
                assert_eq!(lines[it.line as usize - 1], text);
            }
            all.iter().map(|it| it.line).collect::<Vec<u64>>()
        };
        let tenth = drawn(0.1, 1);
        assert!((60..140).contains(&tenth.len()), "{}", tenth.len());
        assert!(!tenth.is_sorted());
        assert_eq!(tenth, drawn(0.1, 1));
        assert_ne!(tenth, drawn(0.1, 2));
        assert_eq!(drawn(0.0, 1).len(), 1);
        assert_eq!(drawn(1.0, 1).len(), 1000);
    }
}
