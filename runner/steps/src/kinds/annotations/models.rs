//! Which model wins how often, and their order.

use serde_json::{Map, Value, json};

use super::heard::{Heard, Panel};
use crate::statistics::{Met, Ranking};

/// Wins by pair and over all, and the ranking: of people, and of each model that judged.
pub(super) fn compared(
    heard: &Heard<'_>,
    question: &str,
    metrics: &mut Map<String, Value>,
) -> (Vec<Value>, Vec<Value>) {
    let items = heard.seats.study.items.iter();
    let mut models: Vec<&str> =
        items.flat_map(|it| it.answers.keys()).map(String::as_str).collect();
    models.sort_unstable();
    models.dedup();
    let (mut wins, mut ranked) = (Vec::new(), Vec::new());
    if models.is_empty() {
        return (wins, ranked);
    }
    for panel in &heard.panels {
        let compared = Compared::of(heard, panel, (&models, question));
        wins.extend(compared.wins().into_iter().map(|it| panel.row(it)));
        ranked.extend(compared.ranked().into_iter().map(|it| panel.row(it)));
        if panel.is_main() {
            compared.measure(metrics);
        }
    }
    (wins, ranked)
}

/// What one panel made of the models.
struct Compared<'a> {
    models: &'a [&'a str],
    ranking: Ranking,
    /// The models' numbers, the best first.
    order: Vec<usize>,
}

impl<'a> Compared<'a> {
    fn of(heard: &Heard<'_>, panel: &Panel<'_>, (models, question): (&'a [&'a str], &str)) -> Self {
        let number = |name: &str| models.iter().position(|it| *it == name);
        let mut met = Vec::new();
        for (i, unit) in heard.seats.study.units.iter().enumerate() {
            let pair = unit.pair.as_ref().map(|[a, b]| (number(a), number(b)));
            let Some((Some(a), Some(b))) = pair else { continue };
            met.extend(heard.answers(panel, i, question).iter().map(|it| Met {
                prompt: unit.item,
                models: [a, b],
                // No study has a model that is called as a tie is.
                winner: number(it).filter(|it| [a, b].contains(it)),
            }));
        }
        let ranking = Ranking::of(models.len(), &met);
        let mut order: Vec<usize> = (0..models.len()).collect();
        let strength = |it: &usize| ranking.strengths[*it].strength;
        order.sort_by(|a, b| strength(b).total_cmp(&strength(a)));
        Self { models, ranking, order }
    }

    fn row(&self, one: usize, other: Option<usize>) -> Value {
        let it = self.ranking.wins(one, other);
        let (group, name) = match other {
            None => (None, self.models[one]),
            Some(other) => (Some(self.models[one]), self.models[other]),
        };
        json!({
            "group": group, "name": name, "n": it.wins + it.losses + it.ties, "wins": it.wins,
            "losses": it.losses, "ties": it.ties, "share": it.share, "low": it.low,
            "high": it.high, "adjusted": it.adjusted,
        })
    }

    /// Each against all, then each against each.
    fn wins(&self) -> Vec<Value> {
        let mut wins: Vec<Value> = self.order.iter().map(|it| self.row(*it, None)).collect();
        for one in &self.order {
            let others = self.order.iter().filter(|it| *it != one);
            wins.extend(others.map(|other| self.row(*one, Some(*other))));
        }
        wins
    }

    fn ranked(&self) -> Vec<Value> {
        let one = |(place, one): (usize, &usize)| {
            let (name, it) = (self.models[*one], self.ranking.strengths[*one]);
            let all = self.ranking.wins(*one, None);
            json!({
                "place": place + 1, "model": name, "votes": all.wins + all.losses + all.ties,
                "strength": it.strength, "low": it.low, "high": it.high,
            })
        };
        self.order.iter().enumerate().map(one).collect()
    }

    fn measure(&self, metrics: &mut Map<String, Value>) {
        for one in &self.order {
            let (name, it) = (self.models[*one], self.ranking.strengths[*one]);
            for (key, value) in [("", it.strength), ("_low", it.low), ("_high", it.high)] {
                metrics.insert(format!("{name}_strength{key}"), value.into());
            }
        }
    }
}
