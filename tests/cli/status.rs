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
    marked[two]  cached  [TIME]  24 B
    all  may be stale
    numbers  may be stale
    ");
}

#[test]
fn a_step_that_somebody_makes_is_running_and_no_lock_is_taken_to_see_it() {
    let project = Project::new();
    project.good("run marked[one]");
    let json = project.output("status --json").stdout;
    let rows: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let key: plan::Key = rows[0]["key"].as_str().unwrap().parse().unwrap();
    for folder in ["act", "idx", "lock"] {
        std::fs::remove_dir_all(project.path(".kun/store").join(folder)).unwrap();
    }
    let store = store::Store::open(&project.path(".kun/store")).unwrap();
    let lock = store.try_lock(&key).unwrap();
    assert_snapshot!(project.squeezed("status"), @"
    exit 0
    --- stdout
    step  state  took  size  also
    marked[one]  running
    marked[two]  stale
    all  stale
    numbers  stale
    ");
    drop(lock);
    assert!(!project.good("status").contains("running"));
    let locks = std::fs::read_dir(project.path(".kun/store/lock")).unwrap();
    assert_eq!(locks.count(), 1, "only ours");
}
