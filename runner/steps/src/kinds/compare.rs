//! `compare`: several models over the same items: shares, differences, and how sure they are.
//!
//! ```toml
//! [steps.better]
//! op   = "compare"
//! in   = { results = ["${steps.before.predictions}", "${steps.after.predictions}"] }
//! with = { names = ["before", "after"] }
//! ```
//!
//! Each input holds a record for every item, with an `id` and a verdict: `field`, which is `true` or
//! `false`. `eval` writes such records. All inputs must hold the same items, in any order.
//!
//! `shares` has a record for each input: `name`, `n`, `right`, `share`, and Wilson's interval of
//! 95 %. `pairs` has one for each pair of inputs: `difference` is the second share less the first,
//! with an interval of 95 % from 10,000 samples of items drawn again, always the same ones; `p` is
//! McNemar's exact test, two-sided. With `by`, a field with a text, there are further records for
//! each of its values. `metrics` has the shares, and the differences to the first input.
//!
//! With `sizes`, how much each model was given (such as pairs to learn from), each share has that `size`, and
//! a report draws the shares over it, on a logarithmic axis: `sizes = [9000, 36000, 360000]`.

use std::path::Path;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::page::page;
use crate::records::{Output, write_metrics};
use crate::statistics::paired;
use crate::verdicts::{Share, Verdicts};
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Compare;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// What each input is called.
    names: Vec<String>,
    /// The field that holds the verdict.
    #[serde(default = "default_field")]
    field: String,
    /// A field whose values are also looked at one by one.
    by: Option<String>,
    /// How much of something each input's model was given; 0 where there was nothing of it.
    #[serde(default)]
    sizes: Vec<f64>,
    /// What the sizes count.
    #[serde(default = "default_unit")]
    size_of: String,
}

fn default_unit() -> String {
    "pairs".to_owned()
}

fn default_field() -> String {
    "right".to_owned()
}

impl Kind for Compare {
    const SPEC: KindSpec = KindSpec {
        name: "compare",
        version: 1,
        about: "shares of several models over the same items, and their differences",
        page: page!("compare.rs"),
        inputs: &[Port { name: "results", arity: Arity::Many, about: "records with verdicts" }],
        outputs: &[
            Slot { name: "metrics", form: Form::Metrics, about: "shares and differences" },
            Slot { name: "shares", form: Form::Records, about: "each input's share" },
            Slot { name: "pairs", form: Form::Records, about: "each pair's difference" },
        ],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let inputs = cx.inputs("results").to_vec();
        let wrong = |reason: String| Err(StepError::Params { kind: "compare", reason });
        if params.names.len() != inputs.len() {
            let (n, m) = (params.names.len(), inputs.len());
            return wrong(format!("`names` has {n} names for {m} inputs"));
        }
        let twice = |i: &usize| params.names[..*i].contains(&params.names[*i]);
        if let Some(i) = (0..inputs.len()).find(twice) {
            return wrong(format!("`names` has `{}` twice", params.names[i]));
        }
        if !params.sizes.is_empty() && params.sizes.len() != inputs.len() {
            let (n, m) = (params.sizes.len(), inputs.len());
            return wrong(format!("`sizes` has {n} numbers for {m} inputs"));
        }
        if let Some(it) = params.sizes.iter().find(|it| !(**it >= 0.0 && it.is_finite())) {
            return wrong(format!("`sizes` has {it}: it is not a number from 0 up"));
        }
        let mut all = Vec::new();
        for path in &inputs {
            let fields = (params.field.as_str(), params.by.as_deref());
            all.push(Verdicts::read(path, fields, &|| cx.check_stop())?);
        }
        for (path, it) in inputs.iter().zip(&all).skip(1) {
            same_items(&inputs[0], &all[0], (path, it))?;
        }
        let groups = all.first().map(Verdicts::groups).unwrap_or_default();
        let mut tables = Tables {
            params,
            metrics: Map::new(),
            shares: Output::create(cx.output("shares")?)?,
            pairs: Output::create(cx.output("pairs")?)?,
        };
        for group in std::iter::once(None).chain(groups.into_iter().map(Some)) {
            cx.check_stop()?;
            tables.group(group, &all.iter().map(|it| it.of_group(group)).collect::<Vec<_>>())?;
        }
        tables.shares.finish()?;
        tables.pairs.finish()?;
        write_metrics(&tables.metrics, cx)?;
        cx.count("items", all.first().map_or(0, |it| it.0.len() as u64));
        Ok(())
    }
}

fn same_items(
    first: &Path,
    want: &Verdicts,
    (path, have): (&Path, &Verdicts),
) -> Result<(), StepError> {
    match want.unlike(have) {
        None => Ok(()),
        Some((other_lacks, id)) => Err(StepError::Record {
            file: if other_lacks { path } else { first }.to_owned(),
            line: 1,
            field: Some("id".to_owned()),
            reason: format!("there is no item `{id}`, which another input has"),
        }),
    }
}

struct Tables<'a> {
    params: &'a Params,
    metrics: Map<String, Value>,
    shares: Output,
    pairs: Output,
}

impl Tables<'_> {
    fn group(&mut self, group: Option<&str>, all: &[Vec<bool>]) -> Result<(), StepError> {
        let Params { names, sizes, size_of, .. } = self.params;
        for (i, (name, it)) in names.iter().zip(all).enumerate() {
            let Share { n, right, share, low, high } = Share::of(it);
            let mut line = json!({ "group": group, "name": name, "n": n, "right": right,
                "share": share, "low": low, "high": high });
            if let Some(size) = sizes.get(i) {
                line["size"] = json!(size);
                line["size_of"] = json!(size_of);
            }
            self.shares.line(line.to_string().as_bytes())?;
            if group.is_none() {
                self.metrics.insert(name.clone(), share.into());
                self.metrics.insert(format!("{name}_low"), low.into());
                self.metrics.insert(format!("{name}_high"), high.into());
            }
        }
        for (i, first) in all.iter().enumerate() {
            for (second, name) in all.iter().zip(names).skip(i + 1) {
                let it = paired(first, second);
                let line = json!({ "group": group, "first": names[i], "second": name,
                    "n": it.n, "only_first": it.only_first, "only_second": it.only_second,
                    "difference": it.difference, "low": it.low, "high": it.high, "p": it.p });
                self.pairs.line(line.to_string().as_bytes())?;
                if group.is_none() && i == 0 {
                    let key = |what| format!("{name}_minus_{}{what}", names[0]);
                    self.metrics.insert(key(""), it.difference.into());
                    self.metrics.insert(key("_low"), it.low.into());
                    self.metrics.insert(key("_high"), it.high.into());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Kit;

    fn items(right: &[bool]) -> String {
        let line = |(i, it)| {
            format!("{{\"id\":\"q{i}\",\"right\":{it},\"sort\":\"{}\"}}\n", ["a", "b"][i % 2])
        };
        right.iter().enumerate().map(line).collect()
    }

    fn run(with: &str, inputs: &[String]) -> Result<Vec<String>, String> {
        let inputs: Vec<&[u8]> = inputs.iter().map(String::as_bytes).collect();
        let mut kit = Kit::new("compare");
        let folder = format!("{}/", kit.folder.path().display());
        kit.run(with, &inputs).map_err(|it| it.to_string().replace(&folder, ""))
    }

    #[test]
    fn shares_and_differences_are_counted_over_the_same_items() {
        let first = items(&[true, false, false, false, true, false]);
        let mut second: Vec<String> = items(&[true, true, true, false, true, false])
            .lines()
            .map(|it| format!("{it}\n"))
            .collect();
        second.reverse();
        let out = run("names = [\"x\", \"y\"]\nby = \"sort\"", &[first, second.concat()]).unwrap();
        insta::assert_snapshot!(out[1], @r#"
        {"group":null,"name":"x","n":6,"right":2,"share":0.333333,"low":0.096771,"high":0.700007}
        {"group":null,"name":"y","n":6,"right":4,"share":0.666667,"low":0.299993,"high":0.903229}
        {"group":"a","name":"x","n":3,"right":2,"share":0.666667,"low":0.20766,"high":0.938508}
        {"group":"a","name":"y","n":3,"right":3,"share":1.0,"low":0.438503,"high":1.0}
        {"group":"b","name":"x","n":3,"right":0,"share":0.0,"low":0.0,"high":0.561497}
        {"group":"b","name":"y","n":3,"right":1,"share":0.333333,"low":0.061492,"high":0.79234}
        "#);
        let pair: Value = serde_json::from_str(out[2].lines().next().unwrap()).unwrap();
        assert_eq!((&pair["difference"], &pair["p"]), (&0.333333.into(), &0.5.into()));
        assert_eq!((&pair["low"], &pair["high"]), (&0.0.into(), &0.666667.into()));
        let metrics: Value = serde_json::from_str(&out[0]).unwrap();
        assert_eq!(metrics["y_minus_x"], 0.333333);
    }

    #[test]
    fn sizes_stand_beside_the_shares() {
        let all = [items(&[true, false]), items(&[true, true])];
        let out = run("names = [\"x\", \"y\"]\nsizes = [0, 9000]", &all).unwrap();
        let sizes = |it: &str| serde_json::from_str::<Value>(it).unwrap()["size"].clone();
        assert_eq!(out[1].lines().map(sizes).collect::<Vec<_>>(), [json!(0.0), json!(9000.0)]);
        assert!(out[1].contains("\"size_of\":\"pairs\""));
        let error = |with: &str| run(&format!("names = [\"x\", \"y\"]\n{with}"), &all).unwrap_err();
        insta::assert_snapshot!(error("sizes = [1]"), @"parameters of `compare`: `sizes` has 1 numbers for 2 inputs");
        insta::assert_snapshot!(error("sizes = [1, -2]"), @"parameters of `compare`: `sizes` has -2: it is not a number from 0 up");
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        let both = [items(&[true, false]), items(&[true])];
        let error = |with: &str, inputs: &[String]| run(with, inputs).unwrap_err();
        insta::assert_snapshot!(error("names = [\"x\"]", &both), @"parameters of `compare`: `names` has 1 names for 2 inputs");
        insta::assert_snapshot!(error("names = [\"x\", \"y\"]", &both), @"in1:1: field `id`: there is no item `q1`, which another input has");
        let twice = [format!("{}{}", both[1], both[1])];
        insta::assert_snapshot!(error("names = [\"x\"]", &twice), @"in0:2: field `id`: `q0` comes twice");
        let text = ["{\"id\":1,\"right\":\"yes\"}\n".to_owned()];
        insta::assert_snapshot!(error("names = [\"x\"]", &text), @"in0:1: field `right`: is neither true nor false");
    }
}
