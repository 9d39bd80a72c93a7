//! The only place that writes to the terminal. Standard output is data, standard error is talk.

use std::io::{self, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use miette::{GraphicalReportHandler, GraphicalTheme};
use plan::mistake::Mistakes;

use crate::trouble::Trouble;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    /// What happens, for people.
    Normal,
    /// Only what went wrong.
    Quiet,
}

/// Writes data and talk.
#[derive(Debug)]
pub(crate) struct Printer {
    pub(crate) talk: Talk,
}

/// Green: done.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Cyan: names and paths, and what goes on.
pub(crate) const NAME: Style = AnsiColor::Cyan.on_default();
/// Yellow: warnings.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// Red: errors.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What matters less.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// How wide the verbs on the left are.
const VERB: usize = 12;

impl Printer {
    /// One line of data.
    pub(crate) fn data(&self, line: impl std::fmt::Display) {
        // A reader that has gone away (`| head`) ends the program quietly.
        if writeln!(io::stdout().lock(), "{line}").is_err() {
            std::process::exit(0);
        }
    }

    /// A piece of text as it comes, such as a model's. On a terminal, what would steer the terminal
    /// is shown instead.
    pub(crate) fn piece(&self, text: &str) {
        let mut out = io::stdout().lock();
        let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
        let result = if out.is_terminal() && text.contains(steers) {
            let shown = text.chars().map(|c| match steers(c) {
                true => c.escape_default().to_string(),
                false => c.to_string(),
            });
            write!(out, "{}", shown.collect::<String>())
        } else {
            write!(out, "{text}")
        };
        if result.and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }

    /// A prompt for somebody who types: only where somebody does.
    pub(crate) fn ask(&self, text: &str) {
        if io::stdin().is_terminal() && self.talk == Talk::Normal {
            let mut err = anstream::stderr().lock();
            let _ = write!(err, "{NAME}{text}{NAME:#}").and_then(|()| err.flush());
        }
    }

    /// A value as JSON, on one line.
    pub(crate) fn json(&self, value: &impl serde::Serialize) {
        self.data(serde_json::to_string(value).unwrap_or_else(|it| format!("\"{it}\"")));
    }

    /// One line of talk, as it stands.
    pub(crate) fn say(&self, line: impl std::fmt::Display) {
        if self.talk == Talk::Normal {
            let _ = writeln!(anstream::stderr().lock(), "{line}");
        }
    }

    /// One line of talk about what went wrong: said even when quiet.
    pub(crate) fn complain(&self, line: impl std::fmt::Display) {
        let _ = writeln!(anstream::stderr().lock(), "{line}");
    }

    /// One line of talk behind a verb.
    pub(crate) fn act(&self, style: Style, verb: &str, rest: impl std::fmt::Display) {
        self.say(acted(style, verb, rest));
    }

    /// A warning: said even when quiet.
    pub(crate) fn warn(&self, text: impl std::fmt::Display) {
        let _ = writeln!(anstream::stderr().lock(), "{WARNING}warning{WARNING:#}: {text}");
    }

    /// Why a command could not do its work.
    pub(crate) fn trouble(&self, trouble: &Trouble) {
        let mut err = anstream::stderr().lock();
        if let Trouble::Manifest(mistakes) = trouble {
            let _ = write!(err, "{}", drawn(mistakes));
            return;
        }
        for (i, line) in engine::error::chain(trouble).lines().enumerate() {
            let start = if i == 0 { format!("{BAD}error{BAD:#}:") } else { "  ".to_owned() };
            let _ = writeln!(err, "{start} {line}");
        }
        if let Some(help) = help(trouble) {
            let _ = writeln!(err, "\n{NAME}help{NAME:#}: {help}");
        }
    }
}

/// A verb at the right of its column, then the rest.
pub(crate) fn acted(style: Style, verb: &str, rest: impl std::fmt::Display) -> String {
    format!("{style}{verb:>VERB$}{style:#} {rest}")
}

/// Text with styles, as standard output wants it: without them where it is no terminal.
pub(crate) fn for_stdout(text: String) -> String {
    let keeps = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
    if keeps { text } else { anstream::adapter::strip_str(&text).to_string() }
}

/// Who has more mistakes mends these first, and sees the next ones then.
const MOST_DRAWN: usize = 200;

/// Mistakes with the lines they stand on.
fn drawn(mistakes: &Mistakes) -> String {
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let theme = if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
    let mut text = String::new();
    for mistake in mistakes.0.iter().take(MOST_DRAWN) {
        if handler.render_report(&mut text, mistake).is_err() {
            text.push_str(&mistake.to_string());
        }
        text.push('\n');
    }
    let n = mistakes.0.len();
    text.push_str(&format!("{n} {}", if n == 1 { "mistake" } else { "mistakes" }));
    if n > MOST_DRAWN {
        text.push_str(&format!("; these are the first {MOST_DRAWN}"));
    }
    text.push('\n');
    text
}

fn help(trouble: &Trouble) -> Option<String> {
    match trouble {
        Trouble::User { help, .. } => help.clone(),
        Trouble::Engine(engine::EngineError::Store(error)) if error.is_full() => {
            Some("free some room (`kun gc` says what it could remove), then run again".to_owned())
        }
        Trouble::Engine(engine::EngineError::Store(error)) if error.is_denied() => Some(
            "a store is a group's where its folder belongs to the group and was made \
             `chmod g+ws` before the first run"
                .to_owned(),
        ),
        Trouble::Engine(engine::EngineError::NotExported { .. }) => {
            Some("the same command makes it again".to_owned())
        }
        Trouble::Engine(engine::EngineError::Absent(_)) => {
            Some("put the files there, or point the manifest to where they are".to_owned())
        }
        _ => None,
    }
}
