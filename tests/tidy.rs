//! The rules of the house that the compiler does not know: who may use whom, how long a file is,
//! that it says what it is for, that links lead somewhere. It needs nothing but the standard
//! library, and it changes nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// Crate, its folder, and which of ours it may use. Arrows go down only.
const MAY_USE: &[(&str, &str, &[&str])] = &[
    ("plan", "runner/plan", &[]),
    ("kernels", "kernels", &[]),
    ("store", "runner/store", &["plan"]),
    ("report", "runner/report", &[]),
    ("serve", "runner/serve", &[]),
    ("annotate", "runner/annotate", &["kernels", "serve"]),
    ("steps", "runner/steps", &["plan", "kernels", "report", "annotate"]),
    ("engine", "runner/engine", &["plan", "store", "steps"]),
    ("kun", ".", &["plan", "store", "steps", "engine", "report", "annotate", "serve"]),
];

/// Crates of others, and the only ones of ours that may use them.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("tokio", &["engine", "serve"]),
    ("axum", &["serve"]),
    ("hyper", &["serve"]),
    ("clap", &["kun"]),
    ("cudarc", &["kernels"]),
    ("indicatif", &["kun"]),
    ("anstream", &["kun"]),
    ("anstyle", &["kun"]),
    ("anyhow", &[]),
    ("ureq", &["steps"]),
    ("getrandom", &["serve", "annotate"]),
    ("rcgen", &["serve"]),
    ("ring", &["serve"]),
    ("rustls", &["serve", "steps"]),
];

/// Words, where they may not stand, but for files whose path ends like one of these.
const BANNED: &[(&str, &str, &[&str])] = &[
    ("std::fs", "runner/plan/src", &[]),
    ("std::env", "runner/plan/src", &[]),
    ("std::thread", "runner/plan/src", &[]),
    ("SystemTime", "runner/plan/src", &[]),
    ("Instant::now", "runner/plan/src", &[]),
    ("SystemTime", "runner/report/src", &[]),
    ("std::fs", "runner/report/src", &[]),
    (
        "println!",
        "",
        &["runner/cli/printer.rs", "front_speed.rs", "hash_speed.rs", "store_speed.rs"],
    ),
    ("eprintln!", "", &["runner/cli/printer.rs"]),
    ("todo!(", "", &[]),
    ("unimplemented!(", "", &[]),
    ("dbg!(", "", &[]),
    ("unsafe {", "runner", &[]),
    ("unsafe fn", "runner", &[]),
    ("unsafe impl", "runner", &[]),
];

const LONGEST_FILE: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of the repository, below `folder`, as paths from the root.
fn files(folder: &str, endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name().display().to_string());
            let kind = entry.file_type().expect("a folder's entry has a type");
            let ours = !["target", "out", "snapshots", "__pycache__"].contains(&name.as_str());
            if kind.is_dir() && ours && (!name.starts_with('.') || name == ".ci") {
                open.push(path);
            } else if kind.is_file() && endings.iter().any(|it| name.ends_with(it)) {
                let text = String::from_utf8_lossy(
                    &fs::read(&path).expect("a file of the repository can be read"),
                )
                .into_owned();
                found.push((
                    path.strip_prefix(root()).expect("the walk starts at the root").to_owned(),
                    text,
                ));
            }
        }
    }
    found.sort();
    found
}

/// The Rust files, without this one: the words it bans stand in it.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut all = files(folder, &[".rs"]);
    all.retain(|(path, _)| path != Path::new("tests/tidy.rs"));
    all
}

fn assert_none(what: &str, mistakes: &[String]) {
    assert!(mistakes.is_empty(), "{what}:\n  {}", mistakes.join("\n  "));
}

/// The names under `[dependencies]` and `[build-dependencies]`.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut section = "";
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
            names.extend(section.strip_prefix("dependencies.").map(str::to_owned));
        } else if section == "dependencies" || section == "build-dependencies" {
            let name: String =
                line.chars().take_while(|it| it.is_alphanumeric() || "-_".contains(*it)).collect();
            names.extend((!name.is_empty()).then_some(name));
        }
    }
    names
}

#[test]
fn crates_point_one_way() {
    let mut mistakes = Vec::new();
    for (name, folder, may) in MAY_USE {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        for used in dependencies(&manifest) {
            let ours = MAY_USE.iter().any(|it| it.0 == used);
            let only =
                ONLY_IN.iter().find(|it| used == it.0 || used.starts_with(&format!("{}_", it.0)));
            if ours && !may.contains(&used.as_str()) || only.is_some_and(|it| !it.1.contains(name))
            {
                mistakes.push(format!("`{name}` may not use `{used}`"));
            }
        }
    }
    assert_none("who may use whom is a table in tests/tidy.rs", &mistakes);
}

#[test]
fn every_operation_has_a_contract_a_twin_and_tests() {
    let folder = root().join("kernels/src/ops");
    let mut mistakes = Vec::new();
    for entry in fs::read_dir(&folder).expect("operations are there").flatten() {
        let (path, name) = (entry.path(), entry.file_name().display().to_string());
        if !path.is_dir() {
            continue;
        }
        let head = fs::read_to_string(path.join("mod.rs")).unwrap_or_default();
        if !head.contains("//! # Contract") {
            mistakes.push(format!("{name}/mod.rs has no `# Contract`"));
        }
        if !path.join("tests.rs").exists() {
            mistakes.push(format!("{name}/tests.rs is not there"));
        }
        if !["cpu.rs", "cpu", "blocks.rs"].iter().any(|it| path.join(it).exists()) {
            mistakes.push(format!("{name}/cpu.rs is not there"));
        }
        for file in ["kernel.cu", "cuda.rs"] {
            if !path.join(file).exists() {
                mistakes.push(format!("{name}/{file} is not there"));
            }
        }
    }
    assert_none("an operation is a contract, a twin and tests", &mistakes);
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut mistakes = Vec::new();
    for (path, text) in sources(".") {
        let n_lines = text.lines().count();
        if n_lines > LONGEST_FILE {
            mistakes.push(format!("{}: {n_lines} lines, at most {LONGEST_FILE}", path.display()));
        }
        if !text.starts_with("//! ") {
            mistakes.push(format!("{}: does not begin with `//!`", path.display()));
        }
    }
    assert_none("one idea for each file", &mistakes);
}

#[test]
fn words_stand_only_where_they_may() {
    let mut mistakes = Vec::new();
    for (word, folder, but) in BANNED {
        for (path, text) in sources(folder) {
            let inside = |folder: &str| path.components().any(|it| it.as_os_str() == folder);
            let allowed = inside("examples")
                || inside("tests") && word.ends_with("println!")
                || but.iter().any(|it| path.ends_with(it));
            let line = text.lines().position(|it| {
                let code = it.split("//").next().unwrap_or_default();
                has_word(code, word)
            });
            if let (false, Some(line)) = (allowed, line) {
                mistakes.push(format!("{}:{}: `{word}`", path.display(), line + 1));
            }
        }
    }
    assert_none("words that may not stand there", &mistakes);
}

/// Whether the word is there and not the end of a longer one.
fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|it| it.is_alphanumeric() || it == '_' || it == '"' || it == '`')
    })
}

/// The targets of `[text](target)` in a Markdown file, outside of fenced code.
fn links(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if !fenced {
            let ends = line.match_indices("](").map(|(at, _)| &line[at + 2..]);
            found.extend(ends.filter_map(|it| it.split_once(')')).map(|it| it.0));
        }
    }
    found
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut mistakes = Vec::new();
    for (path, text) in files(".", &[".md"]) {
        for link in links(&text) {
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            let from = root().join(&path).parent().unwrap().to_owned();
            if !from.join(file).exists() {
                mistakes.push(format!("{}: `{link}`", path.display()));
            }
        }
    }
    assert_none("links that lead nowhere", &mistakes);
}

#[test]
fn the_gate_runs_the_test_command_of_the_readme() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let readme = read("README.md");
    let is_test = |it: &&str| it.starts_with("cargo test");
    let command = readme.lines().find(is_test).expect("the README says how to test");
    let gate = read(".ci/run");
    assert!(gate.lines().any(|it| it == format!("part tests {command}")), "`{command}`");
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    // Put together here, so that this file does not hold them either.
    let homes = ["home", "Users", "root", "work"].map(|it| format!("/{it}/"));
    let endings =
        [".rs", ".toml", ".md", ".py", ".sh", ".yml", ".json", ".snap", "run", "justfile"];
    let mut mistakes = Vec::new();
    for (path, text) in files(".", &endings) {
        for (i, line) in text.lines().enumerate() {
            if homes.iter().any(|it| begins_a_path(line, it)) {
                mistakes.push(format!("{}:{}: {}", path.display(), i + 1, line.trim()));
            }
        }
    }
    assert_none("paths of one machine", &mistakes);
}

/// Whether the folder stands there as the start of a path.
fn begins_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|it| it.is_alphanumeric() || "._-}/>)".contains(it))
    })
}

/// The tests that `ARCHITECTURE.md` names for its promises.
#[test]
fn promises_name_tests_that_exist() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there");
    let named: Vec<&str> = text.split('`').filter(|it| it.contains(".rs::")).collect();
    assert!(named.len() > 20, "{} tests are named", named.len());
    let mut missing = Vec::new();
    for name in named {
        let (path, test) = name.split_once("::").expect("it was looked for");
        let source = fs::read_to_string(root().join(path)).unwrap_or_default();
        let declared = source.lines().any(|line| {
            let line = line.trim_start();
            line.strip_prefix("fn ").is_some_and(|rest| rest.starts_with(&format!("{test}(")))
        });
        if !declared {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}
