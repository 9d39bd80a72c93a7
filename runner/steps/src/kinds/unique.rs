//! `unique`: keeps the first of equal records, and says which ones it dropped.
//!
//! ```toml
//! [steps.once]
//! op   = "unique"
//! in   = { data = "${steps.all.data}" }
//! with = { field = "text" }
//! ```
//!
//! Without `field` two records are equal when their lines are, byte for byte, and any text will do.
//! With it they are equal when that field's values are: numbers by value as they are written,
//! objects whatever the order of their names. A record that is no object or lacks the field is an
//! error that names its line.
//!
//! `dropped` has one record for each that is not in `data`: `line` is where it stood, `first` the
//! line of the one that was kept, both from 1; with `field`, `record` is the dropped record itself.
//!
//! The ledger has a line for each record, with the rule `equal` and, for those that fail it, `first`: the
//! same line as above.
//!
//! Memory: about 50 bytes for each distinct record.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::page::page;
use crate::records::{Lines, Output, Progress, short, short_digest};
use crate::text::fields::who;
use crate::text::ledger::Verdict;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Unique;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The field that is compared; nothing: the whole line.
    field: Option<String>,
}

#[derive(Serialize)]
struct Dropped<'a> {
    line: u64,
    first: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a RawValue>,
}

impl Kind for Unique {
    const SPEC: KindSpec = KindSpec {
        name: "unique",
        version: 1,
        about: "keep the first of equal records",
        page: page!("unique.rs"),
        inputs: &[Port { name: "data", arity: Arity::One, about: "the records" }],
        outputs: &[
            Slot { name: "data", form: Form::Records, about: "the first of each" },
            Slot {
                name: "ledger",
                form: Form::Records,
                about: "whether each record was the first",
            },
            Slot { name: "dropped", form: Form::Records, about: "what is not in `data`, and why" },
        ],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let mut lines = Lines::open(cx.input("data")?)?;
        let mut kept = Output::create(cx.output("data")?)?;
        let mut dropped = Output::create(cx.output("dropped")?)?;
        let mut ledger = Output::create(cx.output("ledger")?)?;
        let mut progress = Progress::new("records", None);
        let mut firsts: HashMap<u128, u64> = HashMap::new();
        let (mut line, mut out) = (Vec::new(), Vec::new());
        while lines.next(&mut line)? {
            cx.check_stop()?;
            let digest = match &params.field {
                None => short_digest(&line),
                Some(field) => field_digest(&lines, &line, field)?,
            };
            let (id, source) = who(&line);
            let before = firsts.get(&digest).map(|it| [("first", *it as f64)]);
            let (values, fails): (&[_], &[_]) = match &before {
                Some(it) => (it, &["equal"]),
                None => (&[], &[]),
            };
            out.clear();
            Verdict { id: &id, source: source.as_deref(), fails, values }.write(&mut out);
            ledger.bytes(&out)?;
            match firsts.entry(digest) {
                Entry::Vacant(it) => {
                    it.insert(lines.line);
                    kept.line(&line)?;
                }
                Entry::Occupied(it) => {
                    let raw = |_: &String| serde_json::from_slice(&line).ok();
                    let record = params.field.as_ref().and_then(raw);
                    let it = Dropped { line: lines.line, first: *it.get(), record };
                    let text = serde_json::to_vec(&it).expect("it was parsed as JSON before");
                    dropped.line(&text)?;
                }
            }
            progress.did(1, cx);
        }
        progress.say(cx);
        kept.finish()?;
        ledger.finish()?;
        dropped.finish()?;
        cx.count("kept", firsts.len() as u64);
        cx.count("dropped", lines.line - firsts.len() as u64);
        Ok(())
    }
}

fn field_digest(lines: &Lines, line: &[u8], field: &str) -> Result<u128, StepError> {
    let record: Value = serde_json::from_slice(line)
        .map_err(|it| lines.mistake(None, format!("not a JSON record: {it}")))?;
    let Value::Object(record) = record else {
        return Err(lines.mistake(None, "the record is not an object".to_owned()));
    };
    let value =
        record.get(field).ok_or_else(|| lines.mistake(Some(field), "there is none".to_owned()))?;
    let mut hasher = blake3::Hasher::new();
    spell(value, &mut hasher);
    Ok(short(&hasher.finalize()))
}

/// One spelling for each value: names sorted, lengths first. The reader bounds the depth.
fn spell(value: &Value, hasher: &mut blake3::Hasher) {
    let length = |n: usize, hasher: &mut blake3::Hasher| {
        hasher.update(&(n as u64).to_le_bytes());
    };
    match value {
        Value::Array(all) => {
            hasher.update(b"[");
            length(all.len(), hasher);
            all.iter().for_each(|it| spell(it, hasher));
        }
        Value::Object(all) => {
            hasher.update(b"{");
            length(all.len(), hasher);
            let mut names: Vec<_> = all.iter().collect();
            names.sort_by_key(|(name, _)| name.as_str());
            for (name, it) in names {
                length(name.len(), hasher);
                hasher.update(name.as_bytes());
                spell(it, hasher);
            }
        }
        _ => {
            let text = value.to_string();
            length(text.len(), hasher);
            hasher.update(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    #[test]
    fn every_dropped_line_names_the_first() {
        let mut outputs = Kit::new("unique").run("", &[b"a\nb\na\n\xff\na\n\xff"]).unwrap();
        let ledger = outputs.remove(1);
        assert_eq!(ledger.lines().count(), 6);
        assert!(
            ledger
                .lines()
                .nth(5)
                .is_some_and(|it| it.ends_with("\"fails\":[\"equal\"],\"values\":{\"first\":4}}"))
        );
        assert_eq!(outputs[0], "a\nb\n\u{fffd}\n");
        insta::assert_snapshot!(outputs[1], @r#"
        {"line":3,"first":1}
        {"line":5,"first":1}
        {"line":6,"first":4}
        "#);
    }

    #[test]
    fn a_field_is_compared_by_value_and_the_dropped_record_is_kept_whole() {
        let input = concat!(
            "{\"id\":1,\"t\":{\"a\":1,\"b\":[2]}}\n",
            "{\"id\":2,\"t\":{\"b\":[2],\"a\":1}}\n",
            "{\"id\":3,\"t\":\"1\"}\n",
            "{\"id\":4,\"t\":1}\n",
            "{ \"id\" : 5, \"t\" : \"\\u0031\" }\n",
        );
        let outputs = Kit::new("unique").run("field = 't'", &[input.as_bytes()]).unwrap();
        insta::assert_snapshot!(outputs.join("--\n"), @r#"
        {"id":1,"t":{"a":1,"b":[2]}}
        {"id":3,"t":"1"}
        {"id":4,"t":1}
        --
        {"id":"1","source":null,"keep":true,"first":null,"fails":[],"values":{}}
        {"id":"2","source":null,"keep":false,"first":"equal","fails":["equal"],"values":{"first":1}}
        {"id":"3","source":null,"keep":true,"first":null,"fails":[],"values":{}}
        {"id":"4","source":null,"keep":true,"first":null,"fails":[],"values":{}}
        {"id":"5","source":null,"keep":false,"first":"equal","fails":["equal"],"values":{"first":3}}
        --
        {"line":2,"first":1,"record":{"id":2,"t":{"b":[2],"a":1}}}
        {"line":5,"first":3,"record":{ "id" : 5, "t" : "\u0031" }}
        "#);
    }

    #[test]
    fn a_record_without_the_field_is_named() {
        let mut kit = Kit::new("unique");
        let good = "{\"t\":1}\n";
        let mut error = |bad: &str| kit.error("field = 't'", &format!("{good}{bad}\n"));
        assert_eq!(error("{}"), "in0:2: field `t`: there is none");
        assert_eq!(error("[]"), "in0:2: the record is not an object");
        assert!(error("{").starts_with("in0:2: not a JSON record: EOF"));
        let deep = "[".repeat(10_000);
        assert!(error(&deep).starts_with("in0:2: not a JSON record: recursion limit"));
    }
}
