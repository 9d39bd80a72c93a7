//! All that was said in a study, put in order.

use std::collections::BTreeMap;

use annotate::{Role, Said, Seats, Unit};
use serde_json::{Value, json};

/// One vote or skip.
pub(super) struct Vote<'a> {
    pub(super) said: &'a Said,
    pub(super) unit: usize,
    pub(super) role: Role,
    /// With models' names in the place of sides.
    pub(super) answers: Option<BTreeMap<String, String>>,
}

/// All that was said.
pub(super) struct Heard<'a> {
    pub(super) seats: &'a Seats,
    /// By person, each in their order.
    pub(super) votes: Vec<Vote<'a>>,
    /// For each unit what raters said of it at first sight.
    pub(super) by_unit: Vec<Vec<usize>>,
}

impl<'a> Heard<'a> {
    pub(super) fn of(seats: &'a Seats) -> Self {
        let units = seats.study.units.iter().enumerate();
        let numbers: BTreeMap<&str, usize> = units.map(|(i, it)| (it.id.as_str(), i)).collect();
        let mut votes = Vec::new();
        let mut by_unit = vec![Vec::new(); seats.study.units.len()];
        for seat in seats.all() {
            for said in seat.said() {
                // Seats take nothing about a unit that is not there.
                let Some(unit) = numbers.get(said.unit.as_str()).copied() else { continue };
                let answers = seats.resolved(said);
                if seat.role == Role::Rater && said.round == 0 && answers.is_some() {
                    by_unit[unit].push(votes.len());
                }
                votes.push(Vote { said, unit, role: seat.role, answers });
            }
        }
        Self { seats, votes, by_unit }
    }

    pub(super) fn unit(&self, i: usize) -> &Unit {
        &self.seats.study.units[i]
    }

    pub(super) fn source(&self, unit: usize) -> &str {
        &self.seats.study.items[self.unit(unit).item].source
    }

    /// The sources there are; none where models are compared.
    pub(super) fn sources(&self) -> Vec<&str> {
        let items = self.seats.study.items.iter();
        let mut all: Vec<&str> = items.map(|it| it.source.as_str()).collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|it| !it.is_empty());
        all
    }

    /// The answers to a question by raters at first sight, as they count: for a unit.
    pub(super) fn answers(&self, unit: usize, question: &str) -> Vec<&str> {
        let of = |i: &usize| self.votes[*i].answers.as_ref()?.get(question);
        self.by_unit[unit].iter().filter_map(of).map(String::as_str).collect()
    }

    /// The answer of more than half of these; nothing where there is none.
    pub(super) fn most<'b>(answers: &[&'b str]) -> Option<&'b str> {
        let times = |it: &str| answers.iter().filter(|other| **other == it).count();
        answers.iter().copied().find(|it| times(it) * 2 > answers.len())
    }

    pub(super) fn ratings(&self) -> Vec<Value> {
        let one = |it: &Vote<'_>| {
            let unit = self.unit(it.unit);
            json!({
                "id": unit.id, "item": self.seats.study.items[unit.item].id,
                "source": self.source(it.unit), "models": unit.pair, "annotator": it.said.annotator,
                "adjudicator": it.role == Role::Adjudicator, "round": it.said.round,
                "left": it.said.left, "answers": it.answers, "note": it.said.note, "ms": it.said.ms,
            })
        };
        self.votes.iter().map(one).collect()
    }

    pub(super) fn items(&self) -> Vec<Value> {
        let settled: BTreeMap<usize, &Vote<'_>> = self
            .votes
            .iter()
            .filter(|it| it.role == Role::Adjudicator && it.answers.is_some())
            .map(|it| (it.unit, it))
            .collect();
        let one = |unit: usize| {
            let mut answers = BTreeMap::new();
            for it in &self.seats.study.head.form.questions {
                let said = settled.get(&unit).and_then(|vote| vote.answers.as_ref());
                let most = || Self::most(&self.answers(unit, &it.id)).map(str::to_owned);
                answers.insert(&it.id, said.and_then(|all| all.get(&it.id).cloned()).or_else(most));
            }
            let about = self.unit(unit);
            json!({
                "id": about.id, "item": self.seats.study.items[about.item].id,
                "source": self.source(unit), "models": about.pair, "votes": self.by_unit[unit].len(),
                "disputed": self.seats.is_disputed(unit), "settled": settled.contains_key(&unit),
                "answers": answers, "shown": self.seats.study.items[about.item].shown,
            })
        };
        (0..self.by_unit.len()).map(one).collect()
    }
}
