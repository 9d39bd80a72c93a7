//! `corpus`: reads files of texts as people have them, and makes records of one shape.
//!
//! ```toml
//! [steps.raw]
//! op   = "corpus"
//! in   = { files = ["data/wudao", "data/more.jsonl.gz"] }
//! with = { format = "wudao", source = "wudao", max_unread = 0.01 }
//! ```
//!
//! An input is a file or a folder; of a folder every file is read, in the order of their paths, but
//! for those whose names begin with a dot. Each record that comes out has `id`, `source` and `text`,
//! then whatever else it had, in its order.
//!
//! | format | what it is | the text |
//! |---|---|---|
//! | `wudao` | one JSON array in each file, or JSON lines | `content` |
//! | `wanjuan` | JSON lines | `content` |
//! | `skypile` | JSON lines | `text` |
//! | `jsonl` | JSON objects, one a line | `text`, `content` or `output` |
//! | `json` | one JSON array of objects | the same |
//! | `csv` | a table; its first row names the columns | the same |
//! | `txt` | lines or paragraphs, as `unit` says | the whole |
//! | `detect` | one of the last four, by the file's beginning | |
//!
//! An array is read as a stream: no more than one record is in memory. A broken record in it costs
//! only itself where its brackets or the end of its line show that it is broken; a quote that is
//! missing in an array without line feeds costs what follows, 64 MiB at most for each row. A cell of a `csv` is
//! quoted where it begins with a quote, as Python and pandas read it; a row that does not end within
//! `max_row_bytes` costs its first line, and reading goes on with the next. Files may be packed with
//! gzip or zstd, which is seen from their first bytes, or be Parquet: then each row is read as a line of JSON.
//! Of Parquet, columns of texts, numbers and truth values are read, in plain or dictionary encoding, packed with
//! Snappy, gzip or zstd; other columns are left out, and said. Files packed with bzip2 and zip archives
//! are **not** read: they are refused by name. The encoding is UTF-8 or GB18030; `detect`
//! decides by the first 64 KiB of each file, and the log says what it found. `columns` gives names
//! of ours to names of yours: `columns = { text = "body", title = "headline" }`. What is called
//! `id`, `source` or `text` and is not what is meant here is kept as `raw_id` and so on.
//!
//! The id is 16 hex digits of the BLAKE3 of the source, the row's place in its file, its bytes, and
//! the first row of the file, which stands for the file: a file that is renamed, or that gets more
//! rows at its end, keeps its ids, and a file that is added changes none.
//!
//! A row that cannot be read is kept aside in `unread`: `file` is the input's number, and the path
//! in it where it is a folder; `line` and `row` count from 1; `field` and `reason` say what is
//! wrong; `start` is how it begins. More of them than `max_unread` end the step.
//!
//! Memory: one row, at most 64 MiB, whatever the files' sizes.

pub(crate) mod aside;
mod gb18030;
pub(crate) mod open;
mod parquet;
pub(crate) mod rows;
mod table;
mod zstd;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;

use self::aside::{Aside, Files, Input, Place, id};
use self::open::Packed;
use self::rows::{Next, Rows};
use crate::model::record::Unfit;
use crate::page::page;
use crate::records::{MAX_LINE_BYTES, Output, Progress};
use crate::text::fields::Fields;
use crate::text::ledger;
use crate::{Cx, Kind, Say, StepError, params_of};

pub(crate) struct Corpus;

/// What a text is called where `columns` does not say, in the order in which it is looked for.
const TEXTS: [&str; 3] = ["text", "content", "output"];

/// How many files get a line of their own in the log.
const NOTED: usize = 20;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The form of the files.
    #[serde(default)]
    format: Format,
    /// Their encoding.
    #[serde(default)]
    encoding: Encoding,
    /// The name of the corpus; nothing: what each record says in `source`, else the format's name.
    source: Option<String>,
    /// Names of ours with the names that the data has for them.
    #[serde(default)]
    columns: BTreeMap<String, String>,
    /// What a record of a `txt` is.
    #[serde(default)]
    unit: Unit,
    /// Read only files of a folder whose names end with one of these; nothing: all.
    #[serde(default)]
    endings: Vec<String>,
    /// How many rows may be unreadable: below 1 a share of all rows, otherwise a number.
    #[serde(default)]
    max_unread: f64,
    /// The most bytes that a row of a `csv` may have, over all its lines.
    #[serde(default = "longest_row")]
    max_row_bytes: usize,
}

/// The most bytes of a row of a table, where nothing else is said.
pub(crate) const LONGEST_ROW: usize = 1 << 20;

fn longest_row() -> usize {
    LONGEST_ROW
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    #[default]
    Detect,
    Wudao,
    Wanjuan,
    Skypile,
    Jsonl,
    Json,
    Csv,
    Txt,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
pub(crate) enum Encoding {
    #[default]
    #[serde(rename = "detect")]
    Detect,
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "gb18030")]
    Gb18030,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    #[default]
    Line,
    Paragraph,
}

impl Format {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Detect => "corpus",
            Self::Wudao => "wudao",
            Self::Wanjuan => "wanjuan",
            Self::Skypile => "skypile",
            Self::Jsonl => "jsonl",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Txt => "txt",
        }
    }
}

impl Kind for Corpus {
    const SPEC: KindSpec = KindSpec {
        name: "corpus",
        version: 2,
        about: "read files of texts into records of one shape",
        page: page!("corpus.rs"),
        inputs: &[Port { name: "files", arity: Arity::Many, about: "files, or folders of them" }],
        outputs: &[
            Slot { name: "data", form: Form::Records, about: "what was read" },
            Slot { name: "unread", form: Form::Records, about: "the rows that cannot be read" },
        ],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        check(params)?;
        let files = files(cx.inputs("files"), &params.endings)?;
        let mut reading = Reading {
            params,
            data: Output::create(cx.output("data")?)?,
            unread: Aside::create(cx.output("unread")?, params.max_unread)?,
            progress: Progress::new("records", None),
            n_rows: 0,
            files: Files::default(),
        };
        for (i, it) in files.iter().enumerate() {
            let note = reading.file(it, cx)?;
            if i < NOTED {
                (cx.report)(Say::Note(note));
            }
        }
        reading.progress.say(cx);
        reading.unread.check(reading.n_rows, true)?;
        cx.count("files", files.len() as u64);
        cx.count("records", reading.n_rows - reading.unread.n_unread);
        cx.count("unread", reading.unread.n_unread);
        reading.data.finish()?;
        reading.unread.finish()
    }
}

fn check(params: &Params) -> Result<(), StepError> {
    let wrong = |reason: &str| StepError::Params { kind: "corpus", reason: reason.to_owned() };
    if params.columns.contains_key("id") {
        return Err(wrong("`columns.id` means nothing: ids are made"));
    }
    if params.source.is_some() && params.columns.contains_key("source") {
        return Err(wrong("`source` and `columns.source` exclude each other"));
    }
    if params.max_unread.is_nan() || params.max_unread < 0.0 {
        return Err(wrong("`max_unread` is below zero or no number"));
    }
    if params.max_row_bytes == 0 || params.max_row_bytes > MAX_LINE_BYTES {
        let most = MAX_LINE_BYTES;
        return Err(wrong(&format!("`max_row_bytes` is not between 1 and {most}")));
    }
    Ok(())
}

/// The files of a port, those of folders in the order of their paths.
pub(crate) fn files(inputs: &[PathBuf], endings: &[String]) -> Result<Vec<Input>, StepError> {
    let mut all = Vec::new();
    for (i, it) in inputs.iter().enumerate() {
        walk(it, (i + 1).to_string(), endings, &mut all)?;
    }
    Ok(all)
}

fn walk(
    path: &Path,
    shown: String,
    endings: &[String],
    all: &mut Vec<Input>,
) -> Result<(), StepError> {
    if !std::fs::metadata(path).map_err(StepError::io(path))?.is_dir() {
        all.push(Input { path: path.to_owned(), shown });
        return Ok(());
    }
    let mut names = Vec::new();
    for it in std::fs::read_dir(path).map_err(StepError::io(path))? {
        let it = it.map_err(StepError::io(path))?;
        let name = it.file_name().to_string_lossy().into_owned();
        let is_folder = std::fs::metadata(it.path()).map_err(StepError::io(&it.path()))?.is_dir();
        // A link to a folder may lead back up.
        let linked = it.file_type().map_err(StepError::io(path))?.is_symlink() && is_folder;
        let wanted = is_folder || endings.is_empty() || endings.iter().any(|e| name.ends_with(e));
        if !name.starts_with('.') && !linked && wanted {
            names.push((name, it.path()));
        }
    }
    names.sort();
    for (name, it) in names {
        walk(&it, format!("{shown}/{name}"), endings, all)?;
    }
    Ok(())
}

struct Reading<'a> {
    params: &'a Params,
    data: Output,
    unread: Aside,
    progress: Progress,
    n_rows: u64,
    files: Files,
}

impl Reading<'_> {
    /// Reads a file, and says what it is.
    fn file(&mut self, input: &Input, cx: &mut Cx<'_>) -> Result<String, StepError> {
        let opened = open::open(&input.path, self.params.encoding)?;
        let format = self.format(&opened.sample);
        let mut rows =
            Rows::new(opened.reader, format, self.params.unit, self.params.max_row_bytes);
        let record = RowWriter::new(self.params, opened.encoding);
        let (mut line, mut out) = (Vec::new(), Vec::new());
        let (rows_before, unread_before) = (self.n_rows, self.unread.n_unread);
        let mut salt = None;
        loop {
            cx.check_stop()?;
            let next = rows.next(&mut line).map_err(StepError::io(&input.path))?;
            let wrong = match next {
                Next::End => break,
                Next::Unread(reason) => Some(Unfit::new(reason)),
                Next::Row => {
                    let salt = salt.get_or_insert_with(|| self.files.salt(&line));
                    out.clear();
                    record.write(&line, (salt, self.n_rows - rows_before), &mut out).err()
                }
            };
            self.n_rows += 1;
            match wrong {
                None => self.data.bytes(&out)?,
                Some(it) => {
                    let place = Place { line: rows.line, row: self.n_rows - rows_before };
                    self.unread.put(input, place, it, &line)?;
                    self.unread.check(self.n_rows, false)?;
                }
            }
            self.progress.did(1, cx);
        }
        let packed = match opened.packed {
            Packed::No => "",
            Packed::Gzip => ", gzip",
            Packed::Zstd => ", zstd",
            Packed::Parquet => ", parquet",
        };
        let without = match &opened.without[..] {
            [] => String::new(),
            it => format!(", without the columns `{}`", it.join("`, `")),
        };
        let found = if self.params.encoding == Encoding::Detect { " (detected)" } else { "" };
        let encoding = if opened.encoding == Encoding::Gb18030 { "GB18030" } else { "UTF-8" };
        let (n, bad) = (self.n_rows - rows_before, self.unread.n_unread - unread_before);
        let (shown, form) = (&input.shown, format.word());
        Ok(format!("{shown}: {form}{packed}{without}, {encoding}{found}: {n} rows, {bad} unread"))
    }

    /// The form of a file's rows.
    fn format(&self, sample: &[u8]) -> Format {
        let seen = || open::format(sample, self.params.columns.get("text").map(String::as_str));
        match self.params.format {
            Format::Detect => seen(),
            Format::Wudao if seen() == Format::Json => Format::Json,
            Format::Wudao | Format::Wanjuan | Format::Skypile => Format::Jsonl,
            it => it,
        }
    }
}

/// Makes records of the rows of a file.
struct RowWriter<'a> {
    params: &'a Params,
    encoding: Encoding,
    /// Names of theirs to names of ours.
    names: BTreeMap<&'a str, &'a str>,
}

impl<'a> RowWriter<'a> {
    fn new(params: &'a Params, encoding: Encoding) -> Self {
        let names = params.columns.iter().map(|(ours, theirs)| (theirs.as_str(), ours.as_str()));
        Self { params, encoding, names: names.collect() }
    }

    /// Writes the record of a row, with its line feed.
    fn write(
        &self,
        row: &[u8],
        (salt, n): (&[u8; 32], u64),
        out: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        self.check_bytes(row)?;
        let fields = Fields::parse(row)?;
        let name = self.text_name(&fields)?;
        let text = fields.text(name)?;
        let theirs = self.params.columns.get("source").map_or("source", String::as_str);
        let own = match self.params.source {
            Some(_) => None,
            None => fields.optional_text(theirs).unwrap_or_default(),
        };
        let given = self.params.source.as_deref();
        let source = given.or(own.as_deref()).unwrap_or(self.params.format.word());
        out.extend_from_slice(b"{\"id\":\"");
        out.extend_from_slice(id(source, salt, n, row).as_bytes());
        out.extend_from_slice(b"\",\"source\":");
        ledger::text(source, out);
        out.extend_from_slice(b",\"text\":");
        ledger::text(&text, out);
        let used = |it: &str| it == name || (own.is_some() && it == theirs);
        for (field, value) in fields.pairs().filter(|(it, _)| !used(it)) {
            out.push(b',');
            match self.names.get(field).copied().unwrap_or(field) {
                it @ ("id" | "source" | "text") => ledger::text(&format!("raw_{it}"), out),
                it => ledger::text(it, out),
            }
            out.push(b':');
            one_line(value, out);
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    fn check_bytes(&self, row: &[u8]) -> Result<(), Unfit> {
        let Err(it) = std::str::from_utf8(row) else { return Ok(()) };
        let at = it.valid_up_to();
        Err(Unfit::new(match self.encoding {
            Encoding::Gb18030 => format!("is not GB18030 after {at} bytes of its UTF-8 form"),
            _ => format!("is not UTF-8: byte {:#04x} at {at} of the row", row[at]),
        }))
    }

    /// The field that holds the text.
    fn text_name(&self, fields: &Fields<'_>) -> Result<&'a str, Unfit> {
        if let Some(it) = self.params.columns.get("text") {
            return Ok(it);
        }
        let names: &[&'static str] = match self.params.format {
            Format::Wudao | Format::Wanjuan => &["content"],
            Format::Skypile => &["text"],
            // The answer of a pair is no passage.
            _ if fields.get("instruction").is_some() => &TEXTS[..2],
            _ => &TEXTS,
        };
        let found = names.iter().find(|it| fields.get(it).is_some());
        found.copied().ok_or_else(|| {
            let has: Vec<String> =
                fields.pairs().take(8).map(|(name, _)| format!("`{name}`")).collect();
            let names = names.join("`, `");
            Unfit::new(format!("has none of `{names}`; it has {}", has.join(", ")))
        })
    }
}

/// A value as it is written; over several lines, it is written anew.
fn one_line(value: &str, out: &mut Vec<u8>) {
    if !value.contains(['\n', '\r']) {
        return out.extend_from_slice(value.as_bytes());
    }
    // Line ends stand only between the parts of a value, never in a text.
    let mut in_text = false;
    let mut escaped = false;
    for it in value.bytes() {
        match it {
            b'\n' | b'\r' if !in_text => continue,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_text = !in_text,
            _ => {}
        }
        out.push(it);
    }
}

#[cfg(test)]
mod tests;
