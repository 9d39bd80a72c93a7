//! `kun why`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn the_chain_leads_to_the_file_that_was_edited() {
    let project = Project::hello();
    assert_snapshot!(project.run("why all"), @"
    exit 0
    --- stdout
    all runs
      it never ran
      `in.parts`: `words[rain]` runs first
      `in.parts`: `words[river]` runs first
      `in.parts`: `words[sea]` runs first
      words[rain] runs
        it never ran
      words[river] runs
        it never ran
      words[sea] runs
        it never ran
    ");
    project.good("run");
    assert_snapshot!(project.run("why all"), @"
    exit 0
    --- stdout
    all is cached: nothing it depends on changed
    ");
    project.append("texts/rain.txt", "and more rain\n");
    assert_snapshot!(project.run("why numbers"), @"
    exit 0
    --- stdout
    numbers may run: not if what it reads comes out as it was
      `in.data`: `sample` runs first
      sample may run: not if what it reads comes out as it was
        `in.data`: `records` runs first
      records may run: not if what it reads comes out as it was
        `in.parts`: `lines[rain]` runs first
      lines[rain] runs
        `texts/rain.txt` changed: `in.text` was b3:f1e1f7cbd7, is b3:a6ae5abb88
    ");
}

#[test]
fn a_parameter_is_named_with_the_line_that_says_it() {
    let project = Project::hello();
    project.good("run");
    assert_snapshot!(project.run("why sample --set sample.n=7"), @"
    exit 0
    --- stdout
    sample runs
      `with.n` was 6, is 7 (workflow.toml:56)
    ");
    assert_snapshot!(project.run("why sample --variant small"), @"
    exit 0
    --- stdout
    sample@small runs
      it never ran by this name; compared with `sample`:
      `with.n` was 6, is 2 (workflow.toml:56)
    ");
    assert_snapshot!(project.run("why sample --variant small --json"), @r#"
    exit 0
    --- stdout
    [{"step":"sample@small","verdict":"runs","compared_with":"sample","causes":[{"cause":"part","part":"with.n","was":"6","is":"2","origin":"workflow.toml:56"}]}]
    "#);
}

#[test]
fn a_step_that_is_none_is_a_mistake() {
    let project = Project::hello();
    assert_snapshot!(project.run("why sampel"), @"
    exit 2
    --- stderr
    manifest::unknown-step

      × no step `sampel`
      help: did you mean `sample`?

    1 mistake
    ");
}
