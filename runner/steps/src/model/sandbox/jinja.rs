//! The engine: Jinja as `transformers` sets it up, with trimmed blocks, loop controls, Python's
//! string methods and its `tojson`.
//!
//! A template cannot read files or the clock. It is stopped after a number of steps, and what it
//! writes is bounded; what it holds in memory meanwhile is bounded by [`super::serve`].

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::super::python_json::{self, Style};
use super::{Context, RenderError, Undefined};

/// A long conversation takes some ten thousand steps.
const MAX_STEPS: u64 = 5_000_000;
/// The name of the one template in an environment.
const NAME: &str = "chat";

/// A template, compiled in this process.
pub(in super::super) struct Compiled {
    environment: Environment<'static>,
    undeclared: BTreeSet<String>,
}

impl Compiled {
    pub(super) fn new(source: &str, undefined: Undefined) -> Result<Self, RenderError> {
        let compile = || -> Result<_, Error> {
            let mut environment = environment()?;
            environment.set_undefined_behavior(match undefined {
                Undefined::Lenient => UndefinedBehavior::Lenient,
                Undefined::Strict => UndefinedBehavior::Strict,
            });
            environment.add_template_owned(NAME, source.to_owned())?;
            let used = environment.get_template(NAME)?.undeclared_variables(false);
            // What is built in counts as undeclared too.
            let built_in = |it: &String| environment.globals().any(|(name, _)| name == it);
            let undeclared = used.into_iter().filter(|it| !built_in(it)).collect();
            Ok(Self { environment, undeclared })
        };
        compile().map_err(|it| error_of(&it))
    }

    pub(super) fn undeclared(&self) -> &BTreeSet<String> {
        &self.undeclared
    }

    pub(super) fn render(
        &self,
        context: &Context<'_>,
        limit: usize,
    ) -> Result<String, RenderError> {
        let context: BTreeMap<&str, Value> =
            context.iter().map(|(name, it)| (*name, Value::from(Serde(*it)))).collect();
        let mut writer = Bounded { out: Vec::new(), limit };
        let render = || -> Result<(), Error> {
            let template = self.environment.get_template(NAME)?;
            template.render_captured_to(Value::from(context), &mut writer).map(|_| ())
        };
        render().map_err(|it| error_of(&it))?;
        let wrong = |_| RenderError::of_process("writes bytes that are not UTF-8".to_owned());
        String::from_utf8(writer.out).map_err(wrong)
    }
}

fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build()?);
    // So that a release build names what is undefined, as a debug build does.
    environment.set_debug(true);
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

fn error_of(error: &Error) -> RenderError {
    RenderError {
        reason: reason_of(error),
        line: error.line(),
        undefined: error.kind() == ErrorKind::UndefinedError,
    }
}

/// Why it went wrong, in a sentence.
fn reason_of(error: &Error) -> String {
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

struct Bounded {
    out: Vec<u8>,
    limit: usize,
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
