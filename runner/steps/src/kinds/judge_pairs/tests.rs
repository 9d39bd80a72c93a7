//! A judge that knows, one that likes the first place, one that rambles, and a model that was never trained.

use std::path::PathBuf;
use std::time::Duration;

use annotate::{Draft, Form as Sheet, Source, create};

use super::*;
use crate::kinds::generate::tests::model;
use crate::kit::Kit;
use crate::served::server::{Asked, Does, Server, chat};

const PROMPT: &str =
    "{#\nid: p\ninputs: instruction, a, b\n#}\n{{ instruction }} A {{ a }} B {{ b }}\n";

/// A study of two prompts and three models, the best of which says most.
fn study(kit: &Kit, form: &str) -> PathBuf {
    let source = |(name, word): (&str, &str)| {
        let path = kit.folder.path().join(format!("{name}.jsonl"));
        let record =
            |it| json!({ "instruction": format!("rain {it}"), "output": word }).to_string() + "\n";
        std::fs::write(&path, (0..2).map(record).collect::<String>()).unwrap();
        Source { name: name.to_owned(), path }
    };
    let sources = [("good", "rain rain"), ("bad", "rain"), ("equal", "rain rain")].map(source);
    let draft =
        Draft::new(Sheet::built_in(form).unwrap(), sources.to_vec(), vec!["ana".to_owned()]);
    let path = kit.folder.path().join("study.jsonl");
    create(&path, &draft).unwrap();
    path
}

fn inputs(kit: &Kit, form: &str) -> Vec<(&'static str, Vec<PathBuf>)> {
    let prompt = kit.folder.path().join("p.jinja");
    std::fs::write(&prompt, PROMPT).unwrap();
    vec![("study", vec![study(kit, form)]), ("prompt", vec![prompt])]
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

/// The answers in the places A and B.
fn places(asked: &Asked) -> (usize, usize) {
    let (a, b) = asked.said().split_once(" A ").unwrap().1.split_once(" B ").unwrap();
    (a.len(), b.len())
}

fn served(script: impl Fn((usize, usize)) -> &'static str + Send + Sync + 'static) -> Kit {
    let server = Server::start(move |_, asked| Does::Answers(chat(script(places(asked)))));
    let mut kit = Kit::new("judge_pairs");
    let endpoint = plan::Endpoint {
        url: server.url,
        model: "yi".to_owned(),
        key_env: None,
        concurrency: 3,
        requests_per_minute: None,
        retries: 0,
        timeout: Duration::from_secs(5),
    };
    kit.servers
        .insert("model".to_owned(), crate::Server { endpoint, key: None, authorities: None });
    kit
}

fn metrics(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_judge_that_knows_names_the_same_model_in_both_orders() {
    let mut kit = served(|(a, b)| match a.cmp(&b) {
        std::cmp::Ordering::Greater => "I say 【A】",
        std::cmp::Ordering::Less => "【B】",
        std::cmp::Ordering::Equal => "【平】",
    });
    let inputs = inputs(&kit, "pairwise-ties");
    let out = kit.run_at("name = 'chat'\nmode = 'text'", &inputs).unwrap();
    let votes = rows(&out[0]);
    let said = |pair: &str| {
        let of = |it: &&Value| it["unit"].as_str().unwrap().ends_with(pair);
        votes.iter().filter(of).map(|it| it["answers"]["better"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(said("bad/good"), ["good", "good"]);
    assert_eq!(said("bad/equal"), ["equal", "equal"]);
    assert_eq!(said("equal/good"), ["tie", "tie"]);
    assert!(votes.iter().all(|it| it["by"] == "model" && it["annotator"] == "chat"));
    let it = metrics(&out[2]);
    assert_eq!(
        (&it["pairs"], &it["consistent"], &it["first"]),
        (&json!(6), &json!(1.0), &json!(0.5))
    );
    assert_eq!((&it["ties"], &it["first_both"]), (&json!(0.333_333), &json!(0.0)));
    // What it says is a vote that `annotations` takes.
    let seats = Journal::seen(&inputs[0].1[0]).unwrap();
    assert_eq!(annotate::votes::read(&kit.folder.path().join("votes"), &seats).unwrap().len(), 6);
}

#[test]
fn a_judge_that_likes_the_first_place_decides_nothing() {
    let mut kit = served(|_| "【A】");
    let ties = inputs(&kit, "pairwise-ties");
    let out = kit.run_at("mode = 'text'", &ties).unwrap();
    assert!(rows(&out[0]).iter().all(|it| it["answers"]["better"] == "tie"));
    let it = metrics(&out[2]);
    assert_eq!(
        (&it["consistent"], &it["first"], &it["first_both"]),
        (&json!(0.0), &json!(1.0), &json!(1.0))
    );
    let first = &rows(&out[1])[0];
    assert_eq!((&first["there"]["choice"], &first["consistent"]), (&json!("【A】"), &json!(false)));
    // A form without a tie gets no vote where nothing was decided.
    std::fs::remove_file(&ties[0].1[0]).unwrap();
    let forced = inputs(&kit, "pairwise");
    assert_eq!(kit.run_at("mode = 'text'", &forced).unwrap()[0], "");
    let mut rambles = served(|_| "【A】 or 【B】");
    let inputs = inputs(&rambles, "pairwise-ties");
    let it = metrics(&rambles.run_at("mode = 'text'", &inputs).unwrap()[2]);
    assert_eq!((it.get("first"), &it["ties"], &it["pairs"]), (None, &json!(1.0), &json!(6)));
}

#[test]
fn a_model_weighs_both_orders_once_and_resumes_from_what_is_known() {
    let mut kit = Kit::new("judge_pairs");
    let mut inputs = inputs(&kit, "pairwise-ties");
    inputs.push(("model", vec![model(kit.folder.path())]));
    let with = "choices = ['好', '差', 'rain']\ntemplate = 'kun'";
    let once = kit.run_at(with, &inputs).unwrap();
    let asked = rows(&once[1]);
    for it in asked.iter().flat_map(|it| [&it["there"], &it["back"]]) {
        let sum: f64 = it["p"].as_object().unwrap().values().map(|it| it.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{it}");
    }
    // Equal answers are one question in both orders: 2 prompts × (2 pairs × 2 + 1), less what is equal again.
    assert_eq!(kit.memo.0.len(), 2 * 3);
    let gone = *kit.memo.0.keys().next().unwrap();
    kit.memo.0.remove(&gone);
    assert_eq!(kit.run_at(with, &inputs).unwrap(), once);
    let equal = asked.iter().find(|it| it["models"] == json!(["equal", "good"])).unwrap();
    assert_eq!(equal["there"], equal["back"]);
}

#[test]
fn what_cannot_be_judged_is_refused_and_what_is_too_long_is_left_out() {
    let mut kit = Kit::new("judge_pairs");
    let model = model(kit.folder.path());
    let mut pairs = inputs(&kit, "pairwise-ties");
    pairs.push(("model", vec![model]));
    let mut error = |with: &str| kit.run_at(with, &pairs).unwrap_err().to_string();
    insta::assert_snapshot!(error("name = 'ana'"), @"parameters of `judge_pairs`: somebody in the study is called `ana`");
    insta::assert_snapshot!(error("choices = ['a']"), @"parameters of `judge_pairs`: `choices` must be two or three");
    insta::assert_snapshot!(error("question = 'q'"), @"parameters of `judge_pairs`: `question`: the study does not ask `q`");
    let with = "template = 'kun'\nmax_seq_len = 6\non_overlong = 'skip'";
    let out = kit.run_at(with, &pairs).unwrap();
    assert_eq!((out[0].as_str(), &metrics(&out[2])["skipped"]), ("", &json!(6)));
}
