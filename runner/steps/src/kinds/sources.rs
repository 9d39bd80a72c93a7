//! `sources`: what share of the records each source has, or each value of any field.
//!
//! ```toml
//! [steps.sources]
//! op = "sources"
//! in = { data = "${steps.final.data}" }
//!
//! [steps.disciplines]
//! op   = "sources"
//! in   = { data = "${steps.by_discipline.data}" }
//! with = { field = "category" }
//! ```
//!
//! The field holds a text or a list of texts, each of which counts once. `shares` has a record for each
//! value, the most frequent first, then in the order of their letters: `of` (the field), `value`, `n`,
//! and `share`, of all records. Records without a value, with null or an empty list, are one of them:
//! `(none)`. Values beyond the `most` most frequent stand together as `(others)`, at the end. Where
//! records have lists the shares may come to more than 1. `metrics`: `records`, `values` (how many
//! different ones), `without`.
//!
//! Memory grows with the number of different values. `stats` counts sources too, with lengths and
//! scripts of their texts, and draws no shares.

use std::collections::{BTreeMap, BTreeSet};

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model::record::Unfit;
use crate::page::page;
use crate::records::{Output, write_metrics};
use crate::text::fields::Fields;
use crate::text::ledger::rounded;
use crate::text::stream::Source;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Sources;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The field whose values are counted.
    #[serde(default = "default_field")]
    field: String,
    /// How many values have a record of their own.
    #[serde(default = "default_most")]
    #[schemars(range(min = 1, max = 10000))]
    most: usize,
}

fn default_field() -> String {
    "source".to_owned()
}

fn default_most() -> usize {
    200
}

const NONE: &str = "(none)";
const OTHERS: &str = "(others)";

impl Kind for Sources {
    const SPEC: KindSpec = KindSpec {
        name: "sources",
        version: 1,
        about: "shares of sources, or of the values of a field",
        page: page!("sources.rs"),
        inputs: &[Port { name: "data", arity: Arity::One, about: "the records" }],
        outputs: &[
            Slot { name: "metrics", form: Form::Metrics, about: "how many records and values" },
            Slot { name: "shares", form: Form::Records, about: "each value's share" },
        ],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let work = |line: &[u8], part: &mut Found| {
            let fields = Fields::parse(line)?;
            part.records += 1;
            let values = values(&fields, &params.field)?;
            part.without += u64::from(values.is_empty());
            values.into_iter().for_each(|it| *part.values.entry(it).or_default() += 1);
            Ok(())
        };
        let mut all = Found::default();
        Source::open("data", cx)?.each(cx, &work, &mut |part: Found| {
            all.records += part.records;
            all.without += part.without;
            part.values.into_iter().for_each(|(it, n)| *all.values.entry(it).or_default() += n);
            Ok(())
        })?;
        let n_values = all.values.len();
        let mut output = Output::create(cx.output("shares")?)?;
        for (value, n) in ranked(&all, params.most) {
            let share = rounded(n as f64 / all.records as f64);
            let line = json!({ "of": params.field, "value": value, "n": n, "share": share });
            output.line(line.to_string().as_bytes())?;
        }
        output.finish()?;
        let mut metrics = Map::new();
        metrics.insert("records".to_owned(), all.records.into());
        metrics.insert("values".to_owned(), n_values.into());
        metrics.insert("without".to_owned(), all.without.into());
        write_metrics(&metrics, cx)?;
        cx.count("records", all.records);
        cx.count("values", n_values as u64);
        Ok(())
    }
}

/// What neighbouring records hold.
#[derive(Default)]
struct Found {
    records: u64,
    without: u64,
    values: BTreeMap<String, u64>,
}

/// The texts of a field, each once.
fn values(fields: &Fields<'_>, name: &str) -> Result<BTreeSet<String>, Unfit> {
    let wrong = || Unfit::field(name, "is neither a text nor a list of texts");
    match fields.get(name) {
        None => Ok(BTreeSet::new()),
        Some(raw) if raw.starts_with('[') => {
            let list: Vec<Value> = serde_json::from_str(raw).map_err(|_| wrong())?;
            let text = |it: Value| it.as_str().map(str::to_owned).ok_or_else(wrong);
            list.into_iter().map(text).collect()
        }
        Some(_) => match fields.optional_text(name) {
            Ok(it) => Ok(it.into_iter().map(|it| it.into_owned()).collect()),
            Err(_) => Err(wrong()),
        },
    }
}

/// Values and how often each is, the most frequent first; the rest as one, at the end.
fn ranked(all: &Found, most: usize) -> Vec<(&str, u64)> {
    let mut ranked: Vec<(&str, u64)> = all.values.iter().map(|(it, n)| (it.as_str(), *n)).collect();
    ranked.extend(Some((NONE, all.without)).filter(|it| it.1 > 0));
    ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let others: u64 = ranked.iter().skip(most).map(|it| it.1).sum();
    ranked.truncate(most);
    ranked.extend(Some((OTHERS, others)).filter(|it| it.1 > 0));
    ranked
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    const DATA: &str = concat!(
        "{\"source\":\"悟道\",\"labels\":[\"a\",\"b\",\"a\"]}\n",
        "{\"source\":\"web\",\"labels\":[]}\n",
        "{\"source\":\"悟道\",\"labels\":[\"b\"]}\n",
        "{\"source\":null}\n",
    );

    #[test]
    fn shares_are_of_all_records_and_the_most_frequent_stand_first() {
        let mut kit = Kit::new("sources");
        kit.threads = 3;
        let out = kit.run("", &[DATA.as_bytes()]).unwrap();
        insta::assert_snapshot!(out[1], @r#"
        {"of":"source","value":"悟道","n":2,"share":0.5}
        {"of":"source","value":"(none)","n":1,"share":0.25}
        {"of":"source","value":"web","n":1,"share":0.25}
        "#);
        let out = kit.run("field = 'labels'\nmost = 1", &[DATA.as_bytes()]).unwrap();
        insta::assert_snapshot!(out[1], @r#"
        {"of":"labels","value":"(none)","n":2,"share":0.5}
        {"of":"labels","value":"(others)","n":3,"share":0.75}
        "#);
        assert!(out[0].contains("\"values\": 2") && out[0].contains("\"without\": 2"));
    }

    #[test]
    fn other_values_are_named_and_nothing_has_no_shares() {
        let error = Kit::new("sources").error("", "{\"source\":1}\n");
        assert!(error.ends_with("`source`: is neither a text nor a list of texts"), "{error}");
        let error = Kit::new("sources").error("", "{\"source\":[[]]}\n");
        assert!(error.ends_with("`source`: is neither a text nor a list of texts"), "{error}");
        assert!(Kit::new("sources").run("", &[b""]).unwrap()[1].is_empty());
    }
}
