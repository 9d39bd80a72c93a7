//! A checked workflow: what the manifest says, typed, references still open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::ask::Ask;
use crate::files::Files;
use crate::kind::KindSpec;
use crate::mistake::Mistakes;
use crate::{Digest, Graph, Place, Value};

/// A manifest's syntax trees, merged, not yet checked.
#[derive(Debug)]
pub struct Manifest {}

/// A checked workflow.
#[derive(Debug)]
pub struct Workflow {}

/// A step, as screens list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepInfo {
    /// Its name.
    pub name: String,
    /// Its kind; none: it runs a program.
    pub kind: Option<&'static str>,
    /// What it is for, in the words of its author.
    pub desc: Option<String>,
    /// Where it was written.
    pub place: Place,
}

/// A file or folder declared in `[sources]` or `[models]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// As it was written; references are open.
    pub path: String,
    /// The digest that it must have.
    pub pinned: Option<Digest>,
    /// Whether it may lie outside the project.
    pub outside: bool,
    /// Where it was written.
    pub place: Place,
}

/// A parameter, with where its value comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its value in `[params]`.
    pub value: Value,
    /// Where the value was written.
    pub place: Place,
}

/// Something of which there is a limited number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// How many.
    pub slots: Slots,
    /// Where it was written.
    pub place: Place,
}

/// How many slots a pool has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slots {
    /// As many as the machine has.
    Auto,
    /// This many.
    Count(u64),
    /// These devices.
    Devices(Vec<u32>),
}

/// Reads a manifest with all that it extends and includes.
pub fn load(_entry: &Path, _files: &dyn Files) -> Result<Manifest, Mistakes> {
    Ok(Manifest {})
}

/// Reads and checks a manifest, and says all mistakes of both at once.
pub fn read(entry: &Path, files: &dyn Files, kinds: &[&KindSpec]) -> Result<Workflow, Mistakes> {
    load(entry, files)?.check(kinds)
}

impl Manifest {
    /// Checks everything that can be checked before parameters are chosen.
    pub fn check(self, _kinds: &[&KindSpec]) -> Result<Workflow, Mistakes> {
        Ok(Workflow {})
    }

    /// The files that it was read from, the entry last.
    pub fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

impl Workflow {
    /// Its name: `[workflow] name`, else that of its folder's manifest.
    pub fn name(&self) -> &str {
        ""
    }

    /// The seed from which every stream is derived.
    pub fn seed(&self) -> u64 {
        0
    }

    /// The project's root: the folder of the entry manifest.
    pub fn root(&self) -> &Path {
        Path::new("")
    }

    /// What `[workflow] targets` names.
    pub fn targets(&self) -> Vec<String> {
        Vec::new()
    }

    /// The names of the variants, in the order of the file.
    pub fn variants(&self) -> Vec<&str> {
        Vec::new()
    }

    /// The steps, in the order of the file.
    pub fn steps(&self) -> Vec<StepInfo> {
        Vec::new()
    }

    /// What `[sources]` declares.
    pub fn sources(&self) -> BTreeMap<String, Declared> {
        BTreeMap::new()
    }

    /// What `[models]` declares.
    pub fn models(&self) -> BTreeMap<String, Declared> {
        BTreeMap::new()
    }

    /// What `[pools]` declares.
    pub fn pools(&self) -> BTreeMap<String, Pool> {
        BTreeMap::new()
    }

    /// The parameters by their dotted names, with the places of their values.
    pub fn params(&self) -> BTreeMap<String, Parameter> {
        BTreeMap::new()
    }

    /// Every step instance that was asked for and what it needs, equal ones merged.
    pub fn expand(&self, _ask: &Ask, _files: &dyn Files) -> Result<Graph, Mistakes> {
        Ok(Graph::default())
    }

    /// The manifest with everything merged in, for the record of a run: canonical JSON.
    pub fn resolved(&self, _ask: &Ask) -> serde_json::Value {
        serde_json::Value::Null
    }
}

/// The JSON Schema of a manifest, for editors.
pub fn schema(_kinds: &[&KindSpec]) -> serde_json::Value {
    serde_json::Value::Null
}

/// A manifest's text in the one style; comments stay, the meaning stays.
pub fn format(text: &str) -> Result<String, Mistakes> {
    Ok(text.to_owned())
}
