//! `kun verify`.

use insta::assert_snapshot;

use crate::project::Project;

/// Changes one bit of the only object of an output.
fn flip(project: &Project, output: &str) {
    let path = String::from_utf8(project.output(&format!("out {output}")).stdout).unwrap();
    let path = std::path::Path::new(path.trim_end());
    let mut bytes = std::fs::read(path).unwrap();
    bytes[3] ^= 1;
    // The object is read-only, and its folder is not.
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_is_found_put_aside_and_made_again() {
    let project = Project::new();
    project.good("run");
    assert_snapshot!(project.run("verify"), @"
    exit 0
    --- stderr
            Read 4 objects of 191 B, 4 results, 0 rows
            Good everything is as it was written
    ");
    flip(&project, "all.data");
    assert_snapshot!(project.run("verify"), @"
    exit 1
    --- stdout
    object b3:3e4f9109ab23ce205567dcb263408401ce1b320f8ead539edf8eba9b19733874 is damaged
      `.kun/store/obj/3e/4f9109ab23ce205567dcb263408401ce1b320f8ead539edf8eba9b19733874`: its digest is `b3:24a7e4d7956ce5036f6bd347aba694a48d08d75f2fe710fa055795b2220974d1`
      `kun run all` makes it again
    the result of `numbers` may be wrong: it was made from a damaged object
    --- stderr
            Read 4 objects of 191 B, 4 results, 0 rows
           Found 2 things wrong

    help: `kun verify --repair` puts aside what is damaged and forgets the results that lack an object or were made from a damaged one; a run that needs them makes them again
    ");
    assert_snapshot!(project.run("verify --repair"), @"
    exit 0
    --- stdout
    object b3:3e4f9109ab23ce205567dcb263408401ce1b320f8ead539edf8eba9b19733874 is damaged
      `.kun/store/obj/3e/4f9109ab23ce205567dcb263408401ce1b320f8ead539edf8eba9b19733874`: its digest is `b3:24a7e4d7956ce5036f6bd347aba694a48d08d75f2fe710fa055795b2220974d1`
      `kun run all` makes it again
    the result of `numbers` may be wrong: it was made from a damaged object
    --- stderr
            Read 4 objects of 191 B, 4 results, 0 rows
           Found 2 wrong, 1 put aside, 2 results forgotten
    ");
    assert_snapshot!(project.run("why all"), @"
    exit 0
    --- stdout
    all runs
      its result is not in the store any more
    ");
    assert_snapshot!(project.sorted("run"), @"
    exit 0
    --- stdout
    out/all/data
    out/numbers/metrics.json
    --- stderr
            Plan 4 steps: 2 cached, 2 run
         Running all: its result is not in the store any more
            Done all in [TIME], bytes 58
         Running numbers: its result is not in the store any more
            Done numbers in [TIME], lines 5
        Finished 2 ran, 2 reused in [TIME]
    ");
    assert_snapshot!(project.run("verify"), @"
    exit 0
    --- stderr
            Read 4 objects of 191 B, 4 results, 0 rows
            Good everything is as it was written
    ");
}

#[test]
fn what_no_target_needs_is_made_again_when_asked_for() {
    let project = Project::new();
    project.good("run");
    flip(&project, "marked[one].text");
    project.run("verify --repair");
    assert_snapshot!(project.run("verify"), @"
    exit 0
    --- stderr
            Read 3 objects of 157 B, 1 result, 0 rows
            Good everything is as it was written
    ");
    project.good("run marked[one]");
    assert_snapshot!(project.run("verify"), @"
    exit 0
    --- stderr
            Read 4 objects of 191 B, 2 results, 0 rows
            Good everything is as it was written
    ");
}

const ASKING: &str = r#"
[workflow]
name = "asking"
format = 1

[params]
n = 4

[variants]
short = { n = 2 }

[steps.words]
op   = "tokenizer"
in   = { data = "texts.jsonl" }
with = { vocab_size = 512 }

[steps.fresh]
op   = "init"
in   = { tokenizer = "${steps.words.tokenizer}" }
with = { hidden_size = 32, num_hidden_layers = 2, num_attention_heads = 4, num_key_value_heads = 2, intermediate_size = 48, max_position_embeddings = 64 }

[steps.labels]
op     = "label"
in     = { model = "${steps.fresh.model}", data = "texts.jsonl" }
with   = { columns = { output = "text" }, template = "plain", max_new_tokens = "${params.n}" }
shards = 2

[steps.good]
op   = "judge"
in   = { model = "${steps.fresh.model}", data = "texts.jsonl" }
with = { columns = { prompt = "text" }, template = "plain", choices = ["yes", "no"] }

[steps.losses]
op   = "score_text"
in   = { model = "${steps.fresh.model}", data = "texts.jsonl" }
"#;

#[test]
fn models_are_asked_again_in_other_company_and_answer_the_same() {
    let line = |it: u32| format!("{{\"text\":\"the river number {it}\"}}\n");
    let texts: String = (0..30).map(line).collect();
    let project = Project::with(&[("workflow.toml", ASKING), ("texts.jsonl", &texts)]);
    assert_snapshot!(project.run("verify --replay 50%"), @"
    exit 0
    --- stderr
         Nothing no finished step here asks a model
    ");
    project.good("run");
    project.good("run labels --variant short");
    assert_snapshot!(project.run("verify --replay 50%"), @"
    exit 0
    --- stdout
    labels: 16 of 16 answered as before
    good: 16 of 16 answered as before
    losses: 16 of 16 answered as before
    labels@short: 16 of 16 answered as before
    --- stderr
            Good 64 records asked again, no answer differs
    ");
    assert_snapshot!(project.run("verify --replay 0.1% --seed 3 --json"), @r#"
    exit 0
    --- stdout
    {"step":"labels","asked":1,"same":1,"without_answer":0,"differ":[],"n_differ":0}
    {"step":"good","asked":1,"same":1,"without_answer":0,"differ":[],"n_differ":0}
    {"step":"losses","asked":1,"same":1,"without_answer":0,"differ":[],"n_differ":0}
    {"step":"labels@short","asked":1,"same":1,"without_answer":0,"differ":[],"n_differ":0}
    --- stderr
            Good 4 records asked again, no answer differs
    "#);
    assert_snapshot!(project.run("verify --replay 0"), @"
    exit 2
    --- stderr
    error: invalid value '0' for '--replay <SHARE>': expected a share above 0 and up to 100%, such as `0.1%`

    For more information, try '--help'.
    ");
    assert_snapshot!(project.run("verify"), @"
    exit 0
    --- stderr
            Read 13 objects of 178 KiB, 6 results, 120 rows
            Good everything is as it was written
    ");
}
