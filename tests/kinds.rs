//! Kinds that run programs: what those find around themselves, and what they are not asked again.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere")]

#[allow(dead_code, reason = "other tests use other parts of it")]
#[path = "cli/project.rs"]
mod project;

#[path = "../kernels/emulator/build.rs"]
mod emulator;

use std::fmt::Write as _;
use std::path::Path;

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

/// The whole way, from the manifest to the kernels, on the emulated CUDA device.
#[test]
fn a_step_with_a_device_has_the_processor_s_key_and_bytes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let libraries = match emulator::built(&root.join("kernels/emulator"), target) {
        Ok(it) => it,
        Err(why) => {
            assert!(std::env::var_os("KUN_REQUIRE_EMULATOR").is_none(), "{why}");
            #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
            {
                eprintln!("skipped: {why}");
            }
            return;
        }
    };
    let step =
        "[steps.score]\nop = \"score_text\"\nin = { model = \"model\", data = \"x.jsonl\" }\n";
    let data = "{\"text\":\"The river rose.\"}\n{\"text\":\"it rains\"}\n";
    let project = Project::with(&[("x.jsonl", data), ("workflow.toml", step)]);
    std::fs::create_dir(project.path("model")).unwrap();
    let model = root.join("tests/oracle/fixtures/exam/model");
    for entry in std::fs::read_dir(model).unwrap().flatten() {
        std::fs::copy(entry.path(), project.path("model").join(entry.file_name())).unwrap();
    }
    let with_device = |args: &str| {
        let mut command = project.command(args);
        command.env("KUN_CUDA_LIBRARIES", &libraries);
        command.env("KUN_CUDA_CACHE", libraries.join("kernels"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", project.screen(&output));
        project.screen(&output)
    };
    project.write("workflow.toml", format!("{step}use = {{ gpu = 1 }}\n"));
    assert!(with_device("doctor").contains("compiled for sm_80 when a step with `use.gpu` runs"));
    with_device("run -q");
    let on_device = project.read("out/score/data.jsonl");
    assert_eq!(on_device.lines().count(), 2);
    // In bf16 it is another question, with another answer; asked again, it is there.
    project.write("workflow.toml", format!("{step}use = {{ gpu = 1 }}\nnumerics = \"bf16\"\n"));
    assert!(with_device("why score").contains("cuda-bf16-sm_80"));
    with_device("run -q");
    assert_ne!(project.read("out/score/data.jsonl"), on_device);
    assert!(with_device("run").contains("1 reused"));
    // Without the device the result is there already; made anew, it is the same.
    project.write("workflow.toml", step);
    assert!(project.good("run").contains("1 reused"));
    std::fs::remove_dir_all(project.path(".kun")).unwrap();
    std::fs::remove_dir_all(project.path("out")).unwrap();
    project.good("run -q");
    assert_eq!(project.read("out/score/data.jsonl"), on_device);
}
