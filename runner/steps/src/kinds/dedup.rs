//! `dedup`: keeps the first of records whose texts are equal or nearly so.
//!
//! ```toml
//! [steps.once]
//! op   = "dedup"
//! in   = { data = "${steps.raw.data}" }
//! with = { method = "minhash", threshold = 0.8 }
//! ```
//!
//! Texts are compared without white space, whatever the width of letters and digits and the case of
//! Latin letters. `exact` drops texts that are then equal. `minhash` also drops those whose shingles
//! (runs of `shingle` characters) are shared with an earlier kept text by `threshold` or more, as
//! MinHash with `permutations` estimates it. Candidates are found by bands: texts are compared where
//! all `permutations / bands` values of a band agree. A pair of similarity s becomes a candidate
//! with the chance 1 − (1 − s^(permutations/bands))^bands: 0.95 at 0.8 and 0.06 at 0.5 as the
//! parameters are given. Of one band's value, 64 texts at most are compared with.
//!
//! A record is compared with kept records only, so a cluster is a kept record and those that were
//! dropped for it: no chain of small changes leads from one end of a corpus to the other. The
//! result depends on the records and their order, never on threads.
//!
//! The ledger has the rules `exact` and `near` with the values `similarity` (to the most similar
//! kept record that was a candidate) and `cluster` (the line of the record that stands for it, from
//! 1). `clusters` has a record for each that was dropped: `cluster`, `first` (the id of the one that
//! was kept), `id`, `line`, `similarity`.
//!
//! Memory: for each kept record one byte for each of `permutations`, 16 to 32 bytes for each of
//! `bands`, and about 100 bytes more: 500 to 750 bytes as the parameters are given; with `exact`
//! about 100. Besides, a batch of 8 MiB of records.

use std::collections::HashMap;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::record::Unfit;
use crate::page::page;
use crate::records::{Output, short_digest};
use crate::text::fields::Fields;
use crate::text::ledger::{Bounds, Limit, Verdict, rounded};
use crate::text::minhash::{Sketch, Sketcher, Table, fold, similarity};
use crate::text::stream::Source;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Dedup;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The field that holds the text.
    #[serde(default = "text")]
    field: String,
    /// Drop equal texts only, or nearly equal ones too.
    #[serde(default)]
    method: Method,
    /// How many characters a shingle has.
    #[serde(default = "shingle")]
    #[schemars(range(min = 1, max = 100))]
    shingle: usize,
    /// How many values a sketch has.
    #[serde(default = "permutations")]
    #[schemars(range(min = 8, max = 1024))]
    permutations: usize,
    /// Into how many bands they are split; a divisor of `permutations`.
    #[serde(default = "bands")]
    #[schemars(range(min = 1, max = 256))]
    bands: usize,
    /// From which estimated similarity on a record is dropped.
    #[serde(default = "threshold")]
    threshold: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Method {
    Exact,
    #[default]
    Minhash,
}

fn text() -> String {
    "text".to_owned()
}

fn shingle() -> usize {
    5
}

fn permutations() -> usize {
    128
}

fn bands() -> usize {
    16
}

fn threshold() -> f64 {
    0.8
}

impl Kind for Dedup {
    const SPEC: KindSpec = KindSpec {
        name: "dedup",
        version: 1,
        about: "keep the first of records whose texts are equal or nearly so",
        page: page!("dedup.rs"),
        inputs: &[Port { name: "data", arity: Arity::One, about: "the records" }],
        outputs: &[
            Slot { name: "data", form: Form::Records, about: "the first of each cluster" },
            Slot { name: "ledger", form: Form::Records, about: "what was found of each record" },
            Slot {
                name: "clusters",
                form: Form::Records,
                about: "what was dropped, and for which",
            },
        ],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn limits(&self, params: &Params) -> Result<Vec<Limit>, StepError> {
        if params.method == Method::Exact {
            return Ok(Vec::new());
        }
        // The greatest stored value below the threshold.
        let max = Some(rounded(params.threshold - 1e-6));
        let (rule, value) = ("near".to_owned(), "similarity".to_owned());
        Ok(vec![Limit { rule, value, bounds: Bounds { min: None, max } }])
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        check(params)?;
        let sketcher = Sketcher::new(params.shingle, params.permutations, params.bands);
        let near = (params.method == Method::Minhash).then_some(&sketcher);
        let mut source = Source::open("data", cx)?;
        let mut data = Output::create(cx.output("data")?)?;
        let mut ledger = Output::create(cx.output("ledger")?)?;
        let mut clusters = Output::create(cx.output("clusters")?)?;
        let mut known = Known::new(params);
        let (mut n_exact, mut n_near) = (0, 0);
        let mut out = Vec::new();
        let work = |line: &[u8], part: &mut Vec<Item>| item(line, &params.field, near, part);
        source.each(cx, &work, &mut |part| {
            for it in part {
                let found = known.find(&it);
                let fails: &[&str] = match found.match_by {
                    None => &[],
                    Some(Match::Exact) => &["exact"],
                    Some(Match::Near) => &["near"],
                };
                let values =
                    [("similarity", found.similarity), ("cluster", (found.line + 1) as f64)];
                let source = it.source.as_deref();
                out.clear();
                Verdict { id: &it.id, source, fails, values: &values }.write(&mut out);
                ledger.bytes(&out)?;
                match found.match_by {
                    None => {
                        data.line(&it.line)?;
                        known.keep(it);
                    }
                    Some(by) => {
                        n_exact += u64::from(by == Match::Exact);
                        n_near += u64::from(by == Match::Near);
                        clusters.line(&known.dropped(&it, &found))?;
                        known.n_lines += 1;
                    }
                }
            }
            Ok(())
        })?;
        cx.count("kept", known.lines.len() as u64);
        cx.count("exact", n_exact);
        cx.count("near", n_near);
        data.finish()?;
        ledger.finish()?;
        clusters.finish()
    }
}

fn check(params: &Params) -> Result<(), StepError> {
    let wrong = |reason: String| Err(StepError::Params { kind: "dedup", reason });
    let (permutations, bands) = (params.permutations, params.bands);
    if bands == 0 || permutations == 0 || permutations % bands != 0 {
        return wrong(format!("`bands`, {bands}, does not divide `permutations`, {permutations}"));
    }
    if params.shingle == 0 {
        return wrong("`shingle` is zero".to_owned());
    }
    if !(params.threshold > 0.0 && params.threshold <= 1.0) {
        return wrong(format!("`threshold`, {}, is not above 0 and at most 1", params.threshold));
    }
    Ok(())
}

/// A record with what it is compared by.
struct Item {
    line: Vec<u8>,
    id: String,
    source: Option<String>,
    exact: u128,
    sketch: Option<Sketch>,
}

fn item(
    line: &[u8],
    field: &str,
    near: Option<&Sketcher>,
    part: &mut Vec<Item>,
) -> Result<(), Unfit> {
    let fields = Fields::parse(line)?;
    let mut folded = Vec::new();
    fold(&fields.text(field)?, &mut folded);
    let text: String = folded.iter().collect();
    part.push(Item {
        line: line.to_owned(),
        id: fields.id()?.into_owned(),
        source: fields.source()?.map(|it| it.into_owned()),
        exact: short_digest(text.as_bytes()),
        sketch: near.map(|it| it.sketch(&folded)),
    });
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Match {
    Exact,
    Near,
}

/// What was found for a record.
struct Found {
    match_by: Option<Match>,
    /// To the most similar kept record that it was compared with.
    similarity: f64,
    /// The line of the record that stands for its cluster, from 0.
    line: u64,
    /// The number of that record among the kept, where it is another.
    kept: usize,
}

/// A record that was dropped, as `clusters` has it.
#[derive(Serialize)]
struct Dropped<'a> {
    cluster: u64,
    first: &'a str,
    id: &'a str,
    line: u64,
    similarity: f64,
}

/// All kept records.
struct Known {
    threshold: f64,
    permutations: usize,
    n_lines: u64,
    /// Digest of the folded text to the number of the record.
    exact: HashMap<u128, u32>,
    lines: Vec<u64>,
    /// The ids one after another, and where each ends.
    ids: String,
    id_ends: Vec<usize>,
    sketches: Vec<u8>,
    tables: Vec<Table>,
}

impl Known {
    fn new(params: &Params) -> Self {
        Self {
            threshold: params.threshold,
            permutations: params.permutations,
            n_lines: 0,
            exact: HashMap::new(),
            lines: Vec::new(),
            ids: String::new(),
            id_ends: Vec::new(),
            sketches: Vec::new(),
            tables: (0..params.bands).map(|_| Table::default()).collect(),
        }
    }

    fn find(&self, item: &Item) -> Found {
        let found = |match_by, similarity, kept: usize| {
            let line = self.lines[kept];
            Found { match_by, similarity, line, kept }
        };
        if let Some(it) = self.exact.get(&item.exact) {
            return found(Some(Match::Exact), 1.0, *it as usize);
        }
        let (mut best, mut which) = (0.0, None);
        if let Some(sketch) = &item.sketch {
            for (table, tag) in self.tables.iter().zip(&sketch.tags) {
                for it in table.find(*tag) {
                    let start = it as usize * self.permutations;
                    let theirs = &self.sketches[start..start + self.permutations];
                    let alike = rounded(similarity(&sketch.bytes, theirs));
                    // The first of equally similar ones, whichever band finds it first.
                    if alike > best || (alike == best && which.is_some_and(|that| it < that)) {
                        (best, which) = (alike, Some(it));
                    }
                }
            }
        }
        match which {
            Some(it) if best >= self.threshold => found(Some(Match::Near), best, it as usize),
            _ => Found { match_by: None, similarity: best, line: self.n_lines, kept: 0 },
        }
    }

    fn keep(&mut self, item: Item) {
        let number = self.lines.len() as u32;
        self.exact.insert(item.exact, number);
        self.lines.push(self.n_lines);
        self.n_lines += 1;
        self.ids += &item.id;
        self.id_ends.push(self.ids.len());
        if let Some(sketch) = item.sketch {
            self.sketches.extend_from_slice(&sketch.bytes);
            for (table, tag) in self.tables.iter_mut().zip(sketch.tags) {
                table.insert(tag, number);
            }
        }
    }

    /// The line of `clusters` for a record that is dropped.
    fn dropped(&self, item: &Item, found: &Found) -> Vec<u8> {
        let start = if found.kept == 0 { 0 } else { self.id_ends[found.kept - 1] };
        let it = Dropped {
            cluster: found.line + 1,
            first: &self.ids[start..self.id_ends[found.kept]],
            id: &item.id,
            line: self.n_lines + 1,
            similarity: found.similarity,
        };
        serde_json::to_vec(&it).expect("texts and finite numbers are always JSON")
    }
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    /// A text of its own for every number, long enough for shingles.
    fn passage(n: u32) -> String {
        let sign = |i: u32| {
            let it = (n * 7919 + i * i * 31 + i * 17) % 5000;
            char::from_u32(0x4e00 + it).unwrap()
        };
        (0..200).map(sign).collect()
    }

    fn record(id: &str, text: &str) -> String {
        format!("{{\"id\":\"{id}\",\"source\":\"s\",\"text\":\"{text}\"}}\n")
    }

    #[test]
    fn the_first_of_a_cluster_is_kept_and_the_rest_say_for_which() {
        let (a, b) = (passage(1), passage(2));
        let changed = a.replacen(&a[300..303], "新", 1);
        let input = [
            record("1", &a),
            record("2", &b),
            record("3", &format!(" {a}\\n")),
            record("4", &changed),
            record("5", "短"),
        ];
        let outputs = Kit::new("dedup").run("", &[input.concat().as_bytes()]).unwrap();
        assert_eq!(outputs[0], [&input[0][..], &input[1], &input[4]].concat());
        insta::assert_snapshot!(outputs[1..].join("--\n"), @r#"
        {"id":"1","source":"s","keep":true,"first":null,"fails":[],"values":{"similarity":0,"cluster":1}}
        {"id":"2","source":"s","keep":true,"first":null,"fails":[],"values":{"similarity":0,"cluster":2}}
        {"id":"3","source":"s","keep":false,"first":"exact","fails":["exact"],"values":{"similarity":1,"cluster":1}}
        {"id":"4","source":"s","keep":false,"first":"near","fails":["near"],"values":{"similarity":0.984314,"cluster":1}}
        {"id":"5","source":"s","keep":true,"first":null,"fails":[],"values":{"similarity":0,"cluster":5}}
        --
        {"cluster":1,"first":"1","id":"3","line":3,"similarity":1.0}
        {"cluster":1,"first":"1","id":"4","line":4,"similarity":0.984314}
        "#);
        let exact = Kit::new("dedup").run("method = 'exact'", &[input.concat().as_bytes()]);
        assert_eq!(exact.unwrap()[0].lines().count(), 4);
    }

    #[test]
    fn threads_change_nothing() {
        let records: String = (0..300)
            .map(|it| {
                let text = passage(it % 90).replacen('\u{4e00}', "", (it / 90) as usize);
                record(&it.to_string(), &format!("{text}{}", it / 150))
            })
            .collect();
        let run = |threads| {
            let mut kit = Kit::new("dedup");
            kit.threads = threads;
            kit.run("", &[records.as_bytes()]).unwrap()
        };
        let one = run(1);
        assert_eq!(one[0].lines().count(), 90);
        assert_eq!(one[1].lines().count(), 300);
        assert_eq!(one, run(3));
        assert_eq!(one, run(64));
    }

    #[test]
    fn parameters_that_do_not_fit_and_records_without_a_text_are_named() {
        let mut kit = Kit::new("dedup");
        assert_eq!(
            kit.error("bands = 3", ""),
            "parameters of `dedup`: `bands`, 3, does not divide `permutations`, 128"
        );
        assert!(kit.error("threshold = 0.0", "").contains("`threshold`, 0, is not above 0"));
        assert_eq!(kit.error("", "{\"text\":\"a\"}\n{}\n"), "in0:2: field `text`: is missing");
        assert_eq!(kit.data("", ""), "");
    }
}
