//! Arguments that several commands share. A command takes those that it has a use for.

use std::path::{Path, PathBuf};

use plan::Ask;

/// All that a graph with its results is made from.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) manifest: Manifest,
    #[command(flatten)]
    pub(crate) scope: Scope,
    #[command(flatten)]
    pub(crate) results: Results,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) answer: Answer,
}

/// Which manifest.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Manifest {
    /// The manifest (default: `workflow.toml` or `kun.toml` here or in a folder above)
    #[arg(short = 'f', long = "file", value_name = "MANIFEST")]
    pub(crate) file: Option<PathBuf>,
}

/// Which variants, with which parameters.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Scope {
    /// Variants to use; `*` and `?` are wild (may be repeated)
    #[arg(long = "variant", value_name = "PATTERN")]
    pub(crate) variants: Vec<String>,
    #[command(flatten)]
    pub(crate) sets: Sets,
}

/// Which parameters.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Sets {
    /// Set a parameter for this once: `--set select.top_k=9000`
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) sets: Vec<(String, String)>,
}

/// Where results are.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Results {
    /// The store (default: `.kun/store` in the project)
    #[arg(long, value_name = "FOLDER", env = crate::env::STORE, hide_env_values = true)]
    pub(crate) store: Option<PathBuf>,
}

/// What is believed of sources, and of what steps read of the store.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Trust {
    /// Hash every source again, whatever its size and times say; `run` does so with all that steps
    /// read of the store too
    #[arg(long)]
    pub(crate) paranoid: bool,
}

/// How the answer is written.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Answer {
    /// Answer in JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

impl Scope {
    /// These targets in these variants with these parameters.
    pub(crate) fn ask(&self, targets: Vec<String>) -> Ask {
        Ask { targets, variants: self.variants.clone(), sets: self.sets.sets.clone() }
    }
}

impl Manifest {
    /// Takes the manifest out of the words of a command, if the first of them is one: a path that
    /// ends in `.toml`, or a folder.
    pub(crate) fn take_from(&mut self, words: &mut Vec<String>) {
        if self.file.is_some() {
            return;
        }
        let is_manifest = |it: &String| it.ends_with(".toml") || Path::new(it).is_dir();
        if words.first().is_some_and(is_manifest) {
            self.file = Some(PathBuf::from(words.remove(0)));
        }
    }
}
