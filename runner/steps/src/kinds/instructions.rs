//! `instructions`: reads instruction data of every usual shape, and writes one.
//!
//! ```toml
//! [steps.seed]
//! op   = "instructions"
//! in   = { files = ["data/coig.jsonl", "data/sharegpt.json"] }
//! with = { source = "seed" }
//! ```
//!
//! Files are JSON lines, one JSON array, or a table, packed with gzip or zstd or not, in UTF-8 or GB18030, as
//! `corpus` reads them. Each record's shape is seen from its fields, and the log says which shapes
//! there were, how many records had each, and what became of their fields:
//!
//! | shape | seen by | where it is used |
//! |---|---|---|
//! | `messages` | `messages` with `role` and `content`, a text or parts that are texts | OpenAI, most newer sets |
//! | `sharegpt` | `conversations` with `from` and `value` | ShareGPT, BELLE's dialogues |
//! | `alpaca` | `instruction`, `input`, `output`, perhaps `system` and `history` | Alpaca, BELLE, OL-CC, COIG's third part, COIG-PC, COIG-CQIA |
//! | `coig` | `textbox_q_instruction`, `textbox_question`, `textbox_answer` and so on | COIG's examinations and values |
//! | `prompt` | `prompt` with `completion` or `chosen` | Yi's own, many others |
//! | `input-target` | `input` with `target` | BELLE's first |
//! | `instances` | `instruction` with a list `instances` of `input` and `output` | BELLE's and Alpaca's seed tasks |
//!
//! Of a preference, `chosen` is the answer where the conversation has none: a text, a message, or a
//! turn as LLaMA-Factory has it; what was rejected stays as it is. A record whose `label` or `kto_tag` is false holds an
//! answer that was not wanted: it goes to `unread`. Each of several `instances` is a record of its own, the
//! second with `-2` behind its id.
//!
//! Other names are given by `columns`, as for `sft`. What comes out has `id`, `source`,
//! `instruction`, `input` and `output`; `system` and `history`, earlier questions with their
//! answers, where there were any; and the fields that the shape does not use, untouched. A record
//! keeps its `id`; one without gets one as `corpus` makes it. A record without an answer, or one
//! that is no turn of question and answer, is put into `unread`; more of them than `max_unread` end
//! the step.
//!
//! Memory: one record.

use std::collections::BTreeMap;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::corpus::aside::{Aside, Files, Input, Place, id};
use super::corpus::rows::{Next, Rows};
use super::corpus::{Encoding, LONGEST_ROW, Unit, files, open};
use crate::model::record::{Columns, Record, Unfit};
use crate::page::page;
use crate::records::{Output, Progress};
use crate::text::pair::{Pair, Shape};
use crate::texts::check_columns;
use crate::{Cx, Kind, Say, StepError, params_of};

pub(crate) struct Instructions;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The name of the data; nothing: what each record says in `source`, else its shape's name.
    source: Option<String>,
    /// Names of ours with the names that the data has for them.
    #[serde(default)]
    columns: BTreeMap<String, String>,
    /// The encoding of the files.
    #[serde(default)]
    encoding: Encoding,
    /// How many records may be unfit: below 1 a share of all, otherwise a number.
    #[serde(default)]
    max_unread: f64,
}

impl Kind for Instructions {
    const SPEC: KindSpec = KindSpec {
        name: "instructions",
        version: 2,
        about: "read instruction data of any usual shape into one",
        page: page!("instructions.rs"),
        inputs: &[Port { name: "files", arity: Arity::Many, about: "files, or folders of them" }],
        outputs: &[
            Slot { name: "data", form: Form::Records, about: "the pairs, in one shape" },
            Slot { name: "unread", form: Form::Records, about: "the records that cannot be used" },
        ],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        check_columns("instructions", &params.columns)?;
        let mut reading = Reading {
            params,
            data: Output::create(cx.output("data")?)?,
            unread: Aside::create(cx.output("unread")?, params.max_unread)?,
            progress: Progress::new("records", None),
            n_rows: 0,
            n_pairs: 0,
            files: Files::default(),
            shapes: BTreeMap::new(),
        };
        for it in files(cx.inputs("files"), &[])? {
            reading.file(&it, cx)?;
        }
        reading.progress.say(cx);
        reading.unread.check(reading.n_rows, true)?;
        for (name, (n, mapping)) in &reading.shapes {
            (cx.report)(Say::Note(format!("{name}, {n} records: {mapping}")));
        }
        cx.count("records", reading.n_pairs);
        cx.count("unread", reading.unread.n_unread);
        reading.data.finish()?;
        reading.unread.finish()
    }
}

struct Reading<'a> {
    params: &'a Params,
    data: Output,
    unread: Aside,
    progress: Progress,
    n_rows: u64,
    n_pairs: u64,
    files: Files,
    /// How many records had a shape, and what became of its fields.
    shapes: BTreeMap<&'static str, (u64, &'static str)>,
}

impl Reading<'_> {
    fn file(&mut self, input: &Input, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let opened = open::open(&input.path, self.params.encoding)?;
        let prompt = self.params.columns.get("prompt").map_or("instruction", String::as_str);
        let format = open::format(&opened.sample, Some(prompt));
        let mut rows = Rows::new(opened.reader, format, Unit::Line, LONGEST_ROW);
        let (mut line, mut row, mut salt) = (Vec::new(), 0, None);
        loop {
            cx.check_stop()?;
            let made = match rows.next(&mut line).map_err(StepError::io(&input.path))? {
                Next::End => return Ok(()),
                Next::Unread(reason) => Err(Unfit::new(reason)),
                Next::Row => {
                    let salt = salt.get_or_insert_with(|| self.files.salt(&line));
                    records(&line, self.params, (salt, row))
                }
            };
            row += 1;
            self.n_rows += 1;
            match made {
                Ok((shape, all)) => {
                    self.shapes.entry(shape.name).or_insert((0, shape.mapping)).0 += 1;
                    self.n_pairs += all.len() as u64;
                    for it in all {
                        self.data.line(&it)?;
                    }
                }
                Err(it) => {
                    self.unread.put(input, Place { line: rows.line, row }, it, &line)?;
                    self.unread.check(self.n_rows, false)?;
                }
            }
            self.progress.did(1, cx);
        }
    }
}

/// The records that are written for a row, and the shape that it had.
fn records(
    line: &[u8],
    params: &Params,
    (salt, n): (&[u8; 32], u64),
) -> Result<(Shape, Vec<Vec<u8>>), Unfit> {
    let map: Map<String, Value> = serde_json::from_slice(line)
        .map_err(|it| Unfit::new(format!("is no JSON object: {it}")))?;
    let columns: &Columns = &params.columns;
    let (shape, pairs) = Pair::all(Record { map: &map, columns })?;
    let own = map.get("source").and_then(Value::as_str);
    let source = params.source.as_deref().or(own).unwrap_or(shape.name);
    let made = || id(source, salt, n, line).into();
    let has_id = map.get("id").filter(|it| it.is_string() || it.is_number());
    let id = has_id.cloned().unwrap_or_else(made);
    let all = pairs.iter().enumerate().map(|(i, pair)| {
        let mut out = Map::new();
        let id = match (i, &id) {
            (0, id) => id.clone(),
            (_, Value::String(id)) => format!("{id}-{}", i + 1).into(),
            (_, id) => format!("{id}-{}", i + 1).into(),
        };
        out.insert("id".to_owned(), id);
        out.insert("source".to_owned(), source.into());
        out.extend(pair.alpaca());
        for (name, value) in &map {
            if !shape.uses(name, columns) && !out.contains_key(name) {
                out.insert(name.clone(), value.clone());
            }
        }
        serde_json::to_vec(&out).expect("a parsed record is always JSON")
    });
    Ok((shape, all.collect()))
}

#[cfg(test)]
mod tests {
    use crate::Say;
    use crate::kit::Kit;

    #[test]
    fn every_shape_becomes_one_and_the_log_says_how() {
        let lines = concat!(
            "{\"id\":\"x\",\"instruction\":\"i\",\"input\":\"in\",\"output\":\"o\",\"domain\":[\"d\"]}\n",
            "{\"id\":2,\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"gpt\",\"value\":\"b\"},",
            "{\"from\":\"human\",\"value\":\"c\"},{\"from\":\"gpt\",\"value\":\"d\"}]}\n",
            "{\"id\":3,\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"q\"},",
            "{\"role\":\"assistant\",\"content\":\"a\"}]}\n",
            "{\"id\":4,\"prompt\":\"p\",\"chosen\":\"c\"}\n",
            "{\"id\":5,\"textbox_q_instruction\":\"选出\",\"textbox_q_context\":\"\",\"textbox_question\":\"题\",",
            "\"textbox_answer\":\"甲\",\"textbox_answer_analysis\":\"因为\"}\n",
            "{\"id\":6,\"input\":\"q\",\"target\":\"a\",\"source\":\"belle\"}\n",
        );
        let mut kit = Kit::new("instructions");
        let outputs = kit.run("", &[lines.as_bytes()]).unwrap();
        insta::assert_snapshot!(outputs[0], @r#"
        {"id":"x","source":"alpaca","instruction":"i","input":"in","output":"o","domain":["d"]}
        {"id":2,"source":"sharegpt","instruction":"c","input":"","output":"d","history":[["a","b"]]}
        {"id":3,"source":"messages","system":"s","instruction":"q","input":"","output":"a"}
        {"id":4,"source":"prompt","instruction":"p","input":"","output":"c"}
        {"id":5,"source":"coig","instruction":"选出","input":"题","output":"甲\n因为"}
        {"id":6,"source":"belle","instruction":"q","input":"","output":"a"}
        "#);
        assert_eq!(outputs[1], "");
        let is_note = |it: &&Say| matches!(it, Say::Note(_));
        assert_eq!(kit.said.iter().filter(is_note).count(), 6);
        let array = format!("[{}]", lines.trim_end().replace('\n', ",\n"));
        assert_eq!(kit.run("", &[array.as_bytes()]).unwrap()[0], outputs[0]);
    }

    #[test]
    fn preferences_parts_and_instances_are_read_and_what_was_not_wanted_is_kept_aside() {
        let lines = concat!(
            "{\"id\":\"a\",\"conversations\":[{\"from\":\"human\",\"value\":\"q\"}],\"chosen\":{\"from\":\"gpt\",\"value\":\"c\"},\"rejected\":{\"from\":\"gpt\",\"value\":\"r\"}}\n",
            "{\"id\":\"b\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"one \"},{\"type\":\"text\",\"text\":\"two\"}]},{\"role\":\"assistant\",\"content\":\"a\"}]}\n",
            "{\"id\":\"c\",\"instruction\":\"i\",\"instances\":[{\"input\":\"x\",\"output\":\"y\"},{\"input\":\"\",\"output\":\"z\"}],\"is_classification\":false}\n",
            "{\"id\":\"d\",\"prompt\":\"p\",\"completion\":\"good\",\"label\":true}\n",
            "{\"id\":\"e\",\"prompt\":\"p\",\"completion\":\"bad\",\"label\":false}\n",
            "{\"id\":\"f\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"bad\"}],\"kto_tag\":false}\n",
            "{\"id\":\"g\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":\"u\"}]},{\"role\":\"assistant\",\"content\":\"a\"}]}\n",
            "{\"id\":\"h\",\"instruction\":\"i\",\"instances\":[{\"input\":\"x\",\"output\":\"\"}]}\n",
        );
        let mut kit = Kit::new("instructions");
        let outputs = kit.run("max_unread = 4", &[lines.as_bytes()]).unwrap();
        insta::assert_snapshot!(outputs[0], @r#"
        {"id":"a","source":"sharegpt","instruction":"q","input":"","output":"c","rejected":{"from":"gpt","value":"r"}}
        {"id":"b","source":"messages","instruction":"one two","input":"","output":"a"}
        {"id":"c","source":"instances","instruction":"i","input":"x","output":"y","is_classification":false}
        {"id":"c-2","source":"instances","instruction":"i","input":"","output":"z","is_classification":false}
        {"id":"d","source":"prompt","instruction":"p","input":"","output":"good","label":true}
        "#);
        assert_eq!((kit.count("records"), kit.count("unread")), (Some(5), Some(4)));
        let why = |it: &str| {
            let it: serde_json::Value = serde_json::from_str(it).unwrap();
            format!("{}: {}", it["field"], it["reason"])
        };
        let all: Vec<String> = outputs[1].lines().map(why).collect();
        insta::assert_snapshot!(all.join("\n"), @r#"
        "label": "is false: the answer was not wanted (KTO), and is none to learn"
        "kto_tag": "is false: the answer was not wanted (KTO), and is none to learn"
        "message 1": "has a part that is not a text"
        "instances[0].output": "is empty or missing"
        "#);
        assert!(
            kit.error("", lines).contains("field `label`: is false: the answer was not wanted")
        );
    }

    #[test]
    fn records_without_an_answer_are_kept_aside() {
        let lines = concat!(
            "{\"instruction\":\"i\",\"output\":\" \"}\n",
            "{\"instruction\":\"i\"}\n",
            "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}\n",
            "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"user\",\"content\":\"q\"}]}\n",
            "{\"text\":\"t\"}\n",
            "{\"q\":\"i\",\"a\":\"o\"}\n",
        );
        let mut kit = Kit::new("instructions");
        let with = "max_unread = 0.9\ncolumns = { instruction = 'q', output = 'a' }";
        let outputs = kit.run(with, &[lines.as_bytes()]).unwrap();
        assert_eq!(outputs[0].lines().count(), 1);
        let reasons = |it: &str| {
            let it: serde_json::Value = serde_json::from_str(it).unwrap();
            it["reason"].as_str().unwrap().to_owned()
        };
        let outputs = kit.run("max_unread = 6", &[lines.as_bytes()]).unwrap();
        let all: Vec<String> = outputs[1].lines().map(reasons).collect();
        insta::assert_snapshot!(all.join("\n"), @r#"
        is empty or missing
        has no answer at its end
        has no answer at its end
        does not follow as question and answer do in turn
        is no conversation: none of `messages`, `conversations`, `instruction` and `prompt` is there; it has `text`
        is no conversation: none of `messages`, `conversations`, `instruction` and `prompt` is there; it has `q`, `a`
        "#);
        assert!(kit.error("", lines).contains("`max_unread` is 0"));
    }
}
