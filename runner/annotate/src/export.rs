//! Votes for other programs: JSON lines as we read them, CSV for spreadsheets, Label Studio's JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::votes::{By, Vote, all};
use crate::{SIDES, Seats, Unit};

/// A format in which votes are given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON lines, as they are taken.
    Lines,
    /// One line for each answer.
    Csv,
    /// Label Studio's JSON: a task for each unit; people's votes are its annotations, others its predictions.
    LabelStudio,
}

impl Format {
    /// By the ending of a file's name.
    pub fn of(ending: &str) -> Option<Self> {
        match ending {
            "jsonl" => Some(Self::Lines),
            "csv" => Some(Self::Csv),
            "json" => Some(Self::LabelStudio),
            _ => None,
        }
    }
}

/// All votes of a study.
pub fn export(seats: &Seats, format: Format) -> String {
    let votes = all(seats);
    match format {
        Format::Lines => votes.iter().map(|it| json!(it).to_string() + "\n").collect(),
        Format::Csv => csv(seats, &votes),
        Format::LabelStudio => label_studio(seats, &votes),
    }
}

const COLUMNS: &str =
    "annotator,by,unit,source,first,second,left,round,question,answer,note,ms,at\n";

fn csv(seats: &Seats, votes: &[Vote]) -> String {
    let mut out = COLUMNS.to_owned();
    for vote in votes {
        let Some(unit) = vote.unit.as_ref().and_then(|it| seats.unit(it)) else { continue };
        let [first, second] = unit.pair.clone().unwrap_or_default();
        let mut line = |question: &str, answer: &str| {
            let (round, ms, at) =
                (vote.round.to_string(), vote.ms.to_string(), vote.at.to_string());
            let by = json!(vote.by);
            let cells = [
                vote.annotator.as_str(),
                by.as_str().unwrap_or_default(),
                &unit.id,
                &seats.study.items[unit.item].source,
                &first,
                &second,
                vote.left.as_deref().unwrap_or_default(),
                &round,
                question,
                answer,
                &vote.note,
                &ms,
                &at,
            ];
            out += &(cells.map(quoted).join(",") + "\n");
        };
        match &vote.answers {
            None => line("", ""),
            Some(all) => all.iter().for_each(|(question, it)| line(question, it)),
        }
    }
    out
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// The first of a pair stands on the left there, so that answers are sides again.
fn label_studio(seats: &Seats, votes: &[Vote]) -> String {
    let mut of_unit: BTreeMap<&str, Vec<&Vote>> = BTreeMap::new();
    for it in votes {
        of_unit.entry(it.unit.as_deref().unwrap_or_default()).or_default().push(it);
    }
    let mut names: Vec<&str> = votes.iter().map(|it| it.annotator.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut tasks = Vec::new();
    for (i, unit) in seats.study.units.iter().enumerate() {
        let mine = of_unit.remove(unit.id.as_str()).unwrap_or_default();
        let (people, others): (Vec<&Vote>, Vec<&Vote>) =
            mine.into_iter().partition(|it| it.by == By::Person);
        let annotation = |it: &&Vote| {
            let who = names.iter().position(|name| *name == it.annotator).map(|it| it + 1);
            json!({
                "completed_by": who, "lead_time": it.ms as f64 / 1000.0,
                "was_cancelled": it.answers.is_none(), "result": result(unit, it),
            })
        };
        let prediction =
            |it: &&Vote| json!({ "model_version": it.annotator, "result": result(unit, it) });
        tasks.push(json!({
            "id": i + 1, "data": data(seats, unit, &names),
            "annotations": people.iter().map(annotation).collect::<Vec<_>>(),
            "predictions": others.iter().map(prediction).collect::<Vec<_>>(),
        }));
    }
    let lines: Vec<String> = tasks.iter().map(Value::to_string).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

fn data(seats: &Seats, unit: &Unit, names: &[&str]) -> Value {
    let item = &seats.study.items[unit.item];
    let fields = seats.study.head.form.shown.iter().map(|it| it.field.clone());
    let mut data: Map<String, Value> =
        fields.zip(item.shown.iter().map(|it| it.as_str().into())).collect();
    data.insert("unit".to_owned(), unit.id.as_str().into());
    data.insert("annotators".to_owned(), json!(names));
    if !item.source.is_empty() {
        data.insert("source".to_owned(), item.source.as_str().into());
    }
    for (side, model) in SIDES.iter().zip(unit.pair.iter().flatten()) {
        data.insert(format!("{side}_model"), model.as_str().into());
        data.insert((*side).to_owned(), json!(item.answers.get(model)));
    }
    Value::Object(data)
}

fn result(unit: &Unit, vote: &Vote) -> Value {
    let side = |it: &String| {
        let at = unit.pair.as_ref().and_then(|pair| pair.iter().position(|model| model == it));
        at.map_or(it.clone(), |at| SIDES[at].to_owned())
    };
    let one = |(question, it): (&String, &String)| {
        let value = json!({ "choices": [side(it)] });
        json!({ "from_name": question, "to_name": "shown", "type": "choices", "value": value })
    };
    vote.answers.iter().flatten().map(one).collect()
}
