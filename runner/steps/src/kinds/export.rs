//! `export`: instruction data as others read it: JSON lines in a usual shape, a data set folder for
//! Hugging Face with a card, or one for LLaMA-Factory.
//!
//! ```toml
//! [steps.publish]
//! op   = "export"
//! in   = { data = "${steps.final.data}" }
//! with = { name = "kun-52k", layout = "hugging_face", shape = "alpaca" }
//! ```
//!
//! Records may have any shape that `instructions` reads; each becomes one of `shape`: `alpaca`
//! (`instruction`, `input`, `output`, perhaps `system` and `history`), `sharegpt` (`conversations`),
//! `messages`, or `prompt` (`prompt` and `completion`; what was said before the last question has no
//! place in it and is an error). `keep` names fields that go along as they are.
//!
//! | layout | what the folder holds |
//! |---|---|
//! | `jsonl` | `NAME.jsonl` |
//! | `hugging_face` | `data/train.jsonl`, and `README.md`: a card with sizes, fields and sources |
//! | `llama_factory` | `NAME.jsonl`, and `dataset_info.json`, which says how to read it |
//!
//! With `format = "parquet"` the data is a Parquet file in place of JSON lines, for `alpaca` without history and
//! for `prompt`: columns of texts, numbers and truths, packed with gzip. A list or an object has no column
//! and is an error.
//!
//! The card says what can be counted, and what `license` and `about` say; it has no date.
//!
//! Memory: one record, and a number for each source; for Parquet 16 MiB of records.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model::record::{Columns, Record, Unfit};
use crate::page::page;
use crate::records::{Lines, Output, Progress};
use crate::text::pair::Pair;
use crate::{Cx, Kind, StepError, params_of};

mod parquet;

pub(crate) struct Export;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The name of the data set: letters, digits, `-`, `_` and `.`.
    name: String,
    /// What is written.
    #[serde(default)]
    layout: Layout,
    /// The form of the data's file.
    #[serde(default)]
    format: FileFormat,
    /// The shape of the records.
    #[serde(default)]
    shape: Target,
    /// Fields that go along as they are.
    #[serde(default)]
    keep: Vec<String>,
    /// The licence, as the card names it.
    license: Option<String>,
    /// What the card says of the data in words.
    about: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Layout {
    #[default]
    Jsonl,
    HuggingFace,
    LlamaFactory,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FileFormat {
    #[default]
    Jsonl,
    Parquet,
}

impl FileFormat {
    fn ending(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Target {
    #[default]
    Alpaca,
    Sharegpt,
    Messages,
    Prompt,
}

impl Kind for Export {
    const SPEC: KindSpec = KindSpec {
        name: "export",
        version: 1,
        about: "write instruction data as others read it",
        page: page!("export.rs"),
        inputs: &[Port { name: "data", arity: Arity::One, about: "the records" }],
        outputs: &[Slot { name: "folder", form: Form::Dir, about: "the data set" }],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let sign = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
        if params.name.is_empty() || params.name.starts_with('.') || !params.name.chars().all(sign)
        {
            let reason = format!("`name`, {:?}, is no plain file name", params.name);
            return Err(StepError::Params { kind: "export", reason });
        }
        let folder = cx.output("folder")?.to_owned();
        let ending = params.format.ending();
        let (below, file) = match params.layout {
            Layout::HuggingFace => (folder.join("data"), format!("train.{ending}")),
            _ => (folder.clone(), format!("{}.{ending}", params.name)),
        };
        std::fs::create_dir_all(&below).map_err(StepError::io(&below))?;
        let facts = match params.format {
            FileFormat::Jsonl => write(params, &below.join(&file), cx)?,
            FileFormat::Parquet => {
                let lines = below.join("lines");
                let facts = write(params, &lines, cx)?;
                let input = cx.input("data")?;
                // The lines are those of the input, so that is the file that a user knows.
                let of_input = |it| match it {
                    StepError::Record { file, line, field, reason } if file == lines => {
                        StepError::Record { file: input.to_owned(), line, field, reason }
                    }
                    other => other,
                };
                parquet::write(&lines, &below.join(&file)).map_err(of_input)?;
                std::fs::remove_file(&lines).map_err(StepError::io(&lines))?;
                facts
            }
        };
        match params.layout {
            Layout::Jsonl => {}
            Layout::HuggingFace => put(&folder.join("README.md"), &card(params, &facts))?,
            Layout::LlamaFactory => {
                let info = json!({ &params.name: info(params, &file, &facts) });
                let text = serde_json::to_string_pretty(&info).expect("texts are always JSON");
                put(&folder.join("dataset_info.json"), &(text + "\n"))?;
            }
        }
        cx.count("records", facts.n);
        Ok(())
    }
}

/// What the card and the index say.
#[derive(Default)]
struct Facts {
    n: u64,
    asked: u64,
    answered: u64,
    with_system: u64,
    with_history: u64,
    sources: BTreeMap<String, u64>,
    fields: Vec<String>,
}

fn write(params: &Params, path: &Path, cx: &mut Cx<'_>) -> Result<Facts, StepError> {
    let mut lines = Lines::open(cx.input("data")?)?;
    let mut output = Output::create(path)?;
    let mut progress = Progress::new("records", None);
    let (mut line, mut facts) = (Vec::new(), Facts::default());
    while lines.next(&mut line)? {
        cx.check_stop()?;
        let made = record(&line, params, &mut facts);
        let text = made.map_err(|it| lines.mistake(it.field.as_deref(), it.reason))?;
        output.line(&text)?;
        progress.did(1, cx);
    }
    progress.say(cx);
    output.finish()?;
    Ok(facts)
}

fn record(line: &[u8], params: &Params, facts: &mut Facts) -> Result<Vec<u8>, Unfit> {
    let map: Map<String, Value> = serde_json::from_slice(line)
        .map_err(|it| Unfit::new(format!("is no JSON object: {it}")))?;
    let (_, pair) = Pair::read(Record { map: &map, columns: &Columns::new() })?;
    let mut out = shaped(params.shape, &pair)?;
    for it in &params.keep {
        let value = map.get(it).ok_or_else(|| Unfit::field(it, "is missing"))?;
        out.insert(it.clone(), value.clone());
    }
    facts.n += 1;
    facts.asked += pair.question().chars().count() as u64;
    facts.answered += pair.output.chars().count() as u64;
    facts.with_system += u64::from(!pair.system.is_empty());
    facts.with_history += u64::from(!pair.history.is_empty());
    let source = map.get("source").and_then(Value::as_str).unwrap_or("not named");
    *facts.sources.entry(source.to_owned()).or_default() += 1;
    for it in out.keys().filter(|it| !facts.fields.contains(it)).cloned().collect::<Vec<_>>() {
        facts.fields.push(it);
    }
    Ok(serde_json::to_vec(&out).expect("a parsed record is always JSON"))
}

fn shaped(shape: Target, pair: &Pair) -> Result<Map<String, Value>, Unfit> {
    let turns = |role: &str, content: &str, names: [&str; 3]| {
        let turn = |(who, text): (&str, String)| {
            let who = match who {
                "user" => names[1],
                "assistant" => names[2],
                _ => names[0],
            };
            json!({ role: who, content: text })
        };
        Value::Array(pair.turns().into_iter().map(turn).collect())
    };
    let mut out = Map::new();
    match shape {
        Target::Alpaca => return Ok(pair.alpaca()),
        Target::Sharegpt => {
            let all = turns("from", "value", ["system", "human", "gpt"]);
            out.insert("conversations".to_owned(), all);
        }
        Target::Messages => {
            let all = turns("role", "content", ["system", "user", "assistant"]);
            out.insert("messages".to_owned(), all);
        }
        Target::Prompt => {
            if !pair.history.is_empty() || !pair.system.is_empty() {
                let reason = "has turns before its question, for which `prompt` has no place";
                return Err(Unfit::new(reason));
            }
            out.insert("prompt".to_owned(), pair.question().into());
            out.insert("completion".to_owned(), pair.output.clone().into());
        }
    }
    Ok(out)
}

/// An entry of LLaMA-Factory's `dataset_info.json`.
fn info(params: &Params, file: &str, facts: &Facts) -> Value {
    let tags = |role: &str, content: &str, names: [&str; 3]| {
        json!({
            "role_tag": role, "content_tag": content,
            "system_tag": names[0], "user_tag": names[1], "assistant_tag": names[2],
        })
    };
    match params.shape {
        Target::Alpaca => {
            let mut columns =
                json!({ "prompt": "instruction", "query": "input", "response": "output" });
            for (name, n) in [("system", facts.with_system), ("history", facts.with_history)] {
                if n > 0 {
                    columns[name] = name.into();
                }
            }
            json!({ "file_name": file, "formatting": "alpaca", "columns": columns })
        }
        Target::Prompt => {
            let columns = json!({ "prompt": "prompt", "response": "completion" });
            json!({ "file_name": file, "formatting": "alpaca", "columns": columns })
        }
        Target::Sharegpt => json!({
            "file_name": file, "formatting": "sharegpt",
            "columns": { "messages": "conversations" },
            "tags": tags("from", "value", ["system", "human", "gpt"]),
        }),
        Target::Messages => json!({
            "file_name": file, "formatting": "sharegpt",
            "columns": { "messages": "messages" },
            "tags": tags("role", "content", ["system", "user", "assistant"]),
        }),
    }
}

/// The card of a data set on Hugging Face.
fn card(params: &Params, facts: &Facts) -> String {
    let size = match facts.n {
        ..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        _ => "1M<n<10M",
    };
    let mut out = "---\n".to_owned();
    if let Some(it) = &params.license {
        out += &format!("license: {}\n", json!(it));
    }
    out += &format!("pretty_name: {}\nsize_categories:\n- {size}\n", json!(params.name));
    out += "configs:\n- config_name: default\n  data_files:\n  - split: train\n";
    let file = format!("data/train.{}", params.format.ending());
    out += &format!("    path: {file}\n---\n\n");
    out += &format!("# {}\n\n", params.name);
    if let Some(it) = &params.about {
        out += &format!("{it}\n\n");
    }
    let n = facts.n.max(1);
    let form = match params.format {
        FileFormat::Jsonl => ", one JSON object a line",
        FileFormat::Parquet => "",
    };
    let _ = writeln!(out, "{} records in `{file}`{form}.", facts.n);
    let _ = writeln!(
        out,
        "On average a question has {} characters and an answer {}.\n",
        facts.asked / n,
        facts.answered / n
    );
    let fields: Vec<String> = facts.fields.iter().map(|it| format!("`{it}`")).collect();
    let _ = writeln!(out, "Fields: {}.\n\n| source | records |\n|---|---|", fields.join(", "));
    for (name, n) in &facts.sources {
        let _ = writeln!(out, "| {} | {n} |", name.replace('|', "\\|").replace('\n', " "));
    }
    out
}

fn put(path: &Path, text: &str) -> Result<(), StepError> {
    std::fs::write(path, text).map_err(StepError::io(path))
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    const RECORDS: &str = concat!(
        "{\"id\":\"1\",\"source\":\"coig\",\"instruction\":\"译\",\"input\":\"水\",\"output\":\"water\"}\n",
        "{\"id\":\"2\",\"source\":\"kun\",\"system\":\"s\",\"instruction\":\"c\",\"output\":\"d\",\"history\":[[\"a\",\"b\"]]}\n",
    );

    #[test]
    fn every_shape_is_written_and_read_back_as_the_same() {
        let all: Vec<String> = ["alpaca", "sharegpt", "messages"]
            .iter()
            .map(|it| {
                let with = format!("name = 'k'\nshape = '{it}'\nkeep = ['id']");
                let mut kit = Kit::new("export");
                kit.data(&with, RECORDS);
                let written = std::fs::read_to_string(kit.folder.path().join("folder/k.jsonl"));
                let written = written.unwrap();
                let back = Kit::new("instructions").data("", &written);
                assert_eq!(back.lines().count(), 2);
                assert!(back.contains("\"history\":[[\"a\",\"b\"]]"), "{back}");
                written
            })
            .collect();
        insta::assert_snapshot!(all.join("--\n"), @r#"
        {"instruction":"译","input":"水","output":"water","id":"1"}
        {"system":"s","instruction":"c","input":"","output":"d","history":[["a","b"]],"id":"2"}
        --
        {"conversations":[{"from":"human","value":"译\n水"},{"from":"gpt","value":"water"}],"id":"1"}
        {"conversations":[{"from":"system","value":"s"},{"from":"human","value":"a"},{"from":"gpt","value":"b"},{"from":"human","value":"c"},{"from":"gpt","value":"d"}],"id":"2"}
        --
        {"messages":[{"role":"user","content":"译\n水"},{"role":"assistant","content":"water"}],"id":"1"}
        {"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}],"id":"2"}
        "#);
    }

    #[test]
    fn a_card_and_an_index_say_how_to_read_the_data() {
        let mut kit = Kit::new("export");
        kit.data("name = 'k'\nlayout = 'hugging_face'\nlicense = 'mit'\nabout = '甲。'", RECORDS);
        let read = |kit: &Kit, it: &str| {
            std::fs::read_to_string(kit.folder.path().join("folder").join(it)).unwrap()
        };
        let card = read(&kit, "README.md");
        assert_eq!(read(&kit, "data/train.jsonl").lines().count(), 2);
        let mut kit = Kit::new("export");
        kit.data("name = 'k'\nlayout = 'llama_factory'", RECORDS);
        let info = read(&kit, "dataset_info.json");
        insta::assert_snapshot!(format!("{card}--\n{info}"), @r#"
        ---
        license: "mit"
        pretty_name: "k"
        size_categories:
        - n<1K
        configs:
        - config_name: default
          data_files:
          - split: train
            path: data/train.jsonl
        ---

        # k

        甲。

        2 records in `data/train.jsonl`, one JSON object a line.
        On average a question has 2 characters and an answer 3.

        Fields: `instruction`, `input`, `output`, `system`, `history`.

        | source | records |
        |---|---|
        | coig | 1 |
        | kun | 1 |
        --
        {
          "k": {
            "file_name": "k.jsonl",
            "formatting": "alpaca",
            "columns": {
              "prompt": "instruction",
              "query": "input",
              "response": "output",
              "system": "system",
              "history": "history"
            }
          }
        }
        "#);
    }

    #[test]
    fn what_has_no_place_is_named() {
        let mut kit = Kit::new("export");
        let error = kit.error("name = 'k'\nshape = 'prompt'", RECORDS);
        assert!(error.starts_with("in0:2: has turns before its question"), "{error}");
        assert!(kit.error("name = '../k'", "").contains("is no plain file name"));
        let error = kit.error("name = 'k'\nkeep = ['score']", RECORDS);
        assert_eq!(error, "in0:1: field `score`: is missing");
    }
}
