//! `kun lock`: writes `kun.lock`: one sorted line for each source and each result, so that another
//! machine, or another month, can be held to them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use engine::Home;
use plan::{Input, Key};
use store::Wait;

use crate::args::Common;
use crate::exit::Exit;
use crate::printer::{GOOD, Printer};
use crate::project::{self, Opened};
use crate::trouble::Trouble;
use crate::words;

/// Write `kun.lock`: the digests of sources and results as they are now
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest, then targets; nothing: the workflow's own targets
    #[arg(value_name = "TARGET")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
    /// Write nothing; say what differs, with exit code 1 if anything does
    #[arg(long)]
    check: bool,
}

/// Name to what it is locked to.
pub(crate) type Lines = BTreeMap<String, String>;

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.common.manifest.take_from(&mut args.words);
    let opened = project::open(&args.common, args.words.clone())?;
    let now = lines(&opened);
    if args.check {
        let differences = differences(&read(&opened.home)?, &now);
        if args.common.answer.json {
            printer.json(&serde_json::json!({"lines": now, "differences": differences}));
        } else {
            differences.iter().for_each(|it| printer.data(it));
        }
        if !differences.is_empty() {
            return Ok(Exit::Failed);
        }
        let shown = words::near(&path(&opened.home));
        printer.act(GOOD, "Good", format!("{} in `{shown}` hold", words::count(now.len(), "line")));
        return Ok(Exit::Good);
    }
    let path = path(&opened.home);
    let mut text = String::new();
    for (name, value) in &now {
        text.push_str(&format!("{name} {value}\n"));
    }
    store::replace(opened.store.disk(), &path, text.as_bytes(), Wait::ForDisk)?;
    if args.common.answer.json {
        printer.json(&serde_json::json!({"lines": now, "differences": []}));
    }
    printer.act(
        GOOD,
        "Locked",
        format!("{} in `{}`", words::count(now.len(), "line"), words::near(&path)),
    );
    Ok(Exit::Good)
}

fn path(home: &Home) -> PathBuf {
    home.root.join("kun.lock")
}

/// The lock file; a missing one is empty.
pub(crate) fn read(home: &Home) -> Result<Lines, Trouble> {
    let path = path(home);
    let text = match fs::read_to_string(&path) {
        Err(it) if it.kind() == std::io::ErrorKind::NotFound => return Ok(Lines::new()),
        other => other.map_err(|it| Trouble::io(&path, it))?,
    };
    let mut lines = Lines::new();
    for (n, line) in text.lines().enumerate() {
        let Some((name, value)) = line.split_once(" b3:") else {
            let text = format!("`{}`:{}: expected a name and a digest", path.display(), n + 1);
            return Err(Trouble::helped(text, "`kun lock` writes it anew"));
        };
        lines.insert(name.to_owned(), format!("b3:{value}"));
    }
    Ok(lines)
}

/// The keys that the lock file names.
pub(crate) fn keys(home: &Home) -> Result<Vec<Key>, Trouble> {
    let keys = read(home)?.into_iter().filter(|(name, _)| name.starts_with("key "));
    Ok(keys.filter_map(|(_, value)| value.parse().ok()).collect())
}

/// What the lock file of this project would say now.
pub(crate) fn lines(opened: &Opened) -> Lines {
    let mut lines = Lines::new();
    for (source, digest) in opened.graph.sources.iter().zip(&opened.gathered.facts.sources) {
        // What a server has cannot be locked.
        if let Some(digest) = digest.filter(|_| source.endpoint.is_none()) {
            lines.insert(
                format!("source {}", escaped(&source.path.display().to_string())),
                digest.to_string(),
            );
        }
    }
    for target in &opened.graph.targets {
        for (slot, inputs) in &target.slots {
            for (i, input) in inputs.iter().enumerate() {
                let Input::Output { instance, slot: from } = input else { continue };
                let Some(key) = opened.planned.keys[instance.0] else { continue };
                let name = escaped(&target.address.to_string());
                lines.insert(format!("key {name}"), key.to_string());
                if let Some(object) = opened.index.output(&key, from) {
                    let n = if inputs.len() > 1 { format!(".{i:05}") } else { String::new() };
                    lines.insert(format!("output {name}.{slot}{n}"), object.digest.to_string());
                }
            }
        }
    }
    lines
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

/// What differs, a line each.
pub(crate) fn differences(was: &Lines, is: &Lines) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let mut found = vec![];
    for name in names {
        match (was.get(name), is.get(name)) {
            (Some(was), Some(is)) if was != is => {
                found.push(format!("{name}: locked {was}, is {is}"))
            }
            (Some(_), None) => found.push(format!("{name}: locked, and not made yet")),
            (None, Some(_)) => found.push(format!("{name}: not locked")),
            _ => {}
        }
    }
    found
}
