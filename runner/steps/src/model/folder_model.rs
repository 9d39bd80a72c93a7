//! A model's folder: its sizes, its tokenizer and its template together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kernels::decoder::save::Extra;
use kernels::decoder::{Config, WeightFiles};

use super::chat::Chat;
use super::error::TextError;
use super::template::Template;
use super::tokenizer::{Tokenizer, files_of};

/// A model's folder, its weights not yet read.
pub struct ModelFolder {
    /// Where it is.
    pub path: PathBuf,
    /// Its sizes.
    pub config: Config,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Its text side.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Its sizes or weights.
    #[error(transparent)]
    Files(#[from] kernels::decoder::Error),
}

impl ModelFolder {
    /// Reads what the folder says, and no weight.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let config = Config::open(folder)?;
        let tokenizer = Tokenizer::open(folder)?;
        Ok(Self { path: folder.to_owned(), config, tokenizer })
    }

    /// The weights, checked against the sizes.
    pub fn weights(&self) -> Result<WeightFiles, ModelError> {
        Ok(WeightFiles::open(&self.path, &self.config)?)
    }

    /// The template of this name, or the folder's own where none is named.
    pub fn template(&self, name: Option<&str>) -> Result<Template, TextError> {
        template(&self.path, name)
    }

    /// The template of this file, or else of this name, or else the folder's own.
    pub(crate) fn template_of(
        &self,
        file: Option<&Path>,
        name: Option<&str>,
    ) -> Result<Template, TextError> {
        match file {
            Some(it) => Template::chosen(it, name),
            None => self.template(name),
        }
    }

    /// All tokens that end a text: those of `config.json`, of the tokenizer and of
    /// `generation_config.json`, and the one that ends a template's answers.
    pub fn stop_ids(&self, template: &Template) -> Vec<u32> {
        let chat = Chat { tokenizer: &self.tokenizer, template };
        let mut ids = self.config.eos.clone();
        ids.extend(&self.tokenizer.named().stop);
        ids.extend(chat.end_token());
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// The template of this name, or the folder's own where none is named.
pub fn template(folder: &Path, name: Option<&str>) -> Result<Template, TextError> {
    if let Some(name) = name {
        return Template::built_in(name);
    }
    match Template::of_folder(folder)? {
        Some(it) => Ok(it),
        None => {
            let reason = format!(
                "`{}` has none, and none is named: `yi-chatml` and `plain` are built in",
                folder.display()
            );
            Err(TextError::NoTemplate { reason })
        }
    }
}

/// The text side of a folder, to be saved with a model: the tokenizer's files as they are, and the
/// template in `tokenizer_config.json`, where old readers look for it.
pub(crate) fn text_files(
    folder: &Path,
    template: Option<&Template>,
) -> Result<BTreeMap<String, Extra>, TextError> {
    let mut files = BTreeMap::new();
    for path in files_of(folder) {
        let Some(name) = path.file_name().and_then(|it| it.to_str()) else { continue };
        files.insert(name.to_owned(), Extra::Copy(path.clone()));
    }
    if let Some(template) = template {
        let config = "tokenizer_config.json";
        let mut settings = super::folder::Settings::read(folder.join(config))?;
        settings.map.insert("chat_template".to_owned(), template.source().into());
        let mut text = serde_json::to_vec_pretty(&settings.map)
            .map_err(|it| settings.wrong("", it.to_string()))?;
        text.push(b'\n');
        files.insert(config.to_owned(), Extra::Bytes(text));
        files.remove("chat_template.jinja");
    }
    Ok(files)
}
