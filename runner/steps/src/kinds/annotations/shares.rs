//! Shares of answers, and how far those who were asked agree.

use annotate::{Question, SIDES};
use serde_json::{Map, Value, json};

use super::heard::{Heard, Panel};
use crate::statistics::{agreement, interval, rounded};

/// All of it, then each group, with its units.
fn groups(heard: &Heard<'_>) -> Vec<(Option<String>, Vec<usize>)> {
    let all = 0..heard.seats.study.units.len();
    let mut groups = vec![(None, all.clone().collect())];
    for name in heard.groups() {
        let units = all.clone().filter(|it| heard.group(*it) == name).collect();
        groups.push((Some(name), units));
    }
    groups
}

/// The share of each answer of all ratings: pooled, not by what most said of an item. Empty where sides
/// are compared: there a side means nothing.
pub(super) fn table(heard: &Heard<'_>, metrics: &mut Map<String, Value>) -> Vec<Value> {
    let form = &heard.seats.study.head.form;
    let mut rows = Vec::new();
    if form.compares() {
        return rows;
    }
    for panel in &heard.panels {
        for (group, units) in groups(heard) {
            for question in &form.questions {
                let answers = |it: &usize| heard.answers(panel, *it, &question.id);
                let said: Vec<&str> = units.iter().flat_map(answers).collect();
                for choice in &question.choices {
                    let it = Answered::of(&said, &choice.id);
                    if group.is_none() && panel.is_main() {
                        it.measure(&format!("{}_{}", question.id, choice.id), metrics);
                    }
                    rows.push(panel.row(json!({
                        "group": group, "name": format!("{} {}", question.id, choice.id),
                        "question": question.id, "choice": choice.id, "n": it.n,
                        "right": it.right, "share": it.share, "low": it.low, "high": it.high,
                    })));
                }
            }
        }
    }
    rows
}

/// How often one answer was given.
struct Answered {
    n: u64,
    right: u64,
    share: f64,
    low: f64,
    high: f64,
}

impl Answered {
    fn of(said: &[&str], choice: &str) -> Self {
        let (n, right) =
            (said.len() as u64, said.iter().filter(|it| **it == choice).count() as u64);
        let (low, high) = interval(right, n);
        let share = rounded(right as f64 / n.max(1) as f64);
        Self { n, right, share, low: rounded(low), high: rounded(high) }
    }

    fn measure(&self, name: &str, metrics: &mut Map<String, Value>) {
        metrics.insert(format!("{name}_low"), self.low.into());
        metrics.insert(format!("{name}_high"), self.high.into());
        metrics.insert(name.to_owned(), self.share.into());
    }
}

/// How far people agree about each question. A model alone has nobody to agree with.
pub(super) fn agreements(heard: &Heard<'_>, metrics: &mut Map<String, Value>) -> Vec<Value> {
    let mut rows = Vec::new();
    let Some(panel) = heard.main() else { return rows };
    for (group, units) in groups(heard) {
        for question in &heard.seats.study.head.form.questions {
            let items: Vec<Vec<u64>> =
                units.iter().map(|it| counts(heard, (panel, *it), question)).collect();
            let it = agreement(&items);
            let (low, high) = interval(it.all_same, it.n);
            let share = |part: u64| rounded(part as f64 / it.n.max(1) as f64);
            if group.is_none() {
                let mut put = |name: &str, value: Option<f64>| {
                    metrics.insert(format!("{}_{name}", question.id), value.into());
                };
                put("all_same", Some(share(it.all_same)));
                put("kappa", it.fleiss);
                put("alpha", it.alpha);
                put("alpha_low", it.interval.map(|it| it.0));
                put("alpha_high", it.interval.map(|it| it.1));
            }
            rows.push(panel.row(json!({
                "group": group, "name": question.id, "n": it.n, "share": share(it.all_same),
                "low": rounded(low), "high": rounded(high), "all_same": share(it.all_same),
                "some_same": share(it.some_same), "all_different": share(it.all_different),
                "kappa": it.fleiss, "alpha": it.alpha, "alpha_low": it.interval.map(|it| it.0),
                "alpha_high": it.interval.map(|it| it.1),
            })));
        }
    }
    rows
}

/// How many chose each category. Where models are compared, the first of the pair is the left one,
/// whatever side it stood on: agreement is about models.
pub(super) fn counts(
    heard: &Heard<'_>,
    (panel, unit): (&Panel<'_>, usize),
    question: &Question,
) -> Vec<u64> {
    let mut counts = vec![0; question.choices.len()];
    for said in heard.answers(panel, unit, &question.id) {
        if let Some(at) = category(heard, unit, (question, said)) {
            counts[at] += 1;
        }
    }
    counts
}

/// The place of an answer among those that there are.
pub(super) fn category(
    heard: &Heard<'_>,
    unit: usize,
    (question, said): (&Question, &str),
) -> Option<usize> {
    let pair = heard.unit(unit).pair.as_ref();
    let side = pair.and_then(|it| it.iter().position(|it| it == said)).map(|it| SIDES[it]);
    let id = side.unwrap_or(said);
    question.choices.iter().position(|it| it.id == id)
}
