//! Arguments that several commands share.

use std::path::{Path, PathBuf};

/// Which manifest, which variants, which parameters, which store.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Common {
    /// The manifest (default: `workflow.toml` or `kun.toml` here or in a folder above)
    #[arg(short = 'f', long = "file", value_name = "MANIFEST")]
    pub(crate) file: Option<PathBuf>,
    /// Variants to use; `*` and `?` are wild (may be repeated)
    #[arg(long = "variant", value_name = "PATTERN")]
    pub(crate) variants: Vec<String>,
    /// Set a parameter for this once: `--set select.top_k=9000`
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) sets: Vec<(String, String)>,
    /// The store (default: `.kun/store` in the project)
    #[arg(long, value_name = "FOLDER", env = crate::env::STORE, hide_env_values = true)]
    pub(crate) store: Option<PathBuf>,
    /// Hash every source again, whatever its size and times say
    #[arg(long)]
    pub(crate) paranoid: bool,
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

impl Common {
    /// Takes the manifest out of the words of a command, if the first of them is one: a path that
    /// ends in `.toml`, or a folder.
    pub(crate) fn take_manifest(&mut self, words: &mut Vec<String>) {
        if self.file.is_some() {
            return;
        }
        let is_manifest = |it: &String| it.ends_with(".toml") || Path::new(it).is_dir();
        if words.first().is_some_and(is_manifest) {
            self.file = Some(PathBuf::from(words.remove(0)));
        }
    }
}
