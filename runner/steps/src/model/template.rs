//! Chat templates, rendered as `transformers` renders them: Jinja with trimmed blocks, loop
//! controls, Python's string methods and its `tojson`.
//!
//! A template comes with a model and is a program of somebody else's. It cannot read files or the
//! clock; it is stopped after a number of steps, and what it writes is bounded. Rendering is a
//! function of the conversation alone, because its result is under a key.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::Value as Json;

use super::error::TextError;
use super::folder::{self, Settings};
use super::python_json::{self, Style};

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
/// A long conversation takes some ten thousand steps.
const MAX_STEPS: u64 = 5_000_000;
/// What a template may write beyond some multiple of what it was given.
pub(super) const MAX_WRITTEN_BYTES: usize = 16 << 20;

/// A compiled chat template.
pub struct Template {
    name: String,
    source: String,
    environment: Environment<'static>,
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
        Self::new(name, source)
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
        let wrong = |reason| TextError::Template { name: name.to_owned(), reason };
        if source.len() > MAX_SOURCE_BYTES {
            return Err(wrong(format!("is longer than {MAX_SOURCE_BYTES} bytes")));
        }
        let mut environment = environment().map_err(|it| wrong(reason_of(&it)))?;
        environment
            .add_template_owned("chat", without_marks(source))
            .map_err(|it| wrong(reason_of(&it)))?;
        let (name, literals) = (name.to_owned(), literals(source));
        Ok(Self { name, source: source.to_owned(), environment, literals })
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
        let wrong = |reason| TextError::Template { name: self.name.clone(), reason };
        let template = self.environment.get_template("chat").map_err(|it| wrong(reason_of(&it)))?;
        let mut context: BTreeMap<&str, Value> = BTreeMap::new();
        for (name, text) in given.names.into_iter().flatten() {
            context.insert(name, Value::from(text.as_str()));
        }
        context.insert("messages", Value::from(Serde(&given.messages)));
        context.insert("tools", Value::from(Serde(&given.tools)));
        context.insert("documents", Value::from(()));
        context.insert("add_generation_prompt", Value::from(given.asks_for_answer));
        let limit = MAX_WRITTEN_BYTES + 8 * size_of_texts(&given.messages);
        let mut writer = Bounded { out: Vec::new(), limit };
        let context = Value::from(context);
        template.render_captured_to(context, &mut writer).map_err(|it| wrong(reason_of(&it)))?;
        String::from_utf8(writer.out).map_err(|_| wrong("writes bytes that are not UTF-8".into()))
    }
}

pub(super) fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build()?);
    // So that a release build names what is undefined, as a debug build does.
    environment.set_debug(true);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(|state, value, method, arguments| {
        match (value.as_str(), method, arguments) {
            (Some(text), "title", []) => Ok(Value::from(title(text))),
            _ => unknown_method_callback(state, value, method, arguments),
        }
    });
    environment.set_fuel(Some(MAX_STEPS));
    environment.add_function("raise_exception", |reason: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{reason}")))
    });
    environment.add_filter("tojson", to_json);
    Ok(environment)
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

/// `str.title` of Python: a letter is large where none stands before it.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match (c.is_alphabetic(), inside) {
            (true, false) => out.extend(c.to_uppercase()),
            (true, true) => out.extend(c.to_lowercase()),
            (false, _) => out.push(c),
        }
        inside = c.is_alphabetic();
    }
    out
}

/// Marks what a template itself has to say, to tell it from what the engine says.
const RAISED: &str = "it refuses: ";

fn to_json(value: Value, options: Kwargs) -> Result<String, Error> {
    let separators: Option<Vec<String>> = options.get("separators")?;
    let separators = match separators.as_deref() {
        Some([items, keys]) => Some((items.clone(), keys.clone())),
        _ => None,
    };
    let style = Style {
        indent: options.get::<Option<usize>>("indent")?.map(|it| it.min(16)),
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        separators,
    };
    options.assert_all_used()?;
    let json = serde_json::to_value(&value);
    let json = json.map_err(|it| Error::new(ErrorKind::BadSerialization, it.to_string()))?;
    Ok(python_json::dumps(&json, &style))
}

/// Why it went wrong, in a sentence.
pub(super) fn reason_of(error: &Error) -> String {
    let detail = error.detail().unwrap_or_default();
    if let Some(at) = detail.find(RAISED) {
        return detail[at..].to_owned();
    }
    if detail.contains("strftime_now") {
        return "asks for the time of day (`strftime_now`), which no key holds".to_owned();
    }
    match error.kind() {
        ErrorKind::OutOfFuel => format!("does not end within {MAX_STEPS} steps"),
        ErrorKind::WriteFailure => "writes more than a conversation can need".to_owned(),
        _ => {
            let text = error.to_string();
            let text = text.split_once(" (in chat:").map_or(text.as_str(), |it| it.0);
            error.line().map_or(text.to_owned(), |line| format!("line {line}: {text}"))
        }
    }
}

pub(super) struct Bounded {
    pub(super) out: Vec<u8>,
    pub(super) limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.out.len() + bytes.len() > self.limit {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
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
