//! All that was said in a study, put in order: by panel, so that models never count among people.

use std::collections::BTreeMap;

use annotate::{By, Outside, Role, Said, Seats, Unit};
use serde_json::{Map, Value, json};

/// One vote or skip.
pub(super) struct Vote<'a> {
    pub(super) said: &'a Said,
    pub(super) unit: usize,
    pub(super) role: Role,
    pub(super) by: By,
    /// With models' names in the place of sides.
    pub(super) answers: Option<BTreeMap<String, String>>,
}

/// Those whose votes count together: people, programs that stand for people, or one model.
pub(super) struct Panel<'a> {
    pub(super) by: By,
    /// The model's name as an annotator.
    pub(super) judge: Option<&'a str>,
    /// For each unit what they said of it at first sight.
    pub(super) by_unit: Vec<Vec<usize>>,
}

impl Panel<'_> {
    /// A record, with whose numbers they are.
    pub(super) fn row(&self, record: Value) -> Value {
        let mut row = Map::new();
        row.insert("by".to_owned(), json!(self.by));
        row.insert("judge".to_owned(), self.judge.into());
        row.extend(record.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        Value::Object(row)
    }

    /// Whether its numbers are those of the study, and not a model's.
    pub(super) fn is_main(&self) -> bool {
        self.judge.is_none()
    }
}

/// All that was said.
pub(super) struct Heard<'a> {
    pub(super) seats: &'a Seats,
    /// By annotator, each in their order.
    pub(super) votes: Vec<Vote<'a>>,
    /// People, or those who stand for them, where any were asked; then each model.
    pub(super) panels: Vec<Panel<'a>>,
}

impl<'a> Heard<'a> {
    /// Or why people and programs that stand for them cannot be told apart.
    pub(super) fn of(seats: &'a Seats, outside: &'a [Outside]) -> Result<Self, String> {
        let units = seats.study.units.iter().enumerate();
        let numbers: BTreeMap<&str, usize> = units.map(|(i, it)| (it.id.as_str(), i)).collect();
        let own =
            seats.all().iter().flat_map(|seat| seat.said().map(|it| (seat.role, By::Person, it)));
        let outside = seats.outside().iter().chain(outside);
        let outside = outside.map(|it| (Role::Rater, it.by, &it.said));
        let mut votes = Vec::new();
        for (role, by, said) in own.chain(outside) {
            // Seats take nothing about a unit that is not there.
            let Some(unit) = numbers.get(said.unit.as_str()).copied() else { continue };
            votes.push(Vote { said, unit, role, by, answers: seats.resolved(said) });
        }
        let any = |by: By| votes.iter().any(|it: &Vote<'_>| it.by == by);
        if any(By::Person) && any(By::Simulated) {
            return Err("votes of people and simulated ones cannot be counted together".to_owned());
        }
        let panels = panels(&votes, seats.study.units.len());
        Ok(Self { seats, votes, panels })
    }

    /// Those whose numbers are the study's.
    pub(super) fn main(&self) -> Option<&Panel<'a>> {
        self.panels.iter().find(|it| it.is_main())
    }

    pub(super) fn unit(&self, i: usize) -> &Unit {
        &self.seats.study.units[i]
    }

    pub(super) fn source(&self, unit: usize) -> &str {
        &self.seats.study.items[self.unit(unit).item].source
    }

    /// What a unit belongs to: its source, or the two models that are compared.
    pub(super) fn group(&self, unit: usize) -> String {
        match &self.unit(unit).pair {
            Some([a, b]) => format!("{a} / {b}"),
            None => self.source(unit).to_owned(),
        }
    }

    /// All groups that there are.
    pub(super) fn groups(&self) -> Vec<String> {
        let mut all: Vec<String> =
            (0..self.seats.study.units.len()).map(|it| self.group(it)).collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|it| !it.is_empty());
        all
    }

    /// The answers of a panel to a question at first sight, as they count: for a unit.
    pub(super) fn answers(&self, panel: &Panel<'_>, unit: usize, question: &str) -> Vec<&str> {
        let of = |i: &usize| self.votes[*i].answers.as_ref()?.get(question);
        panel.by_unit[unit].iter().filter_map(of).map(String::as_str).collect()
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
                "by": it.by, "adjudicator": it.role == Role::Adjudicator, "round": it.said.round,
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
        let main = self.main();
        let one = |unit: usize| {
            let mut answers = BTreeMap::new();
            for it in &self.seats.study.head.form.questions {
                let said = settled.get(&unit).and_then(|vote| vote.answers.as_ref());
                let all = main.map(|main| self.answers(main, unit, &it.id)).unwrap_or_default();
                let most = || Self::most(&all).map(str::to_owned);
                answers.insert(&it.id, said.and_then(|all| all.get(&it.id).cloned()).or_else(most));
            }
            let about = self.unit(unit);
            json!({
                "id": about.id, "item": self.seats.study.items[about.item].id,
                "source": self.source(unit), "models": about.pair,
                "votes": main.map_or(0, |it| it.by_unit[unit].len()),
                "disputed": self.seats.is_disputed(unit), "settled": settled.contains_key(&unit),
                "answers": answers, "judged": self.judged(unit),
                "shown": self.seats.study.items[about.item].shown,
            })
        };
        (0..self.seats.study.units.len()).map(one).collect()
    }

    /// What each model said of a unit.
    fn judged(&self, unit: usize) -> Map<String, Value> {
        let judges = self.panels.iter().filter_map(|it| Some((it, it.judge?)));
        let said = judges.filter_map(|(panel, name)| {
            let vote = panel.by_unit[unit].first()?;
            Some((name.to_owned(), json!(self.votes[*vote].answers)))
        });
        said.collect()
    }
}

fn panels<'a>(votes: &[Vote<'a>], n_units: usize) -> Vec<Panel<'a>> {
    let mut judges: Vec<&str> = Vec::new();
    for it in votes.iter().filter(|it| it.by == By::Model) {
        if !judges.contains(&it.said.annotator.as_str()) {
            judges.push(&it.said.annotator);
        }
    }
    judges.sort_unstable();
    let panel = |judge: Option<&'a str>| {
        let mut by_unit = vec![Vec::new(); n_units];
        let mut by = if judge.is_some() { By::Model } else { By::Person };
        for (i, it) in votes.iter().enumerate() {
            let mine = match judge {
                Some(name) => it.by == By::Model && it.said.annotator == name,
                None => it.by != By::Model,
            };
            if mine && it.role == Role::Rater && it.said.round == 0 && it.answers.is_some() {
                by_unit[it.unit].push(i);
                by = it.by;
            }
        }
        Panel { by, judge, by_unit }
    };
    // Where nobody was asked, and a model was, nothing is said of nobody.
    let alone = !judges.is_empty() && votes.iter().all(|it| it.by == By::Model);
    let main = (!alone).then(|| panel(None));
    main.into_iter().chain(judges.iter().map(|it| panel(Some(it)))).collect()
}
