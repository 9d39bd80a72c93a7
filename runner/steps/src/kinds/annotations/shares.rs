//! Shares of answers, and how far people agree.

use annotate::{Question, SIDES};
use serde_json::{Map, Value, json};

use super::heard::Heard;
use crate::statistics::{agreement, interval, rounded};

/// All of it, then each source.
fn groups<'a>(heard: &'a Heard<'_>) -> Vec<Option<&'a str>> {
    std::iter::once(None).chain(heard.sources().into_iter().map(Some)).collect()
}

fn units(heard: &Heard<'_>, group: Option<&str>) -> Vec<usize> {
    let of = |it: &usize| group.is_none_or(|group| heard.source(*it) == group);
    (0..heard.by_unit.len()).filter(of).collect()
}

/// The share of each answer of all ratings: pooled, not by what most said of an item. Empty where sides
/// are compared: there a side means nothing.
pub(super) fn table(heard: &Heard<'_>, metrics: &mut Map<String, Value>) -> Vec<Value> {
    let form = &heard.seats.study.head.form;
    let mut rows = Vec::new();
    if form.compares() {
        return rows;
    }
    for group in groups(heard) {
        let units = units(heard, group);
        for question in &form.questions {
            let said: Vec<&str> =
                units.iter().flat_map(|it| heard.answers(*it, &question.id)).collect();
            for choice in &question.choices {
                let (n, right) = (said.len(), said.iter().filter(|it| **it == choice.id).count());
                let (low, high) = interval(right as u64, n as u64);
                let name = format!("{} {}", question.id, choice.id);
                let share = rounded(right as f64 / n.max(1) as f64);
                let (low, high) = (rounded(low), rounded(high));
                if group.is_none() {
                    let key = format!("{}_{}", question.id, choice.id);
                    metrics.insert(format!("{key}_low"), low.into());
                    metrics.insert(format!("{key}_high"), high.into());
                    metrics.insert(key, share.into());
                }
                rows.push(json!({
                    "group": group, "name": name, "question": question.id, "choice": choice.id,
                    "n": n, "right": right, "share": share, "low": low, "high": high,
                }));
            }
        }
    }
    rows
}

/// How far people agree about each question.
pub(super) fn agreements(heard: &Heard<'_>, metrics: &mut Map<String, Value>) -> Vec<Value> {
    let mut rows = Vec::new();
    for group in groups(heard) {
        let units = units(heard, group);
        for question in &heard.seats.study.head.form.questions {
            let items: Vec<Vec<u64>> =
                units.iter().map(|it| counts(heard, *it, question)).collect();
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
            rows.push(json!({
                "group": group, "name": question.id, "n": it.n, "share": share(it.all_same),
                "low": rounded(low), "high": rounded(high), "all_same": share(it.all_same),
                "some_same": share(it.some_same), "all_different": share(it.all_different),
                "kappa": it.fleiss, "alpha": it.alpha, "alpha_low": it.interval.map(|it| it.0),
                "alpha_high": it.interval.map(|it| it.1),
            }));
        }
    }
    rows
}

/// How many chose each category. Where models are compared, the first of the pair is the left one,
/// whatever side it stood on: agreement is about models.
fn counts(heard: &Heard<'_>, unit: usize, question: &Question) -> Vec<u64> {
    let ids: Vec<&str> = question.choices.iter().map(|it| it.id.as_str()).collect();
    let pair = heard.unit(unit).pair.as_ref();
    let mut counts = vec![0; ids.len()];
    for said in heard.answers(unit, &question.id) {
        let side = pair.and_then(|it| it.iter().position(|it| it == said)).map(|it| SIDES[it]);
        let id = side.unwrap_or(said);
        if let Some(at) = ids.iter().position(|it| *it == id) {
            counts[at] += 1;
        }
    }
    counts
}
