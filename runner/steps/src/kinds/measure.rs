//! `measure`: numbers that records hold become values with thresholds, in a ledger.
//!
//! ```toml
//! [steps.measured]
//! op   = "measure"
//! in   = { data = "${steps.labels.data}" }
//! with = { values = { ppl = "instruction_ppl", tokens = "instruction_tokens" }, max = { ppl = 10, tokens = 512 } }
//!
//! [steps.stricter]
//! op   = "cut"
//! in   = { data = "${steps.labels.data}", ledger = "${steps.measured.ledger}" }
//! with = { max = { ppl = "${params.ppl_max}", tokens = 512 } }
//! ```
//!
//! `label`, `score_text` and `judge` leave numbers in their records. Here `values` says which of them count,
//! by the name that a rule gets: a field, or a field of a field, `score_p.【好】`. A number is taken as it is, true is
//! 1 and false 0. `min` and `max` are thresholds; a name in neither is measured and breaks nothing. A record
//! whose field is missing or null has no value, and breaks the rule if it has a threshold; anything else there is an
//! error.
//!
//! `data` has the records that pass, as they came, and `ledger` every value. Another threshold asks no model: it is
//! another `measure`, or a `cut` over the ledger, which does not read the fields again.

use std::collections::BTreeMap;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::model::record::Unfit;
use crate::page::page;
use crate::text::fields::Fields;
use crate::text::ledger::{Bounds, Limit, Verdict, limits_of};
use crate::text::stream::{Sieved, sieve};
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Measure;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The field of each value, by the value's name.
    values: BTreeMap<String, String>,
    /// The least value that passes, by name.
    #[serde(default)]
    min: BTreeMap<String, f64>,
    /// The greatest value that passes, by name.
    #[serde(default)]
    max: BTreeMap<String, f64>,
}

impl Kind for Measure {
    const SPEC: KindSpec = KindSpec {
        name: "measure",
        version: 1,
        about: "drop records by numbers that they hold",
        page: page!("measure.rs"),
        inputs: &[Port { name: "data", arity: Arity::One, about: "the records" }],
        outputs: &[
            Slot { name: "data", form: Form::Records, about: "the records that pass" },
            Slot {
                name: "ledger",
                form: Form::Records,
                about: "every record's values and verdict",
            },
        ],
        shards: Some("data"),
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn limits(&self, params: &Params) -> Result<Vec<Limit>, StepError> {
        Ok(limits_of(&params.min, &params.max))
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let wrong = |reason: String| Err(StepError::Params { kind: "measure", reason });
        if params.values.is_empty() {
            return wrong("`values` is empty".to_owned());
        }
        let named = params.min.keys().chain(params.max.keys());
        if let Some(it) = named.into_iter().find(|it| !params.values.contains_key(*it)) {
            return wrong(format!("`{it}` has a threshold and is none of `values`"));
        }
        let rule = |(name, field): (&'_ String, &'_ String)| Rule {
            name: name.clone(),
            field: field.clone(),
            bounds: Bounds {
                min: params.min.get(name).copied(),
                max: params.max.get(name).copied(),
            },
        };
        let rules: Vec<Rule> = params.values.iter().map(rule).collect();
        sieve(cx, &|line: &[u8], part: &mut Sieved<()>| record(&rules, line, part))
    }
}

struct Rule {
    name: String,
    field: String,
    bounds: Bounds,
}

fn record(rules: &[Rule], line: &[u8], part: &mut Sieved<()>) -> Result<(), Unfit> {
    let fields = Fields::parse(line)?;
    let mut values: Vec<(&str, f64)> = Vec::with_capacity(rules.len());
    let (mut fails, mut without) = (Vec::new(), Vec::new());
    for rule in rules {
        match number(&fields, &rule.field)? {
            Some(it) => {
                values.push((&rule.name, it));
                if !rule.bounds.hold(it) {
                    fails.push(rule.name.as_str());
                }
            }
            // Behind the others, as `cut` has them.
            None if rule.bounds != Bounds::default() => without.push(rule.name.as_str()),
            None => {}
        }
    }
    fails.extend(without);
    let (id, source) = (fields.id()?, fields.source()?);
    let source = source.as_deref();
    if part.judge(&Verdict { id: &id, source, fails: &fails, values: &values }) {
        part.data.extend_from_slice(line);
        part.data.push(b'\n');
    }
    Ok(())
}

/// The number in a field, or in a field of it; none where nothing stands there.
fn number(fields: &Fields<'_>, path: &str) -> Result<Option<f64>, Unfit> {
    let value = match (fields.get(path), path.split_once('.')) {
        (Some(raw), _) => parse(path, raw)?,
        (None, Some((field, rest))) => match fields.get(field) {
            Some(raw) => inner(&parse(field, raw)?, rest).cloned().unwrap_or_default(),
            None => return Ok(None),
        },
        (None, None) => return Ok(None),
    };
    match value {
        Value::Null => Ok(None),
        Value::Bool(it) => Ok(Some(f64::from(u8::from(it)))),
        Value::Number(it) => Ok(it.as_f64()),
        _ => Err(Unfit::field(path, "is neither a number nor true or false")),
    }
}

fn parse(field: &str, raw: &str) -> Result<Value, Unfit> {
    serde_json::from_str(raw).map_err(|it| Unfit::field(field, format!("is no JSON: {it}")))
}

/// What stands at a path: names may hold points themselves.
fn inner<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let map = value.as_object()?;
    map.get(path).or_else(|| {
        let (field, rest) = path.split_once('.')?;
        inner(map.get(field)?, rest)
    })
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    const DATA: &str = concat!(
        "{\"id\":\"a\",\"ppl\":9.5,\"p\":{\"【好】\":0.75,\"x\":{\"y.z\":2}},\"ok\":true}\n",
        "{\"id\":\"b\",\"source\":\"s\",\"ppl\":12,\"p\":{\"【好】\":0.25}}\n",
        "{\"id\":\"c\",\"ppl\":null,\"n\":7}\n",
    );
    const WITH: &str = "values = { ppl = 'ppl', good = 'p.【好】', deep = 'p.x.y.z', ok = 'ok' }\n";

    #[test]
    fn numbers_of_records_are_values_with_thresholds() {
        let mut kit = Kit::new("measure");
        let with = format!("{WITH}max = {{ ppl = 10 }}\nmin = {{ good = 0.5 }}");
        let out = kit.run(&with, &[DATA.as_bytes()]).unwrap();
        insta::assert_snapshot!(out.join("--\n"), @r#"
        {"id":"a","ppl":9.5,"p":{"【好】":0.75,"x":{"y.z":2}},"ok":true}
        --
        {"id":"a","source":null,"keep":true,"first":null,"fails":[],"values":{"deep":2,"good":0.75,"ok":1,"ppl":9.5}}
        {"id":"b","source":"s","keep":false,"first":"good","fails":["good","ppl"],"values":{"good":0.25,"ppl":12}}
        {"id":"c","source":null,"keep":false,"first":"good","fails":["good","ppl"],"values":{}}
        "#);
        assert_eq!((kit.count("kept"), kit.count("dropped")), (Some(1), Some(2)));
    }

    #[test]
    fn another_threshold_is_a_cut_of_the_ledger() {
        let measured = Kit::new("measure").run(WITH, &[DATA.as_bytes()]).unwrap();
        assert_eq!(measured[0], DATA);
        let bounds = "max = { ppl = 10 }\nmin = { good = 0.5, ok = 1 }";
        let want = Kit::new("measure").run(&format!("{WITH}{bounds}"), &[DATA.as_bytes()]).unwrap();
        let mut cut = Kit::new("cut");
        let path = |name: &str, text: &str| {
            let path = cut.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            vec![path]
        };
        let inputs = [("data", path("d", DATA)), ("ledger", path("l", &measured[1]))];
        assert_eq!(cut.run_at(bounds, &inputs).unwrap(), want);
    }

    #[test]
    fn what_is_no_number_is_named() {
        let mut kit = Kit::new("measure");
        let error = kit.error("values = { n = 'n' }", "{\"n\":1}\n{\"n\":[1]}\n");
        assert_eq!(error, "in0:2: field `n`: is neither a number nor true or false");
        let error = kit.error("values = { n = 'n' }\nmin = { m = 1 }", "");
        assert!(error.ends_with("`m` has a threshold and is none of `values`"), "{error}");
        assert!(kit.error("values = {}", "").ends_with("`values` is empty"));
    }
}
