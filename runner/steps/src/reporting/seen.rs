//! Looks at an output once, and keeps what a report can use of it.

use std::collections::BTreeMap;
use std::path::Path;

use report::page::Change;
use serde_json::{Map, Value};

use super::Item;
use crate::StepError;
use crate::model::Prompt;
use crate::records::{Lines, short_digest};
use crate::text::funnel::{Asked, Funnel};
use crate::text::ledger::Ledger;
use crate::text::shown::{Wanted, texts};

/// What the log of a training run says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// Steps and their losses.
    pub(crate) losses: Vec<(f64, f64)>,
    /// Steps after which something was measured, and the losses there.
    pub(crate) measured: Vec<(f64, f64)>,
    /// What the model answered on its way.
    pub(crate) answers: Vec<Answers>,
}

/// What a model answered to a question on its way.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    /// What was asked, and what was wanted.
    pub(crate) of: (String, String),
    /// Steps with the answers after them.
    pub(crate) by_step: Vec<(u64, String)>,
}

/// What stands in an output.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// Numbers with names.
    Metrics(Map<String, Value>),
    /// Records of `compare`: each one's share.
    Shares(Vec<Map<String, Value>>),
    /// Records of `compare`: each pair's difference.
    Pairs(Vec<Map<String, Value>>),
    /// Records of `eval`: each subject's accuracy.
    Subjects(Vec<Map<String, Value>>),
    /// The log of a training run.
    Log(Log),
    /// A ledger, and the values of its rules.
    Ledger(Funnel, BTreeMap<String, Vec<f32>>),
    /// Records of `lengths` and `years`: how many lie between borders.
    Histogram(Vec<Map<String, Value>>),
    /// Records of `sources`: each value's share.
    Parts(Vec<Map<String, Value>>),
    /// Texts before and after they were polished.
    Changes(Vec<Change>),
    /// Records of `annotations`.
    Said(Said, Vec<Map<String, Value>>),
    /// A prompt file: what it calls itself, and its text.
    Prompt(String, String),
}

/// Which records of `annotations` they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Shares of answers.
    Ratings,
    /// How far those who were asked agree.
    Agreement,
    /// Model against model.
    Wins,
    /// Models, the best first.
    Ranking,
    /// Each who was asked.
    Annotators,
    /// Each model that judged, beside people.
    Judges,
}

impl Said {
    /// By the fields that they have.
    const ALL: [(Self, &'static [&'static str]); 6] = [
        (Self::Ratings, &["by", "judge", "question", "choice", "share"]),
        (Self::Agreement, &["by", "judge", "all_same", "all_different", "alpha"]),
        (Self::Wins, &["by", "judge", "wins", "losses", "ties", "share"]),
        (Self::Ranking, &["by", "judge", "place", "model", "strength"]),
        (Self::Annotators, &["annotator", "by", "median_ms", "as_most_others"]),
        (Self::Judges, &["by", "judge", "question", "as_most", "kappa"]),
    ];
}

/// A metrics file is no longer than this.
const MAX_METRICS_BYTES: u64 = 1 << 20;
/// Tables have no more records than this.
const MAX_TABLE_ROWS: usize = 10_000;
/// Of each rule no more dropped records are shown.
const MAX_DROPPED: usize = 5;
/// Of a dropped record no more characters are shown.
const MAX_CHARACTERS: usize = 1000;
/// A ledger's rules beyond these are counted, and their values not drawn.
const MAX_RULES: usize = 24;

/// What stands in an output; nothing, where a report has no use for it.
pub(crate) fn look(item: &Item, samples: usize) -> Result<Option<Seen>, StepError> {
    let path = &item.path;
    if !path.is_file() {
        return Ok(None);
    }
    if let Some(it) = metrics(path)? {
        return Ok(Some(Seen::Metrics(it)));
    }
    if let Some(it) = prompt(path)? {
        return Ok(Some(it));
    }
    let (mut lines, mut buffer) = (Lines::open(path)?, Vec::new());
    if !lines.next(&mut buffer)? {
        return Ok(None);
    }
    let Ok(Value::Object(first)) = serde_json::from_slice::<Value>(&buffer) else {
        return Ok(None);
    };
    let has = |names: &[&str]| names.iter().all(|it| first.contains_key(*it));
    if let Some((it, _)) = Said::ALL.iter().find(|it| has(it.1)) {
        return Ok(Some(Seen::Said(*it, table(path)?)));
    }
    Ok(if has(&["keep", "fails", "values"]) {
        Some(ledger(item, samples.min(MAX_DROPPED))?)
    } else if has(&["name", "n", "share", "low", "high"]) {
        Some(Seen::Shares(table(path)?))
    } else if has(&["of", "from", "below", "n"]) {
        Some(Seen::Histogram(table(path)?))
    } else if has(&["of", "value", "n", "share"]) {
        Some(Seen::Parts(table(path)?))
    } else if has(&["first", "second", "difference", "p"]) {
        Some(Seen::Pairs(table(path)?))
    } else if has(&["subject", "n", "right", "accuracy", "low", "high"]) {
        Some(Seen::Subjects(table(path)?))
    } else if is_log(&first) {
        Some(Seen::Log(log(path)?))
    } else if has(&["instruction", "text", "output"]) {
        Some(Seen::Changes(changes(path, samples)?))
    } else {
        None
    })
}

/// Whether a record is of the log of a training run: of a step, or of a measurement before the first.
pub(super) fn is_log(first: &Map<String, Value>) -> bool {
    let has = |names: &[&str]| names.iter().all(|it| first.contains_key(*it));
    has(&["step", "loss", "learning_rate"]) || has(&["step", "eval_loss"]) || has(ANSWER)
}

/// What a line has that tells what a model answered on its way.
const ANSWER: &[&str] = &["step", "prompt", "want", "text"];

fn metrics(path: &Path) -> Result<Option<Map<String, Value>>, StepError> {
    let length = std::fs::metadata(path).map_err(StepError::io(path))?.len();
    if length > MAX_METRICS_BYTES {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(StepError::io(path))?;
    let Ok(Value::Object(map)) = serde_json::from_slice(&bytes) else { return Ok(None) };
    let plain = map.values().all(|it| it.is_number() || it.is_null());
    Ok(Some(map).filter(|it| plain && !it.is_empty()))
}

/// A file that begins as prompt files do, and is one.
fn prompt(path: &Path) -> Result<Option<Seen>, StepError> {
    let length = std::fs::metadata(path).map_err(StepError::io(path))?.len();
    if length > MAX_METRICS_BYTES {
        return Ok(None);
    }
    let text = String::from_utf8(std::fs::read(path).map_err(StepError::io(path))?);
    let Some(text) = text.ok().filter(|it| it.starts_with("{#")) else { return Ok(None) };
    let id = Prompt::new(path, text.clone()).map(|it| it.id().to_owned());
    Ok(id.ok().filter(|it| !it.is_empty()).map(|it| Seen::Prompt(it, text)))
}

fn objects(path: &Path, take: &mut dyn FnMut(Map<String, Value>) -> bool) -> Result<(), StepError> {
    let (mut lines, mut buffer) = (Lines::open(path)?, Vec::new());
    while lines.next(&mut buffer)? {
        let wrong = |it: serde_json::Error| lines.mistake(None, it.to_string());
        if !take(serde_json::from_slice(&buffer).map_err(wrong)?) {
            break;
        }
    }
    Ok(())
}

fn table(path: &Path) -> Result<Vec<Map<String, Value>>, StepError> {
    let mut rows = Vec::new();
    objects(path, &mut |it| {
        rows.push(it);
        rows.len() < MAX_TABLE_ROWS
    })?;
    Ok(rows)
}

fn log(path: &Path) -> Result<Log, StepError> {
    let mut log = Log::default();
    objects(path, &mut |it| {
        let number = |name: &str| it.get(name).and_then(Value::as_f64);
        let text = |name: &str| it.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        log.losses.extend(number("step").zip(number("loss")));
        log.measured.extend(number("step").zip(number("eval_loss")));
        if ANSWER.iter().all(|name| it.contains_key(*name)) {
            let of = (text("prompt"), text("want"));
            let place = match log.answers.iter().position(|it| it.of == of) {
                Some(it) => it,
                None => {
                    log.answers.push(Answers { of, by_step: Vec::new() });
                    log.answers.len() - 1
                }
            };
            let step = number("step").unwrap_or_default() as u64;
            log.answers[place].by_step.push((step, text("text")));
        }
        true
    })?;
    Ok(log)
}

fn ledger(item: &Item, samples: usize) -> Result<Seen, StepError> {
    let asked = Asked { limits: item.limits.clone(), samples, ..Asked::default() };
    let mut funnel = Funnel::read(&item.path, &asked)?;
    read_samples(item, &mut funnel)?;
    let mut values: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let mut ledger = Ledger::open(&item.path)?;
    while let Some(entry) = ledger.next()? {
        for (name, value) in entry.values.0 {
            if let Some(it) = values.get_mut(&name) {
                it.push(value as f32);
            } else if values.len() < MAX_RULES {
                values.insert(name, vec![value as f32]);
            }
        }
    }
    Ok(Seen::Ledger(funnel, values))
}

/// Finds the texts of the dropped records.
fn read_samples(item: &Item, funnel: &mut Funnel) -> Result<(), StepError> {
    let mut wanted: Wanted = funnel.samples.iter().map(|it| (it.line, it.id.clone())).collect();
    let mut found = BTreeMap::new();
    for path in item.records.iter().filter(|it| it.is_file()) {
        if !wanted.is_empty() {
            found.extend(texts(path, &wanted, None)?);
            wanted.retain(|line, _| !found.contains_key(line));
        }
    }
    for it in &mut funnel.samples {
        let text = found.get(&it.line).map(String::as_str);
        it.text = text.map(|it| it.chars().take(MAX_CHARACTERS).collect());
    }
    Ok(())
}

/// Those whose digests are least: the same records give the same samples, wherever they stand.
fn changes(path: &Path, samples: usize) -> Result<Vec<Change>, StepError> {
    let mut least: BTreeMap<(u128, u64), Change> = BTreeMap::new();
    let (mut lines, mut buffer) = (Lines::open(path)?, Vec::new());
    while lines.next(&mut buffer)? {
        let place = (short_digest(&buffer), lines.line);
        let last = least.last_key_value().map(|it| *it.0);
        if least.len() >= samples && last.is_none_or(|it| it < place) {
            continue;
        }
        let wrong = |it: serde_json::Error| lines.mistake(None, it.to_string());
        let it: Map<String, Value> = serde_json::from_slice(&buffer).map_err(wrong)?;
        let text = |name: &str| it.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let change = Change { head: text("instruction"), was: text("text"), is: text("output") };
        least.insert(place, change);
        if least.len() > samples {
            least.pop_last();
        }
    }
    Ok(least.into_values().collect())
}
