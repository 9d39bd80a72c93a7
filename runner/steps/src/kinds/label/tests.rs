//! What `label` promises beyond `generate`: the prompt file's words, perplexity, defaults.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::StepError;
use crate::kinds::generate::tests::model;
use crate::kit::Kit;

const PROMPT: &str = "{#\nid: p\ninputs: output\n#}\n哪个指令：\n{{ output }}\n";

fn kit(name: &str) -> Kit {
    let mut kit = Kit::new(name);
    kit.seed = Some(5);
    kit
}

pub(crate) fn run(
    kit: &mut Kit,
    with: &str,
    (data, prompt): (&str, Option<&str>),
) -> Result<String, StepError> {
    let model = model(kit.folder.path());
    let file = kit.folder.path().join("records");
    std::fs::write(&file, data).unwrap();
    let mut inputs: Vec<(&str, Vec<PathBuf>)> = vec![("model", vec![model]), ("data", vec![file])];
    if let Some(text) = prompt {
        let file = kit.folder.path().join("p.jinja");
        std::fs::write(&file, text).unwrap();
        inputs.push(("prompt", vec![file]));
    }
    Ok(kit.run_at(with, &inputs)?.remove(0))
}

fn records(n: usize) -> String {
    (0..n).map(|it| format!("{{\"id\":{it},\"output\":\"rain {it} 今天\"}}\n")).collect()
}

const WITH: &str = "max_new_tokens = 8\ntemplate = 'kun'";

#[test]
fn a_label_has_its_length_and_its_perplexity() {
    let out = run(&mut kit("label"), WITH, (&records(1), Some(PROMPT))).unwrap();
    let it: Value = serde_json::from_str(&out).unwrap();
    let number = |name: &str| it[format!("instruction_{name}")].as_f64().unwrap();
    let want = (-number("logprob") / number("tokens")).exp();
    assert!((number("ppl") / want - 1.0).abs() < 1e-12, "{out}");
    assert!(it["instruction"].is_string());
}

#[test]
fn a_prompt_file_asks_what_a_conversation_of_the_same_words_asks() {
    let mut label = kit("label");
    let out = run(&mut label, WITH, (&records(1), Some(PROMPT))).unwrap();
    let label: Value = serde_json::from_str(&out).unwrap();
    let asked = json!({ "instruction": "哪个指令：\nrain 0 今天" });
    let mut answer = kit("answer");
    let out = run(&mut answer, WITH, (&format!("{asked}\n"), None)).unwrap();
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(label["instruction_prompt_tokens"], answer["answer_prompt_tokens"]);
    let greedy = format!("{WITH}\ntemperature = 0.0");
    let text = |kind: &str, data: &str, prompt| {
        let out = run(&mut kit(kind), &greedy, (data, prompt)).unwrap();
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let (a, b) =
        (text("label", &records(1), Some(PROMPT)), text("answer", &format!("{asked}\n"), None));
    assert_eq!(a["instruction"], b["answer"]);
}

#[test]
fn labels_depend_on_neither_company_nor_shards_and_are_made_once() {
    let whole = run(&mut kit("label"), WITH, (&records(9), Some(PROMPT))).unwrap();
    let shard = |index| {
        let mut kit = kit("label");
        kit.shard = Some(crate::Shard { index, count: 2 });
        kit.threads = 2;
        run(&mut kit, &format!("{WITH}\nrows = 2"), (&records(9), Some(PROMPT))).unwrap()
    };
    assert_eq!((0..2).map(shard).collect::<String>(), whole);
    let mut kit = kit("label");
    kit.stop_after = 25;
    let with = format!("{WITH}\nrows = 2");
    let stopped = run(&mut kit, &with, (&records(9), Some(PROMPT)));
    assert!(matches!(stopped, Err(StepError::Stopped)));
    let n_kept = kit.memo.0.len();
    assert!((1..9).contains(&n_kept), "{n_kept}");
    kit.stop_after = usize::MAX;
    assert_eq!(run(&mut kit, &with, (&records(9), Some(PROMPT))).unwrap(), whole);
}

#[test]
fn what_a_prompt_needs_and_a_record_lacks_is_named() {
    let mut kit = kit("label");
    let said = [
        run(&mut kit, WITH, ("{\"text\":\"a\"}\n", Some(PROMPT))),
        run(&mut kit, WITH, ("{\"text\":\"a\"}\n", None)),
        run(&mut kit, &format!("{WITH}\ncolumns = {{ reply = 'a' }}"), ("", Some(PROMPT))),
    ];
    let said = said.map(|it| it.unwrap_err().to_string());
    let said = said.join("\n").replace(&format!("{}/", kit.folder.path().display()), "");
    insta::assert_snapshot!(said, @r"
    records:1: `p.jinja` line 6: needs `output`, which the record does not have; it has `text`
    records:1: field `output`: is missing
    parameters of `label`: `columns.reply` means nothing; what does: `completion`, `content`, `conversations`, `history`, `input`, `instruction`, `messages`, `output`, `prompt`, `role`, `system`, `text`, `tools`
    ");
    let with = format!("{WITH}\ncolumns = {{ output = 'text' }}");
    assert!(run(&mut kit, &with, ("{\"text\":\"a\"}\n", Some(PROMPT))).is_ok());
}
