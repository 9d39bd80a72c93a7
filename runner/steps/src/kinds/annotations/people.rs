//! Each annotator: how much, how fast, and where they lean.

use std::collections::BTreeMap;

use annotate::{By, Role};
use serde_json::{Value, json};

use super::heard::{Heard, Vote};
use crate::statistics::{interval, rounded};

/// How often something was so, of how often it could have been.
#[derive(Default)]
struct Part(u64, u64);

impl Part {
    fn saw(&mut self, so: bool) {
        self.0 += u64::from(so);
        self.1 += 1;
    }

    fn share(&self) -> Option<f64> {
        (self.1 > 0).then(|| rounded(self.0 as f64 / self.1 as f64))
    }

    /// The interval of the share with 95 % confidence.
    fn ends(&self) -> Option<(f64, f64)> {
        let (low, high) = interval(self.0, self.1);
        (self.1 > 0).then(|| (rounded(low), rounded(high)))
    }
}

/// A record for each who has a seat, and then for each who voted without one.
pub(super) fn annotators(heard: &Heard<'_>) -> Vec<Value> {
    let seats = heard.seats.all();
    let mut names: Vec<&str> = seats.iter().map(|it| it.name.as_str()).collect();
    let mut mine: BTreeMap<&str, Vec<&Vote<'_>>> = BTreeMap::new();
    for it in &heard.votes {
        mine.entry(&it.said.annotator).or_default().push(it);
    }
    names.extend(mine.keys().filter(|it| heard.seats.seat(it).is_none()));
    names.iter().map(|it| one(heard, it, mine.get(it).map_or(&[][..], Vec::as_slice))).collect()
}

fn one(heard: &Heard<'_>, name: &str, mine: &[&Vote<'_>]) -> Value {
    let seat = heard.seats.seat(name);
    let answered: Vec<&&Vote<'_>> = mine.iter().filter(|it| it.answers.is_some()).collect();
    // Of votes from elsewhere nobody may know how long they took.
    let timed = answered.iter().map(|it| it.said.ms).filter(|it| *it > 0 || seat.is_some());
    let mut ms: Vec<u64> = timed.collect();
    ms.sort_unstable();
    let (mut left, mut longer, mut tie) = (Part::default(), Part::default(), Part::default());
    let (mut with_most, mut again) = (Part::default(), Part::default());
    for vote in &answered {
        sides(heard, vote, (&mut left, &mut longer, &mut tie));
        if vote.said.round == 0 {
            as_others(heard, vote, &mut with_most);
        } else {
            let same = |it: &&&Vote<'_>| it.unit == vote.unit && it.said.round == 0;
            if let Some(first) = mine.iter().find(same).filter(|it| it.answers.is_some()) {
                again.saw(first.answers == vote.answers);
            }
        }
    }
    let (left_ends, longer_ends) = (left.ends(), longer.ends());
    json!({
        "annotator": name, "by": mine.first().map_or(By::Person, |it| it.by),
        "adjudicator": seat.is_some_and(|it| it.role == Role::Adjudicator),
        "asked": seat.map(|it| heard.seats.n_asked(it)), "votes": answered.len(),
        "skips": mine.len() - answered.len(), "median_ms": ms.get(ms.len() / 2),
        "as_most_others": with_most.share(), "as_before": again.share(), "repeats": again.1,
        "left": left.share(), "left_low": left_ends.map(|it| it.0),
        "left_high": left_ends.map(|it| it.1), "longer": longer.share(),
        "longer_low": longer_ends.map(|it| it.0), "longer_high": longer_ends.map(|it| it.1),
        "ties": tie.share(), "decided": tie.1 - tie.0,
    })
}

/// Whether the left, and whether the longer answer was chosen.
fn sides(
    heard: &Heard<'_>,
    vote: &Vote<'_>,
    (left, longer, tie): (&mut Part, &mut Part, &mut Part),
) {
    let unit = heard.unit(vote.unit);
    let (Some([a, b]), Some(answers)) = (&unit.pair, &vote.answers) else { return };
    let texts = &heard.seats.study.items[unit.item].answers;
    let length = |model: &String| texts.get(model).map_or(0, |it| it.chars().count());
    for chosen in answers.values() {
        let decided = chosen == a || chosen == b;
        tie.saw(!decided);
        if decided {
            // Who saw both orders, as a model does, saw no left one.
            if let Some(stood) = &vote.said.left {
                left.saw(chosen == stood);
            }
            let other = if chosen == a { b } else { a };
            if length(chosen) != length(other) {
                longer.saw(length(chosen) > length(other));
            }
        }
    }
}

/// Whether it is what most of the others said, where most of at least two said the same.
fn as_others(heard: &Heard<'_>, vote: &Vote<'_>, part: &mut Part) {
    let Some(main) = heard.main() else { return };
    for (question, mine) in vote.answers.iter().flatten() {
        let others: Vec<&str> = main.by_unit[vote.unit]
            .iter()
            .map(|it| &heard.votes[*it])
            .filter(|it| it.said.annotator != vote.said.annotator)
            .filter_map(|it| it.answers.as_ref()?.get(question))
            .map(String::as_str)
            .collect();
        if let Some(most) = Heard::most(&others).filter(|_| others.len() >= 2) {
            part.saw(most == mine);
        }
    }
}
