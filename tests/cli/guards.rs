//! The kinds that stop a run: `nested`, `deny_overlap`.

use insta::assert_snapshot;

use crate::project::Project;

const MANIFEST: &str = r#"
[workflow]
name = "guards"
format = 1
targets = ["trained", "growing"]

[params]
n = 4

[variants]
small  = { n = 2 }
middle = { n = 3 }
large  = { n = 4 }

[steps.chosen]
op   = "select"
in   = { data = "data.jsonl" }
with = { n = "${params.n}" }

[steps.growing]
op   = "nested"
in   = { data = ["${variants.small.steps.chosen.data}", "${variants.middle.steps.chosen.data}", "${variants.large.steps.chosen.data}"] }
with = { by = "id" }

[steps.apart]
op   = "deny_overlap"
in   = { data = "${steps.chosen.data}", against = ["exam.csv"] }

[steps.trained]
op = "count"
in = { data = "${steps.apart.data}" }
"#;

const DATA: &str = r#"{"id":"a","text":"鸟在天上飞来飞去，鱼在水里游来游去。"}
{"id":"b","text":"今天下了一整天的雨，河水涨得很高。"}
{"id":"c","text":"老师问：水在标准大气压下的沸点是多少度？"}
{"id":"d","text":"铁匠的铺子开在桥头，每天早上开门。"}
"#;

const EXAM: &str = "id,question,A\n0,水在标准大气压下的沸点是多少度,100\n";

#[test]
fn nothing_is_trained_on_what_is_examined_and_subsets_are_subsets() {
    let files = [("workflow.toml", MANIFEST), ("data.jsonl", DATA), ("exam.csv", EXAM)];
    let project = Project::with(&files);
    let screen = project.run("run trained --jobs 1 -q");
    assert_snapshot!(without_objects(&screen), @"
    exit 1
    --- stderr
          Failed apart: [OBJECT]:3: field `text`: record `c` shares `水在标准大气压下的沸点是多` with evaluation file 1, line 2: `decontaminate` drops such records
        Finished 1 failed, 1 not run, 1 ran in [TIME]
    ");
    project.write("data.jsonl", DATA.replace("标准大气压下", "高山上"));
    assert_snapshot!(project.run("run --jobs 1 -q"), @"
    exit 0
    --- stdout
    out/growing/metrics.json
    out/trained/metrics.json
    ");
    project.write("workflow.toml", MANIFEST.replace("large  = { n = 4 }", "large  = { n = 1 }"));
    assert_snapshot!(without_objects(&project.run("run growing --jobs 1 -q")), @r#"
    exit 1
    --- stderr
          Failed growing: [OBJECT]:1: the record with `id` "a" is in file 2 more often than in file 3
        Finished 1 failed, 1 ran, 2 reused in [TIME]
    "#);
}

/// A screen without the names of objects.
fn without_objects(screen: &str) -> String {
    let mut out = String::new();
    for line in screen.lines() {
        match (line.find("[DIR]"), line.find(".kun/store/obj/")) {
            (_, Some(at)) => {
                let rest = line[at..].split_once(':').map_or("", |it| it.1);
                let head = line[..at].trim_end_matches("[DIR]/");
                out.push_str(&format!("{head}[OBJECT]:{rest}\n"));
            }
            _ => out.push_str(&format!("{line}\n")),
        }
    }
    out
}
