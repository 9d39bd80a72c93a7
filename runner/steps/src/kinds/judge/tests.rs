//! What `judge` and `classify` promise: full probabilities, independence, resumption, reasons.

use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::kinds::generate::tests::model;
use crate::kit::Kit;
use crate::model::{Chat, Conversation, LossOn, ModelFolder, Template};

const PROMPT: &str = "{#\nid: p\ninputs: instruction\n#}\n好吗？{{ instruction }}\n";
const WITH: &str = "choices = ['好', '差差', 'a rainy day']\ntemplate = 'kun'";

fn run(kit: &mut Kit, with: &str, data: &str) -> Result<Vec<String>, StepError> {
    let model = model(kit.folder.path());
    let (file, prompt) = (kit.folder.path().join("records"), kit.folder.path().join("p.jinja"));
    std::fs::write(&file, data).unwrap();
    std::fs::write(&prompt, PROMPT).unwrap();
    let inputs: [(&str, Vec<PathBuf>); 3] =
        [("model", vec![model]), ("data", vec![file]), ("prompt", vec![prompt])];
    kit.run_at(with, &inputs)
}

fn judge() -> Kit {
    Kit::new("judge")
}

fn records(n: usize) -> String {
    (0..n).map(|it| format!("{{\"id\":{it},\"instruction\":\"rain {it} 今天\"}}\n")).collect()
}

fn values(text: &str) -> Vec<Value> {
    text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

/// The probability of an answer as `score_text` finds it.
fn probability(question: &str, answer: &str) -> f64 {
    let mut kit = Kit::new("score_text");
    let model = model(kit.folder.path());
    let file = kit.folder.path().join("records");
    let pair = serde_json::json!({ "prompt": question, "completion": answer });
    std::fs::write(&file, format!("{pair}\n")).unwrap();
    let out = kit.run_at("template = 'kun'", &[("model", vec![model]), ("data", vec![file])]);
    (-values(&out.unwrap()[0])[0]["nll"].as_f64().unwrap()).exp()
}

#[test]
fn a_choice_weighs_what_the_whole_answer_weighs() {
    let out = run(&mut judge(), WITH, &records(2)).unwrap();
    for (i, it) in values(&out[0]).iter().enumerate() {
        let question = format!("好吗？rain {i} 今天");
        let choices = ["好", "差差", "a rainy day"];
        let want = choices.map(|it| probability(&question, it));
        let sum: f64 = want.iter().sum();
        assert!((it["judge_mass"].as_f64().unwrap() / sum - 1.0).abs() < 1e-6, "{it}");
        for (choice, want) in choices.iter().zip(want) {
            let p = it["judge_p"][choice].as_f64().unwrap();
            assert!((p / (want / sum) - 1.0).abs() < 1e-6, "{it} {choice}");
        }
        let best = choices.iter().zip(want).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        assert_eq!(it["judge"], **best.0);
    }
}

#[test]
fn a_verdict_depends_on_neither_company_threads_nor_shards() {
    for with in [WITH.to_owned(), format!("{WITH}\nmode = 'text'\nmax_new_tokens = 4")] {
        let whole = run(&mut judge(), &with, &records(7)).unwrap();
        let part = |index| {
            let mut kit = judge();
            kit.shard = Some(crate::Shard { index, count: 3 });
            kit.threads = 2;
            run(&mut kit, &with, &records(7)).unwrap()
        };
        let parts: Vec<Vec<String>> = (0..3).map(part).collect();
        for slot in 0..2 {
            let joined: String = parts.iter().map(|it| it[slot].as_str()).collect();
            assert_eq!(joined, whole[slot]);
        }
    }
}

#[test]
fn a_step_that_is_stopped_goes_on_and_new_records_cost_only_themselves() {
    let data = records(600);
    let mut kit = judge();
    kit.stop_after = 450;
    assert!(matches!(run(&mut kit, WITH, &data), Err(StepError::Stopped)));
    let n_kept = kit.memo.0.len();
    assert!((100..600).contains(&n_kept), "{n_kept}");
    kit.stop_after = usize::MAX;
    let out = run(&mut kit, WITH, &data).unwrap();
    assert_eq!(kit.memo.0.len(), 600);
    assert_eq!(out, run(&mut judge(), WITH, &data).unwrap());
    let skipped = |kit: &Kit| {
        let skipped = kit.said.iter().filter_map(|it| match it {
            crate::Say::Progress { skipped, .. } => Some(*skipped),
            _ => None,
        });
        skipped.max().unwrap()
    };
    assert_eq!(skipped(&kit), n_kept as u64);
    run(&mut kit, WITH, &records(603)).unwrap();
    assert_eq!(skipped(&kit), 600);
}

#[test]
fn what_is_kept_is_a_cut_of_the_ledger() {
    let with = "choices = ['好', '水', '雨']\ntemplate = 'kun'";
    let all = run(&mut judge(), with, &records(20)).unwrap();
    assert_eq!(all[0].lines().count(), 20);
    let keep = format!("{with}\nkeep = ['好']");
    let measured = run(&mut judge(), &keep, &records(20)).unwrap();
    let ledger = values(&measured[1]);
    let mut p: Vec<f64> = ledger.iter().map(|it| it["values"]["judge"].as_f64().unwrap()).collect();
    p.sort_by(f64::total_cmp);
    let with = format!("{keep}\nmin_p = {:?}", p[12]);
    let mut kit = judge();
    let out = run(&mut kit, &with, &records(20)).unwrap();
    assert!(p[11] < p[12]);
    assert_eq!((out[0].lines().count(), kit.count("kept")), (8, Some(8)));
    let (mut cut, folder) = (Kit::new("cut"), tempfile::tempdir().unwrap());
    let (data, ledger) = (folder.path().join("data"), folder.path().join("ledger"));
    std::fs::write(&data, records(20)).unwrap();
    std::fs::write(&ledger, &measured[1]).unwrap();
    let inputs = [("data", vec![data]), ("ledger", vec![ledger])];
    let again = cut.run_at(&format!("min = {{ judge = {:?} }}", p[12]), &inputs).unwrap();
    assert_eq!(again[0].lines().count(), 8);
    assert_eq!(again[1], out[1]);
}

#[test]
fn what_is_written_is_read_by_the_rule_of_the_authors() {
    let choices = ["【好】".to_owned(), "【差】".to_owned()];
    let cases = [
        ("【好】", Some("【好】")),
        ("我说【差】。", Some("【差】")),
        ("【好】【差】", None),
        ("好", None),
    ];
    for (text, want) in cases {
        assert_eq!(read(text, &choices), want, "{text}");
    }
    let mut kit = judge();
    let with = format!("{WITH}\nmode = 'text'\nmax_new_tokens = 4");
    let out = run(&mut kit, &with, &records(5)).unwrap();
    assert!(values(&out[0]).iter().all(|it| it["judge_text"].is_string()));
    let sum: u64 = ["agree", "differ", "unclear"].iter().map(|it| kit.count(it).unwrap()).sum();
    assert_eq!(sum, 5);
}

#[test]
fn the_end_may_be_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let folder = ModelFolder::open(&model(folder.path())).unwrap();
    let template = Template::built_in("kun").unwrap();
    let chat = Chat { tokenizer: &folder.tokenizer, template: &template };
    let pair = Conversation::pair(None, "q", Some("a rainy day"));
    let n = chat.sample(&pair, LossOn::Answer).unwrap().n_trained();
    assert!(n > 2);
    let mass = |with: &str| {
        let out = run(&mut judge(), with, &records(1)).unwrap();
        values(&out[0])[0]["judge_mass"].as_f64().unwrap()
    };
    assert!(mass(&format!("{WITH}\nend = false")) > mass(WITH));
}

#[test]
fn what_cannot_be_judged_is_named() {
    let mut kit = judge();
    let long = format!("{{\"instruction\":\"{}\"}}\n", "rain ".repeat(200));
    let cases = [
        ("choices = ['a']", records(1)),
        ("choices = ['a', 'a']", records(1)),
        ("choices = ['a', '']", records(1)),
        ("choices = ['a', 'b']\nkeep = ['c']", records(1)),
        ("choices = ['a', 'b']\nmin_p = 0.5", records(1)),
        ("choices = ['a', 'b']\ntemplate = 'kun'", long.clone()),
        ("choices = ['a', 'b']\ntemplate = 'kun'", "{\"text\":\"a\"}\n".to_owned()),
    ];
    let said = cases.map(|(with, data)| run(&mut kit, with, &data).unwrap_err().to_string());
    let said = said.join("\n").replace(&format!("{}/", kit.folder.path().display()), "");
    insta::assert_snapshot!(said, @r"
    parameters of `judge`: there must be at least two choices
    parameters of `judge`: two choices are equal
    parameters of `judge`: a choice is empty
    parameters of `judge`: `keep` names `c`, which is none of the choices
    parameters of `judge`: `min_p` needs `keep`
    records:1: has 420 tokens with an answer; there is room for 96
    records:1: `p.jinja` line 5: needs `instruction`, which the record does not have; it has `text`
    ");
    let with = format!("{WITH}\non_overlong = 'skip'");
    let out = run(&mut kit, &with, &(long + &records(1))).unwrap();
    assert_eq!((kit.count("overlong"), out[0].lines().count()), (Some(1), 1));
    assert!(out[1].contains("\"first\":\"overlong\""), "{}", out[1]);
}

#[test]
fn labels_are_given_in_the_order_of_their_probability() {
    let mut kit = Kit::new("classify");
    let with = "labels = ['好', '差差', 'a rainy day']\ntemplate = 'kun'\nmost = 3\nmin_p = 0.0001";
    let out = run(&mut kit, with, &records(3)).unwrap();
    for it in values(&out[0]) {
        let given: Vec<&str> =
            it["labels"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        let p: Vec<f64> =
            given.iter().map(|label| it["labels_p"][label].as_f64().unwrap()).collect();
        assert!(!p.is_empty() && p.is_sorted_by(|a, b| a >= b) && p.iter().all(|it| *it >= 1e-4));
    }
    let one = run(&mut kit, &with.replace("most = 3", "most = 1"), &records(3)).unwrap();
    assert!(values(&one[0]).iter().all(|it| it["labels"].as_array().unwrap().len() == 1));
}
