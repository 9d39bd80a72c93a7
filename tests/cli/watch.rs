//! `kun watch`.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};
use std::thread::sleep;
use std::time::Duration;

use insta::assert_snapshot;

use crate::project::Project;

/// A step that waits until somebody lets it go.
fn waiting() -> Project {
    let project = Project::new();
    let go = project.path("go").display().to_string();
    let manifest = format!(
        r#"[workflow]
name = "waiting"
format = 1

[steps.first]
run = ["sh", "-c", 'echo x > "$1"', "sh", "${{out.x}}"]
out = {{ x = "file" }}

[steps.second]
run = ["sh", "-c", 'until [ -e {go} ]; do sleep 0.05; done; cp "$1" "$2"', "sh", "${{in.x}}", "${{out.y}}"]
in = {{ x = "${{steps.first.x}}" }}
out = {{ y = "file" }}
"#
    );
    project.write("workflow.toml", manifest);
    project
}

#[test]
fn a_run_that_is_over_is_told_with_its_exit_code() {
    let project = waiting();
    assert_snapshot!(project.run("watch"), @"
    exit 2
    --- stderr
    error: there are no runs yet

    help: `kun run` makes one
    ");
    project.write("go", "");
    project.good("run");
    assert_snapshot!(project.sorted("watch"), @"
    exit 0
    --- stderr
             Run [RUN]
            Plan 2 steps: 0 cached, 2 run
         Running first: it never ran
            Done first in [TIME]
         Running second: it never ran
            Done second in [TIME]
        Finished 2 ran in [TIME]
    ");
    assert_snapshot!(project.run("watch last~1"), @"
    exit 2
    --- stderr
    error: no run `last~1`

    help: the newest runs are [RUN]; `last~1` is the one before
    ");
    project.write("workflow.toml", project.read("workflow.toml").replace("cp ", "exit 3; cp "));
    project.output("run");
    assert_eq!(project.output("watch -q").status.code(), Some(1));
}

/// Watches the newest run until a line says this, if there is a run that does.
fn watch_until(project: &Project, what: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    for _ in 0..600 {
        let mut command = project.command("watch --json");
        let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
        if lines.any(|it| it.unwrap().contains(what)) {
            return (watch, lines);
        }
        watch.wait().unwrap();
        sleep(Duration::from_millis(50));
    }
    panic!("{what}");
}

#[test]
fn a_run_is_watched_while_it_goes_on() {
    let project = waiting();
    let mut run = project.command("run -q").stdout(Stdio::null()).spawn().unwrap();
    let (mut watch, mut lines) = watch_until(&project, r#""event":"step_started","step":"second""#);
    project.write("go", "");
    assert!(lines.any(|it| it.unwrap().contains(r#""event":"run_ended","end":"good""#)));
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    assert!(run.wait().unwrap().success());
}

#[test]
fn a_run_that_is_killed_is_not_watched_for_ever() {
    let project = waiting();
    let mut run = project.command("run -q").stdout(Stdio::null()).spawn().unwrap();
    let (mut watch, _lines) = watch_until(&project, r#""event":"step_started","step":"second""#);
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(watch.wait().unwrap().code(), Some(130));
    assert!(project.run("watch").contains("Interrupted it was killed"));
    // What it left behind ends, and what comes after is another run.
    project.write("go", "");
    project.good("run");
}
