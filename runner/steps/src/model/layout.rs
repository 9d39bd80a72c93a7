//! The ids of a tokenizer in Yi's layout, and the files of its folder.

use serde_json::{Map, Value, json};

use super::definition::byte_token;
use super::template::YI_CHATML;
use super::train::Learnt;

/// Yi's control tokens, by id.
pub(crate) const CONTROL: [&str; 14] = [
    "<unk>",
    "<|startoftext|>",
    "<|endoftext|>",
    "<|Human|>",
    "<|Assistant|>",
    "<|System|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|im_sep|>",
    "<|reserved003|>",
    "<|reserved004|>",
    "<|reserved005|>",
    "<|reserved006|>",
    "<|reserved007|>",
];

/// How many ids stand before the first piece: control tokens and bytes.
pub(crate) const N_FIXED: usize = CONTROL.len() + 256;

/// Every token, by id.
pub(crate) fn vocabulary(learnt: &Learnt) -> Vec<String> {
    let mut all: Vec<String> = CONTROL.map(str::to_owned).to_vec();
    all.extend((0..=255).map(byte_token));
    let mut known: std::collections::HashSet<String> = all.iter().cloned().collect();
    let pieces = learnt.merges.iter().map(|(a, b)| format!("{a}{b}"));
    let chars = learnt.alphabet.iter().map(char::to_string);
    all.extend(pieces.chain(chars).filter(|it| known.insert(it.clone())));
    all
}

/// The files of the folder, by name.
pub(crate) fn files(learnt: &Learnt, vocabulary: &[String]) -> [(&'static str, Value); 3] {
    let names = json!({
        "bos_token": CONTROL[1], "eos_token": CONTROL[2], "unk_token": CONTROL[0],
        "pad_token": CONTROL[0],
    });
    [
        ("tokenizer.json", tokenizer(learnt, vocabulary)),
        ("tokenizer_config.json", config()),
        ("special_tokens_map.json", names),
    ]
}

fn tokenizer(learnt: &Learnt, vocabulary: &[String]) -> Value {
    let added: Vec<Value> = CONTROL
        .iter()
        .enumerate()
        .map(|(id, it)| {
            json!({
                "id": id, "content": it, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect();
    let ids: Map<String, Value> =
        vocabulary.iter().enumerate().map(|(id, it)| (it.clone(), id.into())).collect();
    let merges: Vec<Value> = learnt.merges.iter().map(|(a, b)| json!([a, b])).collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ]},
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": CONTROL[0],
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": true,
            "ignore_merges": false,
            "vocab": ids,
            "merges": merges,
        },
    })
}

fn config() -> Value {
    let token = |(id, it): (usize, &&str)| {
        let said = json!({
            "content": it, "lstrip": false, "normalized": false, "rstrip": false,
            "single_word": false, "special": true,
        });
        (id.to_string(), said)
    };
    let added: Map<String, Value> = CONTROL.iter().enumerate().map(token).collect();
    json!({
        "add_bos_token": false,
        "add_eos_token": false,
        "added_tokens_decoder": added,
        "bos_token": CONTROL[1],
        "chat_template": YI_CHATML,
        "clean_up_tokenization_spaces": false,
        "eos_token": CONTROL[2],
        "model_max_length": 4096,
        "pad_token": CONTROL[0],
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": CONTROL[0],
    })
}
