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
