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
