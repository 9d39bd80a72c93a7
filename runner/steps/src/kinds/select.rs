//! `select`: keeps `n` records: the best by a field, or drawn by a hash; evenly from every stratum.
//!
//! ```toml
//! [steps.nine]
//! op   = "select"
//! in   = { data = "${steps.scored.data}" }
//! with = { n = 9_000, stratify = "source" }
//! ```
//!
//! Every record gets a rank, from 1, and those with a rank up to `n` are kept, in the order in which
//! they stand. A larger `n`, with the same seed and data, keeps all that a smaller one keeps, so
//! subsets are nested: kun-9k ⊂ kun-26k ⊂ and so on. The order of ranks is made so:
//!
//! - `by` names a field with a number: the highest rank first, or the lowest where `order` says so;
//!   of equal ones the earlier. Without `by` the order is drawn: by a hash of the step's seed, the
//!   record's id and how many records with that id came before, wherever the record stands.
//! - `stratify` names a field with a text. Then the ranks go evenly to its values: of any `n`, each
//!   value gets its share of all records, to the nearest record.
//!
//! The ledger has the rule `rank` with the value `rank`, and `by` with what the field held: `cut`
//! makes another subset of it.
//!
//! Memory: about 60 bytes for each record, and 16 more for each distinct id where the order is
//! drawn.

use std::collections::{BTreeMap, HashMap};

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::record::Unfit;
use crate::page::page;
use crate::records::{Lines, Output, short, short_digest};
use crate::text::fields::Fields;
use crate::text::ledger::{Bounds, Limit, Verdict};
use crate::text::stream::Source;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Select;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// How many records are kept.
    n: u64,
    /// The field whose number decides; nothing: the order is drawn.
    by: Option<String>,
    /// Which numbers are kept.
    #[serde(default)]
    order: Order,
    /// The field whose values are the strata; nothing: there is one.
    stratify: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    Highest,
    Lowest,
}

impl Kind for Select {
    const SPEC: KindSpec = KindSpec {
        name: "select",
        version: 1,
        about: "keep the best records, or drawn ones, evenly from all strata",
        page: page!("select.rs"),
        inputs: &[Port { name: "data", arity: Arity::One, about: "the records" }],
        outputs: &[
            Slot { name: "data", form: Form::Records, about: "those that were selected" },
            Slot { name: "ledger", form: Form::Records, about: "the rank of each record" },
        ],
        draws: true,
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn limits(&self, params: &Params) -> Result<Vec<Limit>, StepError> {
        Ok(vec![Limit::of("rank", Bounds { min: None, max: Some(params.n as f64) })])
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let items = read(params, cx)?;
        let ranks = ranks(&items);
        let mut lines = Lines::open(cx.input("data")?)?;
        let mut data = Output::create(cx.output("data")?)?;
        let mut ledger = Output::create(cx.output("ledger")?)?;
        let (mut line, mut out) = (Vec::new(), Vec::new());
        let mut kept = 0;
        for (item, rank) in items.iter().zip(&ranks) {
            cx.check_stop()?;
            lines.next(&mut line)?;
            let fields = Fields::parse(&line).map_err(|it| lines.mistake(None, it.reason))?;
            let wrong = |it: Unfit| lines.mistake(it.field.as_deref(), it.reason);
            let (id, source) = (fields.id().map_err(wrong)?, fields.source().map_err(wrong)?);
            let fails: &[&str] = if *rank > params.n { &["rank"] } else { &[] };
            let values = [("rank", *rank as f64), ("by", item.value)];
            let values = if params.by.is_some() { &values[..] } else { &values[..1] };
            out.clear();
            Verdict { id: &id, source: source.as_deref(), fails, values }.write(&mut out);
            ledger.bytes(&out)?;
            if fails.is_empty() {
                data.line(&line)?;
                kept += 1;
            }
        }
        cx.count("kept", kept);
        cx.count("dropped", items.len() as u64 - kept);
        data.finish()?;
        ledger.finish()
    }
}

/// What decides about a record.
struct Item {
    stratum: u32,
    /// What the field held.
    value: f64,
    /// The record's place among those of its stratum: less comes first.
    key: (u64, u128),
}

/// What is read of a record: its stratum, its value, its id's digest.
type Read = (Option<String>, f64, u128);

fn read(params: &Params, cx: &mut Cx<'_>) -> Result<Vec<Item>, StepError> {
    let mut lot = blake3::Hasher::new_derive_key("kun, kind select, version 1");
    lot.update(&cx.seed()?.to_le_bytes());
    let mut strata: BTreeMap<String, u32> = BTreeMap::new();
    let mut seen: HashMap<u128, u32> = HashMap::new();
    let mut items = Vec::new();
    let work = |line: &[u8], part: &mut Vec<Read>| {
        part.push(read_one(line, params)?);
        Ok(())
    };
    Source::open("data", cx)?.each(cx, &work, &mut |part| {
        for (stratum, value, id) in part {
            let next = strata.len() as u32;
            let stratum = *strata.entry(stratum.unwrap_or_default()).or_insert(next);
            let key = match (&params.by, params.order) {
                (Some(_), Order::Highest) => (ordered(-value), 0),
                (Some(_), Order::Lowest) => (ordered(value), 0),
                (None, _) => {
                    let occurrence = seen.entry(id).or_default();
                    let mut lot = lot.clone();
                    lot.update(&id.to_le_bytes()).update(&occurrence.to_le_bytes());
                    *occurrence += 1;
                    (0, short(&lot.finalize()))
                }
            };
            items.push(Item { stratum, value, key });
        }
        Ok(())
    })?;
    Ok(items)
}

fn read_one(line: &[u8], params: &Params) -> Result<Read, Unfit> {
    let fields = Fields::parse(line)?;
    let stratum = match &params.stratify {
        Some(it) => Some(fields.text(it)?.into_owned()),
        None => None,
    };
    let value = match &params.by {
        None => 0.0,
        Some(name) => {
            let raw = fields.get(name).ok_or_else(|| Unfit::field(name, "is missing"))?;
            let value: Option<f64> = serde_json::from_str(raw).ok();
            // Zero has one sign, or equal numbers would differ.
            value.ok_or_else(|| Unfit::field(name, "is not a number"))? + 0.0
        }
    };
    Ok((stratum, value, short_digest(fields.id()?.as_bytes())))
}

/// Whole numbers in the order of these finite ones.
fn ordered(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}

/// The rank of each record, from 1.
fn ranks(items: &[Item]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_unstable_by_key(|i| (items[*i].stratum, items[*i].key, *i));
    // The i-th of n records of a stratum stands at (2i + 1) / 2n of the way.
    let mut sizes: BTreeMap<u32, u64> = BTreeMap::new();
    items.iter().for_each(|it| *sizes.entry(it.stratum).or_default() += 1);
    let mut places: Vec<(u64, u64, u32, usize)> = Vec::with_capacity(items.len());
    let (mut stratum, mut i) = (u32::MAX, 0);
    for at in order {
        if items[at].stratum != stratum {
            (stratum, i) = (items[at].stratum, 0);
        }
        places.push((2 * i + 1, 2 * sizes[&stratum], stratum, at));
        i += 1;
    }
    places.sort_unstable_by(|a, b| {
        let (left, right) = (u128::from(a.0) * u128::from(b.1), u128::from(b.0) * u128::from(a.1));
        left.cmp(&right).then(a.2.cmp(&b.2))
    });
    let mut ranks = vec![0; items.len()];
    for (rank, it) in places.iter().enumerate() {
        ranks[it.3] = rank as u64 + 1;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    fn records(n: u32) -> String {
        let source = |it: u32| if it.is_multiple_of(10) { "few" } else { "many" };
        let line =
            |it| format!("{{\"id\":\"{it}\",\"source\":\"{}\",\"s\":{}}}\n", source(it), it % 7);
        (0..n).map(line).collect()
    }

    fn select(with: &str, input: &str) -> Vec<String> {
        let mut kit = Kit::new("select");
        kit.seed = Some(7);
        kit.threads = 3;
        kit.run(with, &[input.as_bytes()]).unwrap()
    }

    #[test]
    fn every_subset_is_in_every_larger_one_and_strata_get_their_share() {
        let input = records(1000);
        for with in ["", "by = 's'\n", "stratify = 'source'\n", "by = 's'\nstratify = 'source'\n"] {
            let mut before = String::new();
            for n in [0, 1, 10, 99, 100, 555, 1000, 2000] {
                let data = select(&format!("{with}n = {n}"), &input).remove(0);
                assert_eq!(data.lines().count(), n.min(1000));
                let lines: std::collections::BTreeSet<&str> = data.lines().collect();
                assert!(before.lines().all(|it| lines.contains(it)), "{with} {n}");
                if with.contains("stratify") {
                    let few = data.lines().filter(|it| it.contains("few")).count() as i64;
                    assert!((few - n.min(1000) as i64 / 10).abs() <= 1, "{with} {n} {few}");
                }
                before = data;
            }
        }
    }

    #[test]
    fn the_best_are_kept_in_their_order_and_the_ledger_has_ranks() {
        let input =
            "{\"id\":1,\"s\":-1.5}\n{\"id\":2,\"s\":3}\n{\"id\":3,\"s\":0}\n{\"id\":4,\"s\":3}\n";
        let outputs = select("n = 2\nby = 's'", input);
        insta::assert_snapshot!(outputs.join("--\n"), @r#"
        {"id":2,"s":3}
        {"id":4,"s":3}
        --
        {"id":"1","source":null,"keep":false,"first":"rank","fails":["rank"],"values":{"rank":4,"by":-1.5}}
        {"id":"2","source":null,"keep":true,"first":null,"fails":[],"values":{"rank":1,"by":3}}
        {"id":"3","source":null,"keep":false,"first":"rank","fails":["rank"],"values":{"rank":3,"by":0}}
        {"id":"4","source":null,"keep":true,"first":null,"fails":[],"values":{"rank":2,"by":3}}
        "#);
        let lowest = select("n = 1\nby = 's'\norder = 'lowest'", input);
        assert_eq!(lowest[0], "{\"id\":1,\"s\":-1.5}\n");
    }

    #[test]
    fn what_is_drawn_depends_on_ids_and_not_on_places() {
        let input = records(300);
        let reversed: String = input.lines().rev().map(|it| format!("{it}\n")).collect();
        let set = |it: &str| {
            let data = select("n = 40", it).remove(0);
            data.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(set(&input), set(&reversed));
        assert_eq!(select("n = 2", "{}\n{}\n{}\n")[0], "{}\n{}\n");
    }

    #[test]
    fn a_record_without_the_number_is_named() {
        let mut kit = Kit::new("select");
        kit.seed = Some(1);
        let mut error = |line: &str| kit.error("n = 1\nby = 's'", line);
        assert_eq!(error("{}"), "in0:1: field `s`: is missing");
        assert_eq!(error("{\"s\":\"1\"}"), "in0:1: field `s`: is not a number");
    }
}
