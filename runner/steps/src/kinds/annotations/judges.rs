//! Models that judged, beside people: how often they say what most people say.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::heard::{Heard, Panel};
use super::shares::category;
use crate::statistics::{cohen, interval, rounded};

/// A record for each model and question.
pub(super) fn judges(heard: &Heard<'_>, metrics: &mut Map<String, Value>) -> Vec<Value> {
    let mut rows = Vec::new();
    for panel in &heard.panels {
        let Some(judge) = panel.judge else { continue };
        for question in &heard.seats.study.head.form.questions {
            let votes = panel.by_unit.iter().filter(|it| !it.is_empty()).count();
            let pairs = pairs(heard, panel, question);
            let n: u64 = pairs.values().sum();
            let same: u64 = pairs.iter().filter(|it| it.0.0 == it.0.1).map(|it| it.1).sum();
            let (low, high) = interval(same, n);
            let share = (n > 0).then(|| rounded(same as f64 / n as f64));
            let (low, high) = (rounded(low), rounded(high));
            let kappa = cohen(&pairs).map(rounded);
            let name = format!("{judge}_{}_as_most", question.id);
            if n > 0 {
                metrics.insert(format!("{name}_low"), low.into());
                metrics.insert(format!("{name}_high"), high.into());
                metrics.insert(name, share.into());
            }
            rows.push(panel.row(json!({
                "question": question.id, "votes": votes, "n": n, "same": same, "as_most": share,
                "low": low, "high": high, "kappa": kappa,
            })));
        }
    }
    rows
}

/// How often which answer of most people met which of the model.
fn pairs(
    heard: &Heard<'_>,
    panel: &Panel<'_>,
    question: &annotate::Question,
) -> BTreeMap<(usize, usize), u64> {
    let mut pairs = BTreeMap::new();
    let Some(main) = heard.main() else { return pairs };
    for unit in 0..panel.by_unit.len() {
        let most = Heard::most(&heard.answers(main, unit, &question.id));
        let said = heard.answers(panel, unit, &question.id).first().copied();
        let place = |it: Option<&str>| category(heard, unit, (question, it?));
        if let (Some(people), Some(model)) = (place(most), place(said)) {
            *pairs.entry((people, model)).or_default() += 1;
        }
    }
    pairs
}
