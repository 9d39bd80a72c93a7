//! What differs between two results: parts of their keys, outputs, counts.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::table::{Side, Table};

/// Named values, such as the parts of a key.
pub type Facts = BTreeMap<String, String>;

/// What is compared of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The parts of the key.
    pub parts: Facts,
    /// Slot to digest.
    pub outputs: Facts,
    /// What the step counted.
    pub counts: BTreeMap<String, u64>,
}

/// One thing that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The step.
    pub step: String,
    /// Where: a part, an output, a count, or the step as a whole.
    pub of: Of,
    /// Which; empty for the step as a whole.
    pub name: String,
    /// Before; nothing: it was not there.
    pub was: Option<String>,
    /// After; nothing: it is not there.
    pub is: Option<String>,
}

/// What kind of thing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// The step came or went.
    Step,
    /// A part of its key.
    Part,
    /// An output.
    Output,
    /// A count.
    Count,
}

impl Of {
    fn word(self) -> &'static str {
        match self {
            Of::Step => "step",
            Of::Part => "part",
            Of::Output => "output",
            Of::Count => "count",
        }
    }
}

/// All that differs, by step and then part, output, count.
pub fn diff(was: &BTreeMap<String, Outcome>, is: &BTreeMap<String, Outcome>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (step, old, new) in pairs(was, is) {
        let change = |of, name: &str, was, is| Change {
            step: step.to_owned(),
            of,
            name: name.to_owned(),
            was,
            is,
        };
        let (Some(old), Some(new)) = (old, new) else {
            let there = |it: Option<&Outcome>| it.map(|_| "there".to_owned());
            changes.push(change(Of::Step, "", there(old), there(new)));
            continue;
        };
        let differs = |(_, was, is): &(&str, Option<&String>, Option<&String>)| was != is;
        for (of, old, new) in
            [(Of::Part, &old.parts, &new.parts), (Of::Output, &old.outputs, &new.outputs)]
        {
            let all = pairs(old, new).into_iter().filter(differs);
            changes.extend(all.map(|(name, was, is)| change(of, name, was.cloned(), is.cloned())));
        }
        let counts = pairs(&old.counts, &new.counts).into_iter().filter(|it| it.1 != it.2);
        let text = |it: Option<&u64>| it.map(u64::to_string);
        changes.extend(counts.map(|(name, was, is)| change(Of::Count, name, text(was), text(is))));
    }
    changes
}

/// Every name of either side, sorted, with what each side has under it.
fn pairs<'a, T>(
    was: &'a BTreeMap<String, T>,
    is: &'a BTreeMap<String, T>,
) -> Vec<(&'a str, Option<&'a T>, Option<&'a T>)> {
    let names: std::collections::BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    names.into_iter().map(|it| (it.as_str(), was.get(it), is.get(it))).collect()
}

/// The changes as a table; nothing where nothing changed.
pub fn text(changes: &[Change]) -> String {
    if changes.is_empty() {
        return String::new();
    }
    let columns = ["step", "what", "was", "is"].map(|it| (Side::Left, it));
    let mut table = Table::new(&columns);
    for it in changes {
        let what = format!("{} {}", it.of.word(), it.name);
        let value = |value: &Option<String>| match (value, it.of) {
            (None, _) => "–".to_owned(),
            // Enough of a digest to see that it is another one.
            (Some(it), Of::Output) => it.chars().take(13).collect(),
            (Some(it), _) => it.clone(),
        };
        table.row([it.step.clone(), what.trim_end().to_owned(), value(&it.was), value(&it.is)]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(all: &[(&str, &str)]) -> Facts {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn outcome(top_k: &str, data: &str, kept: u64) -> Outcome {
        Outcome {
            parts: facts(&[("kind", "select 1"), ("with.top_k", top_k)]),
            outputs: facts(&[("data", data)]),
            counts: BTreeMap::from([("kept".to_owned(), kept)]),
        }
    }

    #[test]
    fn says_all_that_differs_and_nothing_else() {
        let was = BTreeMap::from([
            ("select".to_owned(), outcome("9000", "b3:0123456789abcdef", 9000)),
            ("same".to_owned(), outcome("1", "b3:1", 1)),
            ("gone".to_owned(), Outcome::default()),
        ]);
        let mut is = was.clone();
        is.remove("gone");
        let mut new = outcome("52000", "b3:fedcba9876543210", 52000);
        new.parts.insert("seed".to_owned(), "7".to_owned());
        is.insert("select".to_owned(), new);
        insta::assert_snapshot!(text(&diff(&was, &is)), @"
        step    what             was            is
        gone    step             there          –
        select  part seed        –              7
        select  part with.top_k  9000           52000
        select  output data      b3:0123456789  b3:fedcba9876
        select  count kept       9000           52000
        ");
        assert!(text(&diff(&is, &is)).is_empty());
    }
}
