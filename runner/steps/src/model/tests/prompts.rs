//! The prompts of the Kun method, held against the strings of its authors, and prompt files that
//! are wrong.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::super::{Ask, Chat, Conversation, LossOn, Prompt, Template};
use super::tokenizer;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn facts() -> Value {
    let path = root().join("tests/oracle/fixtures/kun/prompts.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn prompt(name: &str) -> Prompt {
    Prompt::open(&root().join(format!("prompts/{name}.jinja"))).unwrap()
}

fn fields(json: &Value) -> &Map<String, Value> {
    json.as_object().unwrap()
}

/// What the chat template `template` makes of a question.
fn asked(template: &str, question: &str) -> String {
    let (tokenizer, template) = (tokenizer("yi"), Template::built_in(template).unwrap());
    let chat = Chat { tokenizer: &tokenizer, template: &template };
    chat.text(&Conversation::pair(None, question, None), Ask::Answer).unwrap()
}

#[test]
fn prompt_files_and_templates_write_what_the_authors_code_writes() {
    let facts = facts();
    let example = fields(&facts["example"]);
    let [instruction, output] = ["instruction", "output"].map(|it| example[it].as_str().unwrap());
    for (file, name) in [("label", "label"), ("score", "point"), ("refine", "answer")] {
        let text = prompt(file).text(example).unwrap();
        assert_eq!(asked("kun", &text), facts["rendered"][name].as_str().unwrap(), "{file}");
    }
    assert_eq!(asked("kun-label", output), facts["rendered"]["label"].as_str().unwrap());
    assert_eq!(asked("kun-point", instruction), facts["rendered"]["point"].as_str().unwrap());
    let turn = format!("{output},请回答:{instruction}");
    assert_eq!(asked("kun-answer", &turn), facts["rendered"]["answer"].as_str().unwrap());
}

#[test]
fn the_score_prompt_keeps_its_zero_width_spaces() {
    let text = prompt("score").text(fields(&json!({ "instruction": "" }))).unwrap();
    let places: Vec<usize> =
        text.chars().enumerate().filter(|(_, c)| *c == '\u{200B}').map(|(i, _)| i).collect();
    assert_eq!(places, [29, 33]);
}

#[test]
fn the_other_prompts_are_the_words_on_record() {
    let facts = facts();
    let example = fields(&facts["example"]);
    let [instruction, output] = ["instruction", "output"].map(|it| example[it].as_str().unwrap());
    let filter = facts["filter_prompt"].as_str().unwrap();
    assert_eq!(prompt("filter").text(example).unwrap(), format!("{filter}\n{instruction}"));
    let old = &facts["historical"];
    let turn = old["comprehensive_user_turn"].as_str().unwrap();
    let turn = turn.replace("{instruction}", instruction).replace("{output}", output);
    let words = old["comprehensive_point_prompt_v0_2023_09"].as_str().unwrap();
    assert_eq!(prompt("comprehensive").text(example).unwrap(), format!("{words}\n{turn}"));
}

#[test]
fn every_prompt_says_what_it_is_and_has_its_gloss_beside_it() {
    let mut names = Vec::new();
    let readme = std::fs::read_to_string(root().join("prompts/README.md")).unwrap();
    for entry in std::fs::read_dir(root().join("prompts")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "jinja") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let prompt = Prompt::open(&path).unwrap();
            assert_eq!(prompt.id(), name);
            assert!(!prompt.inputs().is_empty() && prompt.header.len() == 5, "{name}");
            assert!(root().join("prompts").join(&prompt.header["gloss"]).exists(), "{name}");
            assert!(readme.contains(&format!("({name}.jinja)")), "{name}");
            names.push(name);
        }
    }
    names.sort();
    assert_eq!(
        names,
        ["categories", "comprehensive", "filter", "label", "pairs", "refine", "score"]
    );
}

#[test]
fn the_authors_templates_teach_the_answer_and_its_end() {
    let tokenizer = tokenizer("yi");
    for name in ["kun", "kun-label", "kun-point", "kun-answer"] {
        let template = Template::built_in(name).unwrap();
        let chat = Chat { tokenizer: &tokenizer, template: &template };
        let pair = Conversation::pair(Some("s"), "今天下雨", Some("好"));
        let sample = chat.sample(&pair, LossOn::Answer).unwrap();
        let trained = sample.ids.iter().zip(&sample.trained).filter(|it| *it.1).map(|it| *it.0);
        let trained: Vec<u32> = trained.collect();
        let text = tokenizer.decode(&trained, super::super::Controlled::Shown).unwrap();
        assert_eq!(text, "好<|im_end|>", "{name}");
    }
}

fn made(source: &str) -> Result<Prompt, String> {
    Prompt::new(Path::new("p.jinja"), source.to_owned()).map_err(|it| it.to_string())
}

#[test]
fn what_is_wrong_with_a_prompt_file_is_said_with_its_line() {
    let cases = [
        "",
        "{{ a }}",
        "{#\nid: a",
        "{#\nid: a\n#}\n",
        "{#\nid: a\nid: b\n#}\n",
        "{#\nid: a\ninput: b\n#}\n",
        "{#\nid\n#}\n",
        "{#\nid: a\ninputs: x\n#}\n\n{{ y }}",
        "{#\nid: a\ninputs: x\n#}\n{{ x",
    ];
    let said = cases.map(|it| made(it).err().unwrap());
    insta::assert_snapshot!(said.join("\n"), @r"
    `p.jinja` line 1: does not begin with a header: a line `{#`
    `p.jinja` line 1: does not begin with a header: a line `{#`
    `p.jinja` line 1: the header does not end with a line `#}`
    `p.jinja` line 3: the header does not say `inputs`
    `p.jinja` line 3: says again what the header has said
    `p.jinja` line 3: `input` is none of `id`, `inputs`, `form`, `source`, `gloss`
    `p.jinja` line 2: is no `key: value` of the header
    `p.jinja` line 6: uses `y`, which `inputs` does not name
    `p.jinja`: line 5: syntax error: unexpected end of input, expected end of variable block
    ");
}

#[test]
fn what_a_record_lacks_is_named_and_never_filled_in() {
    let prompt = made(
        "{#\nid: a\ninputs: x, y, z\n#}\n{{ x }}\n{% if z is defined %}{{ z }}{% endif %}{{ y }}\n",
    );
    let prompt = prompt.unwrap();
    let text = |json: Value| prompt.text(fields(&json)).map_err(|it| it.to_string());
    assert_eq!(text(json!({ "x": 1, "y": "b {{ x }}\n" })).unwrap(), "1\nb {{ x }}\n");
    assert_eq!(text(json!({ "x": "<|im_end|>", "y": "", "z": "z" })).unwrap(), "<|im_end|>\nz");
    let said = [json!({ "x": "a", "text": "b" }), json!({ "x": null, "y": "b" }), json!({})];
    let said = said.map(|it| text(it).unwrap_err());
    insta::assert_snapshot!(said.join("\n"), @r"
    `p.jinja` line 6: needs `y`, which the record does not have; it has `x`, `text`
    `p.jinja` line 5: needs `x`, which the record does not have; it has `x`, `y`
    `p.jinja` line 5: needs `x`, which the record does not have; it is empty
    ");
    let endless = "{#\nid: a\ninputs: x\n#}\n{% for i in range(100000) %}{% for i in range(100000) %}{% endfor %}{% endfor %}";
    let said = made(endless).unwrap().text(fields(&json!({}))).unwrap_err().to_string();
    assert!(said.contains("does not end within"), "{said}");
}
