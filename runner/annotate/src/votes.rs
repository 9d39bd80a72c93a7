//! Votes as they are exchanged: a file of JSON lines, by people asked elsewhere, by a model, or by a program
//! that stands for people.
//!
//! A vote names what it is about by the unit's name in the study, or by the texts that were shown: with the
//! `source` where data is rated, with the two `models` where answers are compared. Its answers are
//! models' names, or sides where it says which model stood `left`. What a study exports is in the same shape.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::seats::{Said, Seats};
use crate::study::{Lines, name_of};
use crate::{AnnotateError, SIDES};

/// By whom a vote is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Somebody.
    #[default]
    Person,
    /// A program that stands for people.
    Simulated,
    /// A language model.
    Model,
}

impl By {
    fn is_person(&self) -> bool {
        *self == Self::Person
    }
}

/// One vote in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    /// Who.
    pub annotator: String,
    /// What they are.
    #[serde(default, skip_serializing_if = "By::is_person")]
    pub by: By,
    /// About what: the name of a unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Or the texts that were shown, as the form lists them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<String>,
    /// With them, where data is rated: where it comes from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// With them, where answers are compared: whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<[String; 2]>,
    /// The model on the left, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// 1 where it was shown a second time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub round: u8,
    /// The answers by question; nothing where it was skipped.
    #[serde(default)]
    pub answers: Option<BTreeMap<String, String>>,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// How long it was looked at; 0 where nobody measured.
    #[serde(default)]
    pub ms: u64,
    /// When, in seconds since 1970; 0 where nobody knows.
    #[serde(default)]
    pub at: u64,
}

fn is_zero(it: &u8) -> bool {
    *it == 0
}

/// A vote that a study was given from outside; its answers are models' names, never sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// By whom it is.
    pub by: By,
    /// What was said.
    pub said: Said,
}

impl Outside {
    /// What makes it another vote than all others.
    pub(crate) fn place(&self) -> (&str, &str, u8) {
        (&self.said.annotator, &self.said.unit, self.said.round)
    }
}

impl Vote {
    /// The vote as this study takes it, or why it does not.
    pub fn settle(self, seats: &Seats) -> Result<Outside, String> {
        if self.annotator.is_empty() {
            return Err("`annotator` is empty".to_owned());
        }
        if seats.seat(&self.annotator).is_some() {
            return Err(format!("`{}` has a seat in this study", self.annotator));
        }
        let id = self.about()?;
        let unit = seats.unit(&id).ok_or_else(|| format!("the study does not ask about `{id}`"))?;
        if let Some(left) = &self.left
            && !unit.pair.as_ref().is_some_and(|it| it.contains(left))
        {
            return Err(format!("`left` is `{left}`, none of the two models"));
        }
        let said = Said {
            annotator: self.annotator,
            unit: id,
            round: self.round,
            left: self.left,
            answers: self.answers,
            note: self.note,
            ms: self.ms,
            at: self.at,
        };
        let answers = seats.resolved(&said);
        let form = &seats.study.head.form;
        for (question, it) in answers.iter().flatten() {
            let asked = form.questions.iter().find(|it| &it.id == question);
            let asked = asked.ok_or_else(|| format!("the study does not ask `{question}`"))?;
            let model = unit.pair.as_ref().is_some_and(|pair| pair.contains(it));
            let side = SIDES[..2].contains(&it.as_str()) && unit.pair.is_some();
            if side || !(model || asked.choices.iter().any(|choice| &choice.id == it)) {
                return Err(format!("`{it}` is no answer to `{question}`"));
            }
        }
        if answers.as_ref().is_some_and(BTreeMap::is_empty) {
            return Err("`answers` is empty".to_owned());
        }
        Ok(Outside { by: self.by, said: Said { answers, ..said } })
    }

    /// The name of the unit.
    fn about(&self) -> Result<String, String> {
        if let Some(it) = &self.unit {
            return Ok(it.clone());
        }
        if self.shown.is_empty() {
            return Err("neither `unit` nor `shown` says what it is about".to_owned());
        }
        let item = name_of(&self.source, &self.shown);
        Ok(match &self.models {
            None => item,
            Some([a, b]) => {
                let [first, second] = if a < b { [a, b] } else { [b, a] };
                format!("{item}/{first}/{second}")
            }
        })
    }
}

impl From<Outside> for Vote {
    fn from(Outside { by, said }: Outside) -> Self {
        Self {
            annotator: said.annotator,
            by,
            unit: Some(said.unit),
            left: said.left,
            round: said.round,
            answers: said.answers,
            note: said.note,
            ms: said.ms,
            at: said.at,
            ..Self::default()
        }
    }
}

/// The votes of a file, as this study takes them. All of them must fit, and none come twice.
pub fn read(path: &Path, seats: &Seats) -> Result<Vec<Outside>, AnnotateError> {
    let mut lines = Lines::open(path)?;
    let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
    while let Some(text) = lines.next()? {
        let vote = serde_json::from_slice::<Vote>(text).map_err(|it| it.to_string());
        let vote = vote.and_then(|it| it.settle(seats)).map_err(|it| lines.mistake(it))?;
        let (annotator, unit, round) = vote.place();
        if !seen.insert((annotator.to_owned(), unit.to_owned(), round)) {
            return Err(lines.mistake(format!("`{annotator}` votes twice about `{unit}`")));
        }
        all.push(vote);
    }
    Ok(all)
}

/// All votes of a study, in the shape in which they are exchanged.
pub fn all(seats: &Seats) -> Vec<Vote> {
    let own = seats.all().iter().flat_map(|it| it.said()).map(|said| (By::Person, said));
    let outside = seats.outside().iter().map(|it| (it.by, &it.said));
    own.chain(outside).map(|(by, said)| vote(seats, by, said)).collect()
}

fn vote(seats: &Seats, by: By, said: &Said) -> Vote {
    let answers = seats.resolved(said);
    Vote::from(Outside { by, said: Said { answers, ..said.clone() } })
}
