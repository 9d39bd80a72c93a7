//! `cut`: asks a ledger again, with other thresholds: nothing is measured twice.
//!
//! ```toml
//! [steps.stricter]
//! op   = "cut"
//! in   = { data = "${steps.raw.data}", ledger = "${steps.clean.ledger}" }
//! with = { max = { repeated = 0.1 }, min = { length = 50 } }
//! ```
//!
//! `data` are the records that the ledger was made of, all of them, in the same order: a record that
//! was dropped before may come back. A rule in `min` or `max` is asked by its value in the ledger; a
//! record that has no value for it breaks it. What becomes of the ledger's other rules says `others`:
//! their verdicts stand, or they are not asked.
//!
//! `data` of the output has the records that pass, as they came; `ledger` the same values with the new
//! verdicts. A data file that does not fit its ledger, line by line, is an error.

use std::collections::BTreeMap;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::record::Unfit;
use crate::page::page;
use crate::records::{Lines, Output, Progress};
use crate::text::fields::{Fields, digest_id};
use crate::text::ledger::{Bounds, Limit, judgement, limits_of};
use crate::text::row::Row;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Cut;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The least value that passes, by rule.
    #[serde(default)]
    min: BTreeMap<String, f64>,
    /// The greatest value that passes, by rule.
    #[serde(default)]
    max: BTreeMap<String, f64>,
    /// What becomes of the rules that are in neither.
    #[serde(default)]
    others: Others,
}

/// What becomes of rules without a new threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Others {
    /// What the ledger says of them stands.
    #[default]
    Stand,
    /// They are not asked.
    Ignored,
}

impl Kind for Cut {
    const SPEC: KindSpec = KindSpec {
        name: "cut",
        version: 1,
        about: "keep other records by the values of a ledger",
        page: page!("cut.rs"),
        inputs: &[
            Port { name: "data", arity: Arity::One, about: "the records of the ledger" },
            Port { name: "ledger", arity: Arity::One, about: "their values" },
        ],
        outputs: &[
            Slot { name: "data", form: Form::Records, about: "the records that pass" },
            Slot { name: "ledger", form: Form::Records, about: "the values with the new verdicts" },
        ],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn limits(&self, params: &Params) -> Result<Vec<Limit>, StepError> {
        Ok(limits_of(&params.min, &params.max))
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let mut names: Vec<&str> = params.min.keys().map(String::as_str).collect();
        names.extend(
            params.max.keys().filter(|it| !params.min.contains_key(*it)).map(String::as_str),
        );
        let bounds = |name: &&str| {
            let (min, max) = (params.min.get(*name), params.max.get(*name));
            Bounds { min: min.copied(), max: max.copied() }
        };
        let bounds: Vec<Bounds> = names.iter().map(bounds).collect();
        let cutter = Cutter { names, bounds, others: params.others };
        cutter.all(cx)
    }
}

/// The thresholds, and what becomes of other rules.
struct Cutter<'a> {
    names: Vec<&'a str>,
    bounds: Vec<Bounds>,
    others: Others,
}

impl Cutter<'_> {
    fn all(&self, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let mut rows = Lines::open(cx.input("ledger")?)?;
        let mut records = Lines::open(cx.input("data")?)?;
        let mut data = Output::create(cx.output("data")?)?;
        let mut ledger = Output::create(cx.output("ledger")?)?;
        let mut progress = Progress::new("records", None);
        let (mut row, mut record, mut out) = (Vec::new(), Vec::new(), Vec::new());
        let mut kept = 0;
        while rows.next(&mut row)? {
            cx.check_stop()?;
            if !records.next(&mut record)? {
                let reason = "the data has no record for this line".to_owned();
                return Err(rows.mistake(None, reason));
            }
            out.clear();
            let (id, keep) = self.row(&row, &mut out).map_err(|it| unfit(&rows, it))?;
            check_id(&record, id).map_err(|it| unfit(&records, it))?;
            ledger.bytes(&out)?;
            if keep {
                kept += 1;
                data.line(&record)?;
            }
            progress.did(1, cx);
        }
        if records.next(&mut record)? {
            return Err(records.mistake(None, "the ledger has no line for this record".to_owned()));
        }
        progress.say(cx);
        data.finish()?;
        ledger.finish()?;
        cx.count("kept", kept);
        cx.count("dropped", rows.line - kept);
        Ok(())
    }

    /// Writes the line with its new verdict; gives the id as it is written, and whether it is kept.
    fn row<'r>(&self, line: &'r [u8], out: &mut Vec<u8>) -> Result<(&'r str, bool), Unfit> {
        let row = Row::parse(line)?;
        let fails = self.fails(&row);
        out.extend_from_slice(b"{\"id\":");
        out.extend_from_slice(row.id.as_bytes());
        out.extend_from_slice(b",\"source\":");
        out.extend_from_slice(row.source.as_bytes());
        judgement(&fails, out);
        out.extend_from_slice(b",\"values\":");
        out.extend_from_slice(row.raw_values.as_bytes());
        out.extend_from_slice(b"}\n");
        Ok((row.id, fails.is_empty()))
    }

    /// The rules that a record breaks now: those that are in the ledger's values, in their order, and
    /// then those that are not.
    fn fails<'r>(&'r self, row: &'r Row<'_>) -> Vec<&'r str> {
        let stand = self.others == Others::Stand;
        let mut fails = Vec::new();
        for (rule, value) in &row.values {
            let breaks = match self.names.iter().position(|it| it == rule) {
                Some(i) => !self.bounds[i].hold(*value),
                None => stand && row.fails.iter().any(|it| it == rule),
            };
            if breaks {
                fails.push(rule.as_ref());
            }
        }
        let has_value = |name: &str| row.values.iter().any(|(it, _)| it == name);
        // A rule may have a verdict and no value: the ledger leaves out what is not finite.
        let lost = row.fails.iter().map(AsRef::as_ref).filter(|it| !self.names.contains(it));
        fails.extend(lost.filter(|it| stand && !has_value(it)));
        fails.extend(self.names.iter().copied().filter(|it| !has_value(it)));
        fails
    }
}

fn unfit(lines: &Lines, it: Unfit) -> StepError {
    lines.mistake(it.field.as_deref(), it.reason)
}

/// Whether a record is the one that the ledger speaks of: `id` is a JSON text.
fn check_id(record: &[u8], id: &str) -> Result<(), Unfit> {
    // As most records begin; anything else is read in full.
    let head = record.strip_prefix(b"{\"id\":").and_then(|it| it.strip_prefix(id.as_bytes()));
    if head.is_some_and(|it| matches!(it.first(), Some(b',' | b'}'))) {
        return Ok(());
    }
    let wanted: String = serde_json::from_str(id)
        .map_err(|it| Unfit::field("id", format!("is not a text: {it}")))?;
    let fields = Fields::parse(record)?;
    let found = fields.id()?;
    if found == wanted || fields.get("id").is_none() && digest_id(record) == wanted {
        return Ok(());
    }
    Err(Unfit::field("id", format!("is `{found}`, in the ledger `{wanted}`")))
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    fn run(kit: &mut Kit, with: &str, data: &str, ledger: &str) -> Result<Vec<String>, String> {
        let path = |name: &str, text: &str| {
            let path = kit.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            vec![path]
        };
        let inputs = [("data", path("d", data)), ("ledger", path("l", ledger))];
        let folder = format!("{}/", kit.folder.path().display());
        kit.run_at(with, &inputs).map_err(|it| it.to_string().replace(&folder, ""))
    }

    const DATA: &str = "{\"id\":\"a\",\"x\":1.0}\n{\"x\":2,\"id\":\"b\"}\n{\"x\":3}\n";

    fn ledger() -> String {
        let digest = super::digest_id(b"{\"x\":3}");
        let values = "\"values\":{\"length\":7,\"ppl\":12.5}}";
        [
            format!("{{\"id\":\"a\",\"source\":\"s\",\"keep\":true,\"first\":null,\"fails\":[],{values}\n"),
            "{\"id\":\"b\",\"source\":null,\"keep\":false,\"first\":\"length\",\"fails\":[\"length\"],\"values\":{\"length\":3,\"ppl\":4}}\n".to_owned(),
            format!("{{\"id\":\"{digest}\",\"source\":null,\"keep\":false,\"first\":\"ppl\",\"fails\":[\"ppl\"],\"values\":{{\"length\":9}}}}\n"),
        ]
        .concat()
    }

    #[test]
    fn other_thresholds_give_other_records_and_the_same_values() {
        let mut kit = Kit::new("cut");
        let outputs = run(&mut kit, "min = { length = 3 }\nmax = { length = 8 }", DATA, &ledger());
        insta::assert_snapshot!(outputs.unwrap().join("--\n"), @r#"
        {"id":"a","x":1.0}
        {"x":2,"id":"b"}
        --
        {"id":"a","source":"s","keep":true,"first":null,"fails":[],"values":{"length":7,"ppl":12.5}}
        {"id":"b","source":null,"keep":true,"first":null,"fails":[],"values":{"length":3,"ppl":4}}
        {"id":"ee0111dde205df21","source":null,"keep":false,"first":"length","fails":["length","ppl"],"values":{"length":9}}
        "#);
        assert_eq!((kit.count("kept"), kit.count("dropped")), (Some(2), Some(1)));
        let outputs = run(&mut kit, "max = { ppl = 10 }\nothers = 'ignored'", DATA, &ledger());
        insta::assert_snapshot!(outputs.unwrap().join("--\n"), @r#"
        {"x":2,"id":"b"}
        --
        {"id":"a","source":"s","keep":false,"first":"ppl","fails":["ppl"],"values":{"length":7,"ppl":12.5}}
        {"id":"b","source":null,"keep":true,"first":null,"fails":[],"values":{"length":3,"ppl":4}}
        {"id":"ee0111dde205df21","source":null,"keep":false,"first":"ppl","fails":["ppl"],"values":{"length":9}}
        "#);
    }

    #[test]
    fn the_same_thresholds_give_the_same_ledger() {
        let texts =
            ["一二三四五六七", "短", "有 & 无\\n行\\n\\n\\n\\n\\n\\n末", "好好好好好好好好"];
        let line = |it: &&str| format!("{{\"id\":\"{it}\",\"text\":\"{it}\"}}\n");
        let data: String = texts.iter().map(line).collect();
        let rules = Kit::new("rules").run("", &[data.as_bytes()]).unwrap();
        let with = "min = { length = 5 }\nmax = { repeated = 0.3, format = 0 }";
        let outputs = run(&mut Kit::new("cut"), with, &data, &rules[1]).unwrap();
        assert_eq!(outputs, rules);
    }

    #[test]
    fn data_that_does_not_fit_the_ledger_is_named() {
        let mut kit = Kit::new("cut");
        let mut error = |data: &str| run(&mut kit, "", data, &ledger()).unwrap_err();
        assert_eq!(error("{\"id\":\"z\"}\n"), "d:1: field `id`: is `z`, in the ledger `a`");
        let first = "{\"id\":\"a\",\"x\":1.0}\n";
        assert_eq!(error(first), "l:2: the data has no record for this line");
        assert_eq!(error(&format!("{DATA}{first}")), "d:4: the ledger has no line for this record");
        let bad = run(&mut kit, "", first, "{\"id\":\"a\"}\n").unwrap_err();
        insta::assert_snapshot!(bad, @"l:1: no line of a ledger: missing field `keep` at line 1 column 10");
        let bad = ledger().replace("12.5", "[]");
        insta::assert_snapshot!(run(&mut kit, "", DATA, &bad).unwrap_err(), @"l:1: no line of a ledger: invalid type: sequence, expected f64 at line 1 column 18");
    }
}
