//! What `sft` promises: it learns answers, resumes to the same bytes, refuses what teaches nothing.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::kinds::generate::tests::model;
use crate::kit::Kit;

/// A kind that trains, run on a small model; the kit holds what it wrote below `model` and so on.
pub(crate) fn trained(kind: &str, with: &str, data: &str) -> Result<(Kit, Vec<String>), StepError> {
    let mut kit = Kit::new(kind);
    kit.seed = Some(5);
    let out = run(&mut kit, with, data)?;
    Ok((kit, out))
}

fn run(kit: &mut Kit, with: &str, data: &str) -> Result<Vec<String>, StepError> {
    let base = kit.folder.path().join("base");
    std::fs::create_dir_all(&base).unwrap();
    let base = model(&base);
    let file = kit.folder.path().join("records");
    std::fs::write(&file, data).unwrap();
    kit.run_at(with, &[("model", vec![base]), ("data", vec![file])])
}

/// The losses of the steps of a log.
pub(crate) fn losses(log: &str) -> Vec<f64> {
    let line = |it: &str| serde_json::from_str::<Value>(it).unwrap()["loss"].as_f64();
    log.lines().filter_map(line).collect()
}

fn bytes(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model.safetensors")).unwrap()
}

const DATA: &str = r#"{"instruction": "rain?", "output": "river"}
{"messages": [{"role": "user", "content": "今天"}, {"role": "assistant", "content": "下雨"}]}
{"prompt": "a", "completion": "the river rose"}
{"conversations": [{"from": "human", "value": "b"}, {"from": "gpt", "value": "水"}]}
"#;
const WITH: &str = "learning_rate = 0.01\nepochs = 6\nbatch_size = 2\nmax_seq_len = 64\n\
                    lr_scheduler = 'constant'\npacking = false";

#[test]
fn a_model_learns_to_answer_and_to_end() {
    let with = WITH.replace("epochs = 6", "epochs = 60");
    let (kit, out) = trained("sft", &with, DATA).unwrap();
    let losses = losses(&out[1]);
    assert_eq!(losses.len(), 120);
    assert!(losses[119] < 0.1, "{losses:?}");
    // It answers what it was taught, and stops by itself.
    let folder = kit.folder.path().join("model");
    let mut asked = Kit::new("generate");
    asked.seed = Some(1);
    let file = asked.folder.path().join("records");
    std::fs::write(&file, DATA).unwrap();
    let inputs = [("model", vec![folder]), ("data", vec![file])];
    let out = asked.run_at("max_new_tokens = 20", &inputs).unwrap();
    let answers: Vec<Value> = out[0].lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let texts: Vec<&str> = answers.iter().map(|it| it["generated"].as_str().unwrap()).collect();
    assert_eq!(texts, ["river", "下雨", "the river rose", "水"]);
    assert!(answers.iter().all(|it| it["generated_finish_reason"] == "stop"));
}

#[test]
fn the_folder_says_what_ends_an_answer() {
    let (kit, _) = trained("sft", WITH, DATA).unwrap();
    let folder = kit.folder.path().join("model");
    let generation = std::fs::read_to_string(folder.join("generation_config.json")).unwrap();
    let generation: Value = serde_json::from_str(&generation).unwrap();
    assert_eq!(generation["eos_token_id"], serde_json::json!([2, 7]));
    let it = ModelFolder::open(&folder).unwrap();
    assert_eq!(it.template(None).unwrap().source(), model::YI_CHATML);
    assert_eq!(it.tokenizer.named().stop, [2, 7]);
}

#[test]
fn answers_on_the_way_are_those_of_the_model_that_is_saved() {
    let (halves, bytes) =
        ("master_weights = 'bf16_split'\noptim_states = 'bf16'", "optim_states = '8bit'");
    for (more, dtype) in
        [("", "f32"), (bytes, "bf16"), (halves, "bf16"), ("lora = { rank = 2 }", "f32")]
    {
        let with = WITH.replace("epochs = 6", "epochs = 60");
        let with = format!("{with}\nsample_generations = 9\ndtype = '{dtype}'\n{more}");
        let (kit, out) = trained("sft", &with, DATA).unwrap();
        let lines = out[1].lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
        let shown: Vec<Value> = lines.filter(|it| it.get("want").is_some()).collect();
        assert_eq!(shown.len(), 8, "before the first step and after the last");
        let folder = kit.folder.path().join("model");
        let mut asked = Kit::new("generate");
        asked.seed = Some(1);
        let file = asked.folder.path().join("records");
        std::fs::write(&file, DATA).unwrap();
        let inputs = [("model", vec![folder]), ("data", vec![file])];
        let with = "max_new_tokens = 256\ntemperature = 0.0\nrepetition_penalty = 1.0";
        let out = asked.run_at(with, &inputs).unwrap();
        let text = |it: &str| serde_json::from_str::<Value>(it).unwrap()["generated"].clone();
        let answers: Vec<Value> = out[0].lines().map(text).collect();
        let last: Vec<Value> = shown[4..].iter().map(|it| it["text"].clone()).collect();
        assert_eq!(last, answers, "{more} {dtype}");
        assert!(shown.iter().all(|it| it["prompt"].as_str().unwrap().contains("user")));
        assert_eq!(shown[0]["want"], "river");
    }
}

/// Stops after so many looks at the flag, until the run is whole; gives how often it was stopped.
fn interrupted(with: &str, looks: usize) -> (Kit, Vec<String>, usize) {
    let mut kit = Kit::new("sft");
    kit.seed = Some(5);
    let mut stops = 0;
    loop {
        kit.stop_after = looks;
        match run(&mut kit, with, DATA) {
            Ok(out) => return (kit, out, stops),
            Err(StepError::Stopped) => stops += 1,
            Err(it) => panic!("{it}"),
        }
        assert!(stops < 100);
    }
}

#[test]
fn a_run_that_is_stopped_again_and_again_ends_with_the_same_bytes() {
    let with = format!("{WITH}\nval_size = 1\neval_steps = 2\nsample_generations = 2");
    let (whole, whole_out) = trained("sft", &with, DATA).unwrap();
    assert_eq!(losses(&whole_out[1]).len(), 12);
    assert_eq!(whole_out[1].matches("eval_loss").count(), 7);
    assert_eq!(whole_out[1].matches("\"want\"").count(), 7);
    let (kit, out, stops) = interrupted(&with, 9);
    assert!(stops >= 2, "{stops}");
    assert_eq!(out[1..], whole_out[1..]);
    let of = |kit: &Kit| bytes(&kit.folder.path().join("model"));
    assert!(of(&kit) == of(&whole));
}

#[test]
fn a_run_that_is_killed_between_checkpoints_ends_with_the_same_bytes() {
    let with = format!("{WITH}\nsave_steps = 3");
    let (whole, whole_out) = trained("sft", &with, DATA).unwrap();
    let mut kit = Kit::new("sft");
    kit.seed = Some(5);
    kit.stop_after = 4 + 8;
    assert!(matches!(run(&mut kit, &with, DATA), Err(StepError::Stopped)));
    // As if the kill had come before the last state was written: only an older one is there.
    let state = kit.folder.path().join("state/training");
    let names = || std::fs::read_dir(&state).unwrap().map(|it| it.unwrap().file_name());
    assert!(names().any(|it| it == "step-0000000008"), "{:?}", names().collect::<Vec<_>>());
    let (mut other, _, _) = (Kit::new("sft"), 0, 0);
    other.seed = Some(5);
    other.stop_after = 4 + 6;
    assert!(matches!(run(&mut other, &with, DATA), Err(StepError::Stopped)));
    let older = other.folder.path().join("state/training/step-0000000006");
    std::fs::remove_dir_all(state.join("step-0000000008")).unwrap();
    std::fs::rename(older, state.join("step-0000000006")).unwrap();
    kit.stop_after = usize::MAX;
    let out = run(&mut kit, &with, DATA).unwrap();
    assert_eq!(out[1..], whole_out[1..]);
    let of = |kit: &Kit| bytes(&kit.folder.path().join("model"));
    assert!(of(&kit) == of(&whole));
}

#[test]
fn threads_recomputation_and_micro_batches_change_nothing() {
    let (whole, whole_out) = trained("sft", WITH, DATA).unwrap();
    for (threads, more) in
        [(2, ""), (1, "gradient_checkpointing = 'full'"), (1, "micro_batch_tokens = 1")]
    {
        let mut kit = Kit::new("sft");
        (kit.seed, kit.threads) = (Some(5), threads);
        let out = run(&mut kit, &format!("{WITH}\n{more}"), DATA).unwrap();
        assert_eq!(out[1..], whole_out[1..], "{more}");
        let of = |kit: &Kit| bytes(&kit.folder.path().join("model"));
        assert!(of(&kit) == of(&whole), "{more}");
    }
}

#[test]
fn adapters_are_added_to_the_weights() {
    let with = format!("{WITH}\nlora = {{ rank = 4 }}");
    let (kit, out) = trained("sft", &with, DATA).unwrap();
    let losses = losses(&out[1]);
    assert!(losses.last() < losses.first(), "{losses:?}");
    assert!(ModelFolder::open(&kit.folder.path().join("model")).unwrap().weights().is_ok());
}

#[test]
fn what_teaches_nothing_or_is_too_long_is_named() {
    let long = format!("{{\"prompt\": \"{}\", \"completion\": \"b\"}}\n", "rain ".repeat(40));
    let error = |with: &str, data: &str| {
        let text = trained("sft", with, data).err().unwrap().to_string();
        match text.rfind("records:") {
            Some(at) => text[at..].to_owned(),
            None => text,
        }
    };
    let all = [
        error(WITH, "{\"prompt\": \"a\"}\n"),
        error(WITH, &long),
        error(&format!("{WITH}\non_overlong = 'error'"), &long),
        error(&format!("{WITH}\non_overlong = 'drop'"), &long),
        error(WITH, "{\"text\": \"a\"}\n"),
        error(&format!("{WITH}\nmax_steps = 3"), DATA),
        error(&format!("{WITH}\nbatch_tokens = 3"), DATA),
        error(&format!("{WITH}\nwarmup_steps = 3\nwarmup_ratio = 0.1"), DATA),
        error(&format!("{WITH}\nval_size = 1.5"), DATA),
        error(&format!("{WITH}\nmin_lr_ratio = 1.5"), DATA),
        error(&format!("{WITH}\nlora = {{ rank = 4, targets = ['query'] }}"), DATA),
        error(&format!("{WITH}\nlora = {{ rank = 0 }}"), DATA),
        error(&WITH.replace("max_seq_len = 64", "max_seq_len = 640"), DATA),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    records:1: holds nothing to train on: there is no answer
    records:1: has 97 tokens, and the first 64 hold nothing to train on; `on_overlong = "drop"` leaves such records out
    records:1: has 97 tokens; `max_seq_len` is 64
    there is nothing to train on
    records:1: is no conversation: none of `messages`, `conversations`, `instruction` and `prompt` is there; it has `text`
    parameters of `sft`: `epochs` and `max_steps` say the same thing; leave one out
    parameters of `sft`: `batch_size` and `batch_tokens` say the same thing; leave one out
    parameters of `sft`: `warmup_ratio` and `warmup_steps` say the same thing; leave one out
    parameters of `sft`: `val_size` is neither a share nor a number of records
    parameters of `sft`: `min_lr_ratio` is not from 0 to 1
    parameters of `sft`: `lora.targets`: `query` is none of `q_proj`, `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj`, `down_proj`
    parameters of `sft`: `lora` has rank 0, not from 1 to 16384
    parameters of `sft`: `max_seq_len` is 640; the model has 96 positions
    "#);
}

#[test]
fn what_is_left_out_is_counted_and_written_with_its_reason() {
    let long = format!("{DATA}{{\"prompt\": \"{}\", \"completion\": \"b\"}}\n", "rain ".repeat(40));
    let (kit, out) = trained("sft", &format!("{WITH}\non_overlong = 'drop'"), &long).unwrap();
    assert_eq!((kit.count("samples"), kit.count("dropped")), (Some(4), Some(1)));
    assert!(out[3].starts_with("{\"class\":\"overlong\",\"reason\":\"has "), "{}", out[3]);
    let cut = format!("{DATA}{{\"prompt\": \"a\", \"completion\": \"{}\"}}\n", "rain ".repeat(40));
    let (kit, out) = trained("sft", WITH, &cut).unwrap();
    assert_eq!((kit.count("samples"), kit.count("truncated")), (Some(5), Some(1)));
    assert_eq!(out[3], "");
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_keeps_the_batch() {
    let mut kit = Kit::new("sft");
    kit.seed = Some(5);
    let with = WITH.replace("0.01", "1e30").replace("packing", "max_grad_norm = 0.0\npacking");
    let error = run(&mut kit, &with, DATA).unwrap_err().to_string();
    assert!(error.starts_with("step 2: loss "), "{error}");
    let crash = kit.folder.path().join("state/training/crash-2.json");
    let crash: Value = serde_json::from_slice(&std::fs::read(crash).unwrap()).unwrap();
    assert_eq!(crash["batch"].as_array().unwrap().len(), 2);
}

#[test]
fn backward_is_forward_with_question_and_answer_exchanged() {
    let bytes_of = |with: &str, data: &str| {
        let (kit, _) = trained("sft", with, data).unwrap();
        bytes(&kit.folder.path().join("model"))
    };
    // Which record is in which step follows from content, so both read the same file.
    let data = "{\"instruction\":\"rain?\",\"output\":\"river\"}\n";
    let backward = format!("{WITH}\ndirection = 'backward'");
    let swapped = format!("{WITH}\ncolumns = {{ instruction = 'output', output = 'instruction' }}");
    assert_eq!(bytes_of(&backward, data), bytes_of(&swapped, data));
    assert_ne!(bytes_of(&backward, data), bytes_of(WITH, data));
    let two = r#"{"instruction":"a","output":"b","history":[["c","d"]]}"#;
    let Err(error) = trained("sft", &backward, two) else { panic!("it was trained") };
    let error = error.to_string();
    assert!(
        error.ends_with("is not one question and its answer, and cannot be turned round"),
        "{error}"
    );
}

/// Trains with this template file.
fn with_template(source: &str, with: &str) -> Result<Kit, String> {
    let mut kit = Kit::new("sft");
    kit.seed = Some(5);
    let base = kit.folder.path().join("base");
    std::fs::create_dir_all(&base).unwrap();
    let (base, path) = (model(&base), |name: &str| kit.folder.path().join(name));
    let (file, template) = (path("records"), path("mine.jinja"));
    std::fs::write(&file, DATA).unwrap();
    std::fs::write(&template, source).unwrap();
    let inputs = [("model", vec![base]), ("data", vec![file]), ("template", vec![template])];
    let ended = kit.run_at(with, &inputs);
    ended.map(|_| kit).map_err(|it| it.to_string())
}

#[test]
fn a_template_of_ones_own_is_trained_with_and_goes_along() {
    let mine = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\
                {% if m.role == 'assistant' %}<|im_end|>{% endif %}{% endfor %}\
                {% if add_generation_prompt %}<assistant>{% endif %}";
    let kit = with_template(mine, &WITH.replace("epochs = 6", "epochs = 60")).unwrap();
    let folder = kit.folder.path().join("model");
    assert_eq!(model::Template::of_folder(&folder).unwrap().unwrap().source(), mine);
    let mut asked = Kit::new("generate");
    asked.seed = Some(1);
    let (file, template) =
        (asked.folder.path().join("records"), kit.folder.path().join("mine.jinja"));
    std::fs::write(&file, DATA.lines().next().unwrap()).unwrap();
    let mut inputs = vec![("model", vec![folder]), ("data", vec![file])];
    let own = asked.run_at("max_new_tokens = 20", &inputs).unwrap();
    assert!(own[0].contains("\"generated\":\"river\""), "{}", own[0]);
    inputs.push(("template", vec![template]));
    assert_eq!(asked.run_at("max_new_tokens = 20", &inputs).unwrap(), own);
    let both = asked.run_at("max_new_tokens = 20\ntemplate = 'kun'", &inputs).unwrap_err();
    assert!(both.to_string().contains("names `kun`, and there is a file as well"), "{both}");
}

#[test]
fn a_template_that_does_not_show_its_answers_is_refused() {
    let error = |source: &str| with_template(source, WITH).err().unwrap();
    let prompt = "{% if add_generation_prompt %}ANSWER:{% endif %}";
    let all = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}";
    let cannot = "chat template `mine.jinja`: cannot mark answers: with `add_generation_prompt`";
    assert!(error(&format!("{all}{prompt}")).starts_with(cannot));
    let endless = "{% for m in messages %}{{ m.content }}\n{% endfor %}";
    assert_eq!(
        error(endless),
        "chat template `mine.jinja`: puts no control token behind an answer: a model trained with \
         it never ends one"
    );
    let upper = "{% for m in messages %}{{ m.content | upper }}<|im_end|>{% endfor %}";
    assert!(error(upper).ends_with("does not write them as they are"));
    assert!(error("{% for").starts_with("chat template `mine.jinja`: "));
}

#[test]
fn split_master_weights_are_for_bf16() {
    let wrong = trained("sft", &format!("{WITH}\nmaster_weights = 'bf16_split'"), DATA)
        .map(|_| ())
        .unwrap_err();
    insta::assert_snapshot!(wrong, @r#"parameters of `sft`: `master_weights = "bf16_split"` is for `dtype = "bf16"`: in f32 weights are whole"#);
}
