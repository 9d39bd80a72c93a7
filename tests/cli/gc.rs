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

/// A run or a collection of a project with a store that is not its own.
fn with_store(project: &Project, args: &str, store: &std::path::Path) -> String {
    let output = project.command(args).env("KUN_STORE", store).output().unwrap();
    project.screen(&output).replace(store.parent().unwrap().to_str().unwrap(), "[STORE]")
}

#[test]
fn results_of_another_project_stay_and_those_of_one_that_is_gone_go_only_when_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().canonicalize().unwrap().join("store");
    let (mine, other) = (Project::new(), Project::new());
    other.append("texts/one.txt", "what only the other has\n");
    let away = store.with_file_name("away");
    std::fs::rename(other.path(""), &away).unwrap();
    let in_other = |args: &str| {
        let mut command = mine.command(args);
        let output = command.current_dir(&away).env("KUN_STORE", &store).output().unwrap();
        assert!(output.status.success(), "{}", mine.screen(&output));
        mine.screen(&output)
    };
    in_other("run");
    with_store(&mine, "run", &store);
    assert_snapshot!(with_store(&mine, "gc --older 0 --keep 1 --yes", &store), @"
    exit 0
    --- stderr
         Removed 0 results, 0 objects, 0 B; 7 results stay
    ");
    assert!(in_other("run").contains("nothing to run"));
    // A disk that is not mounted.
    let unmounted = store.with_file_name("unmounted");
    std::fs::rename(&away, &unmounted).unwrap();
    assert_snapshot!(with_store(&mine, "gc --older 0 --keep 1 --yes", &store), @"
    exit 0
    --- stderr
    warning: project `[STORE]/away` is not there: its results stay (`kun gc --forget [STORE]/away` lets them go)
         Removed 0 results, 0 objects, 0 B; 7 results stay
    ");
    std::fs::rename(&unmounted, &away).unwrap();
    assert!(in_other("run").contains("nothing to run"));
    let there = format!("gc --forget {}", away.display());
    assert_snapshot!(with_store(&mine, &there, &store), @"
    exit 2
    --- stderr
    error: project `[STORE]/away` is there

    help: `kun gc` in it says what it could do without
    ");
    assert_snapshot!(with_store(&mine, "gc --forget elsewhere", &store), @"
    exit 2
    --- stderr
    error: no project `[DIR]/elsewhere` uses this store

    help: `kun gc` names the projects that use this store and are not there
    ");
    std::fs::remove_dir_all(&away).unwrap();
    let forget = format!("{there} --older 0 --yes");
    let screen = with_store(&mine, &forget, &store);
    assert!(screen.contains("Removed 3 results, 3 objects"), "{screen}");
    assert!(!screen.contains("is not there"), "{screen}");
    assert!(with_store(&mine, "run", &store).contains("nothing to run"));
    assert!(with_store(&mine, "verify", &store).contains("everything is as it was written"));
}
