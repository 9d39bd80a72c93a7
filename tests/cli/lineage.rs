//! `kun lineage`.

use insta::assert_snapshot;

use crate::project::Project;

const MANIFEST: &str = r#"
[workflow]
name = "life"
format = 1

[sources]
raw = { path = "raw.jsonl" }

[steps.plain]
op = "normalize"
in = { data = "${sources.raw}" }

[steps.joined]
op = "concat"
in = { parts = "${steps.plain.data}" }

[steps.private]
op   = "anonymize"
in   = { data = "${steps.joined.data}" }
with = { id_card = "drop" }

[steps.passages]
op   = "segment"
in   = { data = "${steps.private.data}" }
with = { min = 6, max = 12 }

[steps.clean]
op   = "rules"
in   = { data = "${steps.passages.data}" }
with = { preset = "none", max = { chinese = 0.9 } }

[steps.labels]
op   = "map"
in   = { data = "${steps.clean.data}" }
with = { run = ["sed", "-u", "-f", "label.sed"], same = ["id"] }
code = ["label.sed"]

[steps.number]
op = "count"
in = { data = "${steps.labels.data}" }
"#;

const RAW: &str = r#"{"id":"a1","source":"wudao","text":"电话１３８００１３８０００找张三。他住在城里。天气今天真的很好很好。"}
{"id":"a2","source":"wudao","text":"号码 11010519491231002X 的人。"}
{"text":"没有名字的一段话，也有它的一生。"}
"#;

/// Answers with the record and one field more.
const LABEL: &str = "s/}$/,\"instruction\":\"怎样找到张三？\"}/\n";

fn project() -> Project {
    let files = [("workflow.toml", MANIFEST), ("raw.jsonl", RAW), ("label.sed", LABEL)];
    Project::with(&files)
}

#[test]
fn a_document_is_followed_through_its_changes_and_its_children() {
    let project = project();
    project.good("run");
    assert_snapshot!(project.run("lineage a1"), @r#"
    exit 0
    --- stdout
    a1
      plain     data:1     goes on, changed
                             text: 电话[-１３８００１３８０００-]{+13800138000+}找张三。他住…
      joined    data:1     goes on as it was
      private   data:1     goes on, changed
                             text: 电话[-13800138000-]{+[手机号]+}找张三。他住…
                samples:1  is noted: type mobile, field text, before 电话, found 13800138000, after 找张三。他住在城里。天气今天真的
      passages  data:1     a1.0: begins
                             source: wudao
                             text: 电话[手机号]找张三。
                             from: {"id":"a1","start":0,"end":11}
                data:2     a1.1: begins
                             source: wudao
                             text: 他住在城里。
                             from: {"id":"a1","start":11,"end":17}
                data:3     a1.2: begins
                             source: wudao
                             text: 天气今天真的很好很好。
                             from: {"id":"a1","start":17,"end":28}
      clean     data:1     a1.0: goes on as it was
                data:2     a1.1: goes on as it was
                ledger:3   a1.2: is dropped by `chinese` with 0.909091 (max 0.9)
      labels    data:1     a1.0: goes on, changed
                             + instruction: 怎样找到张三？
                data:2     a1.1: goes on, changed
                             + instruction: 怎样找到张三？
      number               a1.0: is read for `metrics`
                           a1.1: is read for `metrics`
    "#);
    assert_snapshot!(project.run("lineage a2"), @"
    exit 0
    --- stdout
    a2
      plain    data:2     goes on as it was
      joined   data:2     goes on as it was
      private  ledger:2   is dropped by `id_card` with 1 (max 0)
               samples:2  is noted: type id_card, field text, before 号码 , found 11010519491231002X, after  的人。
    ");
    assert_snapshot!(project.run("lineage a1.0"), @r#"
    exit 0
    --- stdout
    a1.0
      passages  data:1  begins
                          source: wudao
                          text: 电话[手机号]找张三。
                          from: {"id":"a1","start":0,"end":11}
      clean     data:1  goes on as it was
      labels    data:1  goes on, changed
                          + instruction: 怎样找到张三？
      number            is read for `metrics`
    "#);
    assert_snapshot!(project.run("lineage a2 private --json"), @r#"
    exit 0
    --- stdout
    {"id":"a2","events":[{"step":"plain","id":"a2","at":["data",2],"what":"same"},{"step":"joined","id":"a2","at":["data",2],"what":"same"},{"step":"private","id":"a2","at":["ledger",2],"what":{"judged":{"keep":false,"rules":[{"rule":"id_card","value":1.0,"min":null,"max":0.0}]}}},{"step":"private","id":"a2","at":["samples",2],"what":{"noted":{"type":"id_card","id":"a2","field":"text","before":"号码 ","found":"11010519491231002X","after":" 的人。"}}}],"without_result":[],"stale":[]}
    "#);
}

#[test]
fn what_has_no_result_or_no_record_is_said() {
    let project = project();
    assert_snapshot!(project.run("lineage a1"), @"
    exit 2
    --- stderr
    error: no record `a1` in the newest results

    help: no result yet: `plain`, `joined`, `private`, `passages`, `clean`, `labels`, `number`
    ");
    project.good("run passages");
    assert_snapshot!(project.run("lineage a1.1"), @r#"
    exit 0
    --- stdout
    a1.1
      passages  data:2  begins
                          source: wudao
                          text: 他住在城里。
                          from: {"id":"a1","start":11,"end":17}
    --- stderr
    no result yet: `clean`, `labels`, `number`
    "#);
    assert_snapshot!(project.run("lineage zz"), @"
    exit 2
    --- stderr
    error: no record `zz` in the newest results

    help: no result yet: `clean`, `labels`, `number`
    ");
    project.append("raw.jsonl", "{}\n");
    assert_snapshot!(project.run("lineage a2"), @"
    exit 0
    --- stdout
    a2
      plain    data:2     begins
                            source: wudao
                            text: 号码 11010519491231002X 的人。
      joined   data:2     goes on as it was
      private  ledger:2   is dropped by `id_card` with 1 (max 0)
               samples:2  is noted: type id_card, field text, before 号码 , found 11010519491231002X, after  的人。
    --- stderr
    warning: stale, shown as they were last: `plain`, `joined`, `private`, `passages`
    no result yet: `clean`, `labels`, `number`
    ");
}
