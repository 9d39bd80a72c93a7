//! For those who cannot reach this machine: one HTML file out for each, one JSON file back.
//!
//! A page carries a secret that only this study's key could have made for this person, and the answers
//! bring it back: nobody answers as somebody else.

use serde::Deserialize;
use serde_json::json;

use crate::server::{Given, said};
use crate::{AnnotateError, Journal, Key, Seats, page, view};

/// What a page that was filled in far away gives back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Back {
    study: String,
    name: String,
    secret: String,
    said: Vec<One>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    place: usize,
    given: Given,
}

/// What was done with what came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// So many were new.
    pub new: usize,
    /// So many were there already.
    pub known: usize,
    /// So many were there with another answer, which stays.
    pub other: usize,
}

/// A page with all that somebody has still to do; nothing where there is no such person.
pub fn bundle(seats: &Seats, key: &Key, name: &str) -> Option<String> {
    let seat = seats.seat(name)?;
    let open = |place: usize| {
        let place = seats.place(seat, place)?;
        let asked = seat.role == crate::Role::Rater || seats.is_disputed(place.unit);
        (asked && seat.at(place.place).is_none()).then_some(place)
    };
    let tasks: Vec<view::Task<'_>> = (0..seat.n_places())
        .filter_map(open)
        .map(|it| view::task(seats, key.sides(), seat, &it))
        .collect();
    let study = seats.study.digest();
    // The file is no secret from who has it: the nonce need only differ from what texts may hold.
    let nonce = blake3::hash(format!("{study} {name}").as_bytes()).to_hex()[..24].to_owned();
    let secret = key.proof(&study, name).to_hex();
    let data = json!({
        "study": study, "name": name, "secret": secret.as_str(), "sheet": view::sheet(seats),
        "tasks": tasks,
    });
    Some(page::alone(&data.to_string(), &nonce))
}

/// Takes what came back, all of it or nothing. What is known already is not taken again.
pub fn take(journal: &mut Journal, key: &Key, text: &[u8]) -> Result<Taken, AnnotateError> {
    let wrong = |it: String| AnnotateError::Study(it);
    let back: Back = serde_json::from_slice(text).map_err(|it| wrong(it.to_string()))?;
    let seats = journal.seats();
    if back.study != seats.study.digest() {
        return Err(wrong("these are answers to another study".to_owned()));
    }
    let nobody = || wrong(format!("nobody is called `{}`", back.name));
    let seat = seats.seat(&back.name).ok_or_else(nobody)?;
    proven(seats, key, &back).map_err(wrong)?;
    let mut taken = Taken { new: 0, known: 0, other: 0 };
    let mut new = Vec::new();
    for One { place, given } in back.said {
        let place = seats.place(seat, place);
        let place = place.ok_or_else(|| wrong("it answers what was not asked".to_owned()))?;
        match seat.at(place.place) {
            Some(it) if it.answers == given.answers => taken.known += 1,
            Some(_) => taken.other += 1,
            None => new.push(said(seats, key.sides(), seat, &place, given)),
        }
    }
    taken.new = new.len();
    journal.record_all(new)?;
    Ok(taken)
}

/// Whether the answers come from the page of whom they name, or from whose.
fn proven(seats: &Seats, key: &Key, back: &Back) -> Result<(), String> {
    let secret = blake3::Hash::from_hex(&back.secret).ok();
    // Digests are compared in a time that tells nothing.
    let is_of = |name: &str| secret == Some(key.proof(&back.study, name));
    let name = &back.name;
    if is_of(name) {
        return Ok(());
    }
    Err(match seats.all().iter().find(|it| is_of(&it.name)) {
        Some(it) => format!("it says `{name}` and carries the secret of the page of `{}`", it.name),
        None => format!("it says `{name}` and does not carry the secret of that page"),
    })
}
