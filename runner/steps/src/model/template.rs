//! Chat templates, rendered as `transformers` renders them.
//!
//! A template comes with a model and is a program of somebody else's: it is bounded in steps, in
//! memory and in what it writes ([`super::sandbox`]). Rendering is a function of the conversation
//! alone, because its result is under a key.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use super::error::TextError;
use super::folder::{self, Settings};
use super::sandbox::{Context, RenderError, Renderer, Undefined};

/// Templates that are built in, by name.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("yi-chatml", YI_CHATML),
    ("plain", PLAIN),
    ("kun", include_str!("kun/bare.jinja")),
    ("kun-label", include_str!("kun/label.jinja")),
    ("kun-point", include_str!("kun/point.jinja")),
    ("kun-answer", include_str!("kun/answer.jinja")),
];

/// The template of Yi's chat models.
pub const YI_CHATML: &str = "\
{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}\
{% for message in messages %}\
{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}\
{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// No marks at all: contents one after another, and the end of the text behind each answer.
pub const PLAIN: &str = "\
{% for message in messages %}{{ message['content'] }}\
{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}";

/// A template longer than this is none.
pub(super) const MAX_SOURCE_BYTES: usize = 1 << 20;
/// What a template may write beyond some multiple of what it was given.
pub(super) const MAX_WRITTEN_BYTES: usize = 16 << 20;

/// A compiled chat template.
pub struct Template {
    name: String,
    source: String,
    renderer: Renderer,
    literals: Vec<String>,
}

/// What a template is given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given<'a> {
    pub(crate) messages: Json,
    pub(crate) tools: Option<Json>,
    pub(crate) names: Option<&'a BTreeMap<String, String>>,
    pub(crate) asks_for_answer: bool,
}

impl Template {
    /// A built-in template.
    pub fn built_in(name: &str) -> Result<Self, TextError> {
        let Some((_, source)) = BUILT_IN.iter().find(|it| it.0 == name) else {
            let known: Vec<String> = BUILT_IN.iter().map(|it| format!("`{}`", it.0)).collect();
            let reason = format!("`{name}` is none of {}", known.join(", "));
            return Err(TextError::NoTemplate { reason });
        };
        Self::trusted(name, source)
    }

    /// Compiles a template of ours.
    pub(crate) fn trusted(name: &str, source: &str) -> Result<Self, TextError> {
        Self::compiled(name, source, Renderer::trusted)
    }

    /// The template of a model folder: `chat_template.jinja`, or what `tokenizer_config.json` holds.
    pub fn of_folder(folder: &Path) -> Result<Option<Self>, TextError> {
        let path = folder.join("chat_template.jinja");
        if let Some(source) = folder::text(&path)? {
            return Self::new("chat_template.jinja", &source).map(Some);
        }
        let config = Settings::read(folder.join("tokenizer_config.json"))?;
        let source = match config.get("chat_template") {
            None => return Ok(None),
            Some(Json::String(it)) => it,
            Some(Json::Array(all)) => {
                let default = all.iter().find(|it| it.get("name") == Some(&"default".into()));
                let source = default.and_then(|it| it.get("template")).and_then(Json::as_str);
                source.ok_or_else(|| config.wrong("chat_template", "has none named `default`"))?
            }
            Some(_) => return Err(config.wrong("chat_template", "is neither a text nor a list")),
        };
        Self::new("tokenizer_config.json", source).map(Some)
    }

    /// The template in a file, where none is named besides.
    pub(crate) fn chosen(file: &Path, name: Option<&str>) -> Result<Self, TextError> {
        if let Some(name) = name {
            let reason = format!("`template` names `{name}`, and there is a file as well");
            return Err(TextError::NoTemplate { reason });
        }
        let gone = || TextError::io(file)(std::io::ErrorKind::NotFound.into());
        let source = folder::text(file)?.ok_or_else(gone)?;
        let shown = file.file_name().and_then(|it| it.to_str()).unwrap_or("template");
        Self::new(shown, &source)
    }

    /// Compiles a template.
    pub fn new(name: &str, source: &str) -> Result<Self, TextError> {
        // What models of Yi's family come with, and those trained here, is ours under another name.
        if BUILT_IN.iter().any(|it| it.1 == source) {
            return Self::trusted(name, source);
        }
        Self::compiled(name, source, |it| Renderer::foreign(it, Undefined::Lenient))
    }

    fn compiled(
        name: &str,
        source: &str,
        compile: impl FnOnce(&str) -> Result<Renderer, RenderError>,
    ) -> Result<Self, TextError> {
        let wrong = |reason| TextError::Template { name: name.to_owned(), reason };
        if source.len() > MAX_SOURCE_BYTES {
            return Err(wrong(format!("is longer than {MAX_SOURCE_BYTES} bytes")));
        }
        let renderer = compile(&without_marks(source)).map_err(|it| wrong(it.reason))?;
        let (name, literals) = (name.to_owned(), literals(source));
        Ok(Self { name, source: source.to_owned(), renderer, literals })
    }

    /// Its name: of a built-in one or of its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The quoted texts in it.
    pub(crate) fn literals(&self) -> &[String] {
        &self.literals
    }

    pub(crate) fn render(&self, given: &Given<'_>) -> Result<String, TextError> {
        let names = given.names.into_iter().flatten();
        let names: Vec<(&str, Json)> =
            names.map(|(name, text)| (name.as_str(), text.as_str().into())).collect();
        let mut context: Context<'_> = names.iter().map(|(name, text)| (*name, text)).collect();
        let asks_for_answer = Json::Bool(given.asks_for_answer);
        context.insert("messages", &given.messages);
        context.insert("tools", given.tools.as_ref().unwrap_or(&Json::Null));
        context.insert("documents", &Json::Null);
        context.insert("add_generation_prompt", &asks_for_answer);
        let limit = MAX_WRITTEN_BYTES + 8 * size_of_texts(&given.messages);
        let text = self.renderer.render(&context, limit);
        text.map_err(|it| TextError::Template { name: self.name.clone(), reason: it.reason })
    }
}

/// `{% generation %}` and its end mark answers for trainers; what an answer is follows from the
/// prompt here, so they are blocks that change nothing.
fn without_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, block) = rest.split_at(at);
        let end = block.find("%}").map_or(block.len(), |it| it + 2);
        let (block, after) = block.split_at(end);
        out.push_str(before);
        let word = block.trim_matches(|it: char| "{}%-+".contains(it) || it.is_whitespace());
        match word {
            "generation" => out.push_str(&block.replace(word, "if true")),
            "endgeneration" => out.push_str(&block.replace(word, "endif")),
            _ => out.push_str(block),
        }
        rest = after;
    }
    out + rest
}

pub(super) fn size_of_texts(json: &Json) -> usize {
    match json {
        Json::String(it) => it.len(),
        Json::Array(all) => all.iter().map(size_of_texts).sum(),
        Json::Object(map) => map.iter().map(|(key, it)| key.len() + size_of_texts(it)).sum(),
        _ => 8,
    }
}

/// The texts in quotes in a template, with its escapes read; and what looks like one is one.
fn literals(source: &str) -> Vec<String> {
    let mut found = std::collections::BTreeSet::new();
    for quote in ['\'', '"'] {
        let mut chars = source.chars();
        while chars.by_ref().any(|it| it == quote) {
            let mut text = String::new();
            // A quote may be an apostrophe of a text: then the next one is tried as a start.
            let mut rest = chars.clone();
            while let Some(c) = rest.next() {
                match c {
                    '\\' => match rest.next() {
                        Some('n') => text.push('\n'),
                        Some('t') => text.push('\t'),
                        Some(c) => text.push(c),
                        None => {}
                    },
                    c if c == quote => {
                        found.insert(std::mem::take(&mut text));
                        break;
                    }
                    c => text.push(c),
                }
            }
        }
    }
    found.into_iter().collect()
}
