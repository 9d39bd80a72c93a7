//! `kun status`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn every_step_has_a_state() {
    let project = Project::new();
    assert_snapshot!(project.squeezed("status"), @"
    exit 0
    --- stdout
    step  state  took  size  also
    marked[one]  stale
    marked[two]  stale
    all  stale
    numbers  stale
    ");
    project.good("run");
    project.append("texts/one.txt", "more\n");
    assert_snapshot!(project.squeezed("status"), @"
    exit 0
    --- stdout
    step  state  took  size  also
    marked[one]  stale
    marked[two]  cached  [TIME]24 B
    all  may be stale
    numbers  may be stale
    ");
}
