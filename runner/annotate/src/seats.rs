//! What each annotator has done and is asked next: a function of the study and what was done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::assign::{Turn, lot, number, queue, shares};
use crate::study::{Study, Unit};
use crate::votes::Outside;

/// What somebody said about a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Who.
    pub annotator: String,
    /// About what.
    pub unit: String,
    /// 1 where it was shown a second time.
    #[serde(default)]
    pub round: u8,
    /// The model on the left, where two were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// The answers by question; nothing where it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<BTreeMap<String, String>>,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// How long it was looked at, without pauses.
    #[serde(default)]
    pub ms: u64,
    /// When, in seconds since 1970.
    #[serde(default)]
    pub at: u64,
}

/// One thing that somebody did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "snake_case")]
pub enum Did {
    /// Answered, or skipped.
    Said(Said),
    /// Took the last of it back.
    Undo {
        /// Who.
        annotator: String,
    },
    /// Went away: what is left for them goes to others.
    Left {
        /// Who.
        annotator: String,
    },
}

impl Did {
    /// Who.
    pub fn annotator(&self) -> &str {
        match self {
            Did::Said(it) => &it.annotator,
            Did::Undo { annotator } | Did::Left { annotator } => annotator,
        }
    }
}

/// What somebody is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Is asked about a fair share of all.
    Rater,
    /// Is asked about what raters do not agree on.
    Adjudicator,
}

/// Something that somebody is asked, by its number in their own order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number in their order.
    pub place: usize,
    /// The number of the unit.
    pub unit: usize,
    /// 1 where it is shown a second time.
    pub round: u8,
}

/// One annotator.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Who.
    pub name: String,
    /// What for.
    pub role: Role,
    /// How much they did: answers, skips and undoings.
    pub seq: u64,
    number: u64,
    queue: Vec<Turn>,
    places: BTreeMap<(usize, u8), usize>,
    /// What was said of each place.
    done: BTreeMap<usize, Said>,
    /// The places in the order in which they were done.
    order: Vec<usize>,
    /// What was taken back last, to be shown again as it was.
    taken_back: Option<Said>,
    /// Whether they went away.
    is_away: bool,
}

impl Seat {
    fn new(name: &str, role: Role, queue: Vec<Turn>) -> Self {
        let places = queue.iter().enumerate().map(|(i, it)| ((it.unit, it.round), i)).collect();
        Self {
            name: name.to_owned(),
            role,
            seq: 0,
            number: number(name),
            queue,
            places,
            done: BTreeMap::new(),
            order: Vec::new(),
            taken_back: None,
            is_away: false,
        }
    }

    /// How much is done.
    pub fn n_done(&self) -> usize {
        self.done.len()
    }

    /// Whether they went away, and are asked nothing more.
    pub fn is_away(&self) -> bool {
        self.is_away
    }

    /// Whether there is something to take back.
    pub fn can_undo(&self) -> bool {
        !self.order.is_empty()
    }

    /// How many places their order has.
    pub(crate) fn n_places(&self) -> usize {
        self.queue.len()
    }

    /// What was said, in their order.
    pub fn said(&self) -> impl Iterator<Item = &Said> {
        self.done.values()
    }

    /// What was said at a place and taken back just now.
    pub(crate) fn taken_back(&self, unit: &Unit, round: u8) -> Option<&Said> {
        self.taken_back.as_ref().filter(|it| it.unit == unit.id && it.round == round)
    }

    /// What was said at a place.
    pub(crate) fn at(&self, place: usize) -> Option<&Said> {
        self.done.get(&place)
    }
}

/// Where everybody is.
#[derive(Clone, Debug)]
pub struct Seats {
    /// The study.
    pub study: Study,
    seats: Vec<Seat>,
    units: BTreeMap<String, usize>,
    numbers: Vec<u64>,
    /// What each rater said of each unit at first sight, without sides; nothing where skipped.
    heard: Vec<BTreeMap<usize, Option<BTreeMap<String, String>>>>,
    /// What came from outside.
    outside: Vec<Outside>,
    /// How many raters each unit has; fewer where somebody went away and nobody could take over.
    wanted: Vec<usize>,
}

impl Seats {
    /// Everybody at their beginning.
    pub fn new(study: Study) -> Self {
        let numbers: Vec<u64> = study.units.iter().map(|it| number(&it.id)).collect();
        let head = &study.head;
        let names: Vec<u64> = head.annotators.iter().map(|it| number(it)).collect();
        let shares = shares(&numbers, &names, head.raters, head.seed);
        let rater = |(name, share): (&String, Vec<usize>)| {
            let queue = queue(share, head.repeats, number(name), head.seed);
            Seat::new(name, Role::Rater, queue)
        };
        let mut seats: Vec<Seat> = head.annotators.iter().zip(shares).map(rater).collect();
        if let Some(name) = &head.adjudicator {
            let all = (0..study.units.len()).collect();
            let queue = queue(all, 0.0, number(name), head.seed);
            seats.push(Seat::new(name, Role::Adjudicator, queue));
        }
        let units = study.units.iter().enumerate().map(|(i, it)| (it.id.clone(), i)).collect();
        let heard = vec![BTreeMap::new(); study.units.len()];
        let wanted = vec![head.raters; study.units.len()];
        Self { study, seats, units, numbers, heard, outside: Vec::new(), wanted }
    }

    /// Everybody.
    pub fn all(&self) -> &[Seat] {
        &self.seats
    }

    /// Votes of those who have no seat.
    pub fn outside(&self) -> &[Outside] {
        &self.outside
    }

    pub(crate) fn take(&mut self, votes: Vec<Outside>) {
        self.outside.extend(votes);
    }

    /// One of them.
    pub fn seat(&self, name: &str) -> Option<&Seat> {
        self.seats.iter().find(|it| it.name == name)
    }

    /// The unit of that name.
    pub fn unit(&self, id: &str) -> Option<&Unit> {
        self.units.get(id).map(|it| &self.study.units[*it])
    }

    /// What somebody is asked next.
    pub fn next(&self, seat: &Seat) -> Option<Place> {
        let open = |place: &usize| {
            let asked = seat.role == Role::Rater || self.is_disputed(seat.queue[*place].unit);
            !seat.is_away && !seat.done.contains_key(place) && asked
        };
        // What was taken back comes first.
        let back = seat
            .taken_back
            .as_ref()
            .and_then(|it| seat.places.get(&(*self.units.get(&it.unit)?, it.round)).copied());
        let place = back.filter(open).or_else(|| (0..seat.queue.len()).find(open))?;
        self.place(seat, place)
    }

    /// What stands at a place of somebody's order.
    pub fn place(&self, seat: &Seat, place: usize) -> Option<Place> {
        let Turn { unit, round } = *seat.queue.get(place)?;
        Some(Place { place, unit, round })
    }

    /// How much somebody is asked, as far as is known now.
    pub fn n_asked(&self, seat: &Seat) -> usize {
        match seat.role {
            _ if seat.is_away => seat.done.len(),
            Role::Rater => seat.queue.len(),
            Role::Adjudicator => {
                let open = |it: &usize| {
                    seat.done.contains_key(it) || self.is_disputed(seat.queue[*it].unit)
                };
                (0..seat.queue.len()).filter(open).count()
            }
        }
    }

    /// Whether all raters of a unit are done with it and do not say the same, or one skipped it.
    pub fn is_disputed(&self, unit: usize) -> bool {
        let heard = &self.heard[unit];
        let first = heard.values().next();
        let differs = heard.values().any(|it| it.is_none() || Some(it) != first);
        heard.len() >= self.wanted[unit] && differs
    }

    /// The answers with the models' names in the place of the sides.
    pub fn resolved(&self, said: &Said) -> Option<BTreeMap<String, String>> {
        let pair = self.unit(&said.unit).and_then(|it| it.pair.clone());
        let named = |choice: &String| match (&pair, &said.left, choice.as_str()) {
            (Some(_), Some(left), "left") => left.clone(),
            (Some([a, b]), Some(left), "right") => (if left == a { b } else { a }).clone(),
            _ => choice.clone(),
        };
        let answers = said.answers.as_ref()?;
        Some(answers.iter().map(|(question, it)| (question.clone(), named(it))).collect())
    }

    /// Why this cannot be done now.
    pub fn check(&self, did: &Did) -> Result<(), String> {
        let name = did.annotator();
        let seat = self.seat(name).ok_or_else(|| format!("nobody is called `{name}`"))?;
        let said = match did {
            Did::Undo { .. } if seat.can_undo() => return Ok(()),
            Did::Undo { .. } => return Err(format!("`{name}` has nothing to take back")),
            Did::Left { .. } if seat.role == Role::Adjudicator || seat.is_away => {
                return Err(format!("`{name}` has nothing that others could take over"));
            }
            Did::Left { .. } => return Ok(()),
            Did::Said(said) => said,
        };
        let place = self.place_of(seat, said);
        let Some(place) = place else {
            return Err(format!("`{name}` is not asked about `{}`", said.unit));
        };
        if seat.done.contains_key(&place) {
            return Err(format!("`{name}` has answered `{}` already", said.unit));
        }
        let pair = self.unit(&said.unit).and_then(|it| it.pair.as_ref());
        let side = match (pair, &said.left) {
            (Some(pair), Some(left)) => pair.contains(left),
            (None, None) => true,
            _ => false,
        };
        if !side {
            return Err("`left` is none of the two models".to_owned());
        }
        match &said.answers {
            Some(it) if !self.study.head.form.fits(it) => {
                Err("the answers are not those that the form asks for".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn place_of(&self, seat: &Seat, said: &Said) -> Option<usize> {
        let unit = self.units.get(&said.unit)?;
        seat.places.get(&(*unit, said.round)).copied()
    }

    /// Takes what somebody did, or says why that cannot be.
    pub fn apply(&mut self, did: Did) -> Result<(), String> {
        self.check(&did)?;
        let who = self.seats.iter().position(|it| it.name == did.annotator());
        let who = who.expect("checked above");
        match did {
            Did::Said(said) => {
                let place = self.place_of(&self.seats[who], &said).expect("checked above");
                let resolved = self.resolved(&said);
                let seat = &mut self.seats[who];
                if seat.role == Role::Rater && said.round == 0 {
                    self.heard[seat.queue[place].unit].insert(who, resolved);
                }
                seat.seq += 1;
                seat.order.push(place);
                seat.taken_back = None;
                seat.done.insert(place, said);
            }
            Did::Undo { .. } => {
                let seat = &mut self.seats[who];
                seat.seq += 1;
                let place = seat.order.pop().expect("checked above");
                let Turn { unit, round } = seat.queue[place];
                if seat.role == Role::Rater && round == 0 {
                    self.heard[unit].remove(&who);
                }
                seat.taken_back = seat.done.remove(&place);
            }
            Did::Left { .. } => self.hand_on(who),
        }
        Ok(())
    }

    /// Gives what somebody was still to be asked to those who have least left, and are not asked about
    /// it already.
    fn hand_on(&mut self, who: usize) {
        let seat = &mut self.seats[who];
        seat.is_away = true;
        let open = |it: &usize| seat.queue[*it].round == 0 && !seat.done.contains_key(it);
        let open: Vec<usize> = (0..seat.queue.len()).filter(open).collect();
        let units: Vec<usize> = open.into_iter().map(|it| seat.queue[it].unit).collect();
        for unit in units {
            let free = |it: &&mut Seat| {
                let rates = it.role == Role::Rater && !it.is_away;
                rates && !it.places.contains_key(&(unit, 0))
            };
            let seed = self.study.head.seed;
            let lot = |it: &Seat| lot(self.numbers[unit], it.number, seed);
            let left = |it: &Seat| it.queue.len() - it.done.len();
            match self.seats.iter_mut().filter(free).min_by_key(|it| (left(it), lot(it))) {
                None => self.wanted[unit] -= 1,
                Some(it) => {
                    it.places.insert((unit, 0), it.queue.len());
                    it.queue.push(Turn { unit, round: 0 });
                }
            }
        }
    }

    /// How many units have fewer raters than was settled, since nobody could take over.
    pub fn n_short(&self) -> usize {
        self.wanted.iter().filter(|it| **it < self.study.head.raters).count()
    }
}
