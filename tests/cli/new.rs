//! `kun new`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn makes_a_project_that_runs() {
    let project = Project::with(&[]);
    assert_snapshot!(project.run("new first"), @"
    exit 0
    --- stdout
    first/workflow.toml
    --- stderr
            Made a project; `kun run first/workflow.toml` runs it
    ");
    assert_snapshot!(project.sorted("run first"), @"
    exit 0
    --- stdout
    first/out/all/data
    first/out/numbers/metrics.json
    --- stderr
            Plan 4 steps: 0 cached, 4 run
         Running all: it never ran
            Done all in [TIME], bytes 58
         Running marked[one]: it never ran
            Done marked[one] in [TIME]
         Running marked[two]: it never ran
            Done marked[two] in [TIME]
         Running numbers: it never ran
            Done numbers in [TIME], lines 5
        Finished 4 ran in [TIME]
    ");
    assert_eq!(project.read("first/out/all/data").lines().count(), 5);
}

#[test]
fn overwrites_nothing() {
    let project = Project::new();
    project.append("texts/one.txt", "mine\n");
    assert_snapshot!(project.run("new"), @"
    exit 2
    --- stderr
    error: `workflow.toml` is there already

    help: name another folder: `kun new FOLDER`
    ");
    assert!(project.read("texts/one.txt").ends_with("mine\n"));
}
