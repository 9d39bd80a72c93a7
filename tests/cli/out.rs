//! `kun out`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn the_path_can_be_handed_to_another_program() {
    let project = Project::new();
    assert_snapshot!(project.run("out all"), @"
    exit 2
    --- stderr
    error: `all` has no result yet

    help: `kun run all` makes it
    ");
    project.good("run");
    assert_snapshot!(project.run("out marked --json"), @r#"
    exit 0
    --- stdout
    {"output":"marked[one].text","path":"[DIR]/.kun/store/obj/c1/33dd834326107a9402162945df3341ba3bee85d5743aba626107b32d297e39"}
    {"output":"marked[two].text","path":"[DIR]/.kun/store/obj/4e/8040b6c5eb6870222eddb32472461d95f6091e4addf5027c9218b106685b01"}
    "#);
    let output = project.output("out all.data");
    let path = String::from_utf8(output.stdout).unwrap();
    let text = std::fs::read_to_string(path.trim_end()).unwrap();
    assert_snapshot!(text, @"
    the first text
    has two lines
    ----
    the second has one
    ----
    ");
}

#[test]
fn an_output_that_is_none_is_a_mistake() {
    let project = Project::new();
    project.good("run");
    assert_snapshot!(project.run("out all.nothing"), @"
    exit 2
    --- stderr
    error: no output `all.nothing`

    help: its outputs are `all.data`
    ");
    assert_snapshot!(project.run("out al"), @"
    exit 2
    --- stderr
    manifest::unknown-step

      × no step `al`
      help: did you mean `all`?

    1 mistake
    ");
}
