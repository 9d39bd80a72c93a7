//! `kun fmt`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn one_style_and_comments_stay() {
    let text =
        "# Why.\n[workflow]\nname=\"x\"  # its name\nformat   = 1\n[sources]\na={path=\"a.txt\"}\n";
    let project = Project::with(&[("workflow.toml", text)]);
    assert_snapshot!(project.run("fmt --check"), @"
    exit 1
    --- stderr
    Would format `workflow.toml`
    ");
    assert_snapshot!(project.run("fmt"), @"
    exit 0
    --- stderr
       Formatted `workflow.toml`
    ");
    assert_snapshot!(project.read("workflow.toml"), @r#"
    # Why.
    [workflow]
    name = "x" # its name
    format = 1

    [sources]
    a = { path = "a.txt" }
    "#);
    assert_snapshot!(project.run("fmt --check"), @"exit 0");
}

#[test]
fn what_cannot_be_read_is_a_mistake() {
    let project = Project::with(&[("broken.toml", "[workflow\n")]);
    assert_snapshot!(project.run("fmt broken.toml"), @"
    exit 2
    --- stderr
    manifest::syntax

      × unclosed table, expected `]`
       ╭─[broken.toml:1:10]
     1 │ [workflow
       ·          ▲
       ╰────

    1 mistake
    ");
    assert_snapshot!(project.run("fmt absent.toml"), @"
    exit 2
    --- stderr
    error: cannot read `absent.toml`: No such file or directory (os error 2)
    ");
}
