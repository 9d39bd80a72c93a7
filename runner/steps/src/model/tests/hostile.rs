//! Files that lie: each is named with its field, and none makes us panic.

use std::path::Path;

use serde_json::{Value, json};

use super::super::{Template, Tokenizer};
use super::{fixture, json};

/// Opens a folder that holds these files.
fn open(files: &[(&str, &[u8])]) -> Result<Tokenizer, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let place = format!("{}/", folder.path().display());
    Tokenizer::open(folder.path()).map_err(|it| it.to_string().replace(&place, ""))
}

/// The error after the value at a JSON pointer was replaced.
fn spoilt(pointer: &str, value: Value) -> String {
    let mut file = json("yi/tokenizer.json");
    *file.pointer_mut(pointer).unwrap() = value;
    let error = open(&[("tokenizer.json", file.to_string().as_bytes())]).err();
    format!("{pointer}: {}", error.unwrap_or("no error".to_owned()))
}

#[test]
fn a_lying_tokenizer_json_is_named_with_its_field() {
    let many = [
        spoilt("/model/type", json!("Unigram")),
        spoilt("/model/vocab", json!(["a"])),
        spoilt("/model/vocab/a", json!(-1)),
        spoilt("/model/vocab/a", json!(4_000_000_000_u32)),
        spoilt("/model/vocab/a", json!(7)),
        spoilt("/model/merges/0", json!(["a", "nowhere"])),
        spoilt("/model/merges/0", json!(["a", "<|im_end|>"])),
        spoilt("/model/merges/0", json!("a")),
        spoilt("/model/merges", json!(null)),
        spoilt("/model/dropout", json!(0.1)),
        spoilt("/model/continuing_subword_prefix", json!("###########")),
        spoilt("/model/unk_token", json!("<nothing>")),
        spoilt("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
        spoilt("/normalizer/content", json!("x".repeat(1000))),
        spoilt("/normalizer/pattern", json!({"Regex": "(a+)+$"})),
        spoilt(
            "/decoder/decoders/0",
            json!({"type": "Strip", "content": " ", "start": 0, "stop": 9}),
        ),
        spoilt("/decoder/decoders", json!({})),
        spoilt("/pre_tokenizer", json!({"type": "Whitespace"})),
        spoilt(
            "/pre_tokenizer",
            json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}),
        ),
        spoilt("/added_tokens/3/id", json!(4)),
        spoilt("/added_tokens/3/content", json!("")),
        spoilt("/added_tokens/3/content", json!("<unk>")),
        spoilt("/added_tokens/3", json!({"id": 900, "content": "far away"})),
    ];
    insta::assert_snapshot!(many.join("\n"));
}

#[test]
fn files_beside_the_tokenizer_are_held_to_what_they_say() {
    let tokenizer = std::fs::read(fixture("yi/tokenizer.json")).unwrap();
    let with = |name, text: &str| {
        let files = [("tokenizer.json", tokenizer.as_slice()), (name, text.as_bytes())];
        open(&files).err().unwrap_or("no error".to_owned())
    };
    let many = [
        open(&[])
            .err()
            .unwrap_or_default()
            .replace(char::is_numeric, "")
            .chars()
            .count()
            .min(1)
            .to_string(),
        with("tokenizer_config.json", "[]"),
        with("tokenizer_config.json", "{"),
        with("tokenizer_config.json", r#"{"eos_token": "</s>"}"#),
        with("tokenizer_config.json", r#"{"eos_token": 7}"#),
        with("tokenizer_config.json", r#"{"add_bos_token": "yes"}"#),
        with("tokenizer_config.json", r#"{"added_tokens_decoder": {"x": {"content": "<a>"}}}"#),
        with("tokenizer_config.json", r#"{"added_tokens_decoder": {"7": {"content": "<a>"}}}"#),
        with("special_tokens_map.json", r#"{"bos_token": {"content": "<s>"}}"#),
        with("generation_config.json", r#"{"eos_token_id": [2, "7"]}"#),
    ];
    insta::assert_snapshot!(many.join("\n"));
}

#[test]
fn stop_ids_and_added_tokens_of_the_other_files_count() {
    let tokenizer = std::fs::read(fixture("yi/tokenizer.json")).unwrap();
    let config = r#"{"eos_token": {"content": "<|endoftext|>"}, "added_tokens_decoder":
        {"640": {"content": "<|tool|>", "special": false}, "641": {"content": "<b>"}}}"#;
    let generation = r#"{"eos_token_id": [7, 2]}"#;
    let it = open(&[
        ("tokenizer.json", tokenizer.as_slice()),
        ("tokenizer_config.json", config.as_bytes()),
        ("generation_config.json", generation.as_bytes()),
    ])
    .unwrap();
    assert_eq!(it.named().stop, [2, 7]);
    assert_eq!((it.n_ids(), it.id("<|tool|>")), (642, Some(640)));
    assert!(it.is_control(640) && !it.is_control(641));
    assert_eq!(it.encode_plain("<b>").unwrap(), [641]);
    assert_ne!(it.encode_plain("<|tool|>").unwrap(), [640]);
    assert_eq!(it.encode_trusted("<|tool|>").unwrap(), [640]);
}

#[test]
fn a_token_stands_before_a_text_only_where_the_tokenizer_file_puts_it() {
    let mut file = json("yi/tokenizer.json");
    file["post_processor"] = Value::Null;
    let bare = file.to_string();
    file["post_processor"] = json!({
        "type": "TemplateProcessing", "pair": [],
        "single": [{"SpecialToken": {"id": "<|startoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<|startoftext|>": {"id": "<|startoftext|>", "ids": [1], "tokens": ["<|startoftext|>"]}},
    });
    let with = file.to_string();
    let said = |name: &str, file: &[u8], flag: Option<bool>| {
        let mut config = json!({"bos_token": "<|startoftext|>"});
        config["add_bos_token"] = flag.map_or(Value::Null, Value::Bool);
        let config = config.to_string();
        let it = open(&[(name, file), ("tokenizer_config.json", config.as_bytes())]).unwrap();
        assert_eq!(
            it.encode_document("a").unwrap().len() > it.encode_plain("a").unwrap().len(),
            it.bos_to_add().is_some()
        );
        it.bos_to_add().is_some()
    };
    let all = [None, Some(true), Some(false)];
    // `transformers` 5.24, of both `PreTrainedTokenizerFast` and `LlamaTokenizerFast`.
    let json = |text: &str| all.map(|it| said("tokenizer.json", text.as_bytes(), it));
    assert_eq!(json(&bare), [false, false, false]);
    assert_eq!(json(&with), [true, true, false]);
    let pieces = std::fs::read(fixture("pieces/tokenizer.model")).unwrap();
    assert_eq!(all.map(|it| said("tokenizer.model", &pieces, it)), [false, true, false]);
}

#[test]
fn a_sentencepiece_model_of_another_sort_is_refused_by_name() {
    let unigram = std::fs::read(fixture("unigram.model")).unwrap();
    let error = open(&[("tokenizer.model", &unigram)]).err();
    let said = "`tokenizer.model`: field `trainer_spec.model_type`: is unigram; only BPE is read";
    assert_eq!(error.as_deref(), Some(said));
}

/// Numbers that only look random, always the same.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn never_panics(name: &str, file: &Path, n: usize) {
    let bytes = std::fs::read(file).unwrap();
    let mut state = 7;
    for round in 0..n {
        let mut spoilt = bytes.clone();
        if round % 4 == 0 {
            spoilt.truncate(next(&mut state) as usize % bytes.len());
        } else {
            for _ in 0..=round % 3 {
                let at = next(&mut state) as usize % bytes.len();
                spoilt[at] = next(&mut state) as u8;
            }
        }
        if let Ok(it) = open(&[(name, &spoilt)]) {
            let ids = it.encode_plain("今天 a <|im_end|>\n🙂").unwrap();
            it.decode(&ids, super::super::Controlled::Shown).unwrap();
        }
    }
}

#[test]
fn spoilt_bytes_are_errors_and_never_panics() {
    never_panics("tokenizer.model", &fixture("pieces/tokenizer.model"), 400);
    never_panics("tokenizer.json", &fixture("yi/tokenizer.json"), 60);
    never_panics("tokenizer.json", &fixture("bytes/tokenizer.json"), 60);
}

#[test]
fn a_length_that_lies_costs_nothing() {
    // A piece that says it has 2⁶² bytes.
    let mut bytes = vec![0x0A];
    bytes.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40]);
    let error = open(&[("tokenizer.model", &bytes)]).err().unwrap();
    assert_eq!(
        error,
        "`tokenizer.model`: ends in the middle of a field, or is no protobuf message"
    );
}

#[test]
fn a_folder_without_a_template_has_none_and_a_list_must_name_the_default() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Template::of_folder(folder.path()).unwrap().is_none());
    let write = |text: &str| {
        std::fs::write(folder.path().join("tokenizer_config.json"), text).unwrap();
        Template::of_folder(folder.path())
    };
    let listed = r#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}"#;
    assert_eq!(write(listed).unwrap().unwrap().source(), "d");
    for text in [r#"{"chat_template": [{"name": "rag"}]}"#, r#"{"chat_template": 1}"#] {
        assert!(write(text).is_err());
    }
    let built_in = Template::built_in("yi").err().unwrap().to_string();
    assert_eq!(
        built_in,
        "no chat template: `yi` is none of `yi-chatml`, `plain`, `kun`, `kun-label`, `kun-point`, `kun-answer`"
    );
}
