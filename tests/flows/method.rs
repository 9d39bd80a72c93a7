//! The manifest of the method as it is shipped, over corpora, seeds, exams and a model that are small
//! enough: every step takes place, and an edit costs what it should.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::place::Place;

/// A model of the right shape that knows nothing.
const BASE: &str = "[workflow]\nname = 'base'\nformat = 1\n[sources]\nseed = { path = 'workflows/kun/raw/seed.jsonl' }\n\
    [steps.words]\nop = 'tokenizer'\nin = { data = ['${sources.seed}'] }\nwith = { vocab_size = 600 }\n\
    [steps.fresh]\nop = 'init'\nin = { tokenizer = '${steps.words.tokenizer}' }\n\
    with = { hidden_size = 16, num_hidden_layers = 1, num_attention_heads = 2, intermediate_size = 24, \
    max_position_embeddings = 2048 }\n";

const SMALL: &str = "workflows/kun/kun.toml --variant kun-9k --set subset.n=6 --set final.max_steps=2 \
    --set label.epochs=1 --set chat.epochs=1 --set ppl.max=1000000";

/// A text that is like no other: `n` picks its words.
fn text(n: usize) -> String {
    let mut state = n as u64 * 7919 + 1;
    let mut pick = |all: &[&'static str]| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        all[(state >> 33) as usize % all.len()]
    };
    let who = ["渔夫", "木匠", "老师", "医生", "孩子们", "邻居", "船长", "厨师"];
    let place = ["河边", "山上", "村口", "学校里", "集市上", "码头旁", "田里", "桥下"];
    let what = [
        "修一条小船",
        "看满天的星星",
        "种一片水稻",
        "讲古老的故事",
        "收拾渔网",
        "煮一锅鱼汤",
        "画一张地图",
    ];
    let when = ["春天的早晨", "下雨的晚上", "秋收以后", "过年的时候", "天还没亮", "吃过午饭"];
    let mut all = String::new();
    for _ in 0..14 {
        all += &format!("{}，{}在{}{}。", pick(&when), pick(&who), pick(&place), pick(&what));
    }
    all
}

fn json_lines(field: &str, texts: impl Iterator<Item = String>) -> String {
    texts.map(|it| format!("{}\n", serde_json::json!({ field: it }))).collect()
}

fn place() -> Place {
    let place = Place::new();
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["workflows/kun", "prompts"] {
        for entry in fs::read_dir(home.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_file() {
                place.write(&format!("{folder}/{name}"), fs::read(&path).unwrap());
            }
        }
    }
    let kun = |name: &str, text: String| place.write(&format!("workflows/kun/{name}"), text);
    kun("raw/wudao/0.json", {
        let rows: Vec<Value> =
            (0..6).map(|it| serde_json::json!({ "content": text(it) })).collect();
        serde_json::to_string(&rows).unwrap()
    });
    kun("raw/wanjuan/0.jsonl", json_lines("content", (10..16).map(text)));
    kun("raw/skypile/0.jsonl", json_lines("text", (20..26).map(text)));
    let pair =
        |n| format!("{}\n", serde_json::json!({ "instruction": text(n), "output": text(n + 1) }));
    kun("raw/seed.jsonl", (30..38).map(pair).collect());
    for (shape, split, ending) in [("ceval", "val", "_val"), ("cmmlu", "test", "")] {
        let table = r#"[{"key":"rain","zh":"天气","categories":["all"]}]"#;
        kun(&format!("exams/{shape}/subjects.json"), table.to_owned());
        let sheet: String = (0..5).map(|it| format!("{it},{it}加一是几？,1,2,3,4,A\n")).collect();
        let sheet = format!("id,question,A,B,C,D,answer\n{sheet}");
        let dev = if shape == "ceval" { "_dev" } else { "" };
        kun(&format!("exams/{shape}/dev/rain{dev}.csv"), sheet.clone());
        kun(&format!("exams/{shape}/{split}/rain{ending}.csv"), sheet);
    }
    kun(
        "raw/sharegpt-zh.jsonl",
        (50..53)
            .map(|it| format!("{}\n", serde_json::json!({ "id": it, "instruction": text(it) })))
            .collect(),
    );
    place.write("base.toml", BASE);
    place.good("run -q base.toml");
    let model = place.root().join("out/fresh/model");
    fs::create_dir_all(place.root().join("workflows/kun/models")).unwrap();
    fs::rename(model, place.root().join("workflows/kun/models/Yi-6B")).unwrap();
    place
}

/// The steps of which a plan says this.
fn planned(place: &Place, verdict: &str) -> BTreeSet<String> {
    let said = place.good(&format!("plan {SMALL}"));
    let step = |line: &str| {
        let name = line.trim_start().strip_prefix(verdict)?.strip_prefix(' ')?;
        Some(name.split_whitespace().next()?.replace("@kun-9k", ""))
    };
    said.lines().filter_map(step).filter(|it| !it.contains(char::is_numeric)).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|it| (*it).to_owned()).collect()
}

/// About how many records a step asked its model, of how many, all its shards together.
fn asked(events: &str, step: &str) -> (u64, u64) {
    let told = events.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok());
    let mut sum = (0, 0);
    for it in told.filter(|it| it["event"] == "step_note") {
        let text = it["text"].as_str().unwrap_or_default();
        let numbers = text.strip_prefix("asked about ").and_then(|it| it.strip_suffix(" records"));
        let Some((new, all)) = numbers.and_then(|it| it.split_once(" of ")) else { continue };
        if it["step"].as_str().is_some_and(|it| it.starts_with(step)) {
            sum.0 += new.parse::<u64>().unwrap();
            sum.1 += all.parse::<u64>().unwrap();
        }
    }
    sum
}

#[test]
fn the_method_runs_from_corpora_to_exams_and_edits_cost_what_they_should() {
    let place = place();
    let said = place.good(&format!("run {SMALL}"));
    assert!(said.contains("28 ran"), "{said}");
    assert_eq!(planned(&place, "runs"), set(&[]));
    // One prompt: what is asked with it, and at most what reads that.
    let path = place.root().join("prompts/score.jinja");
    let prompt = fs::read_to_string(&path).unwrap();
    fs::write(&path, prompt.replace("评价指令质量。", "评价指令的质量。")).unwrap();
    assert_eq!(planned(&place, "runs"), set(&["good"]));
    let exams = ["exam[ceval,ppl]", "exam[ceval,gen]", "exam[cmmlu,ppl]", "exam[cmmlu,gen]"];
    let after =
        [&["polished", "pairs", "subset", "training_set", "apart", "final"], &exams[..]].concat();
    assert_eq!(planned(&place, "may run"), set(&after));
    fs::write(&path, prompt).unwrap();
    assert_eq!(planned(&place, "runs"), set(&[]));
    // One raw file more: only its passages are asked about.
    let more = json_lines("text", (40..43).map(text));
    place.write("workflows/kun/raw/skypile/1.jsonl", more);
    let events = place.good(&format!("run --json {SMALL}"));
    for step in ["labels", "polished"] {
        let (new, all) = asked(&events, step);
        assert!(all > 12 && (1..=3).contains(&new), "{step}: asked about {new} of {all}");
    }
}

/// One vote of each of three people about every pair of a study.
fn votes(study: &str) -> String {
    let items = study.lines().map(|it| serde_json::from_str::<Value>(it).unwrap()).skip(1);
    let mut all = String::new();
    for item in items {
        for name in ["x", "y", "z"] {
            let answers = serde_json::json!({ "clarity": "yes", "feasibility": "yes", "practicality": "no", "output": "pass" });
            let vote =
                serde_json::json!({ "annotator": name, "unit": item["id"], "answers": answers });
            all += &format!("{vote}\n");
        }
    }
    all
}

#[test]
fn what_the_paper_shows_of_pairs_and_of_people_is_there_by_name() {
    let place = place();
    let small = format!("{SMALL} --set tenth.n=4 --set rated.n=4");
    place.good(&format!("run -q {small} lengths sources years categories quality_study"));
    let read = |path: &str| fs::read_to_string(place.root().join(path)).unwrap();
    let shares = read("workflows/kun/out/categories[disciplines]@kun-9k/shares.jsonl");
    assert!(shares.contains("\"of\":\"category\""), "{shares}");
    let study = read("workflows/kun/out/quality_study@kun-9k/study");
    place.write("workflows/kun/votes/quality.jsonl", &study);
    place.write("votes.jsonl", votes(&study));
    place.good("annotate workflows/kun/votes/quality.jsonl --import votes.jsonl");
    place.good(&format!("run -q {small} quality"));
    let table = read("workflows/kun/out/quality@kun-9k/table.jsonl");
    assert_eq!(table.lines().next().unwrap().matches("\"share\":1.0").count(), 1, "{table}");
}
