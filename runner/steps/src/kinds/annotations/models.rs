//! Which model wins how often, and their order.

use serde_json::{Map, Value, json};

use super::heard::Heard;
use crate::statistics::{Met, Ranking};

/// Wins by pair and over all, and the ranking.
pub(super) fn compared(
    heard: &Heard<'_>,
    question: &str,
    metrics: &mut Map<String, Value>,
) -> (Vec<Value>, Vec<Value>) {
    let study = &heard.seats.study;
    let mut models: Vec<&str> =
        study.items.iter().flat_map(|it| it.answers.keys()).map(String::as_str).collect();
    models.sort_unstable();
    models.dedup();
    if models.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let number = |name: &str| models.iter().position(|it| *it == name);
    let mut met = Vec::new();
    for (i, unit) in study.units.iter().enumerate() {
        let pair = unit.pair.as_ref().map(|[a, b]| (number(a), number(b)));
        let Some((Some(a), Some(b))) = pair else { continue };
        let said = heard.answers(i, question);
        met.extend(said.iter().map(|it| Met {
            prompt: unit.item,
            models: [a, b],
            // No study has a model that is called as a tie is.
            winner: number(it).filter(|it| [a, b].contains(it)),
        }));
    }
    let ranking = Ranking::of(models.len(), &met);
    let row = |one: usize, other: Option<usize>| {
        let it = ranking.wins(one, other);
        let (group, name) = match other {
            None => (None, models[one]),
            Some(other) => (Some(models[one]), models[other]),
        };
        json!({
            "group": group, "name": name, "n": it.wins + it.losses + it.ties, "wins": it.wins,
            "losses": it.losses, "ties": it.ties, "share": it.share, "low": it.low,
            "high": it.high, "adjusted": it.adjusted,
        })
    };
    let mut order: Vec<usize> = (0..models.len()).collect();
    let strength = |it: &usize| ranking.strengths[*it].strength;
    order.sort_by(|a, b| strength(b).total_cmp(&strength(a)));
    let mut wins: Vec<Value> = order.iter().map(|it| row(*it, None)).collect();
    for one in &order {
        let others = order.iter().filter(|it| *it != one);
        wins.extend(others.map(|other| row(*one, Some(*other))));
    }
    let mut ranked = Vec::new();
    for (place, one) in order.iter().enumerate() {
        let (name, it) = (models[*one], ranking.strengths[*one]);
        let n = wins[place]["n"].clone();
        for (key, value) in [("", it.strength), ("_low", it.low), ("_high", it.high)] {
            metrics.insert(format!("{name}_strength{key}"), value.into());
        }
        ranked.push(json!({
            "place": place + 1, "model": name, "votes": n, "strength": it.strength, "low": it.low,
            "high": it.high,
        }));
    }
    (wins, ranked)
}
