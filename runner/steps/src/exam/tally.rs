//! Counts right answers: by subject, by group, over all.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Subject;
use crate::statistics::{interval, rounded};

/// Right answers of some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) n: u64,
    pub(crate) right: u64,
    /// Answers of which no letter could be read.
    pub(crate) unclear: u64,
    /// Questions that stand in the training data, where that was looked at.
    pub(crate) seen: u64,
    /// Those of them that were answered rightly.
    pub(crate) seen_right: u64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.n += other.n;
        self.right += other.right;
        self.unclear += other.unclear;
        self.seen += other.seen;
        self.seen_right += other.seen_right;
    }

    pub(crate) fn accuracy(self) -> f64 {
        self.right as f64 / self.n.max(1) as f64
    }
}

/// What each subject came to.
pub(crate) struct Tally {
    all: Vec<(Subject, Count)>,
    /// Whether it was looked at which questions were trained on.
    looked: bool,
}

impl Tally {
    pub(crate) fn new(looked: bool) -> Self {
        Self { all: Vec::new(), looked }
    }

    pub(crate) fn subject(&mut self, subject: &Subject, count: Count) {
        self.all.push((subject.clone(), count));
    }

    /// A record for each subject.
    pub(crate) fn records(&self) -> Vec<Value> {
        let record = |(subject, it): &(Subject, Count)| {
            let (low, high) = interval(it.right, it.n);
            let mut record = json!({
                "subject": subject.key, "name": subject.zh, "groups": subject.categories,
                "n": it.n, "right": it.right, "unclear": it.unclear,
                "accuracy": rounded(it.accuracy()), "low": rounded(low), "high": rounded(high),
            });
            if self.looked {
                record["seen"] = it.seen.into();
            }
            record
        };
        self.all.iter().map(record).collect()
    }

    /// Over all: `accuracy` is the mean over subjects, as OpenCompass has it, `accuracy_of_questions`
    /// the share of all questions, with its interval; and both for each group.
    pub(crate) fn metrics(&self) -> Map<String, Value> {
        let mut groups: BTreeMap<&str, Vec<Count>> = BTreeMap::new();
        for (subject, count) in &self.all {
            for group in &subject.categories {
                groups.entry(group).or_default().push(*count);
            }
        }
        let all: Vec<Count> = self.all.iter().map(|it| it.1).collect();
        let mut metrics = Map::new();
        let mut put = |name: &str, counts: &[Count]| {
            let mut sum = Count::default();
            counts.iter().for_each(|it| sum.add(*it));
            let mean = counts.iter().map(|it| it.accuracy()).sum::<f64>() / counts.len() as f64;
            let (low, high) = interval(sum.right, sum.n);
            for (what, value) in [
                ("accuracy", rounded(mean)),
                ("accuracy_of_questions", rounded(sum.accuracy())),
                ("accuracy_of_questions_low", rounded(low)),
                ("accuracy_of_questions_high", rounded(high)),
            ] {
                metrics.insert(format!("{name}{what}"), value.into());
            }
            metrics.insert(format!("{name}questions"), sum.n.into());
            metrics.insert(format!("{name}unclear"), sum.unclear.into());
        };
        put("", &all);
        for (group, counts) in &groups {
            put(&format!("{group}_"), counts);
        }
        if self.looked {
            self.unseen(&mut metrics);
        }
        metrics
    }

    /// How many questions were trained on, and how the others were answered.
    fn unseen(&self, metrics: &mut Map<String, Value>) {
        let mut sum = Count::default();
        self.all.iter().for_each(|it| sum.add(it.1));
        let (n, right) = (sum.n - sum.seen, sum.right - sum.seen_right);
        metrics.insert("seen".to_owned(), sum.seen.into());
        if n > 0 {
            let (low, high) = interval(right, n);
            for (what, value) in [("", right as f64 / n as f64), ("_low", low), ("_high", high)] {
                let name = format!("accuracy_of_unseen_questions{what}");
                metrics.insert(name, rounded(value).into());
            }
        }
    }
}
