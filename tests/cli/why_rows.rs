//! `kun why-rows`.

use insta::assert_snapshot;

use crate::project::Project;

const MANIFEST: &str = r#"
[workflow]
name = "filters"
format = 1

[sources]
raw = { path = "raw.jsonl" }

[steps.clean]
op   = "rules"
in   = { data = "${sources.raw}" }
with = { preset = "none", min = { length = 5 }, max = { repeated = 0.3, keywords = 0 } }

[steps.stricter]
op   = "cut"
in   = { data = "${sources.raw}", ledger = "${steps.clean.ledger}" }
with = { min = { length = 8 } }

[steps.joined]
op = "concat"
in = { parts = "${steps.clean.data}" }
"#;

const RAW: &str = r#"{"id":"a1","source":"wudao","text":"一二三四五六七八九十"}
{"id":"a2","source":"wudao","text":"短"}
{"id":"a3","source":"wudao","text":"五个字的话"}
{"id":"b1","source":"web","text":"四个字吧"}
{"id":"b2","source":"web","text":"好的。好的。好的。好的。好的。"}
{"id":"b3","text":"再来\n再来再来再来再来再来再来"}
"#;

fn project() -> Project {
    Project::with(&[("workflow.toml", MANIFEST), ("raw.jsonl", RAW)])
}

#[test]
fn the_funnel_names_every_rule_and_every_source() {
    let project = project();
    assert_snapshot!(project.run("why-rows clean"), @"
    exit 2
    --- stderr
    error: `clean` has no result yet

    help: `kun run clean` makes one
    ");
    project.good("run");
    assert_snapshot!(project.run("why-rows clean"), @"
    exit 0
    --- stdout
    clean  6 records, 3 kept (50.0 %), 3 dropped
      rule      threshold  fail it  fail it first  fail only it
      length    min 5            2              2             2
      repeated  max 0.3          1              1             1
      keywords  max 0            0              0             0

      source  records  kept          most fail first
      (none)        1     0   0.0 %  repeated 1
      web           2     1  50.0 %  length 1
      wudao         3     2  66.7 %  length 1
    ");
    assert_snapshot!(project.run("why-rows stricter --rule length"), @"
    exit 0
    --- stdout
    stricter  6 records, 2 kept (33.3 %), 4 dropped
      rule    threshold  fail it  fail it first  fail only it
      length  min 8            3              3             3

      source  records  kept          fail it
      (none)        1     0   0.0 %  0
      web           2     1  50.0 %  1
      wudao         3     1  33.3 %  2
    ");
    assert_snapshot!(project.run("why-rows joined"), @"
    exit 2
    --- stderr
    error: `joined` writes no ledger: it drops no records by a rule

    help: these do: `clean`, `stricter`
    ");
}

#[test]
fn what_stands_next_to_a_threshold_is_shown_with_its_text() {
    let project = project();
    project.good("run");
    assert_snapshot!(project.run("why-rows clean --rule length --borderline 1 --samples"), @"
    exit 0
    --- stdout
    clean  6 records, 3 kept (50.0 %), 3 dropped
      rule    threshold  fail it  fail it first  fail only it
      length  min 5            2              2             2

      source  records  kept          fail it
      (none)        1     0   0.0 %  0
      web           2     1  50.0 %  1
      wudao         3     2  66.7 %  1

      next to length  min 5
      passes         5  kept     a3  五个字的话
      fails          4  dropped  b1  四个字吧

      dropped by length  min 5
      fails          1  dropped  a2  短
      fails          4  dropped  b1  四个字吧
    ");
}

#[test]
fn other_thresholds_are_asked_without_a_run() {
    let project = project();
    project.good("run");
    assert_snapshot!(project.run("why-rows clean --max 0.1,0.9"), @"
    exit 2
    --- stderr
    error: `--min` and `--max` need `--rule`: there is more than one

    help: the rules are `keywords`, `length`, `repeated`
    ");
    assert_snapshot!(project.run("why-rows clean --rule length --min 1,4,6"), @"
    exit 0
    --- stdout
    clean  6 records, 3 kept (50.0 %), 3 dropped
      rule    threshold  fail it  fail it first  fail only it
      length  min 5            2              2             2

      source  records  kept          fail it
      (none)        1     0   0.0 %  0
      web           2     1  50.0 %  1
      wudao         3     2  66.7 %  1

      with          kept          more  fewer
      length min 1     5  83.3 %    +2     -0
      length min 4     4  66.7 %    +1     -0
      length min 6     2  33.3 %    +0     -1
    ");
    assert_snapshot!(project.run("why-rows clean --rule lenght --max 3"), @"
    exit 2
    --- stderr
    error: no rule `lenght`

    help: the ledger has `keywords`, `length`, `repeated`
    ");
    assert_snapshot!(project.run("why-rows clean --rule repeated --max 0.9 --json"), @r#"
    exit 0
    --- stdout
    {"step":"clean","key":"b3:fbe4ae39889366c604a46ab8696f1e5e1a5eb810b6466481d03d6891c17c64e8","fresh":true,"funnel":{"records":6,"kept":3,"dropped":3,"rules":[{"rule":"length","min":5.0,"max":null,"fails":2,"first":2,"only":2},{"rule":"repeated","min":null,"max":0.3,"fails":1,"first":1,"only":1},{"rule":"keywords","min":null,"max":0.0,"fails":0,"first":0,"only":0}],"sources":[{"source":null,"records":1,"kept":0,"rules":{"repeated":{"fails":1,"first":1,"only":1}}},{"source":"web","records":2,"kept":1,"rules":{"length":{"fails":1,"first":1,"only":1}}},{"source":"wudao","records":3,"kept":2,"rules":{"length":{"fails":1,"first":1,"only":1}}}],"tries":[{"rule":"repeated","min":null,"max":0.9,"kept":4,"more":1,"fewer":0}],"borderline":[],"samples":[],"values":["length","repeated","keywords"]}}
    "#);
}

#[test]
fn a_stale_result_is_said_to_be_one() {
    let project = project();
    project.good("run");
    project.append("raw.jsonl", "{\"id\":\"c\",\"text\":\"新\"}\n");
    assert_snapshot!(project.run("why-rows clean"), @"
    exit 0
    --- stdout
    clean  6 records, 3 kept (50.0 %), 3 dropped
      rule      threshold  fail it  fail it first  fail only it
      length    min 5            2              2             2
      repeated  max 0.3          1              1             1
      keywords  max 0            0              0             0

      source  records  kept          most fail first
      (none)        1     0   0.0 %  repeated 1
      web           2     1  50.0 %  length 1
      wudao         3     2  66.7 %  length 1
    --- stderr
    warning: `clean` is stale; its last result, made [DATE] UTC on [HOST], is shown
    ");
    let manifest = project.read("workflow.toml").replace("length = 5", "length = 6");
    project.write("workflow.toml", manifest);
    assert_snapshot!(project.run("why-rows clean"), @"
    exit 0
    --- stdout
    clean  6 records, 3 kept (50.0 %), 3 dropped
      rule      threshold  fail it  fail it first  fail only it
      length                     2              2             2
      repeated                   1              1             1

      source  records  kept          most fail first
      (none)        1     0   0.0 %  repeated 1
      web           2     1  50.0 %  length 1
      wudao         3     2  66.7 %  length 1
    --- stderr
    warning: `clean` is stale; its last result, made [DATE] UTC on [HOST], is shown without thresholds: its parameters have changed
    ");
}
