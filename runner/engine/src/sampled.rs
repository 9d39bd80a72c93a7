//! Works on some records of a step, with the worker of a run and a memory of its own: for asking again,
//! and for seeing how long a record takes. Nothing of it becomes a result.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use plan::graph::Work;
use plan::{Digest, Gatherer, Input, Known};
use store::{Isolation, Object, Stats, Store};

use crate::attempt::{self, Given, Prepared};
use crate::error::chain;
use crate::forecast::Facts;
use crate::job::{Memory, Message};
use crate::run::Home;

/// Which records.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Which part of the records, up to 1; of every step at least one.
    pub of_records: f64,
    /// Which ones.
    pub seed: u64,
}

/// The port of the records, all that is read, and where answers are kept.
pub(crate) type Asked = (&'static str, BTreeMap<String, Vec<Given>>, Digest);

pub(crate) fn asked(facts: &Facts<'_>, home: &Home, i: usize) -> Result<Asked, String> {
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
                        // The worker starts in a folder of its own.
                        let path = home.root.join(&facts.graph.sources[*i].path);
                        let path = std::path::absolute(&path).map_err(|it| it.to_string())?;
                        Given::Source(path, hashed)
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
pub(crate) struct Drawn {
    pub(crate) lot: u64,
    pub(crate) line: u64,
    pub(crate) offset: u64,
    pub(crate) length: usize,
    pub(crate) digest: Digest,
}

/// Draws records and writes them in the order of their lots.
pub(crate) fn draw(data: &Path, sample: &Path, share: Share) -> std::io::Result<Vec<Drawn>> {
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

/// The step with the sample for its data.
pub(crate) fn with_sample(
    facts: &Facts<'_>,
    i: usize,
    (port, mut inputs, sample): (&str, BTreeMap<String, Vec<Given>>, &Path),
    (room, memory): (&Path, Memory),
) -> Result<Prepared, String> {
    let hashed = Stats::open(&room.join("stats")).digest_path(sample).map_err(|it| chain(&it))?;
    inputs.insert(port.to_owned(), vec![Given::Source(sample.to_owned(), hashed)]);
    let instance = facts.graph.instances[i].clone();
    let (code, environment) = (BTreeMap::new(), vec![]);
    let state = room.join("state");
    Ok(Prepared { instance, inputs, code, environment, state, memory })
}

/// Where the records of a step are.
pub(crate) fn data(
    store: &Store,
    (port, inputs): (&str, &BTreeMap<String, Vec<Given>>),
) -> Result<std::path::PathBuf, String> {
    match inputs.get(port).map(Vec::as_slice) {
        Some([Given::Object(it)]) => Ok(store.object_path(&it.digest)),
        Some([Given::Source(path, _)]) => Ok(path.clone()),
        _ => Err(format!("it reads no file as `{port}`")),
    }
}

/// Has a worker do the work; its outputs are thrown away.
pub(crate) fn work(store: &Store, prepared: &Prepared) -> Result<(), String> {
    let ready = attempt::make(store, prepared, None, Isolation::Copy).map_err(|it| chain(&it))?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
