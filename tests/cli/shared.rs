//! `kun run` of two projects with one store.

use insta::assert_snapshot;

use crate::project::Project;

fn run(project: &Project, store: &std::path::Path) -> String {
    let output = project.command("run").env("KUN_STORE", store).output().unwrap();
    project.screen(&output)
}

#[test]
fn the_second_project_has_the_results_of_the_first() {
    let store = tempfile::tempdir().unwrap();
    let (first, second) = (Project::new(), Project::new());
    let screen = run(&first, store.path());
    assert!(screen.contains("4 ran"), "{screen}");
    assert_snapshot!(run(&second, store.path()), @"
    exit 0
    --- stdout
    out/all/data
    out/numbers/metrics.json
    --- stderr
        Finished nothing to run, 4 reused in [TIME]
    ");
    assert_eq!(first.read("out/all/data"), second.read("out/all/data"));
    assert!(!second.path(".kun/store").exists());
}
