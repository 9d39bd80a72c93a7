//! For the tests of kinds: a folder, a memo in memory, and all that a kind said.

use std::collections::BTreeMap;
use std::path::PathBuf;

use plan::Digest;

use crate::{AnyKind, Cx, Memo, Say, Server, Shard, StepError, kind};

/// The answers, and how often they were made durable.
#[derive(Default)]
pub(crate) struct Table(pub(crate) BTreeMap<Digest, Vec<u8>>, pub(crate) usize);

impl Memo for Table {
    fn get(&mut self, record: &Digest) -> Result<Option<Vec<u8>>, StepError> {
        Ok(self.0.get(record).cloned())
    }

    fn put(&mut self, record: &Digest, result: &[u8]) -> Result<(), StepError> {
        self.0.insert(*record, result.to_vec());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StepError> {
        self.1 += 1;
        Ok(())
    }
}

pub(crate) struct Kit {
    kind: &'static dyn AnyKind,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) memo: Table,
    pub(crate) said: Vec<Say>,
    pub(crate) shard: Option<Shard>,
    pub(crate) seed: Option<u64>,
    pub(crate) servers: BTreeMap<String, Server>,
    pub(crate) checkpoint: Option<plan::graph::Checkpoint>,
    pub(crate) threads: usize,
    pub(crate) gpu: Option<plan::kind::Numerics>,
    /// After how many questions whether to stop the answer is yes.
    pub(crate) stop_after: usize,
}

impl Kit {
    pub(crate) fn new(name: &str) -> Self {
        let (memo, said) = (Table::default(), Vec::new());
        let folder = tempfile::tempdir().unwrap();
        let kind = kind(name).unwrap();
        let (shard, seed, checkpoint) = (None, None, None);
        let (threads, stop_after, servers) = (1, usize::MAX, BTreeMap::new());
        let gpu = None;
        Self {
            kind,
            folder,
            memo,
            said,
            shard,
            seed,
            servers,
            checkpoint,
            threads,
            gpu,
            stop_after,
        }
    }

    /// Runs the kind over these contents of its first port; gives the contents of its outputs.
    pub(crate) fn run(&mut self, with: &str, inputs: &[&[u8]]) -> Result<Vec<String>, StepError> {
        let mut paths = Vec::new();
        for (i, it) in inputs.iter().enumerate() {
            paths.push(self.folder.path().join(format!("in{i}")));
            std::fs::write(&paths[i], it).unwrap();
        }
        self.run_at(with, &[(self.kind.spec().inputs[0].name, paths)])
    }

    /// Runs the kind over what lies at these places, for each port.
    pub(crate) fn run_at(
        &mut self,
        with: &str,
        inputs: &[(&str, Vec<PathBuf>)],
    ) -> Result<Vec<String>, StepError> {
        let spec = self.kind.spec();
        let path = |name: String| self.folder.path().join(name);
        let outputs: BTreeMap<String, PathBuf> =
            spec.outputs.iter().map(|it| (it.name.to_owned(), path(it.name.to_owned()))).collect();
        // An attempt begins with nothing there.
        for it in outputs.values() {
            let _ = std::fs::remove_dir_all(it);
        }
        let asked = std::cell::Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > self.stop_after
        };
        self.said.clear();
        let mut cx = Cx {
            inputs: inputs.iter().map(|(port, it)| ((*port).to_owned(), it.clone())).collect(),
            servers: self.servers.clone(),
            outputs: outputs.clone(),
            state: path("state".to_owned()),
            seed: self.seed,
            shard: self.shard,
            checkpoint: self.checkpoint,
            threads: self.threads,
            gpu: self.gpu,
            memo: &mut self.memo,
            report: &mut |it| self.said.push(it),
            stop: &stop,
        };
        self.kind.run_table(toml::from_str(with).unwrap(), &mut cx)?;
        let text = |slot: &plan::kind::Slot| read(&outputs[slot.name]);
        Ok(spec.outputs.iter().map(text).collect())
    }

    /// The only output, where all is well.
    pub(crate) fn data(&mut self, with: &str, input: &str) -> String {
        self.run(with, &[input.as_bytes()]).unwrap().remove(0)
    }

    /// The text of the error, without the folder.
    pub(crate) fn error(&mut self, with: &str, input: &str) -> String {
        let error = self.run(with, &[input.as_bytes()]).unwrap_err().to_string();
        error.replace(&format!("{}/", self.folder.path().display()), "")
    }

    /// A number that it said about its result.
    pub(crate) fn count(&self, wanted: &str) -> Option<u64> {
        self.said.iter().find_map(|it| match it {
            Say::Count { name, value } if name == wanted => Some(*value),
            _ => None,
        })
    }
}

/// A file's text, or those of a folder with their names.
fn read(path: &std::path::Path) -> String {
    if !path.is_dir() {
        return String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    }
    let mut files: Vec<_> = std::fs::read_dir(path).unwrap().map(|it| it.unwrap()).collect();
    files.sort_by_key(|it| it.file_name());
    let show = |it: &std::fs::DirEntry| {
        if it.path().is_dir() {
            return format!("{}/\n{}", it.file_name().display(), read(&it.path()));
        }
        let bytes = std::fs::read(it.path()).unwrap();
        format!("{}: {:?}\n", it.file_name().display(), String::from_utf8_lossy(&bytes))
    };
    files.iter().map(show).collect()
}
