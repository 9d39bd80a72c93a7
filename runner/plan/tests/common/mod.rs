//! Files in memory, and kinds that do nothing.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use plan::kind::{Accepts, Arity, Form, Param, Port, Slot};
use plan::{Ask, Entry, Files, Graph, KindSpec, Mistakes, Value, Workflow};

pub(crate) struct Memory(BTreeMap<PathBuf, Vec<u8>>);

impl Memory {
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| (path.into(), text.as_bytes().to_vec())).collect())
    }

    pub(crate) fn bytes(path: &str, bytes: &[u8]) -> Self {
        Self(BTreeMap::from([(path.into(), bytes.to_vec())]))
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = BTreeMap::new();
        for path in self.0.keys() {
            let Ok(rest) = path.strip_prefix(dir) else { continue };
            let mut parts = rest.iter();
            let Some(name) = parts.next() else { continue };
            let name = name.to_string_lossy().into_owned();
            entries.insert(name, parts.next().is_some());
        }
        if entries.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let entry = |(name, is_dir)| Entry { name, is_dir, is_symlink: false };
        Ok(entries.into_iter().map(entry).collect())
    }
}

pub(crate) fn workflow(files: &Memory) -> Workflow {
    plan::read(Path::new("workflow.toml"), files, KINDS).unwrap_or_else(|it| panic!("{it}"))
}

pub(crate) fn graph(text: &str) -> Graph {
    let files = Memory::with(&[("workflow.toml", text)]);
    workflow(&files).expand(&Ask::default(), &files).unwrap_or_else(|it| panic!("{it}"))
}

/// What is wrong with a manifest, in reading or, with all variants, in expanding.
pub(crate) fn mistakes(files: &Memory) -> Mistakes {
    let workflow = match plan::read(Path::new("workflow.toml"), files, KINDS) {
        Ok(it) => it,
        Err(it) => return it,
    };
    for variants in [vec![], workflow.variants().iter().map(|it| (*it).to_owned()).collect()] {
        let ask = Ask { variants, ..Ask::default() };
        if let Err(it) = workflow.expand(&ask, files) {
            return it;
        }
    }
    Mistakes::default()
}

pub(crate) fn names(graph: &Graph) -> Vec<String> {
    graph.instances.iter().map(|it| it.address.to_string()).collect()
}

const fn port(name: &'static str, arity: Arity) -> Port {
    Port { name, arity, about: "what it reads" }
}

const fn slot(name: &'static str, form: Form) -> Slot {
    Slot { name, form, about: "what it writes" }
}

fn any(name: &str) -> Param {
    Param {
        name: name.to_owned(),
        about: String::new(),
        accepts: Accepts::Any,
        default: None,
        required: false,
    }
}

fn sample() -> Vec<Param> {
    let count = Param {
        accepts: Accepts::Int { min: Some(1), max: Some(10) },
        default: Some(Value::Int(5)),
        ..any("count")
    };
    let by = Accepts::OneOf(vec!["hash".into(), "order".into()]);
    vec![
        Param {
            accepts: Accepts::Float,
            required: true,
            about: "which part".into(),
            ..any("rate")
        },
        count,
        Param { accepts: by, ..any("by") },
        Param { accepts: Accepts::List(Box::new(Accepts::Text)), ..any("fields") },
        Param { accepts: Accepts::Map(Box::new(Accepts::Bool)), ..any("flags") },
    ]
}

fn free() -> Vec<Param> {
    let names = "max_tokens max_perplexity epochs lr temperature top_p max_new_tokens parse k by \
                 where ties shots table plot";
    names.split_whitespace().map(any).collect()
}

const BLANK: KindSpec = KindSpec {
    about: "a kind of the tests",
    inputs: &[port("data", Arity::One)],
    outputs: &[slot("data", Form::Records)],
    params: free,
    ..KindSpec::PLAIN
};

pub(crate) static KINDS: &[&KindSpec] = &[
    &KindSpec { name: "sample", draws: true, params: sample, ..BLANK },
    &KindSpec { name: "ingest", ..BLANK },
    &KindSpec {
        name: "clean",
        inputs: &[port("data", Arity::Many), port("lm", Arity::Optional)],
        outputs: &[slot("data", Form::Records), slot("dropped", Form::Records)],
        ..BLANK
    },
    &KindSpec {
        name: "seed",
        outputs: &[slot("forward", Form::Records), slot("inverted", Form::Records)],
        ..BLANK
    },
    &KindSpec {
        name: "sft",
        inputs: &[
            port("base", Arity::One),
            port("data", Arity::One),
            port("seed_data", Arity::Optional),
        ],
        outputs: &[slot("model", Form::Model), slot("metrics", Form::Metrics)],
        draws: true,
        numerics: true,
        ..BLANK
    },
    &KindSpec {
        name: "generate",
        inputs: &[
            port("model", Arity::Model),
            port("data", Arity::One),
            port("prompt", Arity::One),
        ],
        draws: true,
        shards: Some("data"),
        ..BLANK
    },
    &KindSpec { name: "top_k", ..BLANK },
    &KindSpec { name: "concat", inputs: &[port("parts", Arity::Many)], ..BLANK },
    &KindSpec { name: "pipe", runs_programs: true, ..BLANK },
    &KindSpec {
        name: "eval",
        inputs: &[port("model", Arity::One), port("tasks", Arity::One)],
        outputs: &[slot("metrics", Form::Metrics), slot("answers", Form::Records)],
        ..BLANK
    },
    &KindSpec {
        name: "report",
        inputs: &[port("metrics", Arity::Many), port("train", Arity::Many)],
        outputs: &[slot("html", Form::File), slot("csv", Form::File)],
        ..BLANK
    },
];
