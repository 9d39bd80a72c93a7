//! `kun man`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn the_program_and_each_command_have_a_page() {
    let project = Project::with(&[]);
    let page = project.good("man");
    assert!(page.contains(".TH kun 1"), "{page}");
    let page = project.good("man run");
    assert!(page.contains(".TH kun-run 1") && page.contains("keep"), "{page}");
    assert_snapshot!(project.run("man nothing"), @"
    exit 2
    --- stderr
    error: no command `nothing`
    ");
}
