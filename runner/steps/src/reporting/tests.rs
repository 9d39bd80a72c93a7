//! What a report says of outputs as the kinds write them.

use report::chart::{Marks, Scale};
use report::page::{Block, Page, html, markdown};

use super::*;
use crate::kit::Kit;

/// Files with these contents.
fn items(folder: &std::path::Path, all: &[(&str, &str)]) -> Vec<Item> {
    let item = |(i, (name, text)): (usize, &(&str, &str))| {
        let path = folder.join(i.to_string());
        std::fs::write(&path, text).unwrap();
        Item { name: (*name).to_owned(), path, records: Vec::new(), limits: Vec::new() }
    };
    all.iter().enumerate().map(item).collect()
}

const SHARES: &str = r#"{"group":null,"name":"before","n":4,"right":1,"share":0.25,"low":0.04,"high":0.7}
{"group":null,"name":"after","n":4,"right":3,"share":0.75,"low":0.3,"high":0.95}
{"group":"law","name":"before","n":2,"right":1,"share":0.5,"low":0.09,"high":0.9}
"#;
const PAIRS: &str = r#"{"group":null,"first":"before","second":"after","n":4,"only_first":0,"only_second":2,"difference":0.5,"low":0.0,"high":1.0,"p":0.5}
"#;
const LEDGER: &str = r#"{"id":"a","source":"web","keep":true,"first":null,"fails":[],"values":{"length":12}}
{"id":"b","source":"web","keep":false,"first":"length","fails":["length"],"values":{"length":3}}
"#;
const LOG: &str = r#"{"step":0,"eval_loss":4.5,"eval_tokens":9,"eval_targets":4}
{"step":0,"prompt":"水？","want":"河","text":"？"}
{"step":1,"steps":2,"loss":3.5,"learning_rate":0.1}
{"step":2,"steps":2,"loss":2.5,"learning_rate":0.0}
{"step":2,"prompt":"水？","want":"河","text":"河"}
"#;
const POLISHED: &str = r#"{"id":"a","text":"雨后的河水很急。点击这里","instruction":"河水怎样？","output":"河水很急。"}
"#;

const LENGTHS: &str = r#"{"of":"instruction","from":0,"below":20,"n":3}
{"of":"instruction","from":20,"below":40,"n":1}
{"of":"instruction","from":40,"below":null,"n":2}
{"of":"year","from":2008,"below":2009,"n":7}
"#;
const PARTS: &str = r#"{"of":"source","value":"wudao","n":3,"share":0.75}
{"of":"source","value":"(none)","n":1,"share":0.25}
"#;

#[test]
fn outputs_are_known_by_what_stands_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let items = items(
        folder.path(),
        &[
            ("exam", SHARES),
            ("exam", PAIRS),
            ("numbers", "{\"right\": 0.5, \"right_low\": 0.2, \"right_high\": 0.8, \"n\": 9}"),
            ("clean", LEDGER),
            ("final", LOG),
            ("lengths", LENGTHS),
            ("sources", PARTS),
            ("polished", POLISHED),
            ("other", "{\"id\":1,\"text\":\"x\"}\n"),
            ("binary", "\u{1}\u{2}"),
        ],
    );
    let manner = Manner { language: Language::English, samples: 5 };
    let mut passed_over = Vec::new();
    let all = sections(&items, manner, &mut |it| passed_over.push(it.name.clone())).unwrap();
    assert_eq!(passed_over, ["other", "binary"]);
    let page = Page { sections: all, ..Page::default() };
    insta::assert_snapshot!(markdown(&page));
    // The same in the other language has the same parts.
    let manner = Manner { language: Language::Chinese, samples: 5 };
    assert_eq!(sections(&items, manner, &mut |_| {}).unwrap().len(), page.sections.len());
    assert!(html(&page).contains("<del>雨后的</del>河水很急。<del>点击这里</del>"));
}

#[test]
fn each_reason_opens_records_that_it_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut items = items(folder.path(), &[("clean", LEDGER)]);
    let records = folder.path().join("records");
    std::fs::write(&records, "{\"id\":\"a\"}\n{\"id\":\"b\",\"text\":\"短 <b>\"}\n").unwrap();
    items[0].records = vec![folder.path().join("gone"), records];
    let manner = Manner { language: Language::English, samples: 5 };
    let blocks = sections(&items, manner, &mut |_| {}).unwrap().remove(0).blocks;
    let want = Block::Folded {
        title: "clean · length, 1 dropped".to_owned(),
        texts: vec![("b · 3".to_owned(), "短 <b>".to_owned())],
    };
    assert_eq!(blocks.iter().find(|it| matches!(it, Block::Folded { .. })), Some(&want));
    let without = Manner { samples: 0, ..manner };
    let blocks = sections(&items, without, &mut |_| {}).unwrap().remove(0).blocks;
    assert!(!blocks.iter().any(|it| matches!(it, Block::Folded { .. })));
}

#[test]
fn shares_are_drawn_over_sizes_where_there_are_several() {
    let folder = tempfile::tempdir().unwrap();
    let line = |name: &str, size: u64, share: f64| {
        format!(
            r#"{{"group":null,"name":"{name}","n":4,"right":1,"share":{share},"low":0.1,"high":0.9,"size":{size},"size_of":"pairs"}}"#
        ) + "\n"
    };
    let two = line("base", 0, 0.2) + &line("36k", 36000, 0.5) + &line("9k", 9000, 0.25);
    let one = line("base", 0, 0.2) + &line("9k", 9000, 0.25);
    let items = items(folder.path(), &[("exam", &two), ("other", &one)]);
    let manner = Manner { language: Language::English, samples: 0 };
    let sections = sections(&items, manner, &mut |_| {}).unwrap();
    let charts = sections[0].blocks.iter().filter_map(|it| match it {
        Block::Chart(it) => Some(it),
        _ => None,
    });
    let lines: Vec<_> = charts.filter(|it| matches!(it.marks, Marks::Lines { .. })).collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (lines[0].title.as_str(), lines[0].x.as_str()),
        ("exam · by number of pairs", "pairs")
    );
    let Marks::Lines { series, scale } = &lines[0].marks else { panic!() };
    assert_eq!(
        (series[0].points.as_slice(), *scale),
        ([(9000.0, 0.25), (36000.0, 0.5)].as_slice(), Scale::Logarithmic)
    );
}

#[test]
fn all_numbers_of_a_log_are_curves() {
    let folder = tempfile::tempdir().unwrap();
    let items = items(folder.path(), &[("final", LOG), ("clean", LEDGER), ("x", "\u{1}")]);
    let curves = scalars(&items[0]).unwrap().unwrap();
    let names = ["eval_loss", "eval_targets", "eval_tokens", "learning_rate", "loss"];
    assert_eq!(curves.keys().collect::<Vec<_>>(), names);
    assert_eq!(curves["loss"], [(1.0, 3.5), (2.0, 2.5)]);
    assert!(scalars(&items[1]).unwrap().is_none() && scalars(&items[2]).unwrap().is_none());
}

#[test]
fn the_kind_writes_the_page_and_each_table_and_says_what_it_cannot_show() {
    let mut kit = Kit::new("report");
    let with = "title = \"T\"\nnames = [\"exam\", \"x\"]\nlanguage = \"zh\"";
    let out = kit.run(with, &[SHARES.as_bytes(), b"nothing\n"]).unwrap();
    for name in ["index.html", "report.md", "exam.svg", "exam.csv", "exam.json"] {
        assert!(out[0].contains(name), "{name}");
    }
    assert!(kit.said.contains(&crate::Say::Note("an input called `x` has nothing to show".into())));
    let error = kit.run("title = \"T\"\nnames = []", &[b"x"]).unwrap_err();
    insta::assert_snapshot!(error, @"parameters of `report`: `names` has 0 names for 1 inputs");
}

const RATINGS: &str = r#"{"by":"person","judge":null,"group":null,"name":"clarity yes","question":"clarity","choice":"yes","n":9,"right":8,"share":0.889,"low":0.6,"high":0.98}
{"by":"person","judge":null,"group":null,"name":"clarity no","question":"clarity","choice":"no","n":9,"right":1,"share":0.111,"low":0.02,"high":0.4}
{"by":"person","judge":null,"group":"wudao","name":"clarity yes","question":"clarity","choice":"yes","n":6,"right":6,"share":1.0,"low":0.6,"high":1.0}
"#;
const AGREEMENT: &str = r#"{"by":"person","judge":null,"group":null,"name":"clarity","n":3,"share":0.667,"low":0.2,"high":0.9,"all_same":0.667,"some_same":0.333,"all_different":0.0,"kappa":0.5,"alpha":null,"alpha_low":null,"alpha_high":null}
"#;
const WINS: &str = r#"{"by":"simulated","judge":null,"group":null,"name":"b","n":10,"wins":6,"losses":2,"ties":2,"share":0.75,"low":0.4,"high":0.9,"adjusted":0.7}
{"by":"simulated","judge":null,"group":null,"name":"a","n":10,"wins":2,"losses":6,"ties":2,"share":0.25,"low":0.1,"high":0.6,"adjusted":0.3}
{"by":"simulated","judge":null,"group":"b","name":"a","n":10,"wins":6,"losses":2,"ties":2,"share":0.75,"low":0.4,"high":0.9,"adjusted":0.7}
{"by":"simulated","judge":null,"group":"a","name":"b","n":10,"wins":2,"losses":6,"ties":2,"share":0.25,"low":0.1,"high":0.6,"adjusted":0.3}
{"by":"model","judge":"chat","group":null,"name":"a","n":5,"wins":0,"losses":0,"ties":5,"share":0.5,"low":0.5,"high":0.5,"adjusted":0.5}
{"by":"model","judge":"chat","group":"a","name":"b","n":5,"wins":0,"losses":0,"ties":5,"share":0.5,"low":0.5,"high":0.5,"adjusted":0.5}
"#;
const RANKING: &str = r#"{"by":"simulated","judge":null,"place":1,"model":"b","votes":10,"strength":0.4,"low":0.1,"high":0.9}
"#;
const ANNOTATORS: &str = r#"{"annotator":"ana","by":"person","adjudicator":false,"asked":9,"votes":9,"skips":0,"median_ms":4200,"as_most_others":0.9,"as_before":null,"repeats":0,"left":0.6,"left_low":0.3,"left_high":0.8,"longer":null,"longer_low":null,"longer_high":null,"ties":0.1,"decided":8}
"#;
const JUDGES: &str = r#"{"by":"model","judge":"chat","question":"better","votes":5,"n":5,"same":1,"as_most":0.2,"low":0.03,"high":0.62,"kappa":-0.1}
"#;
const LEANING: &str = r#"{"pairs":5,"skipped":0,"consistent":0.2,"consistent_low":0.1,"consistent_high":0.4,"first":0.9,"first_both":0.8,"second_both":0.0}"#;
const FILTER: &str = "{#\nid: filter\ninputs: instruction\n#}\n是吗？{{ instruction }}\n";

#[test]
fn what_was_said_is_drawn_with_whose_numbers_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let quality = [("quality", RATINGS), ("quality", AGREEMENT), ("quality", ANNOTATORS)];
    let pairs = [("pairs", WINS), ("pairs", RANKING), ("pairs", JUDGES), ("judged", LEANING)];
    let items = items(folder.path(), &[&quality[..], &pairs, &[("filter", FILTER)]].concat());
    let manner = Manner { language: Language::English, samples: 5 };
    let sections = sections(&items, manner, &mut |it| panic!("{}", it.name)).unwrap();
    let page = Page { sections, ..Page::default() };
    insta::assert_snapshot!(markdown(&page));
    let charts = page.sections.iter().flat_map(|it| &it.blocks);
    assert_eq!(charts.filter(|it| matches!(it, Block::Chart(_))).count(), 1 + 2 * 2);
    // Where nobody decided anything there is no half.
    assert!(html(&page).contains(">–</text>"));
}

#[test]
fn models_that_were_asked_several_things_have_a_table_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let other = SHARES.replace("0.25", "0.5");
    let items = items(folder.path(), &[("ceval", SHARES), ("cmmlu", &other), ("x", PAIRS)]);
    let manner = Manner { language: Language::English, samples: 5 };
    let sections = sections(&items, manner, &mut |_| {}).unwrap();
    let title = "models, and what they were asked";
    let table = sections[0].blocks.iter().find_map(|it| match it {
        Block::Table(it) if it.title == title => Some(it.clone()),
        _ => None,
    });
    let table = table.unwrap();
    assert_eq!(table.columns, ["model", "ceval", "cmmlu"]);
    let shown: Vec<Vec<String>> =
        table.rows.iter().map(|it| it.iter().map(|it| it.shown()).collect()).collect();
    insta::assert_snapshot!(format!("{shown:?}"), @r#"[["before", "25.0 % [4.0, 70.0]", "50.0 % [4.0, 70.0]"], ["after", "75.0 % [30.0, 95.0]", "75.0 % [30.0, 95.0]"]]"#);
}

#[test]
fn labels_are_put_before_titles_and_must_all_be_there() {
    let mut kit = Kit::new("report");
    let with = "title = \"T\"\nnames = [\"sources\"]\nlabels = { ";
    let good = format!("{with}\"sources · source\" = \"Figure 7\" }}");
    let out = kit.run(&good, &[PARTS.as_bytes()]).unwrap();
    assert!(out[0].contains("<figure id=\\\"s0-figure-7-sources-source\\\">"), "{}", out[0]);
    assert!(out[0].contains("figure-7-sources-source.svg"));
    let error = kit.run(&format!("{with}x = \"Figure 1\" }}"), &[PARTS.as_bytes()]).unwrap_err();
    insta::assert_snapshot!(error, @"parameters of `report`: `labels`: nothing is called `x`; there are `sources · source`");
}
