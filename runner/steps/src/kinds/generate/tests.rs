//! What `generate` promises: answers do not depend on what is beside them, and are made once.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::Say;
use crate::kit::Kit;
use crate::model::tests::fixture;

/// A model with fresh weights; it talks nonsense, always the same.
pub(crate) fn model(folder: &Path) -> PathBuf {
    model_with_room(folder, 96)
}

/// The same for texts of so many tokens.
pub(crate) fn model_with_room(folder: &Path, n_tokens: usize) -> PathBuf {
    let mut kit = Kit::new("init");
    kit.seed = Some(3);
    let with = format!(
        "hidden_size = 32\nnum_hidden_layers = 2\nnum_attention_heads = 4\n\
         num_key_value_heads = 2\nintermediate_size = 48\n\
         max_position_embeddings = {n_tokens}\ninitializer_range = 0.2"
    );
    kit.run_at(&with, &[("tokenizer", vec![fixture("made")])]).unwrap();
    let model = folder.join("model");
    if !model.exists() {
        std::fs::rename(kit.folder.path().join("model"), &model).unwrap();
    }
    model
}

fn records(n: usize) -> String {
    (0..n).map(|it| format!("{{\"id\":{it},\"prompt\":\"rain {it} 今天\"}}\n")).collect()
}

fn kit() -> Kit {
    let mut kit = Kit::new("generate");
    kit.seed = Some(11);
    kit
}

fn run(kit: &mut Kit, with: &str, data: &str) -> Result<String, StepError> {
    let model = model(kit.folder.path());
    let file = kit.folder.path().join("records");
    std::fs::write(&file, data).unwrap();
    let out = kit.run_at(with, &[("model", vec![model]), ("data", vec![file])])?;
    Ok(out.into_iter().next().unwrap())
}

fn error(with: &str, data: &str) -> String {
    let mut kit = kit();
    let error = run(&mut kit, with, data).unwrap_err().to_string();
    error.replace(&format!("{}/", kit.folder.path().display()), "")
}

const SAMPLED: &str = "max_new_tokens = 12\ntemperature = 0.8\ntop_p = 0.95";

#[test]
fn an_answer_depends_on_neither_rows_threads_neighbours_nor_shards() {
    let whole = run(&mut kit(), SAMPLED, &records(12)).unwrap();
    assert_eq!(whole.lines().count(), 12);
    for (rows, threads) in [(1, 1), (3, 2), (32, 2)] {
        let mut kit = kit();
        kit.threads = threads;
        assert_eq!(
            run(&mut kit, &format!("{SAMPLED}\nrows = {rows}"), &records(12)).unwrap(),
            whole
        );
    }
    let shard = |index| {
        let mut kit = kit();
        kit.shard = Some(crate::Shard { index, count: 3 });
        run(&mut kit, SAMPLED, &records(12)).unwrap()
    };
    assert_eq!((0..3).map(shard).collect::<String>(), whole);
    let turned: String = records(12).lines().rev().map(|it| format!("{it}\n")).collect();
    let back: String = run(&mut kit(), SAMPLED, &turned)
        .unwrap()
        .lines()
        .rev()
        .map(|it| format!("{it}\n"))
        .collect();
    assert_eq!(back, whole);
}

#[test]
fn a_step_that_is_stopped_goes_on_where_it_was() {
    let whole = run(&mut kit(), SAMPLED, &records(20)).unwrap();
    let mut kit = kit();
    kit.stop_after = 40;
    let with = format!("{SAMPLED}\nrows = 4");
    assert!(matches!(run(&mut kit, &with, &records(20)), Err(StepError::Stopped)));
    let n_kept = kit.memo.0.len();
    assert!((1..20).contains(&n_kept), "{n_kept}");
    kit.stop_after = usize::MAX;
    assert_eq!(run(&mut kit, &with, &records(20)).unwrap(), whole);
    assert!(kit.said.contains(&Say::Note(format!("asked about {} of 20 records", 20 - n_kept))));
}

#[test]
fn equal_records_are_asked_about_once_and_the_seed_decides() {
    let mut first = kit();
    let out = run(&mut first, SAMPLED, &records(1).repeat(5)).unwrap();
    assert_eq!(first.memo.0.len(), 1);
    assert!(out.lines().all(|it| it == out.lines().next().unwrap()));
    let mut other = kit();
    other.seed = Some(12);
    assert_ne!(run(&mut other, SAMPLED, &records(1)).unwrap().repeat(5), out);
}

#[test]
fn fields_are_added_and_many_samples_are_lists() {
    let mut kit = kit();
    let with = "max_new_tokens = 3\ntemperature = 1.0\nsamples = 2\ninto = 'a'";
    let line = run(&mut kit, with, "{\"x\": 1, \"instruction\": \"rain\"}\n").unwrap();
    let object: Value = serde_json::from_str(&line).unwrap();
    let names: Vec<&String> = object.as_object().unwrap().keys().collect();
    let want =
        ["x", "instruction", "a", "a_finish_reason", "a_tokens", "a_prompt_tokens", "a_logprob"];
    assert_eq!(names, want);
    assert_eq!(object["a"].as_array().unwrap().len(), 2);
    assert_eq!(object["a_tokens"], serde_json::json!([3, 3]));
    assert_eq!(object["a_finish_reason"], serde_json::json!(["length", "length"]));
    assert!(object["a_logprob"][0].as_f64().unwrap() < 0.0);
    assert_eq!(kit.count("tokens"), Some(6));
}

#[test]
fn a_stop_text_ends_an_answer_and_is_not_part_of_it() {
    let text = |with: &str| {
        let line = run(&mut kit(), with, &records(1)).unwrap();
        let object: Value = serde_json::from_str(&line).unwrap();
        let text = object["generated"].as_str().unwrap().to_owned();
        (text, object["generated_finish_reason"].as_str().unwrap().to_owned())
    };
    let (whole, reason) = text("max_new_tokens = 30");
    assert_eq!(reason, "length");
    let stop: String = whole.chars().skip(5).take(2).collect();
    let with = format!(
        "max_new_tokens = 30
stop = [{}]",
        toml::Value::from(stop.as_str())
    );
    let (cut, reason) = text(&with);
    assert_eq!(reason, "stop");
    assert_eq!(cut, whole[..whole.find(&stop).unwrap()]);
}

#[test]
fn what_is_in_the_record_after_the_question_is_not_shown_to_the_model() {
    let with = "max_new_tokens = 4";
    let answer = |data: &str| {
        let line = run(&mut kit(), with, data).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["generated_prompt_tokens"].clone()
    };
    let pair = "{\"instruction\": \"rain\", \"output\": \"a long answer that is not shown\"}\n";
    assert_eq!(answer(pair), answer("{\"instruction\": \"rain\"}\n"));
}

#[test]
fn what_cannot_be_answered_is_named() {
    let long = format!("{{\"prompt\": \"{}\"}}\n", "rain ".repeat(200));
    let all = [
        error("max_new_tokens = 4", &long),
        error("max_new_tokens = 4", "{\"prompt\": \"a\", \"generated\": 1}\n"),
        error("max_new_tokens = 4", "{\"text\": \"a\"}\n"),
        error("max_new_tokens = 4\ntemperature = -1.0", &records(1)),
        error("max_new_tokens = 4\ntemplate = 'qwen'", &records(1)),
        error("max_new_tokens = 4\ntemplate = 'plain'", "{\"prompt\": \"\"}\n"),
    ];
    insta::assert_snapshot!(all.join("\n"), @r"
    records:1: makes a prompt of 414 tokens; there is room for 96
    records:1: field `generated`: is there already
    records:1: is no conversation: none of `messages`, `conversations`, `instruction` and `prompt` is there; it has `text`
    `temperature` cannot be -1
    no chat template: `qwen` is none of `yi-chatml`, `plain`, `kun`, `kun-label`, `kun-point`, `kun-answer`
    records:1: makes an empty prompt
    ");
    let mut kit = kit();
    let with = "max_new_tokens = 4\non_overlong = 'skip'";
    let out = run(&mut kit, with, &(long + &records(1))).unwrap();
    assert!(out.contains("\"generated\":\"\",\"generated_finish_reason\":\"overlong\""), "{out}");
    assert_eq!((kit.count("overlong"), kit.count("records")), (Some(1), Some(2)));
}
