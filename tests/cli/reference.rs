//! What is made from the code and committed is what the code makes now.
//!
//! `KUN_BLESS=1 cargo test --test cli reference` writes the files anew.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::project::Project;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a committed file with what it should be, or writes it.
fn is_fresh(path: &str, text: &str) {
    let file = root().join(path);
    if std::env::var_os("KUN_BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        return;
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let refresh = "KUN_BLESS=1 cargo test --test cli reference";
    let differs = committed.lines().zip(text.lines()).position(|(a, b)| a != b);
    assert!(committed == text, "`{path}` is old from line {differs:?} on; `{refresh}` renews it");
}

fn stdout(args: &str) -> String {
    let output = Project::with(&[]).output(args);
    assert!(output.status.success(), "{args}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_schema_for_editors_is_fresh() {
    is_fresh("workflows/workflow.schema.json", &stdout("schema"));
}

#[test]
fn the_reference_of_kinds_is_fresh() {
    is_fresh("doc/reference/kinds.md", &stdout("kinds --markdown"));
}

#[test]
fn the_reference_of_commands_is_fresh() {
    let mut text = "# Commands\n\nMade from the program's own help.\n".to_owned();
    let help = stdout("--help");
    let _ = write!(text, "\n## kun\n\n```text\n{}\n```\n", help.trim_end());
    let commands = help.lines().skip_while(|it| *it != "Commands:").skip(1);
    for line in commands.take_while(|it| !it.is_empty()) {
        let name = line.split_whitespace().next().unwrap();
        if name != "help" {
            let help = stdout(&format!("{name} --help"));
            let _ = write!(text, "\n## kun {name}\n\n```text\n{}\n```\n", help.trim_end());
        }
    }
    is_fresh("doc/reference/cli.md", &text);
}

/// The lines of a documented enum, from its head to its end.
fn items(path: &str, head: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(path)).unwrap();
    let lines = text.lines().skip_while(|it| !it.contains(head)).skip(1);
    lines.take_while(|it| *it != "}").map(|it| it.trim().to_owned()).collect()
}

/// `StepDone` is `step_done`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for it in name.chars() {
        if it.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(it.to_lowercase());
    }
    out
}

#[test]
fn the_reference_of_exit_codes_is_fresh() {
    let mut text = "# Exit codes\n\nThey are fixed: scripts may rely on them.\n\n".to_owned();
    text.push_str("| code | means |\n|---|---|\n");
    let mut said = String::new();
    for line in items("runner/cli/exit.rs", "enum Exit") {
        if let Some(words) = line.strip_prefix("///") {
            said.push_str(words);
        } else if let Some((_, code)) = line.trim_end_matches(',').split_once(" = ") {
            let _ = writeln!(text, "| {code} | {} |", said.trim());
            said.clear();
        }
    }
    assert_eq!(text.lines().count(), 6 + 6, "{text}");
    is_fresh("doc/reference/exit-codes.md", &text);
}

#[test]
fn the_reference_of_events_is_fresh() {
    let mut text = "# Events\n\n`kun run --json` writes one of these in each line, as it happens. \
                    A run's record holds the\nsame lines, each with `at`, in milliseconds since 1970, but for `step_progress`: only the \
                    newest of those\nis kept, in `now.json`. Fields may be added; none is renamed or \
                    removed.\n"
        .to_owned();
    let mut said = String::new();
    for line in items("runner/engine/src/events.rs", "pub enum Event") {
        if let Some(words) = line.strip_prefix("///") {
            said.push_str(words);
        } else if let Some(name) = line.strip_suffix(" {") {
            let _ = write!(text, "\n## {}\n\n{}\n\n", snake(name), said.trim());
            text.push_str("| field | type | |\n|---|---|---|\n");
            said.clear();
        } else if let Some((field, kind)) = line.trim_end_matches(',').split_once(": ") {
            let kind = json_type(kind);
            let _ = writeln!(text, "| `{field}` | {kind} | {} |", said.trim());
            said.clear();
        }
    }
    for (head, field) in [("pub enum Reuse", "how"), ("pub enum End", "end")] {
        let _ = write!(text, "\n## values of `{field}`\n\n| value | means |\n|---|---|\n");
        for line in items("runner/engine/src/events.rs", head) {
            if let Some(words) = line.strip_prefix("///") {
                said.push_str(words);
            } else {
                let value = snake(line.trim_end_matches(','));
                let _ = writeln!(text, "| `{value}` | {} |", said.trim());
                said.clear();
            }
        }
    }
    is_fresh("doc/reference/events.md", &text);
}

fn json_type(rust: &str) -> String {
    let inside = |head: &str| rust.strip_prefix(head).and_then(|it| it.strip_suffix('>'));
    if let Some(inner) = inside("Option<") {
        return format!("{} or null", json_type(inner));
    }
    if let Some(inner) = inside("Vec<") {
        return format!("list of {}", json_type(inner));
    }
    if let Some(inner) = inside("BTreeMap<String, ") {
        return format!("table of {}", json_type(inner));
    }
    match rust {
        "usize" | "u64" | "u32" => "number",
        "bool" => "true or false",
        "Key" | "Digest" => "digest",
        _ => "text",
    }
    .to_owned()
}
