//! `kun show`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn a_step_is_shown_with_every_value_and_its_place() {
    let project = Project::hello();
    assert_snapshot!(project.run("show sample"), @"
    exit 0
    --- stdout
    sample  workflow.toml:52
      in.data     (not made yet)        records.data
      op          sample
      op.version  1
      out.data    records data.jsonl
      out.ledger  records ledger.jsonl
      seed        7154117675324306741   workflow.toml:52
      with.n      6                     workflow.toml:56
      (parameters at their default are left out)
      uses cpu 1, 1 shard, 0 retries
    ");
    project.good("run");
    assert_snapshot!(project.run("show sample"), @"
    exit 0
    --- stdout
    sample  workflow.toml:52
      in.data     b3:a374c4fe07         records.data
      op          sample
      op.version  1
      out.data    records data.jsonl
      out.ledger  records ledger.jsonl
      seed        7154117675324306741   workflow.toml:52
      with.n      6                     workflow.toml:56
      (parameters at their default are left out)
      uses cpu 1, 1 shard, 0 retries
      made [DATE] UTC on [HOST], in [TIME]
        data     b3:d219a3e021  435 B
        ledger   b3:7074f2921f  1.1 KiB
        dropped  6
        kept     6
    ");
    assert_snapshot!(project.run("show words[rain]"), @r#"
    exit 0
    --- stdout
    words[rain]  workflow.toml:27
      code.words.sh  b3:9383b64034
      in.text        b3:f1e1f7cbd7                                 texts/rain.txt
      out.words      file words.txt
      run            ["sh", "words.sh", ${in.text}, ${out.words}]  workflow.toml:30
      uses cpu 1, 1 shard, 0 retries
      made [DATE] UTC on [HOST], in [TIME]
        words  b3:717e4cacb8  348 B
    "#);
}
