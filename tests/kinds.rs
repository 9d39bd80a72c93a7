//! Kinds that run programs: what those find around themselves, and what they are not asked again.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere")]

#[allow(dead_code, reason = "other tests use other parts of it")]
#[path = "cli/project.rs"]
mod project;

use std::fmt::Write as _;

use project::Project;

const SCRIPT: &str = "\
while IFS= read -r line; do
  echo \"$line\" >> \"$ASKED\"
  printf '%s\\n' \"$line\" | tr a-z A-Z
done
env | sort | cut -d= -f1 | tr '\\n' ' ' > \"$ASKED.env\"
";

fn manifest(asked: &str) -> String {
    format!(
        "[steps.upper]\nop = \"map\"\nin = {{ data = \"records.jsonl\" }}\n\
         with = {{ run = [\"sh\", \"scripts/upper.sh\"] }}\ncode = [\"scripts/*.sh\"]\n\
         env = {{ pass = [\"PATH\"], set = {{ ASKED = \"{asked}\" }} }}\n"
    )
}

fn records(n: usize) -> String {
    let mut text = String::new();
    for i in 0..n {
        writeln!(text, "{{\"id\":{i}}}").unwrap();
    }
    text
}

#[test]
fn a_program_of_a_kind_sees_its_code_and_environment_and_is_asked_only_about_new_records() {
    let project = Project::with(&[("scripts/upper.sh", SCRIPT)]);
    let log = project.path("asked").display().to_string();
    project.write("workflow.toml", manifest(&log));
    project.write("records.jsonl", records(1_000));
    project.good("run -q");
    assert_eq!(project.read("asked").lines().count(), 1_000);
    let seen = project.read("asked.env");
    assert!(seen.contains("ASKED ") && seen.contains("PATH "), "{seen}");
    assert!(!seen.contains("NO_COLOR"), "{seen}");

    project.write("records.jsonl", records(1_010));
    project.good("run -q");
    assert_eq!(project.read("asked").lines().count(), 1_010);
    let upper = project.read("out/upper/data.jsonl");
    assert_eq!(upper.lines().count(), 1_010);
    assert!(upper.ends_with("{\"ID\":1009}\n"), "{upper}");

    // Another script is another question.
    project.write("scripts/upper.sh", SCRIPT.replace("A-Z", "0-9"));
    project.good("run -q");
    assert_eq!(project.read("asked").lines().count(), 2_020);
}

#[test]
fn a_kind_that_runs_no_program_takes_neither_code_nor_environment() {
    let project = Project::with(&[(
        "workflow.toml",
        "[steps.n]\nop = \"count\"\nin = { data = \"x.jsonl\" }\ncode = [\"a.sh\"]\n\
         env = { pass = [\"PATH\"] }\n",
    )]);
    let screen = project.run("check");
    assert!(screen.contains("kind `count` runs no program that `code` is for"), "{screen}");
    assert!(screen.contains("kind `count` runs no program that `env` is for"), "{screen}");
}
