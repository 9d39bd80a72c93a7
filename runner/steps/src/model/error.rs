//! Why a folder's tokenizer or chat template cannot be used: the file, the field, the reason.

use std::path::{Path, PathBuf};

/// Why text and token ids cannot be brought together.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A file cannot be read.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing in the folder that tells a tokenizer.
    #[error("`{}` holds neither `tokenizer.json` nor `tokenizer.model`", folder.display())]
    NoTokenizer {
        /// The folder.
        folder: PathBuf,
    },
    /// A file is larger than any of its sort is.
    #[error("`{}` has {size} bytes, more than the {limit} that such a file may have", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The most that is read.
        limit: u64,
    },
    /// A file says something that cannot be, or that is not understood here.
    #[error("`{}`: {}{reason}", path.display(), in_field(field))]
    File {
        /// The file.
        path: PathBuf,
        /// The field, as a path; empty where it is the whole file.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A text cannot be encoded, or ids cannot be decoded.
    #[error("tokenizer: {reason}")]
    Tokenizer {
        /// What the tokenizer said.
        reason: String,
    },
    /// No chat template has this name, and the folder has none.
    #[error("no chat template: {reason}")]
    NoTemplate {
        /// What was looked for.
        reason: String,
    },
    /// A chat template cannot be compiled or does not end well.
    #[error("chat template `{name}`: {reason}")]
    Template {
        /// Its name.
        name: String,
        /// What happened.
        reason: String,
    },
    /// A prompt file cannot be used, or not for this record.
    #[error("`{}`{}: {reason}", path.display(), at_line(*line))]
    Prompt {
        /// The file.
        path: PathBuf,
        /// The line in it, from 1.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// A conversation that cannot be trained on or answered.
    #[error("conversation: {reason}")]
    Conversation {
        /// What is wrong with it.
        reason: String,
    },
}

impl TextError {
    /// For `map_err`: an I/O error at a path.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> TextError + '_ {
        move |source| TextError::Io { path: path.to_owned(), source }
    }

    /// A mistake in a file's field.
    pub(crate) fn file(
        path: &Path,
        field: impl Into<String>,
        reason: impl Into<String>,
    ) -> TextError {
        TextError::File { path: path.to_owned(), field: field.into(), reason: reason.into() }
    }
}

fn in_field(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("field `{field}`: ") }
}

fn at_line(line: Option<usize>) -> String {
    line.map(|it| format!(" line {it}")).unwrap_or_default()
}
