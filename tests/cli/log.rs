//! `kun log`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn the_newest_log_of_a_step_is_printed() {
    let manifest = r#"[workflow]
name = "talking"
format = 1

[steps.talk]
run = ["sh", "-c", 'echo working; echo a warning >&2; echo x > "$1"', "sh", "${out.x}"]
out = { x = "file" }

[steps.quiet]
run = ["sh", "-c", 'echo x > "$1"', "sh", "${out.x}"]
out = { x = "file" }
"#;
    let project = Project::with(&[("workflow.toml", manifest)]);
    assert_snapshot!(project.run("log talk"), @"
    exit 0
    --- stderr
          No log talk: it did not run, or said nothing
    ");
    project.good("run");
    assert_snapshot!(project.run("log talk"), @"
    exit 0
    --- stdout
    working
    a warning
    --- stderr
             Log talk in run [RUN]
    ");
    assert_snapshot!(project.run("log talk --path"), @"
    exit 0
    --- stdout
    .kun/runs/[RUN]/logs/talk.log
    --- stderr
             Log talk in run [RUN]
    ");
    assert_snapshot!(project.run("log quiet"), @"
    exit 0
    --- stderr
          No log quiet: it did not run, or said nothing
    ");
    assert_snapshot!(project.run("log tal"), @"
    exit 2
    --- stderr
    manifest::unknown-step

      × no step `tal`
      help: did you mean `talk`?

    1 mistake
    ");
}

#[test]
fn a_log_in_json_is_its_path_and_its_lines() {
    let project = Project::new();
    let text = project.read("workflow.toml").replace("cat \"$1\"", "echo \"$3\"; cat \"$1\"");
    project.write("workflow.toml", &text);
    project.good("run");
    assert_snapshot!(project.run("log marked --json"), @r#"
    exit 0
    --- stdout
    {"step":"marked[one]","run":"[RUN]","path":".kun/runs/[RUN]/logs/marked[one].log","lines":["----"]}
    {"step":"marked[two]","run":"[RUN]","path":".kun/runs/[RUN]/logs/marked[two].log","lines":["----"]}
    --- stderr
             Log marked[one] in run [RUN]
             Log marked[two] in run [RUN]
    "#);
}
