//! `kun plan`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn cold_everything_runs() {
    let project = Project::hello();
    assert_snapshot!(project.run("plan"), @"
    exit 0
    --- stdout
            runs words[rain]   it never ran
            runs words[river]  it never ran
            runs words[sea]    it never ran
            runs all           it never ran
            runs lines[rain]   it never ran
            runs lines[river]  it never ran
            runs lines[sea]    it never ran
            runs records       it never ran
            runs sample        it never ran
            runs numbers       it never ran
    --- stderr
            Plan 10 steps: 0 cached, 10 run
    ");
}

#[test]
fn after_an_edit_it_says_what_runs_and_what_may() {
    let project = Project::hello();
    project.good("run");
    assert_snapshot!(project.run("plan"), @"
    exit 0
    --- stderr
            Plan 10 steps: 10 cached, 0 run
    ");
    project.append("texts/rain.txt", "and more rain\n");
    assert_snapshot!(project.run("plan"), @"
    exit 0
    --- stdout
            runs words[rain]  `texts/rain.txt` changed: `in.text` was b3:f1e1f7cbd7, is b3:a6ae5abb88
         may run all          `in.parts`: `words[rain]` runs first
            runs lines[rain]  `texts/rain.txt` changed: `in.text` was b3:f1e1f7cbd7, is b3:a6ae5abb88
         may run records      `in.parts`: `lines[rain]` runs first
         may run sample       `in.data`: `records` runs first
         may run numbers      `in.data`: `sample` runs first
    --- stderr
            Plan 10 steps: 4 cached, 2 run, 4 may run
    ");
    assert_snapshot!(project.run("plan all --json"), @r#"
    exit 0
    --- stdout
    {"cached":2,"to_run":1,"may_be_cut_off":1,"steps":[{"step":"words[rain]","verdict":"runs","compared_with":"words[rain]","causes":[{"cause":"part","part":"in.text","was":"b3:f1e1f7cbd7475b32b04a05dee5289da9bf85b66f10877628b03463c820fecafb","is":"b3:a6ae5abb88482ed10961489e5a014392de98b84afbb0aa2f2a62cdfff4527618","origin":"`texts/rain.txt`"}]},{"step":"all","verdict":"may_be_cut_off","compared_with":"all","causes":[{"cause":"above","port":"parts","step":"words[rain]"}]}]}
    "#);
}

#[test]
fn a_program_that_is_edited_is_named() {
    let project = Project::hello();
    project.good("run");
    project.append("words.sh", "# a comment\n");
    assert_snapshot!(project.run("plan all"), @"
    exit 0
    --- stdout
            runs words[rain]   `words.sh` changed: `code.words.sh` was b3:9383b64034, is b3:954a439b5e
            runs words[river]  `words.sh` changed: `code.words.sh` was b3:9383b64034, is b3:954a439b5e
            runs words[sea]    `words.sh` changed: `code.words.sh` was b3:9383b64034, is b3:954a439b5e
         may run all           `in.parts`: `words[rain]` runs first, and 2 more
    --- stderr
            Plan 4 steps: 0 cached, 3 run, 1 may run
    ");
}

#[test]
fn variants_show_what_each_adds() {
    let project = Project::hello();
    project.write(
        "workflow.toml",
        project
            .read("workflow.toml")
            .replace("[variants]\n", "[variants]\nlarge = { sample.n = 9 }\n"),
    );
    assert_snapshot!(project.run("plan --variants"), @"
    exit 0
    --- stdout
    variant  steps  shared  adds  to run
    large       10       0    10      10
    small       10       8     2       2
    --- stderr
            Plan 20 steps in all variants, 12 after sharing
    ");
}

#[test]
fn a_missing_source_is_said_before_anything_runs() {
    let project = Project::new();
    std::fs::remove_file(project.path("texts/two.txt")).unwrap();
    assert_snapshot!(project.run("plan"), @"
    exit 0
    --- stdout
            runs marked[one]  it never ran
      cannot run marked[two]  source `two` is not at `texts/two.txt`
            runs all          it never ran
            runs numbers      it never ran
    --- stderr
            Plan 4 steps: 0 cached, 3 run, 1 cannot run
    ");
}

#[test]
fn variants_count_steps_without_outputs_and_skipped_ones_say_so() {
    let project = Project::with(&[
        (
            "workflow.toml",
            r#"[workflow]
name = "w"
format = 1
[params]
loud = true
[variants]
plain = { loud = false }
[sources]
a = { path = "a.txt" }
[steps.upper]
when = "${params.loud}"
else = { o = "${sources.a}" }
run = ["sh", "-c", "tr a-z A-Z < $1 > $2", "sh", "${in.a}", "${out.o}"]
in = { a = "${sources.a}" }
out = { o = "file" }
[steps.look]
run = ["cat", "${in.o}"]
in = { o = "${steps.upper.o}" }
"#,
        ),
        ("a.txt", "a\n"),
    ]);
    assert_snapshot!(project.run("plan --variants"), @r"
    exit 0
    --- stdout
    variant  steps  shared  adds  to run
    plain        1       0     1       1
    --- stderr
            Plan 1 step in all variants, 1 after sharing
    ");
    assert_snapshot!(project.run("show upper@plain"), @r"
    exit 0
    --- stderr
    upper@plain is skipped by `when`: `o` is `a.txt`
    ");
}
