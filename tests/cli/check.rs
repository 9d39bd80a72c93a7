//! `kun check`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn a_good_manifest_is_said_to_be_good() {
    let project = Project::hello();
    assert_snapshot!(project.run("check"), @"
    exit 0
    --- stderr
            Good hello: 6 steps, 1 variant, no mistakes
    ");
    assert_snapshot!(project.run("check --json"), @r#"
    exit 0
    --- stdout
    {"workflow":"hello","steps":6,"variants":1,"instances":10}
    "#);
}

#[test]
fn shows_every_mistake_with_its_place() {
    let manifest = r#"[workflow]
nam = "x"
format = 1

[sources]
a = { path = "a.txt" }

[steps.one]
op = "concatt"
in = { parts = "${sources.b}" }

[steps.two]
op = "concat"
in = { parts = "${steps.three.data}" }

[steps.three]
op = "concat"
in = { parts = "${steps.two.data}" }
with = { separator_newline = 3 }
"#;
    let project = Project::with(&[("workflow.toml", manifest)]);
    assert_snapshot!(project.run("check"), @r#"
    exit 2
    --- stderr
    manifest::unknown-key

      × `[workflow]` has no key `nam`
       ╭─[workflow.toml:2:1]
     1 │ [workflow]
     2 │ nam = "x"
       · ───
     3 │ format = 1
       ╰────
      help: did you mean `name`?

    manifest::unknown-kind

      × no step kind `concatt`
        ╭─[workflow.toml:9:6]
      8 │ [steps.one]
      9 │ op = "concatt"
        ·      ─────────
     10 │ in = { parts = "${sources.b}" }
        ╰────
      help: did you mean `concat`?

    manifest::unknown-source

      × no source `b`
        ╭─[workflow.toml:10:16]
      9 │ op = "concatt"
     10 │ in = { parts = "${sources.b}" }
        ·                ──────────────
     11 │
        ╰────
      help: there is `a`

    manifest::cycle

      × steps read each other in a circle: `two` → `three` → `two`
        ╭─[workflow.toml:14:16]
     13 │ op = "concat"
     14 │ in = { parts = "${steps.three.data}" }
        ·                ──────────┬──────────
        ·                          ╰── `two` reads `three`
     15 │
     16 │ [steps.three]
     17 │ op = "concat"
     18 │ in = { parts = "${steps.two.data}" }
        ·                ─────────┬─────────
        ·                         ╰── `three` reads `two`
     19 │ with = { separator_newline = 3 }
        ╰────

    manifest::wrong-type

      × `separator_newline` is an integer, expected a boolean
        ╭─[workflow.toml:19:30]
     18 │ in = { parts = "${steps.two.data}" }
     19 │ with = { separator_newline = 3 }
        ·                              ─
        ╰────

    5 mistakes
    "#);
}

#[test]
fn a_mistake_in_one_variant_is_found() {
    let project = Project::new();
    project.append("workflow.toml", "\n[variants]\nloud = { mark = \"!\", sample = 3 }\n");
    assert_snapshot!(project.run("check"), @r#"
    exit 2
    --- stderr
    manifest::unknown-param

      × no parameter `sample`
        ╭─[workflow.toml:30:31]
     29 │ [variants]
     30 │ loud = { mark = "!", sample = 3 }
        ·                               ─
        ╰────
      help: there is `mark`

    1 mistake
    "#);
}

#[test]
fn the_kun_workflow_is_good_without_its_data() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows/kun/kun.toml");
    let project = Project::with(&[]);
    assert_snapshot!(project.run(&format!("check {manifest} --json")), @r#"
    exit 0
    --- stdout
    {"workflow":"kun","steps":49,"variants":16,"instances":332}
    "#);
}
