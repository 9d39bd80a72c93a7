//! `lengths`: how long the texts of records are in tokens, as a histogram.
//!
//! ```toml
//! [steps.lengths]
//! op   = "lengths"
//! in   = { data = "${steps.final.data}", tokenizer = "models/Yi-6B" }
//! with = { fields = ["instruction", "output"] }
//! ```
//!
//! A text is cut into tokens as it stands, without control tokens. A record that lacks a field has no
//! length there; an empty text has the length 0.
//!
//! `histogram` has a record for each bin of each field: `of`, `from`, `below` and `n`, how many lengths
//! are at least `from` and less than `below`. Bins are equally wide, 1, 2 or 5 tokens or one of these
//! with noughts, and so wide that the shorter 99 % of texts fill at most `bins`; what is longer is in
//! one more, whose `below` is null. `metrics` has for each field `FIELD.tokens.n`, `.total`, `.mean`,
//! `.min`, `.p10`, `.p50`, `.p90`, `.p99` and `.max`: values of texts that are there, nothing is estimated.
//!
//! `stats` has the same numbers by source, and no histogram.

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model::Tokenizer;
use crate::model::record::Unfit;
use crate::page::page;
use crate::records::{Output, write_metrics};
use crate::text::fields::Fields;
use crate::text::lengths::{Lengths as Spread, PLACES};
use crate::text::stream::Source;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Lengths;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The fields whose texts are counted.
    #[serde(default = "pair")]
    fields: Vec<String>,
    /// How many bins a histogram has at most.
    #[serde(default = "default_bins")]
    #[schemars(range(min = 2, max = 1000))]
    bins: u64,
}

pub(super) fn pair() -> Vec<String> {
    vec!["instruction".to_owned(), "output".to_owned()]
}

fn default_bins() -> u64 {
    50
}

impl Kind for Lengths {
    const SPEC: KindSpec = KindSpec {
        name: "lengths",
        version: 1,
        about: "how long texts are in tokens, as a histogram",
        page: page!("lengths.rs"),
        inputs: &[
            Port { name: "data", arity: Arity::One, about: "the records" },
            Port { name: "tokenizer", arity: Arity::One, about: "cuts texts into tokens" },
        ],
        outputs: &[
            Slot { name: "metrics", form: Form::Metrics, about: "each field's numbers" },
            Slot { name: "histogram", form: Form::Records, about: "how many of each length" },
        ],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        if params.fields.is_empty() || params.bins < 2 {
            let reason = "`fields` is empty, or `bins` less than 2".to_owned();
            return Err(StepError::Params { kind: "lengths", reason });
        }
        let tokenizer = Tokenizer::open(cx.input("tokenizer")?)?;
        let work = |line: &[u8], part: &mut Vec<Spread>| {
            let fields = Fields::parse(line)?;
            part.resize(params.fields.len(), Spread::default());
            for (name, lengths) in params.fields.iter().zip(part) {
                if let Some(text) = fields.optional_text(name)? {
                    let ids = tokenizer.encode_plain(&text);
                    lengths.add(ids.map_err(|it| Unfit::new(it.to_string()))?.len() as u64);
                }
            }
            Ok(())
        };
        let mut all = vec![Spread::default(); params.fields.len()];
        Source::open("data", cx)?.each(cx, &work, &mut |part: Vec<Spread>| {
            all.iter_mut().zip(&part).for_each(|(a, b)| a.take(b));
            Ok(())
        })?;
        let mut histogram = Output::create(cx.output("histogram")?)?;
        let mut metrics = Map::new();
        for (name, lengths) in params.fields.iter().zip(&all) {
            for it in lengths.bins(params.bins) {
                let line = json!({ "of": name, "from": it.from, "below": it.below, "n": it.n });
                histogram.line(line.to_string().as_bytes())?;
            }
            numbers(name, lengths, &mut metrics);
        }
        histogram.finish()?;
        write_metrics(&metrics, cx)?;
        cx.count("texts", all.iter().map(Spread::n).sum());
        Ok(())
    }
}

fn numbers(name: &str, lengths: &Spread, metrics: &mut Map<String, Value>) {
    let mut put =
        |what: &str, value: Value| drop(metrics.insert(format!("{name}.tokens.{what}"), value));
    put("n", lengths.n().into());
    if lengths.n() > 0 {
        put("total", lengths.total().into());
        put("mean", lengths.mean().into());
        PLACES.iter().for_each(|(what, place)| put(what, lengths.quantile(*place).into()));
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::kit::Kit;

    fn run(with: &str, data: &str) -> Result<Vec<String>, String> {
        let mut kit = Kit::new("lengths");
        let path = kit.folder.path().join("data.jsonl");
        std::fs::write(&path, data).unwrap();
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let tokenizer = root.join("tests/oracle/fixtures/text/yi");
        let inputs = [("data", vec![path]), ("tokenizer", vec![tokenizer])];
        kit.run_at(with, &inputs).map_err(|it| it.to_string())
    }

    #[test]
    fn lengths_are_counted_by_field_and_put_into_bins() {
        let record = |n: usize| format!("{{\"instruction\":\"{}\"}}\n", "雨 ".repeat(n));
        let data: String = (0..200).map(record).collect::<String>() + "{\"output\":\"\"}\n";
        let out = run("bins = 4", &data).unwrap();
        insta::assert_snapshot!(out.join("\n"));
        let sum = |of: &str| {
            let mine = out[1].lines().filter(|it| it.contains(of));
            let n = |it: &str| it.rsplit_once(':').unwrap().1.trim_end_matches('}').parse::<u64>();
            mine.map(|it| n(it).unwrap()).sum::<u64>()
        };
        assert_eq!((sum("instruction"), sum("output")), (200, 1));
    }

    #[test]
    fn nothing_has_no_bins_and_what_is_no_text_is_named() {
        let out = run("", "").unwrap();
        assert!(out[0].contains("\"output.tokens.n\": 0") && out[1].is_empty());
        let error = run("", "{\"output\":\"a\"}\n{\"output\":[]}\n").unwrap_err();
        assert!(error.ends_with("data.jsonl:2: field `output`: is not a text"), "{error}");
        assert!(run("fields = []", "").unwrap_err().contains("`fields` is empty"));
    }
}
