//! Each person: how much, how fast, and where they lean.

use annotate::{Role, Seat};
use serde_json::{Value, json};

use super::heard::{Heard, Vote};
use crate::statistics::rounded;

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
}

/// A record for each person.
pub(super) fn annotators(heard: &Heard<'_>) -> Vec<Value> {
    heard.seats.all().iter().map(|it| one(heard, it)).collect()
}

fn one(heard: &Heard<'_>, seat: &Seat) -> Value {
    let mine: Vec<&Vote<'_>> =
        heard.votes.iter().filter(|it| it.said.annotator == seat.name).collect();
    let answered: Vec<&&Vote<'_>> = mine.iter().filter(|it| it.answers.is_some()).collect();
    let mut ms: Vec<u64> = answered.iter().map(|it| it.said.ms).collect();
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
    json!({
        "annotator": seat.name, "adjudicator": seat.role == Role::Adjudicator,
        "asked": heard.seats.n_asked(seat), "votes": answered.len(),
        "skips": mine.len() - answered.len(), "median_ms": ms.get(ms.len() / 2),
        "as_most_others": with_most.share(), "as_before": again.share(), "repeats": again.1,
        "left": left.share(), "longer": longer.share(), "ties": tie.share(), "decided": left.1,
    })
}

/// Whether the left, and whether the longer answer was chosen.
fn sides(
    heard: &Heard<'_>,
    vote: &Vote<'_>,
    (left, longer, tie): (&mut Part, &mut Part, &mut Part),
) {
    let unit = heard.unit(vote.unit);
    let (Some([a, b]), Some(stood), Some(answers)) = (&unit.pair, &vote.said.left, &vote.answers)
    else {
        return;
    };
    let texts = &heard.seats.study.items[unit.item].answers;
    let length = |model: &String| texts.get(model).map_or(0, |it| it.chars().count());
    for chosen in answers.values() {
        let decided = chosen == a || chosen == b;
        tie.saw(!decided);
        if decided {
            left.saw(chosen == stood);
            let other = if chosen == a { b } else { a };
            if length(chosen) != length(other) {
                longer.saw(length(chosen) > length(other));
            }
        }
    }
}

/// Whether it is what most of the others said, where most of at least two said the same.
fn as_others(heard: &Heard<'_>, vote: &Vote<'_>, part: &mut Part) {
    for (question, mine) in vote.answers.iter().flatten() {
        let others: Vec<&str> = heard.by_unit[vote.unit]
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
