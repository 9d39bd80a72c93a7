//! Prompt files: Jinja that turns a record's fields into what a model is asked, with a header that
//! says what the file is.
//!
//! ```text
//! {#
//! id: label
//! inputs: output
//! source: where the words come from
//! #}
//! …
//! {{ output }}
//! ```
//!
//! The header is a comment of the template, so the file is a template as it stands. `inputs` names
//! the fields that the text may use: a name that is misspelt is found before anything is asked. What
//! a record lacks is an error that names the line, the field and what there is; nothing is ever
//! filled in. A template is bounded in steps and in what it writes, as chat templates are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use super::chat::Conversation;
use super::error::TextError;
use super::folder;
use super::record::{Columns, Record, Unfit};
use super::sandbox::{Context, RenderError, Renderer, Undefined};
use super::template::{MAX_SOURCE_BYTES, MAX_WRITTEN_BYTES, size_of_texts};

/// What a header may say.
const KEYS: [&str; 5] = ["id", "inputs", "form", "source", "gloss"];

/// A prompt file, compiled.
pub struct Prompt {
    path: PathBuf,
    source: String,
    pub(super) header: BTreeMap<String, String>,
    inputs: Vec<String>,
    renderer: Renderer,
}

impl Prompt {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        let gone = || TextError::io(path)(std::io::ErrorKind::NotFound.into());
        let source = folder::text(path)?.ok_or_else(gone)?;
        Self::new(path, source)
    }

    /// Compiles the text of the file at this path.
    pub fn new(path: &Path, source: String) -> Result<Self, TextError> {
        let wrong = |line, reason| TextError::Prompt { path: path.to_owned(), line, reason };
        if source.len() > MAX_SOURCE_BYTES {
            return Err(wrong(None, format!("is longer than {MAX_SOURCE_BYTES} bytes")));
        }
        let header = header(&source).map_err(|(line, reason)| wrong(Some(line), reason))?;
        let inputs = header.get("inputs").map(String::as_str).unwrap_or_default();
        let inputs = inputs.split(',').map(|it| it.trim().to_owned()).filter(|it| !it.is_empty());
        let inputs: Vec<String> = inputs.collect();
        let renderer = Renderer::foreign(&source, Undefined::Strict);
        let renderer = renderer.map_err(|it| wrong(None, it.reason))?;
        let other = renderer.undeclared().iter().find(|it| !inputs.contains(it));
        if let Some(it) = other {
            let reason = format!("uses `{it}`, which `inputs` does not name");
            return Err(wrong(line_of(&source, it), reason));
        }
        Ok(Self { path: path.to_owned(), source, header, inputs, renderer })
    }

    /// What it calls itself.
    pub fn id(&self) -> &str {
        self.header.get("id").map_or("", String::as_str)
    }

    /// The digest of the file.
    pub fn digest(&self) -> plan::Digest {
        plan::Digest::of(self.source.as_bytes())
    }

    /// The fields that it may use.
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// What a record's fields make of it.
    pub fn text(&self, fields: &Map<String, Json>) -> Result<String, TextError> {
        self.fill(fields, &Columns::new())
    }

    /// The question that a record is, and nothing else of the record.
    pub(crate) fn question(&self, record: Record<'_>) -> Result<Conversation, Unfit> {
        let text = self.fill(record.map, record.columns);
        let text = text.map_err(|it| Unfit::new(it.to_string()))?;
        Ok(Conversation::pair(None, &text, None))
    }

    fn fill(&self, fields: &Map<String, Json>, columns: &Columns) -> Result<String, TextError> {
        let mut context = Context::new();
        let mut size = 0;
        for name in &self.inputs {
            let theirs = columns.get(name).unwrap_or(name);
            if let Some(it) = fields.get(theirs).filter(|it| !it.is_null()) {
                size += size_of_texts(it);
                context.insert(name, it);
            }
        }
        let text = self.renderer.render(&context, MAX_WRITTEN_BYTES + 8 * size);
        text.map_err(|it| self.mistake(it, &context, fields))
    }

    fn mistake(
        &self,
        error: RenderError,
        known: &Context<'_>,
        map: &Map<String, Json>,
    ) -> TextError {
        if !error.undefined {
            return self.wrong(None, error.reason);
        }
        let line = error.line;
        let on_line = |it: &&String| {
            let text = line.and_then(|at| self.source.lines().nth(at.saturating_sub(1)));
            text.is_none_or(|text| text.contains(it.as_str()))
        };
        let lacks = || self.inputs.iter().filter(|it| !known.contains_key(it.as_str()));
        let Some(name) = lacks().find(on_line).or_else(|| lacks().next()) else {
            return self.wrong(None, error.reason);
        };
        let fields = Record { map, columns: &Columns::new() }.fields();
        self.wrong(line, format!("needs `{name}`, which the record does not have; {fields}"))
    }

    fn wrong(&self, line: Option<usize>, reason: String) -> TextError {
        TextError::Prompt { path: self.path.clone(), line, reason }
    }
}

/// What stands in the comment with which a file begins; or the line and what is wrong there.
fn header(source: &str) -> Result<BTreeMap<String, String>, (usize, String)> {
    let wrong = |line: usize, reason: &str| (line, reason.to_owned());
    let mut lines = source.lines().enumerate();
    if lines.next().is_none_or(|(_, it)| it.trim_end() != "{#") {
        return Err(wrong(1, "does not begin with a header: a line `{#`"));
    }
    let mut header = BTreeMap::new();
    for (i, line) in lines {
        if line.trim_end() == "#}" {
            let lacks = ["id", "inputs"].iter().find(|it| !header.contains_key(**it));
            return match lacks {
                Some(it) => Err((i + 1, format!("the header does not say `{it}`"))),
                None => Ok(header),
            };
        }
        let Some((key, value)) = line.split_once(':') else {
            return Err(wrong(i + 1, "is no `key: value` of the header"));
        };
        let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
        if !KEYS.contains(&key.as_str()) {
            return Err((i + 1, format!("`{key}` is none of `{}`", KEYS.join("`, `"))));
        }
        if header.insert(key, value).is_some() {
            return Err(wrong(i + 1, "says again what the header has said"));
        }
    }
    Err(wrong(1, "the header does not end with a line `#}`"))
}

/// The first line below the header that holds a name.
fn line_of(source: &str, name: &str) -> Option<usize> {
    let below = source.lines().enumerate().skip_while(|(_, it)| it.trim_end() != "#}");
    below.skip(1).find(|(_, it)| it.contains(name)).map(|(i, _)| i + 1)
}
