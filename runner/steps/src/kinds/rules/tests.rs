//! The authors' vectors, and the rules of our own.

use serde_json::Value;

use super::authors;
use crate::kit::Kit;

fn vectors(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let found = all["vectors"][name].as_array().unwrap().clone();
    assert!(!found.is_empty());
    found
}

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap()
}

#[test]
fn repetition_is_found_as_the_authors_find_it() {
    for it in vectors("detect_repetition_improved") {
        let chars: Vec<char> = text(&it, "text").chars().collect();
        let unit = authors::repeats_at_start(&chars).map(|n| chars[..n].iter().collect::<String>());
        assert_eq!(serde_json::json!([unit.is_some(), unit]), it["out"], "{it}");
    }
    for it in vectors("detect_repetition_improved_v1") {
        let chars: Vec<char> = text(&it, "text").chars().collect();
        let unit = authors::repeats_anywhere(&chars).map(|it| it.iter().collect::<String>());
        assert_eq!(serde_json::json!([unit.is_some(), unit]), it["out"], "{it}");
    }
}

#[test]
fn instructions_are_repaired_as_the_authors_repair_them() {
    for it in vectors("process_text") {
        let (found, rest) = authors::before_gap(text(&it, "text"));
        assert_eq!(serde_json::json!([found, rest]), it["out"], "{it}");
    }
    for it in vectors("remove_duplicates") {
        let raw = text(&it, "text");
        let line = authors::longest_repeated_line(raw);
        assert_eq!(serde_json::json!([line.is_some(), line.unwrap_or(raw)]), it["out"], "{it}");
        let repaired = authors::once(raw);
        assert_eq!(serde_json::json!(repaired.is_some()), it["kept"], "{it}");
        assert_eq!(serde_json::json!(repaired), it["new_instruction"], "{it}");
    }
    for it in vectors("remove_trailing") {
        assert_eq!(authors::without_trailing(text(&it, "text")), text(&it, "out"), "{it}");
    }
}

/// Whether the kind keeps a record.
fn keeps(with: &str, record: &Value) -> bool {
    let mut kit = Kit::new("rules");
    let outputs = kit.run(with, &[format!("{record}\n").as_bytes()]).unwrap();
    let entry: Value = serde_json::from_str(&outputs[1]).unwrap();
    assert_eq!(entry["keep"], !outputs[0].is_empty());
    !outputs[0].is_empty()
}

#[test]
fn the_kind_keeps_what_the_authors_keep() {
    for it in vectors("select") {
        let record = serde_json::json!({"score": it["score"]});
        assert_eq!(keeps("preset = 'select_data'", &record), it["keep"], "{it}");
    }
    for it in vectors("key_input") {
        let record = serde_json::json!({"instruction": it["instruction"]});
        assert_eq!(keeps("preset = 'delete_key_input'", &record), it["keep"], "{it}");
    }
    let output = |with: &str, it: &Value| {
        let record = serde_json::json!({"instruction": "问", "output": it["output"]});
        assert_eq!(keeps(with, &record), it["keep"], "{it}");
    };
    let one = |rule: &str| {
        let all = ["output_keywords", "output_length", "repeats_at_start", "repeated_lines"];
        let off: Vec<_> = all.into_iter().filter(|it| *it != rule).collect();
        format!("preset = 'delete_key_output'\noff = {off:?}")
    };
    vectors("key_output").iter().for_each(|it| output(&one("output_keywords"), it));
    vectors("min_output_len").iter().for_each(|it| output(&one("output_length"), it));
}

#[test]
fn the_script_after_answering_says_why_and_repairs() {
    let input = concat!(
        "{\"id\":\"a\",\"instruction\":\"什么是民窿？\\n什么是民窿？\",\"output\":\"民窿是广东人对民间小煤窑的一种旧称，如今少见了。\",\"n\":1.0}\n",
        "{\"id\":\"b\",\"instruction\":\"前\\n什么？\\n什么？\",\"output\":\"抱歉\"}\n",
        "{\"id\":\"c\",\"instruction\":\"说说\",\"output\":\"哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈\"}\n",
    );
    let mut kit = Kit::new("rules");
    let with = "preset = 'delete_key_output'\nmeasure = ['repeats_anywhere']";
    let outputs = kit.run(with, &[input.as_bytes()]).unwrap();
    insta::assert_snapshot!(outputs.join("--\n"), @r#"
    {"id":"a","instruction":"什么是民窿？","output":"民窿是广东人对民间小煤窑的一种旧称，如今少见了。","n":1.0}
    --
    {"id":"a","source":null,"keep":true,"first":null,"fails":[],"values":{"output_keywords":0,"output_length":24,"repeats_at_start":0,"repeated_lines":0,"repeats_anywhere":0}}
    {"id":"b","source":null,"keep":false,"first":"output_keywords","fails":["output_keywords","output_length","repeated_lines"],"values":{"output_keywords":1,"output_length":2,"repeats_at_start":0,"repeated_lines":1,"repeats_anywhere":0}}
    {"id":"c","source":null,"keep":false,"first":"repeats_at_start","fails":["repeats_at_start"],"values":{"output_keywords":0,"output_length":20,"repeats_at_start":1,"repeated_lines":0,"repeats_anywhere":1}}
    "#);
    assert_eq!((kit.count("kept"), kit.count("dropped")), (Some(1), Some(2)));
}

#[test]
fn the_seven_rules_of_the_paper() {
    let texts = [
        "这是一段普通的文字，说的是天气。",
        "短短短短",
        "有事请打13800138000找我。",
        "今天天气好。今天天气好。今天天气好。",
        "■■■□□□★★★文字",
        "更多内容请点击查看，欢迎扫码关注。",
        "抱歉，我无法回答这个问题。",
        "正文<br/>锟斤拷还有      空白",
    ];
    let input: String = texts
        .iter()
        .enumerate()
        .map(|(i, it)| format!("{}\n", serde_json::json!({"id": i, "source": "s", "text": it})))
        .collect();
    let mut kit = Kit::new("rules");
    let outputs = kit.run("", &[input.as_bytes()]).unwrap();
    insta::assert_snapshot!(outputs[1], @r#"
    {"id":"0","source":"s","keep":true,"first":null,"fails":[],"values":{"length":16,"sensitive":0,"repeated":0,"meaningless":0,"keywords":0,"refusal":0,"format":0}}
    {"id":"1","source":"s","keep":false,"first":"length","fails":["length"],"values":{"length":4,"sensitive":0,"repeated":0,"meaningless":0,"keywords":0,"refusal":0,"format":0}}
    {"id":"2","source":"s","keep":false,"first":"sensitive","fails":["sensitive"],"values":{"length":18,"sensitive":1,"repeated":0,"meaningless":0,"keywords":0,"refusal":0,"format":0}}
    {"id":"3","source":"s","keep":false,"first":"repeated","fails":["repeated"],"values":{"length":18,"sensitive":0,"repeated":0.555556,"meaningless":0,"keywords":0,"refusal":0,"format":0}}
    {"id":"4","source":"s","keep":false,"first":"meaningless","fails":["meaningless"],"values":{"length":11,"sensitive":0,"repeated":0,"meaningless":0.818182,"keywords":0,"refusal":0,"format":0}}
    {"id":"5","source":"s","keep":false,"first":"keywords","fails":["keywords"],"values":{"length":17,"sensitive":0,"repeated":0,"meaningless":0,"keywords":2,"refusal":0,"format":0}}
    {"id":"6","source":"s","keep":false,"first":"refusal","fails":["refusal"],"values":{"length":13,"sensitive":0,"repeated":0,"meaningless":0,"keywords":0,"refusal":2,"format":0}}
    {"id":"7","source":"s","keep":false,"first":"format","fails":["format"],"values":{"length":20,"sensitive":0,"repeated":0.3,"meaningless":0,"keywords":0,"refusal":0,"format":3}}
    "#);
    assert_eq!(outputs[0].lines().count(), 1);
}

#[test]
fn every_rule_can_be_measured_and_has_a_say_only_with_a_threshold() {
    let names: Vec<&str> = super::Rule::ALL.iter().map(|it| it.name()).collect();
    let with = format!("preset = 'none'\nmeasure = {names:?}\nngram = 3");
    let input = "{\"text\":\"第一行 abc，第一行 abc，博彩 abc。\\n二\"}\n";
    let outputs = Kit::new("rules").run(&with, &[input.as_bytes()]).unwrap();
    assert_eq!(outputs[0], input);
    insta::assert_snapshot!(outputs[1], @r#"{"id":"6d02c8a3f2a283cd","source":null,"keep":true,"first":null,"fails":[],"values":{"length":25,"sensitive":0,"repeated":0,"meaningless":0,"keywords":0,"refusal":0,"format":0,"character_repetition":0.347826,"word_repetition":0.4,"special_characters":0.28,"alphanumeric":0.72,"flagged_words":0.08,"average_line":12,"longest_line":23,"words":12,"chinese":0.36}}"#);
    let ratios = Kit::new("rules").run("preset = 'ratios'", &[input.as_bytes()]).unwrap();
    insta::assert_snapshot!(ratios[1], @r#"{"id":"6d02c8a3f2a283cd","source":null,"keep":false,"first":"special_characters","fails":["special_characters","flagged_words"],"values":{"length":25,"character_repetition":0,"word_repetition":0,"special_characters":0.28,"alphanumeric":0.72,"flagged_words":0.08,"average_line":12,"longest_line":23,"words":12}}"#);
}

#[test]
fn the_result_depends_neither_on_threads_nor_on_shards() {
    let record = |i: usize| {
        let text = "天地玄黄，宇宙洪荒。".repeat(i % 7) + &"日月盈昃".repeat(i % 3);
        format!("{}\n", serde_json::json!({"text": text, "n": i}))
    };
    let input: String = (0..500).map(record).collect();
    let mut kit = Kit::new("rules");
    let whole = kit.run("max = { word_repetition = 0.4 }", &[input.as_bytes()]).unwrap();
    kit.threads = 3;
    assert_eq!(kit.run("max = { word_repetition = 0.4 }", &[input.as_bytes()]).unwrap(), whole);
    let mut parts = vec![String::new(), String::new()];
    for index in 0..4 {
        kit.shard = Some(crate::Shard { index, count: 4 });
        let outputs = kit.run("max = { word_repetition = 0.4 }", &[input.as_bytes()]).unwrap();
        parts.iter_mut().zip(outputs).for_each(|(all, it)| *all += &it);
    }
    assert_eq!(parts, whole);
}

#[test]
fn mistakes_are_named() {
    let mut kit = Kit::new("rules");
    let good = "{\"text\":\"一二三四五六\"}\n";
    insta::assert_snapshot!(kit.error("max = { lenght = 3 }", good), @"parameters of `rules`: no rule `lenght`; the rules are `length`, `sensitive`, `repeated`, `meaningless`, `keywords`, `refusal`, `format`, `character_repetition`, `word_repetition`, `special_characters`, `alphanumeric`, `flagged_words`, `average_line`, `longest_line`, `words`, `chinese`");
    insta::assert_snapshot!(kit.error("words = { bad = [] }", good), @"parameters of `rules`: no list of words `bad`; the lists are `keywords`, `refusal`, `flagged_words`");
    let error = kit.error("", &format!("{good}{{}}\n"));
    assert_eq!(error, "in0:2: field `text`: is missing");
    let error = kit.error("", &format!("{good}[]\n"));
    assert!(error.starts_with("in0:2: is no JSON object: invalid type: sequence"), "{error}");
    kit.threads = 2;
    let error = kit.error("", &format!("{good}{{\"text\":1}}\n{{}}\n"));
    assert_eq!(error, "in0:2: field `text`: is not a text");
    kit.stop_after = 0;
    assert_eq!(kit.error("", good), "stopped on request");
}
