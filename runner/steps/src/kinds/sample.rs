//! `sample`: keeps `n` records drawn at random, in the order in which they stand.
//!
//! ```toml
//! [steps.few]
//! op   = "sample"
//! in   = { data = "${steps.clean.data}" }
//! with = { n = 9_000 }
//! ```
//!
//! Which ones depends on the step's seed and on the records' content, not on where they stand: a
//! record's lot is drawn from its bytes and from how many equal ones came before it. So a shuffled
//! input keeps the same records, a record that is added displaces one at most, and a smaller `n`
//! with the same seed and data keeps a subset of what a larger one keeps. Fewer than `n` records
//! are all kept. The ledger has a line for each record; those that are not kept fail the rule `lot`.
//!
//! Memory: about 40 bytes for each distinct record, and 32 for each that is kept.

use std::collections::{BinaryHeap, HashMap};

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::page::page;
use crate::records::{Lines, Output, Progress, short, short_digest};
use crate::text::fields::who;
use crate::text::ledger::Verdict;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Sample;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// How many records are kept.
    n: u64,
}

impl Kind for Sample {
    const SPEC: KindSpec = KindSpec {
        name: "sample",
        version: 1,
        about: "keep some records drawn at random, in order",
        page: page!("sample.rs"),
        inputs: &[Port { name: "data", arity: Arity::One, about: "the records" }],
        outputs: &[
            Slot { name: "data", form: Form::Records, about: "those that were drawn" },
            Slot { name: "ledger", form: Form::Records, about: "whether each record was drawn" },
        ],
        draws: true,
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let (drawn, total) = draw(params.n, cx)?;
        let mut lines = Lines::open(cx.input("data")?)?;
        let mut output = Output::create(cx.output("data")?)?;
        let mut ledger = Output::create(cx.output("ledger")?)?;
        let (mut line, mut out) = (Vec::new(), Vec::new());
        let mut wanted = drawn.iter().peekable();
        while lines.next(&mut line)? {
            cx.check_stop()?;
            let is_drawn = wanted.next_if_eq(&&lines.line).is_some();
            let fails: &[&str] = if is_drawn { &[] } else { &["lot"] };
            let (id, source) = who(&line);
            out.clear();
            Verdict { id: &id, source: source.as_deref(), fails, values: &[] }.write(&mut out);
            ledger.bytes(&out)?;
            if is_drawn {
                output.line(&line)?;
            }
        }
        output.finish()?;
        ledger.finish()?;
        cx.count("kept", drawn.len() as u64);
        cx.count("dropped", total - drawn.len() as u64);
        Ok(())
    }
}

/// The lines that are kept, in order, and how many there are in all.
fn draw(n: u64, cx: &mut Cx<'_>) -> Result<(Vec<u64>, u64), StepError> {
    let mut hasher = blake3::Hasher::new_derive_key("kun, kind sample, version 1");
    hasher.update(&cx.seed()?.to_le_bytes());
    let mut lines = Lines::open(cx.input("data")?)?;
    let mut progress = Progress::new("records", None);
    let mut seen: HashMap<u128, u64> = HashMap::new();
    let mut lowest: BinaryHeap<(u128, u64)> = BinaryHeap::new();
    let mut line = Vec::new();
    while lines.next(&mut line)? {
        cx.check_stop()?;
        let content = short_digest(&line);
        let occurrence = seen.entry(content).or_default();
        let mut lot = hasher.clone();
        lot.update(&content.to_le_bytes()).update(&occurrence.to_le_bytes());
        *occurrence += 1;
        lowest.push((short(&lot.finalize()), lines.line));
        if lowest.len() as u64 > n {
            lowest.pop();
        }
        progress.did(1, cx);
    }
    progress.say(cx);
    let mut drawn: Vec<u64> = lowest.into_iter().map(|(_, line)| line).collect();
    drawn.sort_unstable();
    Ok((drawn, lines.line))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::kit::Kit;

    fn sample(n: u64, seed: u64, input: &str) -> String {
        let mut kit = Kit::new("sample");
        kit.seed = Some(seed);
        kit.data(&format!("n = {n}"), input)
    }

    fn numbers(n: u64) -> Vec<String> {
        (0..n).map(|it| format!("{{\"id\":{it}}}\n")).collect()
    }

    #[test]
    fn a_smaller_sample_is_a_subset_of_a_larger_one_and_order_is_kept() {
        let input = numbers(500).concat();
        let (few, many) = (sample(50, 7, &input), sample(200, 7, &input));
        let place = |it: &str| input.find(it).unwrap();
        let many_lines: Vec<&str> = many.lines().collect();
        assert_eq!((few.lines().count(), many_lines.len()), (50, 200));
        assert!(few.lines().all(|it| many_lines.contains(&it)));
        assert!(many_lines.is_sorted_by_key(|it| place(&format!("{it}\n"))));
    }

    #[test]
    fn the_order_of_the_input_does_not_matter_to_what_is_drawn() {
        let mut lines = numbers(300);
        let before = sample(40, 7, &lines.concat());
        lines.reverse();
        let after = sample(40, 7, &lines.concat());
        let set = |it: &str| it.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(set(&before), set(&after));
        assert_ne!(before, after);
        assert_ne!(set(&before), set(&sample(40, 8, &lines.concat())));
    }

    #[test]
    fn equal_records_are_drawn_apart() {
        let kept = sample(50, 1, &"{}\n".repeat(100));
        assert_eq!(kept, "{}\n".repeat(50));
    }

    #[test]
    fn the_ledger_says_of_every_line_whether_it_was_drawn() {
        let mut kit = Kit::new("sample");
        kit.seed = Some(7);
        let outputs = kit.run("n = 1", &[b"{\"id\":1}\n{\"id\":2,\"source\":\"s\"}"]).unwrap();
        insta::assert_snapshot!(outputs.join("--\n"), @r#"
        {"id":2,"source":"s"}
        --
        {"id":"1","source":null,"keep":false,"first":"lot","fails":["lot"],"values":{}}
        {"id":"2","source":"s","keep":true,"first":null,"fails":[],"values":{}}
        "#);
    }

    #[test]
    fn fewer_records_than_asked_for_are_all_kept() {
        assert_eq!(sample(10, 1, "a\nb"), "a\nb\n");
        assert_eq!(sample(10, 1, ""), "");
        assert_eq!(sample(0, 1, "a\nb"), "");
    }

    #[test]
    fn without_a_seed_nothing_is_drawn() {
        let error = Kit::new("sample").error("n = 1", "a\n");
        assert_eq!(error, "the step was started without its seed `seed`");
    }
}
