//! `kun gc`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn a_dry_run_says_what_could_go_and_yes_removes_it() {
    let project = Project::new();
    project.good("run");
    project.append("texts/one.txt", "more\n");
    project.good("run");
    assert_snapshot!(project.run("gc"), @"
    exit 0
    --- stderr
        Could go 0 results, 0 objects, 0 B; 7 results stay
    ");
    assert_snapshot!(project.squeezed("gc --keep 1 --older 0"), @"
    exit 0
    --- stdout
    step  size  took
    all  58 B  [TIME]
    marked[one]  34 B  [TIME]
    numbers  75 B  [TIME]
    --- stderr
      Could go 3 results, 3 objects, 167 B; 4 results stay (`--yes` removes them)
    ");
    assert_snapshot!(project.squeezed("gc --keep 1 --older 0 --yes"), @"
    exit 0
    --- stdout
    step  size  took
    all  58 B  [TIME]
    marked[one]  34 B  [TIME]
    numbers  75 B  [TIME]
    --- stderr
      Removed 3 results, 3 objects, 167 B; 4 results stay
    ");
    assert_snapshot!(project.run("gc --keep 1 --older 0"), @"
    exit 0
    --- stderr
        Could go 0 results, 0 objects, 0 B; 4 results stay
    ");
    assert_snapshot!(project.run("run"), @"
    exit 0
    --- stdout
    out/all/data
    out/numbers/metrics.json
    --- stderr
        Finished nothing to run, 4 reused in [TIME]
    ");
    assert_snapshot!(project.run("verify"), @"
    exit 0
    --- stderr
            Read 4 objects of 201 B, 4 results, 0 rows
            Good everything is as it was written
    ");
}

#[test]
fn rows_of_ended_steps_are_put_together() {
    let manifest = "[workflow]\nname = 'rows'\nformat = 1\n\
        [sources]\na = { path = 'a.jsonl' }\n\
        [steps.mapped]\nop = 'map'\nin = { data = '${sources.a}' }\n\
        with = { run = ['cat'], same = ['id'] }\n";
    let project = Project::with(&[("workflow.toml", manifest), ("a.jsonl", "{\"id\":1}\n")]);
    project.good("run");
    project.append("a.jsonl", "{\"id\":2}\n");
    project.good("run");
    assert_snapshot!(project.run("gc"), @"
    exit 0
    --- stderr
        Could go 0 results, 0 objects, 0 B; 2 results stay
    ");
    assert_snapshot!(project.run("gc --yes"), @"
    exit 0
    --- stderr
         Removed 0 results, 0 objects, 0 B; 2 results stay
       Compacted rows of ended steps: 11 B freed
    ");
    assert_snapshot!(project.run("verify"), @"
    exit 0
    --- stderr
            Read 2 objects of 27 B, 2 results, 2 rows
            Good everything is as it was written
    ");
}

#[test]
fn what_is_pinned_stays() {
    let project = Project::hello();
    project.good("run");
    assert_snapshot!(project.run("gc --pin paper"), @r"
    exit 0
    --- stderr
          Pinned 10 results as `paper`
    ");
    assert_snapshot!(project.run("gc --pins"), @r"
    exit 0
    --- stdout
    paper  10 results
    ");
    assert_snapshot!(project.run("gc --older 0 --keep 0"), @r"
    exit 0
    --- stderr
        Could go 0 results, 0 objects, 0 B; 10 results stay
    ");
    project.good("gc --unpin paper");
    assert!(project.run("gc --older 0 --keep 0").contains("Could go 10 results"));
    assert_snapshot!(project.run("gc --unpin paper"), @r"
    exit 2
    --- stderr
    error: nothing is pinned as `paper`
    ");
}
