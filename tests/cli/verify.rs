//! `kun verify`.

use insta::assert_snapshot;

use crate::project::Project;

/// Changes one bit of the only object of an output.
fn flip(project: &Project, output: &str) {
    let path = String::from_utf8(project.output(&format!("out {output}")).stdout).unwrap();
    let path = std::path::Path::new(path.trim_end());
    let mut bytes = std::fs::read(path).unwrap();
    bytes[3] ^= 1;
    // The object is read-only, and its folder is not.
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_is_found_put_aside_and_made_again() {
    let project = Project::new();
    project.good("run");
    assert_snapshot!(project.run("verify"), @"
    exit 0
    --- stderr
            Read 4 objects of 191 B, 4 results, 0 rows
            Good everything is as it was written
    ");
    flip(&project, "all.data");
    assert_snapshot!(project.run("verify"), @"
    exit 1
    --- stdout
    object b3:3e4f9109ab23ce205567dcb263408401ce1b320f8ead539edf8eba9b19733874 is damaged
      `.kun/store/obj/3e/4f9109ab23ce205567dcb263408401ce1b320f8ead539edf8eba9b19733874`: its digest is `b3:24a7e4d7956ce5036f6bd347aba694a48d08d75f2fe710fa055795b2220974d1`
      `kun run all` makes it again
    --- stderr
            Read 4 objects of 191 B, 4 results, 0 rows
           Found 1 thing wrong

    help: `kun verify --repair` puts damaged objects aside and forgets the results that lack one; a run that needs them makes them again
    ");
    assert_snapshot!(project.run("verify --repair"), @"
    exit 0
    --- stdout
    object b3:3e4f9109ab23ce205567dcb263408401ce1b320f8ead539edf8eba9b19733874 is damaged
      `.kun/store/obj/3e/4f9109ab23ce205567dcb263408401ce1b320f8ead539edf8eba9b19733874`: its digest is `b3:24a7e4d7956ce5036f6bd347aba694a48d08d75f2fe710fa055795b2220974d1`
      `kun run all` makes it again
    --- stderr
            Read 4 objects of 191 B, 4 results, 0 rows
           Found 1 wrong, 1 put aside, 1 result forgotten
    ");
    assert_snapshot!(project.run("why all"), @"
    exit 0
    --- stdout
    all runs
      its result is not in the store any more
    ");
    assert_snapshot!(project.run("run"), @"
    exit 0
    --- stdout
    out/all/data
    out/numbers/metrics.json
    --- stderr
            Plan 4 steps: 3 cached, 1 runs
         Running all: its result is not in the store any more
            Done all in [TIME], bytes 58
        Finished 1 ran, 3 reused in [TIME]
    ");
    assert_snapshot!(project.run("verify"), @"
    exit 0
    --- stderr
            Read 4 objects of 191 B, 4 results, 0 rows
            Good everything is as it was written
    ");
}

#[test]
fn what_no_target_needs_is_made_again_when_asked_for() {
    let project = Project::new();
    project.good("run");
    flip(&project, "marked[one].text");
    project.run("verify --repair");
    assert_snapshot!(project.run("verify"), @"
    exit 0
    --- stderr
            Read 3 objects of 157 B, 3 results, 0 rows
            Good everything is as it was written
    ");
    project.good("run marked[one]");
    assert_snapshot!(project.run("verify"), @"
    exit 0
    --- stderr
            Read 4 objects of 191 B, 4 results, 0 rows
            Good everything is as it was written
    ");
}
