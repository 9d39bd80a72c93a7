//! Small JSON files of a model folder, read within limits, with errors that name file and field.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::TextError;

/// The largest tokenizers there are have a few ten million bytes.
const MAX_BYTES: u64 = 256 << 20;

/// A file's bytes; none where there is no file.
pub(crate) fn bytes(path: &Path) -> Result<Option<Vec<u8>>, TextError> {
    let file = match File::open(path) {
        Ok(it) => it,
        Err(it) if it.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(it) => return Err(TextError::io(path)(it)),
    };
    let size = file.metadata().map_err(TextError::io(path))?.len();
    let too_large = |size| TextError::TooLarge { path: path.to_owned(), size, limit: MAX_BYTES };
    if size > MAX_BYTES {
        return Err(too_large(size));
    }
    let mut bytes = Vec::new();
    // A file without an honest size, such as a pipe, is not read without end.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(TextError::io(path))?;
    let n = bytes.len() as u64;
    if n > MAX_BYTES { Err(too_large(n)) } else { Ok(Some(bytes)) }
}

/// A file's text; none where there is no file.
pub(crate) fn text(path: &Path) -> Result<Option<String>, TextError> {
    let Some(bytes) = bytes(path)? else { return Ok(None) };
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|_| TextError::file(path, "", "is not UTF-8"))
}

/// A JSON object of a model folder; empty where there is no file.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) path: PathBuf,
    pub(crate) map: Map<String, Value>,
}

impl Settings {
    pub(crate) fn read(path: PathBuf) -> Result<Self, TextError> {
        let Some(bytes) = bytes(&path)? else { return Ok(Self { path, map: Map::new() }) };
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(map)) => Ok(Self { path, map }),
            Ok(_) => Err(TextError::file(&path, "", "is not a JSON object")),
            Err(it) => Err(TextError::file(&path, "", it.to_string())),
        }
    }

    /// A field that is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|it| !it.is_null())
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, TextError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(it)) => Ok(Some(*it)),
            Some(_) => Err(self.wrong(name, "is neither true nor false")),
        }
    }

    /// A token: its text, or an object that holds it.
    pub(crate) fn token(&self, name: &str) -> Result<Option<String>, TextError> {
        match self.get(name) {
            None => Ok(None),
            Some(it) => match token_text(it) {
                Some(it) => Ok(Some(it)),
                None => Err(self.wrong(name, "is not a token")),
            },
        }
    }

    /// One id or several.
    pub(crate) fn ids(&self, name: &str) -> Result<Vec<u32>, TextError> {
        let id = |it: &Value| it.as_u64().and_then(|it| u32::try_from(it).ok());
        let ids = match self.get(name) {
            None => Some(Vec::new()),
            Some(Value::Array(all)) => all.iter().map(id).collect(),
            Some(it) => id(it).map(|it| vec![it]),
        };
        ids.ok_or_else(|| self.wrong(name, "is not a token id or a list of them"))
    }

    pub(crate) fn wrong(&self, field: &str, reason: impl Into<String>) -> TextError {
        TextError::file(&self.path, field, reason)
    }
}

/// The text of a token as the files write it: itself, or an object with `content`.
pub(crate) fn token_text(it: &Value) -> Option<String> {
    let text = it.as_str().or_else(|| it.get("content").and_then(Value::as_str))?;
    (!text.is_empty()).then(|| text.to_owned())
}
