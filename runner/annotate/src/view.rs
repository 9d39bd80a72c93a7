//! What a browser is told: all that leaves the program towards somebody who is asked is made here.
//!
//! No name of a model or a source is in it, no id that could be looked up, and nothing that tells a
//! second showing from a first.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Place, Role, Seat, Seats, Sides, Words};

/// A question, as it is shown.
#[derive(Debug, Serialize)]
pub struct Asked<'a> {
    id: &'a str,
    text: &'a Words,
    choices: Vec<(&'a str, &'a Words)>,
}

/// What somebody is asked, without whose it is.
#[derive(Debug, Serialize)]
pub struct Task<'a> {
    /// Its number in their own order.
    pub place: usize,
    shown: Vec<&'a str>,
    sides: Vec<&'a str>,
    before: Option<&'a BTreeMap<String, String>>,
    note: &'a str,
}

/// The form.
#[derive(Debug, Serialize)]
pub struct Sheet<'a> {
    title: &'a Words,
    guidelines: &'a Words,
    labels: Vec<&'a Words>,
    questions: Vec<Asked<'a>>,
    compares: bool,
}

/// Where somebody is.
#[derive(Debug, Serialize)]
pub struct State<'a> {
    /// Who.
    pub name: &'a str,
    /// How much they did, which a page names with all it sends.
    pub seq: u64,
    done: usize,
    total: usize,
    can_undo: bool,
    adjudicates: bool,
    /// What they are asked now.
    pub task: Option<Task<'a>>,
}

/// The form, as it is shown.
pub fn sheet(seats: &Seats) -> Sheet<'_> {
    let form = &seats.study.head.form;
    let questions = form.questions.iter().map(|it| Asked {
        id: &it.id,
        text: &it.text,
        choices: it.choices.iter().map(|it| (it.id.as_str(), &it.text)).collect(),
    });
    Sheet {
        title: &form.title,
        guidelines: &form.guidelines,
        labels: form.shown.iter().map(|it| &it.label).collect(),
        questions: questions.collect(),
        compares: form.compares(),
    }
}

/// Where somebody is, and what they are asked now.
pub fn state<'a>(seats: &'a Seats, sides: &Sides, seat: &'a Seat) -> State<'a> {
    State {
        name: &seat.name,
        seq: seat.seq,
        done: seat.n_done(),
        total: seats.n_asked(seat),
        can_undo: seat.can_undo(),
        adjudicates: seat.role == Role::Adjudicator,
        task: seats.next(seat).map(|it| task(seats, sides, seat, &it)),
    }
}

/// One thing that somebody is asked.
pub(crate) fn task<'a>(seats: &'a Seats, sides: &Sides, seat: &'a Seat, place: &Place) -> Task<'a> {
    let unit = &seats.study.units[place.unit];
    let item = &seats.study.items[unit.item];
    let answer = |model: &String| item.answers.get(model).map_or("", String::as_str);
    let mut answers: Vec<&str> = unit.pair.iter().flatten().map(answer).collect();
    if sides.swapped(seats, seat, place) {
        answers.reverse();
    }
    let before = seat.taken_back(unit, place.round);
    Task {
        place: place.place,
        shown: item.shown.iter().map(String::as_str).collect(),
        sides: answers,
        before: before.and_then(|it| it.answers.as_ref()),
        note: before.map_or("", |it| it.note.as_str()),
    }
}
