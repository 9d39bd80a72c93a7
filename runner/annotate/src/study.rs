//! The file of a study: its head, its items, and what people did, one JSON line each.
//!
//! It is made whole and then only appended to. A last line that was cut off, as a machine that went
//! down leaves it, does not count: nobody was told that it was kept. A last line that is whole and only
//! lacks its line feed, as some editors leave it, counts. Any other line that cannot be read is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::seats::{Did, Said};
use crate::votes::Vote;
use crate::{AnnotateError, Form};

/// The format of the file.
const VERSION: u32 = 1;
const MAX_LINE_BYTES: u64 = 64 << 20;
/// More people than any study has.
const MAX_ANNOTATORS: usize = 1_000;

/// What is settled when a study is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The format of the file.
    pub study: u32,
    /// What is asked.
    pub form: Form,
    /// How many people are asked about each unit.
    pub raters: usize,
    /// The share of units that somebody is shown a second time.
    pub repeats: f64,
    /// The seed of who is asked what, and in which order.
    pub seed: u64,
    /// Who is asked.
    pub annotators: Vec<String>,
    /// Who is asked about what the others do not agree on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adjudicator: Option<String>,
}

/// Something that people look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Its name in this study.
    pub id: String,
    /// Where it comes from; nobody who is asked sees it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The texts that are shown, as the form lists them.
    pub shown: Vec<String>,
    /// Where models are compared: their answers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<String, String>,
}

/// What is asked at once: an item, or two answers of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name in this study.
    pub id: String,
    /// The number of its item.
    pub item: usize,
    /// The two models.
    pub pair: Option<[String; 2]>,
}

/// What is asked, of whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    /// What was settled when it was made.
    pub head: Head,
    /// What people look at.
    pub items: Vec<Item>,
    /// What is asked at once.
    pub units: Vec<Unit>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub(crate) enum Line {
    Head(Head),
    Item(Item),
    Did(Did),
    Vote(Vote),
    /// In a file of [`crate::recovery`] alone.
    Unsaved(Said),
}

/// What was done after the study was made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Later {
    Did(Did),
    Vote(Vote),
}

impl Later {
    /// As it stands in the file.
    pub(crate) fn line(self) -> Line {
        match self {
            Later::Did(did) => Line::Did(did),
            Later::Vote(vote) => Line::Vote(vote),
        }
    }
}

/// How a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With a line feed.
    Whole,
    /// With a whole line that lacks its line feed.
    Unended,
    /// With the start of a line.
    Torn(Vec<u8>),
}

/// A file as it was read.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) study: Study,
    /// What was done, with the number of its line.
    pub(crate) later: Vec<(u64, Later)>,
    /// What people sent and the study does not hold, as a file of [`crate::recovery`] lists it.
    pub(crate) unsaved: Vec<(u64, Said)>,
    pub(crate) end: End,
}

pub(crate) fn read_whole(file: File, path: &Path) -> Result<Whole, AnnotateError> {
    let mut lines = Lines::of(file, path);
    let (mut head, mut items) = (None, Vec::new());
    let (mut later, mut unsaved, mut end) = (Vec::new(), Vec::new(), End::Whole);
    loop {
        let before = lines.whole;
        let Some(text) = lines.next()? else { break };
        let line = serde_json::from_slice(text).map_err(|error| error.to_string());
        if lines.whole == before {
            // The start of a JSON object is no JSON, so a line that can be read is whole.
            end = if line.is_ok() { End::Unended } else { End::Torn(lines.buffer.clone()) };
        }
        match line {
            Err(_) if matches!(end, End::Torn(_)) => break,
            Ok(Line::Head(it)) if head.is_none() && lines.line == 1 => {
                check(&it).map_err(|it| lines.mistake(it))?;
                head = Some(it);
            }
            Ok(Line::Item(it)) if head.is_some() && later.is_empty() => items.push(it),
            Ok(Line::Did(it)) if head.is_some() => later.push((lines.line, Later::Did(it))),
            Ok(Line::Vote(it)) if head.is_some() => later.push((lines.line, Later::Vote(it))),
            Ok(Line::Unsaved(it)) if head.is_some() => unsaved.push((lines.line, it)),
            Ok(_) => return Err(lines.mistake("stands where it may not".to_owned())),
            Err(reason) => return Err(lines.mistake(reason)),
        }
    }
    let head = head.ok_or_else(|| lines.mistake("is no study".to_owned()))?;
    let study = Study::new(head, items).map_err(|it| lines.mistake(it))?;
    Ok(Whole { study, later, unsaved, end })
}

impl Study {
    /// The study as a file that nobody has answered yet.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut text = encoded(&Line::Head(self.head.clone()));
        for item in &self.items {
            text.extend(encoded(&Line::Item(item.clone())));
        }
        text
    }

    /// Which study it is, in hexadecimal: what is asked, of whom, about what.
    pub(crate) fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("annotate study, format 1");
        hasher.update(&self.encoded());
        hasher.finalize().to_hex()[..32].to_owned()
    }

    fn new(head: Head, items: Vec<Item>) -> Result<Self, String> {
        check(&head)?;
        let mut units = Vec::new();
        for (i, item) in items.iter().enumerate() {
            if item.shown.len() != head.form.shown.len() {
                return Err(format!("item `{}` has other texts than the form shows", item.id));
            }
            let unit = |id, pair| Unit { id, item: i, pair };
            if !head.form.compares() {
                units.push(unit(item.id.clone(), None));
                continue;
            }
            let models: Vec<&String> = item.answers.keys().collect();
            for (at, first) in models.iter().enumerate() {
                for second in &models[at + 1..] {
                    let id = format!("{}/{first}/{second}", item.id);
                    units.push(unit(id, Some([(*first).clone(), (*second).clone()])));
                }
            }
        }
        let ids: BTreeSet<&String> = units.iter().map(|it| &it.id).collect();
        match ids.len() == units.len() {
            true => Ok(Self { head, items, units }),
            false => Err("an item comes twice".to_owned()),
        }
    }
}

fn check(head: &Head) -> Result<(), String> {
    if head.study != VERSION {
        return Err(format!("a study of format {}, this program reads {VERSION}", head.study));
    }
    head.form.check()?;
    let names = || head.annotators.iter().chain(&head.adjudicator);
    for name in names() {
        let long = name.is_empty() || name.chars().count() > 64;
        if long || !name.chars().all(|it| it.is_alphanumeric() || "-_.".contains(it)) {
            return Err(format!("annotator `{name}` must be letters, digits, `-`, `_` and `.`"));
        }
        if names().filter(|it| *it == name).count() > 1 {
            return Err(format!("annotator `{name}` comes twice"));
        }
    }
    let n = head.annotators.len();
    if head.raters == 0 || head.raters > n || n > MAX_ANNOTATORS {
        return Err(format!("each item needs {} people, and there are {n}", head.raters));
    }
    if !(0.0..=0.3).contains(&head.repeats) {
        return Err(format!("the share of repeats is {}, it must be 0 to 0.3", head.repeats));
    }
    Ok(())
}

/// Where records come from: a name, and the file.
#[derive(Clone, Debug)]
pub struct Source {
    /// The source, or the model; nobody who is asked sees it. Where records are rated it may be empty: then
    /// each says its own in the field `source`.
    pub name: String,
    /// A file of JSON lines.
    pub path: PathBuf,
}

/// A study that is to be made.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What is to be settled.
    pub head: Head,
    /// The records.
    pub sources: Vec<Source>,
}

impl Draft {
    /// A draft with what holds where nothing else is asked for.
    pub fn new(form: Form, sources: Vec<Source>, annotators: Vec<String>) -> Self {
        let (raters, adjudicator) = (annotators.len().min(3), None);
        let head =
            Head { study: VERSION, form, raters, repeats: 0.0, seed: 0, annotators, adjudicator };
        Self { head, sources }
    }
}

/// Makes a study where there is none yet.
pub fn create(path: &Path, draft: &Draft) -> Result<Study, AnnotateError> {
    let wrong = AnnotateError::Study;
    check(&draft.head).map_err(wrong)?;
    let mut names = BTreeSet::new();
    let mut named = draft.sources.iter().filter(|it| !it.name.is_empty());
    if let Some(it) = named.find(|it| !names.insert(&it.name)) {
        return Err(wrong(format!("`{}` comes twice", it.name)));
    }
    if let Some(it) = draft.sources.iter().find(|it| crate::SIDES.contains(&it.name.as_str())) {
        return Err(wrong(format!("no model can be called `{}`, as an answer is", it.name)));
    }
    let items = match draft.head.form.answer.clone() {
        None => rated(draft)?,
        Some(answer) => compared(draft, &answer)?,
    };
    let study = Study::new(draft.head.clone(), items).map_err(wrong)?;
    if study.units.is_empty() {
        return Err(wrong("the records hold nothing to ask about".to_owned()));
    }
    write_new(path, &study.encoded())?;
    Ok(study)
}

/// A new file, whole or not at all, and never over another; only its owner can read it until somebody
/// says otherwise.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), AnnotateError> {
    let io = || AnnotateError::io(path);
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io())?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io())?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(io())?;
    file.persist_noclobber(path).map_err(|it| io()(it.error))?;
    File::open(folder).and_then(|it| it.sync_all()).map_err(io())
}

/// The name of a file that lies beside a study.
pub(crate) fn beside(study: &Path, ending: &str) -> PathBuf {
    let mut name = study.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    study.with_file_name(name)
}

/// A line with its line feed.
pub(crate) fn encoded(line: &Line) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).expect("maps with texts as keys are always JSON");
    text.push(b'\n');
    text
}

fn rated(draft: &Draft) -> Result<Vec<Item>, AnnotateError> {
    let mut items = BTreeMap::new();
    for source in &draft.sources {
        each(&source.path, |record| {
            let shown = texts(&draft.head.form, record)?;
            let source = match source.name.as_str() {
                "" => text(record, "source")?,
                name => name.to_owned(),
            };
            let id = name_of(&source, &shown);
            // Equal records of one source are one item.
            let item = Item { id: id.clone(), source, shown, answers: BTreeMap::new() };
            items.entry(id).or_insert(item);
            Ok(())
        })?;
    }
    Ok(items.into_values().collect())
}

fn compared(draft: &Draft, answer: &str) -> Result<Vec<Item>, AnnotateError> {
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    for source in &draft.sources {
        each(&source.path, |record| {
            let shown = texts(&draft.head.form, record)?;
            let answer = text(record, answer)?;
            let id = name_of("", &shown);
            let item = items.entry(id.clone()).or_insert_with(|| Item {
                id,
                source: String::new(),
                shown,
                answers: BTreeMap::new(),
            });
            match item.answers.insert(source.name.clone(), answer) {
                None => Ok(()),
                Some(_) => Err("the same prompt comes twice".to_owned()),
            }
        })?;
    }
    for item in items.values() {
        if let Some(it) = draft.sources.iter().find(|it| !item.answers.contains_key(&it.name)) {
            let start: String = item.shown.join(" ").chars().take(40).collect();
            let reason = format!("`{}` has no answer to `{start}`, which others have", it.name);
            return Err(AnnotateError::Study(reason));
        }
    }
    match draft.sources.len() {
        0 | 1 => Err(AnnotateError::Study("a comparison needs two models or more".to_owned())),
        _ => Ok(items.into_values().collect()),
    }
}

fn texts(form: &Form, record: &Value) -> Result<Vec<String>, String> {
    form.shown.iter().map(|it| text(record, &it.field)).collect()
}

fn text(record: &Value, field: &str) -> Result<String, String> {
    match record.get(field).and_then(Value::as_str) {
        Some(it) => Ok(it.to_owned()),
        None => Err(format!("field `{field}`: is no text")),
    }
}

pub(crate) fn name_of(source: &str, shown: &[String]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("annotate item, format 1");
    for it in [source].into_iter().chain(shown.iter().map(String::as_str)) {
        hasher.update(&(it.len() as u64).to_le_bytes());
        hasher.update(it.as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

fn each(
    path: &Path,
    mut take: impl FnMut(&Value) -> Result<(), String>,
) -> Result<(), AnnotateError> {
    let mut lines = Lines::open(path)?;
    while let Some(text) = lines.next()? {
        let record = serde_json::from_slice(text).map_err(|it| it.to_string());
        record.and_then(|it| take(&it)).map_err(|it| lines.mistake(it))?;
    }
    Ok(())
}

/// Lines of a file, and how far they are whole.
pub(crate) struct Lines {
    reader: BufReader<File>,
    buffer: Vec<u8>,
    path: PathBuf,
    line: u64,
    whole: u64,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, AnnotateError> {
        Ok(Self::of(File::open(path).map_err(AnnotateError::io(path))?, path))
    }

    fn of(file: File, path: &Path) -> Self {
        let (reader, buffer) = (BufReader::new(file), Vec::new());
        Self { reader, buffer, path: path.to_owned(), line: 0, whole: 0 }
    }

    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, AnnotateError> {
        self.buffer.clear();
        let mut bounded = (&mut self.reader).take(MAX_LINE_BYTES);
        let n = bounded.read_until(b'\n', &mut self.buffer);
        let n = n.map_err(AnnotateError::io(&self.path))?;
        self.line += 1;
        if self.buffer.last() == Some(&b'\n') {
            self.whole += n as u64;
            self.buffer.pop();
        } else if n as u64 == MAX_LINE_BYTES {
            return Err(self.mistake(format!("the line is longer than {MAX_LINE_BYTES} bytes")));
        }
        Ok((n > 0).then_some(&self.buffer))
    }

    pub(crate) fn mistake(&self, reason: String) -> AnnotateError {
        AnnotateError::Line { path: self.path.clone(), line: self.line, reason }
    }
}
