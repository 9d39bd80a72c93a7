//! From texts to a model that answers, with nothing but the program; and the commands that look at
//! the model and talk with it.

use std::io::Write as _;
use std::process::{Output, Stdio};

use insta::assert_snapshot;

use crate::project::Project;

const WORKFLOW: &str = r#"

[steps.words]
op   = "tokenizer"
in   = { data = "texts.jsonl" }
with = { vocab_size = 512 }

[steps.fresh]
op   = "init"
in   = { tokenizer = "${steps.words.tokenizer}" }
with = { hidden_size = 32, num_hidden_layers = 2, num_attention_heads = 4, num_key_value_heads = 2, intermediate_size = 48, max_position_embeddings = 64 }

[steps.base]
op   = "pretrain"
in   = { model = "${steps.fresh.model}", data = ["texts.jsonl"] }
with = { learning_rate = 0.003, max_steps = 5, batch_size = 2, max_seq_len = 32, columns = { text = "output" } }

[steps.chat]
op   = "sft"
in   = { model = "${steps.base.model}", data = ["texts.jsonl"] }
with = { learning_rate = 0.01, epochs = 60, batch_size = 3, max_seq_len = 64, lr_scheduler = "constant" }

[steps.answers]
op     = "generate"
in     = { model = "${steps.chat.model}", data = "texts.jsonl" }
with   = { max_new_tokens = 20 }
shards = 2

[steps.losses]
op   = "score_text"
in   = { model = "${steps.chat.model}", data = "texts.jsonl" }
"#;

const TEXTS: &str = r#"{"instruction": "rain?", "output": "the river"}
{"instruction": "今天", "output": "下雨"}
{"instruction": "one", "output": "two <three>"}
"#;

fn project() -> Project {
    let project = Project::with(&[("workflow.toml", WORKFLOW), ("texts.jsonl", TEXTS)]);
    project.good("run -q chat answers losses");
    project
}

fn said(project: &Project, args: &[&str], input: &str) -> Output {
    let mut command = project.command("");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> &str {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn a_model_is_made_asked_looked_at_and_talked_with() {
    let project = project();
    let answers = project.read("out/answers/data.jsonl");
    for text in ["the river", "下雨", "two <three>"] {
        let wanted = format!("\"generated\":\"{text}\",\"generated_finish_reason\":\"stop\"");
        assert!(answers.contains(&wanted), "{answers}");
    }
    let losses = project.read("out/losses/data.jsonl");
    assert_eq!(losses.matches("\"ppl\":1.0").count(), 3, "{losses}");

    let model = "out/chat/model";
    assert_snapshot!(project.run("model inspect out/chat/model"), @r"
    exit 0
    --- stdout
    architecture             LlamaForCausalLM
    parameters               34080 (0.0 M)
    weights                  float32, 135 KiB
    hidden_size              32
    num_hidden_layers        2
    num_attention_heads      4
    num_key_value_heads      2
    head_dim                 8
    intermediate_size        48
    max_position_embeddings  64
    rope_theta               10000.0
    rms_norm_eps             0.00001
    embedding                290 rows, and an output layer of its own
    tokenizer                290 tokens, ids up to 289
    bos_token                1 <|startoftext|>
    eos_token                2 <|endoftext|>
    pad_token                0 <unk>
    unk_token                0 <unk>
    before a text            nothing
    ends an answer           2 <|endoftext|>, 7 <|im_end|>
    template                 tokenizer_config.json
    to generate              135 KiB of weights, 256 bytes a token
    to train                 532 KiB with AdamW in f32, and activations
    ");
    assert_snapshot!(project.run("model inspect out/chat/model --tokens texts.jsonl -n 2"), @r"
    exit 0
    --- stdout
    record 1  9 of 34 tokens are trained
    <|im_start|>user\nrain?<|im_end|>\n<|im_start|>assistant\n⟦the river<|im_end|>⟧\n
    record 2  3 of 25 tokens are trained
    <|im_start|>user\n今天<|im_end|>\n<|im_start|>assistant\n⟦下雨<|im_end|>⟧\n
    ");
    let generate = ["generate", model, "--prompt", "今天"];
    assert_eq!(stdout(&said(&project, &generate, "")), "下雨\n");
    assert_eq!(stdout(&said(&project, &["generate", model], "rain?\n")), "the river\n");
    let json = stdout(&said(&project, &["generate", model, "--json", "-p", "one"], "")).to_owned();
    assert!(json.starts_with(r#"{"text":"two <three>","finish_reason":"stop","prompt_tokens":"#));
    let chat = said(&project, &["chat", model], "rain?\n\n/reset\n今天\n/exit\nnever\n");
    assert_eq!(stdout(&chat), "the river\n下雨\n");
}

#[test]
fn a_folder_that_is_no_model_is_named() {
    let project = Project::with(&[("m/config.json", "{}"), ("m/tokenizer.json", "{}")]);
    assert_snapshot!(project.run("model inspect nowhere"), @r"
    exit 2
    --- stderr
    error: `nowhere/config.json` cannot be read: No such file or directory (os error 2)
    ");
    assert_snapshot!(project.run("generate m --prompt a"), @r"
    exit 2
    --- stderr
    error: `m/config.json`: `model_type` is missing, and so is `architectures`
    ");
}

#[test]
fn names_of_other_tools_are_called_by_ours() {
    let project = Project::with(&[(
        "workflow.toml",
        "[steps.a]\nop = \"sft\"\nin = { model = \"m\", data = [\"d\"] }\n\
         with = { lr = 1e-5, cutoff_len = 512 }\n",
    )]);
    let screen = project.run("check");
    assert!(screen.contains("`lr` is called `learning_rate` here"), "{screen}");
    assert!(screen.contains("`cutoff_len` is called `max_seq_len` here"), "{screen}");
}
