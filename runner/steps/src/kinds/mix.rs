//! `mix`: one file of records out of several, so many of each, evenly mixed.
//!
//! ```toml
//! [steps.both]
//! op   = "mix"
//! in   = { data = ["${steps.kun.data}", "${steps.coig.data}"] }
//! with = { counts = [52_000, 38_000] }
//! ```
//!
//! How many come from each input is said by one of: `counts`, a number for each input; `weights`
//! with `n`, shares of `n` records in all (the rest left by rounding goes to the largest
//! fractions); neither, and every record is taken. From an input with more records than are wanted
//! every so-manieth is taken, at even strides. One with fewer is an error, unless `repeat` is true:
//! then it is gone through again, whole passes first.
//!
//! `order` says how they stand: `even`, each input spread over the whole, or `in_turn`, one input
//! after the other. Nothing is drawn: the same inputs give the same mix. The lines are not changed.
//!
//! Memory: one record for each input. Every input is read once more to count it.

use std::path::PathBuf;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::page::page;
use crate::records::{Lines, Output, Progress, count_lines};
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Mix;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// How many records of each input.
    counts: Option<Vec<u64>>,
    /// The share of each input in `n`; they need not sum to one.
    weights: Option<Vec<f64>>,
    /// How many records in all, with `weights`.
    n: Option<u64>,
    /// Go through an input again where it has too few records.
    #[serde(default)]
    repeat: bool,
    /// How the inputs' records stand.
    #[serde(default)]
    order: Order,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    Even,
    InTurn,
}

impl Kind for Mix {
    const SPEC: KindSpec = KindSpec {
        name: "mix",
        version: 1,
        about: "mix records of several files, so many of each",
        page: page!("mix.rs"),
        inputs: &[Port { name: "data", arity: Arity::Many, about: "the files of records" }],
        outputs: &[Slot { name: "data", form: Form::Records, about: "the mix" }],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let paths = cx.inputs("data").to_vec();
        let mut sizes = Vec::new();
        for it in &paths {
            sizes.push(count_lines(it, cx)?);
        }
        let wanted = wanted(params, &sizes)?;
        let mut takes = Vec::new();
        for ((path, size), wanted) in paths.iter().zip(&sizes).zip(&wanted) {
            takes.push(Take::open(path.clone(), *size, *wanted)?);
        }
        let total: u64 = wanted.iter().sum();
        let mut output = Output::create(cx.output("data")?)?;
        let mut progress = Progress::new("records", Some(total));
        for _ in 0..total {
            cx.check_stop()?;
            let next = match params.order {
                Order::Even => even(&takes),
                Order::InTurn => takes.iter().position(|it| it.done < it.wanted),
            };
            let Some(next) = next else { break };
            takes[next].write(&mut output)?;
            progress.did(1, cx);
        }
        progress.say(cx);
        for (i, it) in wanted.iter().enumerate() {
            cx.count(&format!("input {}", i + 1), *it);
        }
        cx.count("records", total);
        output.finish()
    }
}

/// How many records of each input are taken.
fn wanted(params: &Params, sizes: &[u64]) -> Result<Vec<u64>, StepError> {
    let wrong = |reason: String| StepError::Params { kind: "mix", reason };
    let fits = |name: &str, n: usize| {
        let reason = format!("`{name}` has {n} numbers for {} inputs", sizes.len());
        if n == sizes.len() { Ok(()) } else { Err(wrong(reason)) }
    };
    let wanted = match (&params.counts, &params.weights, params.n) {
        (None, None, None) => sizes.to_vec(),
        (Some(counts), None, None) => {
            fits("counts", counts.len())?;
            counts.clone()
        }
        (None, Some(weights), Some(n)) => {
            fits("weights", weights.len())?;
            shares(weights, n).ok_or_else(|| {
                wrong("`weights` are not numbers from zero on, of which one is above".to_owned())
            })?
        }
        _ => return Err(wrong("give `counts`, or `weights` with `n`, or none of them".to_owned())),
    };
    for (i, (wanted, size)) in wanted.iter().zip(sizes).enumerate() {
        if wanted > size && (!params.repeat || *size == 0) {
            let i = i + 1;
            return Err(wrong(format!("{wanted} records are wanted of input {i}, it has {size}")));
        }
    }
    Ok(wanted)
}

/// Whole shares of `n`; what rounding leaves goes to the largest fractions, of equal ones the first.
fn shares(weights: &[f64], n: u64) -> Option<Vec<u64>> {
    let sum: f64 = weights.iter().sum();
    if !(sum > 0.0 && sum.is_finite()) || weights.iter().any(|it| *it < 0.0) {
        return None;
    }
    let exact: Vec<f64> = weights.iter().map(|it| it / sum * n as f64).collect();
    let mut all: Vec<u64> = exact.iter().map(|it| *it as u64).collect();
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| exact[*b].fract().total_cmp(&exact[*a].fract()).then(a.cmp(b)));
    let left = n.saturating_sub(all.iter().sum());
    order.iter().cycle().take(left.min(all.len() as u64) as usize).for_each(|i| all[*i] += 1);
    Some(all)
}

/// The input that is furthest behind its share of the whole.
fn even(takes: &[Take]) -> Option<usize> {
    let open = takes.iter().enumerate().filter(|(_, it)| it.done < it.wanted);
    // The next record of an input stands at (2 done + 1) / 2 wanted of the way.
    let place = |it: &Take| (u128::from(2 * it.done + 1), u128::from(it.wanted));
    let first = open.min_by(|(_, a), (_, b)| {
        let (a, b) = (place(a), place(b));
        (a.0 * b.1).cmp(&(b.0 * a.1))
    });
    first.map(|(i, _)| i)
}

/// What is taken of an input.
struct Take {
    path: PathBuf,
    lines: Lines,
    size: u64,
    wanted: u64,
    done: u64,
    line: Vec<u8>,
}

impl Take {
    fn open(path: PathBuf, size: u64, wanted: u64) -> Result<Self, StepError> {
        Ok(Self { lines: Lines::open(&path)?, path, size, wanted, done: 0, line: Vec::new() })
    }

    /// Writes the next record.
    fn write(&mut self, output: &mut Output) -> Result<(), StepError> {
        let size = self.size.max(1);
        let (pass, i) = (self.done / size, self.done % size);
        if i == 0 && pass > 0 {
            self.lines = Lines::open(&self.path)?;
        }
        // How many this pass takes; all but the last take everything.
        let n = (self.wanted - pass * size).min(size);
        let at = (u128::from(i) * u128::from(size) / u128::from(n)) as u64;
        self.lines.skip(at.saturating_sub(self.lines.line))?;
        self.lines.next(&mut self.line)?;
        self.done += 1;
        output.line(&self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Kit;

    fn mix(with: &str) -> String {
        let inputs: [&[u8]; 2] = [b"a\nb\nc\nd\ne\nf\n", b"1\n2"];
        match Kit::new("mix").run(with, &inputs) {
            Ok(it) => it[0].replace('\n', " "),
            Err(it) => it.to_string(),
        }
    }

    #[test]
    fn inputs_are_spread_over_the_whole_and_taken_at_even_strides() {
        let cases = [
            "",
            "order = 'in_turn'",
            "counts = [3, 1]",
            "counts = [0, 2]",
            "weights = [1, 1]\nn = 4",
            "weights = [2, 1]\nn = 9\nrepeat = true\norder = 'in_turn'",
            "counts = [1, 5]\nrepeat = true",
        ];
        insta::assert_snapshot!(cases.map(mix).join("\n"), @r#"
        a b 1 c d e 2 f 
        a b c d e f 1 2 
        a c 1 e 
        1 2 
        a 1 d 2 
        a b c d e f 1 2 1 
        1 2 a 1 2 1
        "#);
    }

    #[test]
    fn what_cannot_be_mixed_is_said() {
        let cases = [
            "counts = [7, 1]",
            "counts = [1]",
            "weights = [1, 1]",
            "weights = [0, 0]\nn = 1",
            "counts = [1, 1]\nn = 1",
        ];
        insta::assert_snapshot!(cases.map(mix).join("\n"), @r#"
        parameters of `mix`: 7 records are wanted of input 1, it has 6
        parameters of `mix`: `counts` has 1 numbers for 2 inputs
        parameters of `mix`: give `counts`, or `weights` with `n`, or none of them
        parameters of `mix`: `weights` are not numbers from zero on, of which one is above
        parameters of `mix`: give `counts`, or `weights` with `n`, or none of them
        "#);
    }

    #[test]
    fn shares_sum_to_the_whole() {
        for n in 0..100 {
            let all = shares(&[0.1, 0.2, 0.3, 0.15, 0.25], n).unwrap();
            assert_eq!(all.iter().sum::<u64>(), n);
        }
        assert_eq!(shares(&[f64::NAN], 1), None);
        assert_eq!(shares(&[2.0, -1.0], 1), None);
    }
}
