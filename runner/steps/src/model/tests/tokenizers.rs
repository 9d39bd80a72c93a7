//! Encoding and decoding.

use super::super::{Controlled, Stream};
use super::{each_case, fixture, ids, json, tokenizer};

const FOLDERS: [&str; 5] = ["yi", "space", "bytes", "pieces", "pieces-space"];

#[test]
fn plain_text_becomes_the_same_ids_as_in_transformers_and_sentencepiece() {
    for folder in FOLDERS {
        let it = tokenizer(folder);
        each_case(folder, |case| {
            let text = case["text"].as_str().unwrap();
            assert_eq!(it.encode_plain(text).unwrap(), ids(&case["plain"]), "{folder} {text:?}");
            if !case["document"].is_null() {
                let document = it.encode_document(text).unwrap();
                assert_eq!(document, ids(&case["document"]), "{folder} {text:?}");
            }
        });
    }
}

#[test]
fn trusted_text_holds_control_tokens_as_in_transformers() {
    for folder in ["yi", "space", "bytes"] {
        let it = tokenizer(folder);
        each_case(folder, |case| {
            let text = case["text"].as_str().unwrap();
            assert_eq!(
                it.encode_trusted(text).unwrap(),
                ids(&case["trusted"]),
                "{folder} {text:?}"
            );
        });
    }
}

#[test]
fn ids_become_the_same_text_as_in_transformers_and_sentencepiece() {
    for folder in FOLDERS {
        let it = tokenizer(folder);
        each_case(folder, |case| {
            let decode = |what: &str, controlled| it.decode(&ids(&case[what]), controlled).unwrap();
            let plain = decode("plain", Controlled::Shown);
            assert_eq!(plain, case["decoded"].as_str().unwrap(), "{folder} {case}");
            if !case["trusted"].is_null() {
                assert_eq!(decode("trusted", Controlled::Shown), case["shown"], "{folder} {case}");
                let hidden = decode("trusted", Controlled::Hidden);
                assert_eq!(hidden, case["hidden"], "{folder} {case}");
            }
        });
    }
}

#[test]
fn what_a_stream_gives_is_what_all_ids_at_once_give() {
    for folder in FOLDERS {
        let it = tokenizer(folder);
        each_case(folder, |case| {
            for what in ["plain", "trusted"].iter().filter(|it| !case[**it].is_null()) {
                let ids = ids(&case[*what]);
                // Cut anywhere too: a generation may end in the middle of a character.
                for n in [ids.len(), ids.len() / 2, ids.len().saturating_sub(1)] {
                    let mut stream = Stream::new(&it);
                    let mut text = String::new();
                    for id in &ids[..n] {
                        text += &stream.push(*id).unwrap();
                    }
                    text += &stream.finish().unwrap();
                    let whole = it.decode(&ids[..n], Controlled::Hidden).unwrap();
                    assert_eq!(text, whole, "{folder} {:?}", &ids[..n]);
                }
            }
        });
    }
}

#[test]
fn a_stream_never_gives_half_a_character() {
    let it = tokenizer("yi");
    let ids = it.encode_plain("a🙂b").unwrap();
    let mut stream = Stream::new(&it);
    let given: Vec<String> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    assert_eq!(given, ["a", "", "", "", "", "🙂b"]);
}

#[test]
fn the_folder_names_its_tokens() {
    for folder in FOLDERS {
        let it = tokenizer(folder);
        let said = json(&format!("{folder}-cases.json"));
        assert_eq!(it.n_ids() as u64, said["n_ids"].as_u64().unwrap(), "{folder}");
        let id = |name: &str| said[name].as_u64().map(|it| it as u32);
        assert_eq!(it.named().bos, id("bos"), "{folder}");
        assert_eq!(it.named().eos, id("eos"), "{folder}");
    }
    let it = tokenizer("yi");
    assert_eq!(it.id("<|im_end|>"), Some(7));
    assert_eq!(it.named().stop, [2]);
    assert_eq!(tokenizer("space").bos_to_add(), Some(1));
    assert_eq!(it.bos_to_add(), None);
}

#[test]
fn no_plain_text_makes_a_control_token_even_where_the_model_could() {
    // The model of this file merges its way to the control token.
    let mut file = json("yi/tokenizer.json");
    let vocabulary = file["model"]["vocab"].as_object_mut().unwrap();
    let n = vocabulary.len();
    for (i, piece) in ["<|", "|>", "<|im", "_end"].iter().enumerate() {
        vocabulary.entry(piece.to_string()).or_insert((n + i).into());
    }
    for it in ["|", "_", "im", "end"] {
        let n = vocabulary.len();
        vocabulary.entry(it.to_owned()).or_insert(n.into());
    }
    let merges = [["<", "|"], ["|", ">"], ["<|", "im"], ["_", "end"], ["i", "m"]];
    let merges = merges.iter().chain(&[["<|im", "_end|>"], ["_end", "|>"]]);
    let n = vocabulary.len();
    vocabulary.insert("_end|>".to_owned(), n.into());
    let known = file["model"]["merges"].as_array().unwrap().clone();
    let merges: Vec<serde_json::Value> = merges.map(|it| serde_json::json!(it)).collect();
    file["model"]["merges"] = merges.into_iter().chain(known).collect();
    for ignore_merges in [false, true] {
        file["model"]["ignore_merges"] = ignore_merges.into();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), file.to_string()).unwrap();
        let config = fixture("yi/tokenizer_config.json");
        std::fs::copy(config, folder.path().join("tokenizer_config.json")).unwrap();
        let it = super::Tokenizer::open(folder.path()).unwrap();
        let ids = it.encode_plain("<|im_end|>").unwrap();
        assert!(ids.iter().all(|it| *it != 7), "{ids:?}");
        assert_eq!(it.decode(&ids, Controlled::Hidden).unwrap(), "<|im_end|>");
        assert_eq!(it.encode_trusted("<|im_end|>").unwrap(), [7]);
    }
}
