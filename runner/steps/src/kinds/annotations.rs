//! `annotations`: what people said in a study of `kun annotate`, as ratings, agreement and rankings.
//!
//! ```toml
//! [steps.people]
//! op   = "annotations"
//! in   = { study = "votes/quality.jsonl" }
//! with = { min_votes = 3 }
//! ```
//!
//! The study is a file: `kun annotate votes/quality.jsonl --from … --annotators …` makes it, and
//! appends what people say. The step is stale after new votes, and after nothing else. It fails as long as
//! not everybody is done; with `min_votes`, as long as something has fewer votes than that, and with
//! `min_votes = 0` it takes what is there.
//!
//! `votes` are votes from elsewhere, in the shape that `kun annotate --import` takes: of people who were asked
//! otherwise, of a program that stands for people (`by = "simulated"`), of a model (`judge_pairs`); several
//! files of them are one by `concat`. A model is never counted among people: every record says in `by` and
//! `judge` whose numbers it holds, those of people come first, and `judges` puts each model beside them. People and
//! simulated votes are not taken together.
//!
//! | output | a record for each | holds |
//! |---|---|---|
//! | `ratings` | vote or skip | who, about what, the answers with models' names in the place of sides |
//! | `items` | thing that was asked about | the answer of most people, or of the adjudicator; whether it is disputed |
//! | `table` | source, question and answer | its share of all ratings, as in the paper's table 1 |
//! | `agreement` | source, or pair of models, and question | all the same, some, none (figure 6), Fleiss' kappa, Krippendorff's alpha |
//! | `wins` | two models, and each against all | wins, losses, ties, the share of wins (figures 5 and 9) |
//! | `ranking` | model | its place and strength after Bradley and Terry |
//! | `annotators` | annotator | how much, how fast, how often left, longer, as most others, as at first sight |
//! | `judges` | model that judged, and question | how often it says what most people say, Cohen's kappa |
//!
//! `group` is the source or the pair, or nothing where it is all of them. Shares in `table` and `agreement` have Wilson's
//! intervals of 95 %; alpha, `wins` and `ranking` have intervals from items drawn again, always the same.
//! An adjudicator, and what was shown a second time, count in `ratings` and `annotators`, in no other
//! share. `wins` and `ranking` are empty where no models were compared; `both_bad` is a tie there.
//! `report` shows `table`, `agreement`, `wins`, `ranking`, `annotators` and `judges`.

use std::path::Path;

use annotate::{AnnotateError, By, Journal, Role, Seats, votes};
use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::page::page;
use crate::records::Output;
use crate::{Cx, Kind, StepError, params_of};

mod heard;
mod judges;
mod models;
mod people;
mod shares;
#[cfg(test)]
mod tests;

use heard::Heard;

pub(crate) struct Annotations;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// How many votes everything must have. Without it, all people must be done.
    min_votes: Option<usize>,
    /// The question that `wins` and `ranking` are about (default: the first).
    question: Option<String>,
}

impl Kind for Annotations {
    const SPEC: KindSpec = KindSpec {
        name: "annotations",
        version: 2,
        about: "what people said in a study: ratings, agreement, rankings",
        page: page!("annotations.rs"),
        inputs: &[
            Port { name: "study", arity: Arity::One, about: "a study of `kun annotate`" },
            Port { name: "votes", arity: Arity::Optional, about: "votes from elsewhere" },
        ],
        outputs: &[
            Slot { name: "metrics", form: Form::Metrics, about: "shares, agreement, wins" },
            Slot { name: "ratings", form: Form::Records, about: "each vote" },
            Slot { name: "items", form: Form::Records, about: "what most said of each" },
            Slot { name: "table", form: Form::Records, about: "shares of answers by source" },
            Slot { name: "agreement", form: Form::Records, about: "how far people agree" },
            Slot { name: "wins", form: Form::Records, about: "model against model" },
            Slot { name: "ranking", form: Form::Records, about: "models, the best first" },
            Slot { name: "annotators", form: Form::Records, about: "each who was asked" },
            Slot { name: "judges", form: Form::Records, about: "each model beside people" },
        ],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let path = cx.input("study")?.to_owned();
        let seats = Journal::seen(&path).map_err(|it| step_error(it, &path))?;
        let outside = match cx.inputs("votes").first() {
            Some(file) => votes::read(file, &seats).map_err(|it| step_error(it, file))?,
            None => Vec::new(),
        };
        let heard = Heard::of(&seats, &outside).map_err(|it| wrong(&path, it))?;
        enough(&heard, params, &path)?;
        let question = question(&seats, params)?;
        let mut metrics = Map::new();
        let own = heard.votes.iter().filter(|it| it.by != By::Model);
        let votes = own.filter(|it| it.answers.is_some()).count();
        metrics.insert("items".to_owned(), seats.study.units.len().into());
        metrics.insert("votes".to_owned(), votes.into());
        cx.check_stop()?;
        write(cx, "ratings", heard.ratings())?;
        write(cx, "items", heard.items())?;
        write(cx, "table", shares::table(&heard, &mut metrics))?;
        cx.check_stop()?;
        write(cx, "agreement", shares::agreements(&heard, &mut metrics))?;
        cx.check_stop()?;
        let (wins, ranking) = models::compared(&heard, &question, &mut metrics);
        write(cx, "wins", wins)?;
        write(cx, "ranking", ranking)?;
        write(cx, "annotators", people::annotators(&heard))?;
        write(cx, "judges", judges::judges(&heard, &mut metrics))?;
        let text = serde_json::to_vec_pretty(&metrics);
        let mut output = Output::create(cx.output("metrics")?)?;
        output.line(&text.expect("finite numbers are always JSON"))?;
        output.finish()?;
        cx.count("votes", votes as u64);
        Ok(())
    }
}

fn write(cx: &mut Cx<'_>, slot: &'static str, records: Vec<Value>) -> Result<(), StepError> {
    let mut output = Output::create(cx.output(slot)?)?;
    for it in records {
        output.line(it.to_string().as_bytes())?;
    }
    output.finish()
}

pub(super) fn step_error(error: AnnotateError, file: &Path) -> StepError {
    match error {
        AnnotateError::Io { path, source } => StepError::Io { path, source },
        AnnotateError::Line { path, line, reason } => {
            StepError::Record { file: path, line, field: None, reason }
        }
        it => wrong(file, it.to_string()),
    }
}

fn wrong(file: &Path, reason: String) -> StepError {
    StepError::Record { file: file.to_owned(), line: 1, field: None, reason }
}

fn question(seats: &Seats, params: &Params) -> Result<String, StepError> {
    let questions = &seats.study.head.form.questions;
    let Some(asked) = &params.question else { return Ok(questions[0].id.clone()) };
    match questions.iter().any(|it| &it.id == asked) {
        true => Ok(asked.clone()),
        false => {
            let reason = format!("`question`: the study does not ask `{asked}`");
            Err(StepError::Params { kind: "annotations", reason })
        }
    }
}

/// Whether enough was said to make something of it.
fn enough(heard: &Heard<'_>, params: &Params, path: &Path) -> Result<(), StepError> {
    let seats = heard.seats;
    let Some(least) = params.min_votes else {
        let left = |it: &annotate::Seat| {
            let left = seats.n_asked(it) - it.n_done();
            (left > 0 && it.role == Role::Rater).then(|| format!("`{}` {left}", it.name))
        };
        let left: Vec<String> = seats.all().iter().filter_map(left).collect();
        return match left.is_empty() {
            true => Ok(()),
            false => Err(wrong(path, format!("not everybody is done; to do: {}", left.join(", ")))),
        };
    };
    let n = seats.study.units.len();
    let has = |unit: usize| heard.main().map_or(0, |it| it.by_unit[unit].len());
    let few = (0..n).filter(|it| has(*it) < least).count();
    match few {
        0 => Ok(()),
        few => Err(wrong(path, format!("{few} of {n} have fewer than {least} votes"))),
    }
}
