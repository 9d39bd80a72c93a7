//! Mistakes in what people write: each with its place, a stable code and advice.
//!
//! A mistake is collected, not thrown: whoever reads a manifest gets all of them at once. Nothing
//! here knows colours or terminals.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, SourceCode};

use crate::Place;
use crate::text::{At, Text, Texts};

/// One mistake.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// Stable, for scripts and documentation: one of [`CODES`].
    pub code: &'static str,
    /// What is wrong, in one line.
    pub message: String,
    /// Where; the first is the one that counts. Empty where no file is to blame.
    pub labels: Vec<(Place, String)>,
    /// What to do about it.
    pub help: Option<String>,
    /// The labels with their texts, in their order.
    shown: Vec<Shown>,
}

/// All mistakes that were found, sorted by file and position; never empty as an error.
#[derive(Clone, Debug, Default)]
pub struct Mistakes(pub Vec<Mistake>);

/// Every code that a mistake can have.
pub const CODES: &[&str] = &[
    "manifest::bad-endpoint",
    "manifest::bad-name",
    "manifest::bad-number",
    "manifest::bad-path",
    "manifest::bad-reference",
    "manifest::bad-target",
    "manifest::bad-value",
    "manifest::cycle",
    "manifest::date",
    "manifest::duplicate",
    "manifest::duplicate-output",
    "manifest::duplicate-value",
    "manifest::fanned",
    "manifest::format-too-new",
    "manifest::include-cycle",
    "manifest::include-workflow",
    "manifest::missing-input",
    "manifest::missing-key",
    "manifest::missing-with",
    "manifest::no-files",
    "manifest::no-numerics",
    "manifest::no-seed",
    "manifest::no-shards",
    "manifest::not-an-endpoint",
    "manifest::not-for-kinds",
    "manifest::not-utf8",
    "manifest::op-or-run",
    "manifest::param-type",
    "manifest::path-leaves",
    "manifest::path-or-endpoint",
    "manifest::skipped",
    "manifest::syntax",
    "manifest::too-deep",
    "manifest::too-large",
    "manifest::too-many",
    "manifest::too-many-inputs",
    "manifest::unknown-each",
    "manifest::unknown-instance",
    "manifest::unknown-key",
    "manifest::unknown-kind",
    "manifest::unknown-model",
    "manifest::unknown-param",
    "manifest::unknown-pool",
    "manifest::unknown-port",
    "manifest::unknown-slot",
    "manifest::unknown-source",
    "manifest::unknown-step",
    "manifest::unknown-variant",
    "manifest::unknown-with",
    "manifest::unreadable",
    "manifest::variant-cycle",
    "manifest::wrong-form",
    "manifest::wrong-type",
];

/// A label with the text that it is drawn on; a finding of its own where that is another file's.
#[derive(Clone, Debug)]
struct Shown {
    place: Place,
    label: String,
    text: Arc<Text>,
}

impl Mistake {
    /// A mistake that no stretch of a file shows.
    pub(crate) fn bare(code: &'static str, message: impl Into<String>) -> Self {
        debug_assert!(CODES.contains(&code), "`{code}` is missing from CODES");
        Self { code, message: message.into(), labels: Vec::new(), help: None, shown: Vec::new() }
    }

    /// A mistake at a place.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self::bare(code, message)
    }

    /// Adds a place, with a word on what stands there (may be empty).
    pub(crate) fn at(mut self, texts: &Texts, at: At, label: impl Into<String>) -> Self {
        let Some(text) = texts.get(at.file as usize) else { return self };
        let place = text.place(at.start as usize, at.end as usize);
        let label = label.into();
        let text = Arc::clone(text);
        self.shown.push(Shown { place: place.clone(), label: label.clone(), text });
        self.labels.push((place, label));
        self
    }

    /// Adds advice.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds advice where there is some.
    pub(crate) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

impl Diagnostic for Mistake {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|it| Box::new(it) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.shown.first().map(|it| it.text.as_ref() as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let first = &self.shown.first()?.text;
        let own = self.shown.iter().filter(|it| Arc::ptr_eq(&it.text, first));
        Some(Box::new(own.map(|it| labeled(&it.place, &it.label))))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        let first = &self.shown.first()?.text;
        let mut others = self.shown.iter().filter(|it| !Arc::ptr_eq(&it.text, first)).peekable();
        others.peek()?;
        Some(Box::new(others.map(|it| it as &dyn Diagnostic)))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.label.is_empty() { "and here" } else { &self.label })
    }
}

impl std::error::Error for Shown {}

impl Diagnostic for Shown {
    fn severity(&self) -> Option<miette::Severity> {
        Some(miette::Severity::Advice)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.text.as_ref())
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(labeled(&self.place, &self.label))))
    }
}

impl Mistakes {
    /// Sorts by file and position, and drops what was said twice.
    pub(crate) fn sorted(mut found: Vec<Mistake>, texts: &Texts) -> Self {
        let files: HashMap<*const PathBuf, usize> =
            texts.iter().enumerate().map(|(i, it)| (Arc::as_ptr(it.name()), i)).collect();
        let rank = |it: &Mistake| {
            let place = it.labels.first().map(|(place, _)| place);
            let file = place.and_then(|it| files.get(&Arc::as_ptr(&it.file)).copied());
            (file, place.map(|it| it.start))
        };
        found.sort_by_cached_key(rank);
        found.dedup_by(|a, b| {
            a.code == b.code && a.message == b.message && a.labels.first() == b.labels.first()
        });
        Self(found)
    }

    /// Plain text: `code file:line:column message`, then the other places and the advice, each
    /// on a line of its own.
    pub fn render(&self) -> String {
        self.0.iter().map(Mistake::render).collect::<Vec<_>>().join("\n")
    }
}

impl Mistake {
    /// Plain text: see [`Mistakes::render`].
    pub fn render(&self) -> String {
        let mut out = self.code.to_owned();
        for (i, Shown { place, label, text }) in self.shown.iter().enumerate() {
            let column = text.column(place.start);
            match i {
                0 => {
                    out += &format!(" {place}:{column} {}", self.message);
                    if !label.is_empty() {
                        out += &format!("\n  here: {label}");
                    }
                }
                _ => out += &format!("\n  {place}:{column} {label}"),
            }
        }
        if self.shown.is_empty() {
            out += &format!(" {}", self.message);
        }
        if let Some(help) = &self.help {
            out += &format!("\n  help: {help}");
        }
        out
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render())
    }
}

impl std::error::Error for Mistakes {}

impl Diagnostic for Mistakes {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.0.iter().map(|it| it as &dyn Diagnostic)))
    }
}

fn labeled(place: &Place, label: &str) -> LabeledSpan {
    let label = Some(label.to_owned()).filter(|it| !it.is_empty());
    LabeledSpan::new(label, place.start, place.end.saturating_sub(place.start))
}
