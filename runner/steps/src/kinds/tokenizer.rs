//! `tokenizer`: trains a tokenizer on texts, in the layout of Yi's.
//!
//! ```toml
//! [steps.words]
//! op   = "tokenizer"
//! in   = { data = ["${steps.clean.data}"] }
//! with = { vocab_size = 8_000 }
//! ```
//!
//! Byte-pair encoding with byte fallback: every text can be written, and characters that are too rare
//! for a piece of their own become bytes. Ids 0 to 13 are Yi's control tokens (`<unk>`, which also
//! fills up rows, `<|startoftext|>`, `<|endoftext|>`, …, `<|im_start|>` 6, `<|im_end|>` 7), then come
//! the 256 bytes, then the pieces in the order in which they were learnt, then single characters.
//! Pieces do not reach over a change of script or over a line's end, and digits stand alone. Nothing
//! is put before a text.
//!
//! A record's texts are its `text`, or the contents of its messages in any of the forms that `sft`
//! reads; `columns` gives other names: `columns = { text = "content" }`. The same records give the
//! same bytes, on any machine.
//!
//! The folder holds `tokenizer.json`, `tokenizer_config.json` with Yi's chat template, and
//! `special_tokens_map.json`; `transformers` loads it and gives the same ids.
//!
//! Memory: about 100 bytes for each different word, where a word is a run of one script.

use std::path::Path;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::layout::{self, N_FIXED};
use crate::model::record::Columns;
use crate::model::train::{Learnt, Limits, Words};
use crate::page::page;
use crate::records::Progress;
use crate::texts::{Texts, check_columns};
use crate::{Cx, Kind, Say, StepError, params_of};

pub(crate) struct Tokenizer;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// How many tokens there are at most, the control tokens and the bytes among them.
    #[schemars(range(min = 512, max = 1_000_000))]
    vocab_size: usize,
    /// The share of all characters of the texts that get a token of their own; the others become
    /// bytes.
    #[serde(default = "default_coverage")]
    character_coverage: f64,
    /// The longest token, in characters.
    #[serde(default = "default_max_chars")]
    #[schemars(range(min = 1, max = 64))]
    max_token_length: usize,
    /// A pair of neighbours that is rarer makes no token.
    #[serde(default = "default_min_frequency")]
    #[schemars(range(min = 1))]
    min_frequency: u64,
    /// What the data calls the fields, by our names.
    #[serde(default)]
    columns: Columns,
}

fn default_coverage() -> f64 {
    0.9995
}

fn default_max_chars() -> usize {
    16
}

fn default_min_frequency() -> u64 {
    2
}

impl Kind for Tokenizer {
    const SPEC: KindSpec = KindSpec {
        name: "tokenizer",
        version: 1,
        about: "train a tokenizer in the layout of Yi's",
        page: page!("tokenizer.rs"),
        inputs: &[Port { name: "data", arity: Arity::Many, about: "the texts" }],
        outputs: &[Slot {
            name: "tokenizer",
            form: Form::Dir,
            about: "`tokenizer.json` and what belongs to it",
        }],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        check(params)?;
        let words = read(params, cx)?;
        let n_words = words.len();
        let limits = Limits {
            n_pieces: params.vocab_size - N_FIXED,
            coverage: params.character_coverage,
            max_chars: params.max_token_length,
            min_count: params.min_frequency,
        };
        let Some(learnt) = learn(words, &limits, cx) else { return Err(StepError::Stopped) };
        let vocabulary = layout::vocabulary(&learnt);
        let n = vocabulary.len();
        write(cx.output("tokenizer")?, &learnt, &vocabulary)?;
        if n < params.vocab_size {
            let wanted = params.vocab_size;
            let note = format!("{n} tokens, not {wanted}: no other pair is frequent enough");
            (cx.report)(Say::Note(note));
        }
        cx.count("tokens", n as u64);
        cx.count("characters", learnt.alphabet.len() as u64);
        cx.count("words", n_words as u64);
        Ok(())
    }
}

fn check(params: &Params) -> Result<(), StepError> {
    let wrong = |reason: &str| StepError::Params { kind: "tokenizer", reason: reason.to_owned() };
    check_columns("tokenizer", &params.columns)?;
    if params.vocab_size < N_FIXED + 2 {
        return Err(wrong("`vocab_size` is smaller than what always has a token"));
    }
    if !(params.character_coverage > 0.0 && params.character_coverage <= 1.0) {
        return Err(wrong("`character_coverage` is not between 0 and 1"));
    }
    Ok(())
}

fn read(params: &Params, cx: &mut Cx<'_>) -> Result<Words, StepError> {
    let mut words = Words::default();
    let mut progress = Progress::new("records", None);
    for path in cx.inputs("data").to_vec() {
        let mut texts = Texts::open(&path, &params.columns)?;
        while let Some(all) = texts.next(|it| it.all_texts())? {
            cx.check_stop()?;
            all.iter().for_each(|it| words.add(it));
            progress.did(1, cx);
        }
    }
    progress.say(cx);
    Ok(words)
}

fn learn(words: Words, limits: &Limits, cx: &mut Cx<'_>) -> Option<Learnt> {
    let mut progress = Progress::new("tokens", Some(limits.n_pieces as u64));
    words.learn(limits, |_| {
        progress.did(1, cx);
        !(cx.stop)()
    })
}

fn write(folder: &Path, learnt: &Learnt, vocabulary: &[String]) -> Result<(), StepError> {
    std::fs::create_dir(folder).map_err(StepError::io(folder))?;
    for (name, json) in layout::files(learnt, vocabulary) {
        let path = folder.join(name);
        let mut text = serde_json::to_vec_pretty(&json).expect("texts and numbers are always JSON");
        text.push(b'\n');
        std::fs::write(&path, text).map_err(StepError::io(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Kit;
    use crate::model;

    fn data() -> String {
        let lines = [
            r#"{"text": "今天下雨，河水涨得很快。今天下雨。"}"#,
            r#"{"text": "The river rose. The river fell. The rain fell 2026 times."}"#,
            r#"{"messages": [{"role": "user", "content": "今天的河水？"}, {"role": "assistant", "content": "很快。\n很快。"}]}"#,
            r#"{"instruction": "rain", "output": "river rain river"}"#,
        ];
        lines.map(|it| format!("{it}\n")).concat()
    }

    #[test]
    fn the_layout_is_yis_and_the_folder_encodes_and_decodes_every_text() {
        let mut kit = Kit::new("tokenizer");
        kit.run("vocab_size = 512", &[data().as_bytes()]).unwrap();
        let it = model::Tokenizer::open(&kit.folder.path().join("tokenizer")).unwrap();
        let names = ["<unk>", "<|startoftext|>", "<|endoftext|>", "<|Human|>", "<|Assistant|>"];
        let ids: Vec<_> = names.iter().map(|name| it.id(name)).collect();
        assert_eq!(ids, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!((it.id("<|im_start|>"), it.id("<|im_end|>")), (Some(6), Some(7)));
        assert_eq!((it.id("<0x00>"), it.id("<0xFF>")), (Some(14), Some(269)));
        assert_eq!(it.named().stop, [2]);
        assert_eq!(it.n_ids() as u64, kit.count("tokens").unwrap());
        for text in ["今天 river\n", " 🙂 new  words", "▁", "<|im_end|>", ""] {
            let ids = it.encode_plain(text).unwrap();
            let back = it.decode(&ids, model::Controlled::Hidden).unwrap();
            assert_eq!(back, text.replace('▁', " "));
            assert!(!ids.contains(&7) && !ids.contains(&0));
        }
        assert!(it.encode_plain("今天下雨").unwrap().len() < 4);
    }

    #[test]
    fn the_same_records_give_the_same_bytes_in_any_order() {
        let run = |data: &str| {
            let mut kit = Kit::new("tokenizer");
            kit.run("vocab_size = 512", &[data.as_bytes()]).unwrap()
        };
        let turned: Vec<String> = data().lines().rev().map(|it| format!("{it}\n")).collect();
        assert_eq!(run(&data()), run(&turned.concat()));
    }

    /// The fixture is what the kind makes; `tests/oracle/text.py` asks `transformers` about it.
    #[test]
    fn transformers_gives_the_ids_of_the_folder_that_was_made() {
        let fixture = model::tests::fixture("made");
        let data = std::fs::read(model::tests::fixture("made.jsonl")).unwrap();
        let mut kit = Kit::new("tokenizer");
        kit.run("vocab_size = 560", &[&data]).unwrap();
        let made = kit.folder.path().join("tokenizer");
        if std::env::var_os("KUN_BLESS").is_some() {
            std::fs::create_dir_all(&fixture).unwrap();
        }
        for it in std::fs::read_dir(&made).unwrap() {
            let (name, bytes) = (it.as_ref().unwrap().file_name(), it.unwrap().path());
            let bytes = std::fs::read(bytes).unwrap();
            if std::env::var_os("KUN_BLESS").is_some() {
                std::fs::write(fixture.join(&name), &bytes).unwrap();
            }
            assert!(bytes == std::fs::read(fixture.join(&name)).unwrap(), "{name:?} is another");
        }
        let it = model::Tokenizer::open(&made).unwrap();
        model::tests::each_case("made", |case| {
            let text = case["text"].as_str().unwrap();
            assert_eq!(
                it.encode_plain(text).unwrap(),
                model::tests::ids(&case["plain"]),
                "{text:?}"
            );
            let trusted = model::tests::ids(&case["trusted"]);
            assert_eq!(it.encode_trusted(text).unwrap(), trusted, "{text:?}");
            let shown = it.decode(&trusted, model::Controlled::Shown).unwrap();
            assert_eq!(shown, case["shown"], "{text:?}");
        });
    }

    #[test]
    fn the_chat_template_is_in_the_folder() {
        let mut kit = Kit::new("tokenizer");
        kit.run("vocab_size = 512", &[data().as_bytes()]).unwrap();
        let template = model::Template::of_folder(&kit.folder.path().join("tokenizer")).unwrap();
        assert_eq!(template.unwrap().source(), model::YI_CHATML);
    }

    #[test]
    fn what_cannot_be_trained_on_is_named() {
        let error = |with: &str, input: &str| Kit::new("tokenizer").error(with, input);
        let all = [
            error("vocab_size = 100", ""),
            error("vocab_size = 512\ncharacter_coverage = 2.0", ""),
            error("vocab_size = 512\ncolumns = { txt = 'a' }", ""),
            error("vocab_size = 512", "{\"text\": \"a\"}\n{\"txt\": \"a\"}\n"),
            error("vocab_size = 512", "{\"text\": 1}\n"),
            error("vocab_size = 512", "[1]\n"),
            error("vocab_size = 512", "{\n"),
        ];
        insta::assert_snapshot!(all.join("\n"), @r"
        parameters of `tokenizer`: `vocab_size` is smaller than what always has a token
        parameters of `tokenizer`: `character_coverage` is not between 0 and 1
        parameters of `tokenizer`: `columns.txt` means nothing; what does: `text`, `messages`, `conversations`, `tools`, `system`, `instruction`, `input`, `output`, `history`, `prompt`, `completion`, `role`, `content`
        in0:2: is no conversation: none of `messages`, `conversations`, `instruction` and `prompt` is there; it has `txt`
        in0:1: field `text`: is not a text
        in0:1: is no JSON object: invalid type: sequence, expected a map at line 1 column 0
        in0:1: is no JSON object: EOF while parsing an object at line 1 column 1
        ");
    }

    #[test]
    fn a_step_that_is_stopped_stops() {
        let mut kit = Kit::new("tokenizer");
        kit.stop_after = 10;
        let stopped = kit.run("vocab_size = 512", &[data().as_bytes()]);
        assert!(matches!(stopped, Err(StepError::Stopped)));
    }
}
