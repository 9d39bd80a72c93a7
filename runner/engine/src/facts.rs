//! What keys need to know of the world: digests of sources, the environment, the arithmetic.
//! Gathered once, before anything is planned.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use plan::graph::{Source, Work};
use plan::kind::Numerics;
use plan::{Digest, Facts, Graph, Instance};
use store::{Hashed, Stats};

/// The facts, and what was found wrong while gathering them.
#[derive(Debug, Default)]
pub struct Gathered {
    /// What keys need.
    pub facts: Facts,
    /// What each source was when it was hashed; none: not there.
    pub hashed: Vec<Option<Hashed>>,
    /// Sources that are not what the manifest says.
    pub troubles: Vec<Trouble>,
}

/// A source that is not what the manifest says.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Its content is not the pinned one.
    #[error("{place}: source `{name}` has digest {got}, but {want} is pinned")]
    Pinned {
        /// Its name or path.
        name: String,
        /// Where the manifest says so.
        place: String,
        /// What the manifest says.
        want: Digest,
        /// What is there.
        got: Digest,
    },
    /// It cannot be read.
    #[error("{place}: cannot read `{path}`: {reason}")]
    Unreadable {
        /// Where the manifest names it.
        place: String,
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// How a source is called on a screen.
pub fn source_name(source: &Source) -> String {
    source.name.clone().unwrap_or_else(|| source.path.display().to_string())
}

/// Hashes every source (as far as they are not remembered in `stats`) and looks up every declared
/// environment variable. A source that is not there is a fact, not trouble: `Facts::sources` has
/// none for it, or its pinned digest.
pub fn gather(graph: &Graph, root: &Path, stats: &Stats) -> Gathered {
    let mut gathered = Gathered::default();
    gathered.facts.numerics = steps::numerics();
    let is_bf16 =
        |it: &Instance| matches!(it.work, Work::Kind { numerics: Some(Numerics::Bf16), .. });
    // The device is asked for nobody else: that takes a moment.
    if graph.instances.iter().any(is_bf16) {
        gathered.facts.numerics_bf16 = steps::numerics_bf16();
    }
    for (i, source) in graph.sources.iter().enumerate() {
        if let Some(endpoint) = &source.endpoint {
            let text = endpoint.to_string();
            gathered.facts.sources.push(Some(Digest::of(text.as_bytes())));
            gathered.facts.endpoints.insert(i, text);
            gathered.hashed.push(None);
            continue;
        }
        let path = root.join(&source.path);
        let (hashed, digest) = match stats.digest_path(&path) {
            Ok(hashed) => {
                check_pin(source, hashed.digest, &mut gathered.troubles);
                let digest = hashed.digest;
                (Some(hashed), Some(digest))
            }
            Err(error) if !path.exists() => {
                let _ = error; // it is not there: said where a step needs it
                (None, source.pinned)
            }
            Err(error) => {
                let (place, reason) = (source.place.to_string(), error.to_string());
                gathered.troubles.push(Trouble::Unreadable { place, path, reason });
                (None, None)
            }
        };
        gathered.hashed.push(hashed);
        gathered.facts.sources.push(digest);
    }
    gathered.facts.environment = environment(graph);
    gathered
}

fn check_pin(source: &Source, got: Digest, troubles: &mut Vec<Trouble>) {
    if let Some(want) = source.pinned.filter(|it| *it != got) {
        let (name, place) = (source_name(source), source.place.to_string());
        troubles.push(Trouble::Pinned { name, place, want, got });
    }
}

fn environment(graph: &Graph) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for instance in &graph.instances {
        for name in &instance.around.pass {
            if !found.contains_key(name)
                && let Some(value) = std::env::var_os(name)
            {
                found.insert(name.clone(), value.to_string_lossy().into_owned());
            }
        }
    }
    found
}
