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
        Forecast no history: nothing like these steps has run yet
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

    forecast     records  known  tokens  as it was for  time
    words[rain]                          words[rain]  [TIME]
    all                                  all  [TIME]
    lines[rain]                          lines[rain]  [TIME]
    records                              records  [TIME]
    sample            12                 sample  [TIME]
    numbers                              numbers  [TIME]
    --- stderr
            Plan 10 steps: 4 cached, 2 run, 4 may run
        Forecast done in [TIME] one after another, in [TIME] side by side
    ");
    assert_snapshot!(project.run("plan all --json"), @r#"
    exit 0
    --- stdout
    {"cached":2,"to_run":1,"may_be_cut_off":1,"steps":[{"step":"words[rain]","verdict":"runs","compared_with":"words[rain]","causes":[{"cause":"part","part":"in.text","was":"b3:f1e1f7cbd7475b32b04a05dee5289da9bf85b66f10877628b03463c820fecafb","is":"b3:a6ae5abb88482ed10961489e5a014392de98b84afbb0aa2f2a62cdfff4527618","origin":"`texts/rain.txt`"}]},{"step":"all","verdict":"may_be_cut_off","compared_with":"all","causes":[{"cause":"above","port":"parts","step":"words[rain]"}]}],"forecast":{"steps":{"all":{"unit":"bytes","units":1015,"known":0,"tokens":null,"took_ms":[TIME],"like":"all"},"words[rain]":{"unit":null,"units":null,"known":0,"tokens":null,"took_ms":[TIME],"like":"words[rain]"}},"total":{"steps":2,"without_history":0,"tokens":0,"records":0,"took_ms":[TIME],"longest_ms":[TIME]}}}
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

    forecast      records  known  tokens  as it was for  time
    words[rain]                           words[rain]  [TIME]
    words[river]                          words[river]  [TIME]
    words[sea]                            words[sea]  [TIME]
    all                                   all  [TIME]
    --- stderr
            Plan 4 steps: 0 cached, 3 run, 1 may run
        Forecast done in [TIME] one after another, in [TIME] side by side
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
        Forecast no history: nothing like these steps has run yet
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

const COSTS: &str = r#"
[workflow]
name = "costs"
format = 1

[params]
least = 1

[variants]
strict = { least = 2 }

[sources]
raw = { path = "raw.jsonl" }

[steps.plain]
op = "normalize"
in = { data = "${sources.raw}" }

[steps.tagged]
op   = "map"
in   = { data = "${steps.plain.data}" }
with = { run = ["cat"] }

[steps.clean]
op   = "rules"
in   = { data = "${steps.tagged.data}" }
with = { preset = "none", min = { length = "${params.least}" } }

[steps.number]
op = "count"
in = { data = "${steps.clean.data}" }
"#;

#[test]
fn what_is_forecast_grows_with_what_is_read_and_less_what_is_known() {
    let project = Project::with(&[("workflow.toml", COSTS)]);
    let line = |it: usize| format!("{{\"id\":\"{it:04}\",\"text\":\"words\"}}\n");
    project.write("raw.jsonl", (0..100).map(line).collect::<String>());
    project.good("run clean");
    project.write("raw.jsonl", (0..250).map(line).collect::<String>());
    assert_snapshot!(project.run("plan"), @"
    exit 0
    --- stdout
            runs plain   `raw.jsonl` changed: `in.data` was b3:2d2506a9de, is b3:9cf32e592b
         may run tagged  `in.data`: `plain` runs first
         may run clean   `in.data`: `tagged` runs first
            runs number  it never ran

    forecast  records  known  tokens  as it was for  time
    plain         250                 plain  [TIME]
    tagged        250    100          tagged  [TIME]
    clean         250                 clean  [TIME]
    number                            no history
    --- stderr
            Plan 4 steps: 0 cached, 2 run, 2 may run
        Forecast done in [TIME] one after another, in [TIME] side by side; 1 step without history
    ");
    assert_snapshot!(project.squeezed("plan --variants --variant strict"), @"
    exit 0
    --- stdout
    variant  steps  shared  adds  to run  tokens  time  no history
    strict  4  0  4  4  0  [TIME]  1
    --- stderr
      Plan 4 steps in all variants, 4 after sharing
    ");
    project.good("run plain");
    let json = project.run("plan tagged --json");
    assert!(
        json.contains("\"tagged\":{\"unit\":\"records\",\"units\":250,\"known\":100,"),
        "{json}"
    );
}

#[test]
fn steps_without_history_are_probed_with_a_few_records_where_that_is_asked() {
    let project = Project::with(&[("workflow.toml", COSTS)]);
    let line = |it: usize| format!("{{\"id\":\"{it:04}\",\"text\":\"words\"}}\n");
    project.write("raw.jsonl", (0..24).map(line).collect::<String>());
    assert_snapshot!(project.run("plan --probe plain tagged"), @"
    exit 0
    --- stdout
            runs plain   it never ran
            runs tagged  it never ran

    forecast  records  known  tokens  as it was for      time
    plain          24                 24 of its records  [TIME]
    tagged                            no history
    --- stderr
         Probing plain
            Plan 2 steps: 0 cached, 2 run
        Forecast done in [TIME] one after another, in [TIME] side by side; 1 step without history
    ");
    // Nothing of it is a result, and nothing was kept.
    assert!(project.run("plan plain").contains("it never ran"));
}
