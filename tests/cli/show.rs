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

const MODELS: &str = r#"
[workflow]
name = "asking"
format = 1

[sources]
prompt = { path = "ask.jinja" }

[steps.words]
op   = "tokenizer"
in   = { data = "texts.jsonl" }
with = { vocab_size = 512 }

[steps.fresh]
op   = "init"
in   = { tokenizer = "${steps.words.tokenizer}" }
with = { hidden_size = 32, num_hidden_layers = 2, num_attention_heads = 4, num_key_value_heads = 2, intermediate_size = 48, max_position_embeddings = 64 }

[steps.labels]
op   = "label"
in   = { model = "${steps.fresh.model}", data = "texts.jsonl", prompt = "${sources.prompt}" }
with = { into = "guess", template = "kun", max_new_tokens = 2 }

[steps.good]
op   = "judge"
in   = { model = "${steps.fresh.model}", data = "texts.jsonl" }
with = { choices = ["是", "rain"], template = "kun" }

[steps.chat]
op   = "sft"
in   = { model = "${steps.fresh.model}", data = ["texts.jsonl", "texts.jsonl"] }
with = { learning_rate = 0.01, max_steps = 1, batch_size = 1, max_seq_len = 44 }

[steps.cut]
op   = "rules"
in   = { data = "texts.jsonl" }
with = { field = "output", preset = "none", min = { length = 1 } }
"#;

const TEXTS: &str = r#"{"instruction": "rain?", "output": "the river <|im_end|>"}
{"instruction": "今天", "output": "下雨"}
"#;

const ASK: &str = "{#\nid: guess\ninputs: output\n#}\n{{ output }}\n问题是?";

#[test]
fn a_prompt_is_shown_as_the_model_is_asked() {
    let files = [("workflow.toml", MODELS), ("texts.jsonl", TEXTS), ("ask.jinja", ASK)];
    let project = Project::with(&files);
    assert_snapshot!(project.run("show labels --prompt 1"), @"
    exit 2
    --- stderr
    error: `labels` reads `fresh.model`, which is not made yet

    help: `kun run fresh` makes it
    ");
    project.good("run -q fresh labels");
    assert_snapshot!(project.run("show labels --prompt 1"), @"
    exit 0
    --- stdout
    labels  record 1
      prompt    guess b3:9fd937877e
      template  kun
      tokens    49; there is room for 64
    ---
    <|im_start|>userthe river <|im_end|>
    问题是?<|im_end|>
    <|im_start|>assistant
    ");
    let asked = project.read("out/labels/data.jsonl");
    let tokens = project.run("show labels --prompt 1 --json").matches("\"control\":").count();
    assert!(asked.lines().next().unwrap().contains(&format!("\"guess_prompt_tokens\":{tokens},")));
    assert_snapshot!(project.run("show good --prompt 2 --tokens"), @r#"
    exit 0
    --- stdout
    good  record 2
      template  kun
      tokens    20; there is room for 64
      choice    是 (4 tokens)
      choice    rain (5 tokens)
    ---
    <|im_start|>│u│s│e│r│今│天│<|im_end|>│\n│<|im_start|>│a│s│s│i│s│t│a│n│t│\n
    "#);
    assert_snapshot!(project.run("show chat --prompt 4 --tokens"), @r#"
    exit 0
    --- stdout
    chat  record 4
      template  tokenizer_config.json
      tokens    25, 3 of them trained; there is room for 44
    ---
    <|im_start|>│u│s│e│r│\n│今│天│<|im_end|>│\n│<|im_start|>│a│s│s│i│s│t│a│n│t│\n⟦下│雨│<|im_end|>⟧\n
    "#);
    assert_snapshot!(project.run("show chat --prompt 1"), @"
    exit 0
    --- stdout
    chat  record 1
      template  tokenizer_config.json
      tokens    44, 20 of them trained; there is room for 44
    ---
    <|im_start|>user
    rain?<|im_end|>
    <|im_start|>assistant
    the river <|im_end|><|im_end|>

    --- stderr
    warning: it is too long, 46 tokens where `max_seq_len` is 44: its end is cut off
    ");
    let short = project.read("workflow.toml").replace("max_seq_len = 44", "max_seq_len = 9");
    project.write("workflow.toml", short);
    assert_snapshot!(project.run("show chat --prompt 2"), @"
    exit 0
    --- stdout
    chat  record 2
      template  tokenizer_config.json
      tokens    9; there is room for 9
    ---
    <|im_start|>user
    今天<|im_end|>
    <|im_start|>assistant
    下雨<|im_end|>

    --- stderr
    warning: it is too long, 25 tokens where `max_seq_len` is 9: its end is cut off; nothing of it would be trained: the step refuses such a record
    ");
    assert_snapshot!(project.run("show chat --prompt 5"), @"
    exit 2
    --- stderr
    error: `chat` reads fewer than 5 records
    ");
    assert_snapshot!(project.run("show cut --prompt 1"), @"
    exit 2
    --- stderr
    error: `cut` asks no model, and trains none on conversations
    ");
}
