//! Writes flat records as a Parquet file: columns of texts, whole numbers, numbers and truths, each of
//! which may lack; groups of rows of some MiB, one page for each column, packed with gzip.
//!
//! What a column holds is known only at the end of the data, so the records are read twice, from the
//! JSON lines that they were written as.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value};

use crate::StepError;
use crate::records::Lines;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Truth,
    Whole,
    Number,
    Text,
}

impl Type {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(_) => Some(Self::Truth),
            Value::Number(it) if it.is_i64() => Some(Self::Whole),
            Value::Number(_) => Some(Self::Number),
            Value::String(_) => Some(Self::Text),
            _ => None,
        }
    }

    /// The type that holds both.
    fn with(self, other: Self) -> Option<Self> {
        match (self, other) {
            (a, b) if a == b => Some(a),
            (Self::Whole | Self::Number, Self::Whole | Self::Number) => Some(Self::Number),
            _ => None,
        }
    }

    /// Its number in the format.
    fn code(self) -> i64 {
        match self {
            Self::Truth => 0,
            Self::Whole => 2,
            Self::Number => 5,
            Self::Text => 6,
        }
    }
}

const GZIP: i64 = 2;
const PLAIN: i64 = 0;
const RLE: i64 = 3;
/// A group of rows is full with so many bytes of JSON.
const GROUP_BYTES: usize = 16 << 20;

/// Writes the records of a file of JSON lines.
pub(super) fn write(lines: &Path, path: &Path) -> Result<(), StepError> {
    let columns = columns(lines)?;
    let file = File::create(path).map_err(StepError::io(path))?;
    let mut writer = Writer { out: BufWriter::new(file), at: 0, columns, groups: Vec::new() };
    let (mut reader, mut line) = (Lines::open(lines)?, Vec::new());
    let (mut rows, mut bytes) = (Vec::new(), 0);
    writer.put(b"PAR1").map_err(StepError::io(path))?;
    while reader.next(&mut line)? {
        bytes += line.len();
        rows.push(object(&line, &reader)?);
        if bytes >= GROUP_BYTES {
            writer.group(&rows).map_err(StepError::io(path))?;
            (rows, bytes) = (Vec::new(), 0);
        }
    }
    if !rows.is_empty() {
        writer.group(&rows).map_err(StepError::io(path))?;
    }
    writer.finish().map_err(StepError::io(path))
}

fn object(line: &[u8], lines: &Lines) -> Result<Map<String, Value>, StepError> {
    serde_json::from_slice(line).map_err(|it| lines.mistake(None, it.to_string()))
}

/// Every field, in the order in which they come, with what it holds.
fn columns(path: &Path) -> Result<Vec<(String, Type)>, StepError> {
    let (mut lines, mut line) = (Lines::open(path)?, Vec::new());
    let mut columns: Vec<(String, Option<Type>)> = Vec::new();
    while lines.next(&mut line)? {
        for (name, value) in object(&line, &lines)? {
            let place = match columns.iter().position(|it| it.0 == name) {
                Some(it) => it,
                None => {
                    columns.push((name.clone(), None));
                    columns.len() - 1
                }
            };
            if value.is_null() {
                continue;
            }
            let mistake = |reason: &str| lines.mistake(Some(&name), reason.to_owned());
            let found = Type::of(&value).ok_or_else(|| {
                mistake("is a list or an object, for which Parquet has no flat column")
            })?;
            let held = columns[place].1.map_or(Some(found), |it| it.with(found));
            let mixed = || mistake("holds one type in some records and another in others");
            columns[place].1 = Some(held.ok_or_else(mixed)?);
        }
    }
    // A field that is null everywhere is a text that lacks everywhere.
    Ok(columns.into_iter().map(|(name, held)| (name, held.unwrap_or(Type::Text))).collect())
}

/// A column of a group, as the end of the file tells of it.
struct Chunk {
    at: u64,
    values: usize,
    plain_bytes: usize,
    bytes: usize,
}

struct Writer {
    out: BufWriter<File>,
    at: u64,
    columns: Vec<(String, Type)>,
    groups: Vec<(usize, Vec<Chunk>)>,
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn group(&mut self, rows: &[Map<String, Value>]) -> std::io::Result<()> {
        let mut chunks = Vec::new();
        for i in 0..self.columns.len() {
            let (name, kind) = &self.columns[i];
            let plain = page(rows, name, *kind);
            let mut packer = GzEncoder::new(Vec::new(), Compression::default());
            packer.write_all(&plain)?;
            let packed = packer.finish()?;
            let mut header = Thrift::default();
            header.int(1, 0).int(2, plain.len() as i64).int(3, packed.len() as i64);
            header.inner(5, |it| {
                it.int(1, rows.len() as i64).int(2, PLAIN).int(3, RLE).int(4, RLE);
            });
            let header = header.end();
            chunks.push(Chunk {
                at: self.at,
                values: rows.len(),
                plain_bytes: header.len() + plain.len(),
                bytes: header.len() + packed.len(),
            });
            self.put(&header)?;
            self.put(&packed)?;
        }
        self.groups.push((rows.len(), chunks));
        Ok(())
    }

    fn finish(mut self) -> std::io::Result<()> {
        let rows: usize = self.groups.iter().map(|it| it.0).sum();
        let mut end = Thrift::default();
        end.int(1, 1);
        end.structs(2, self.columns.len() + 1, |i, it| match i.checked_sub(1) {
            None => {
                it.bytes(4, b"schema").int(5, self.columns.len() as i64);
            }
            Some(i) => {
                let (name, kind) = &self.columns[i];
                it.int(1, kind.code()).int(3, 1).bytes(4, name.as_bytes());
                if *kind == Type::Text {
                    it.int(6, 0);
                    it.inner(10, |it| it.inner(1, |_| {}));
                }
            }
        });
        end.long(3, rows as i64);
        end.structs(4, self.groups.len(), |i, it| {
            let (rows, chunks) = &self.groups[i];
            it.structs(1, chunks.len(), |i, it| chunk(&self.columns[i], &chunks[i], it));
            let bytes: usize = chunks.iter().map(|it| it.plain_bytes).sum();
            it.long(2, bytes as i64).long(3, *rows as i64);
        });
        end.bytes(6, b"kun");
        let end = end.end();
        self.put(&end)?;
        self.put(&(end.len() as u32).to_le_bytes())?;
        self.put(b"PAR1")?;
        self.out.flush()
    }
}

fn chunk((name, kind): &(String, Type), chunk: &Chunk, out: &mut Thrift) {
    out.long(2, chunk.at as i64);
    out.inner(3, |it| {
        it.int(1, kind.code()).ints(2, &[PLAIN, RLE]).texts(3, &[name]).int(4, GZIP);
        it.long(5, chunk.values as i64).long(6, chunk.plain_bytes as i64);
        it.long(7, chunk.bytes as i64).long(9, chunk.at as i64);
    });
}

/// A page: which rows have a value, then the values.
fn page(rows: &[Map<String, Value>], name: &str, kind: Type) -> Vec<u8> {
    let there = |it: &Map<String, Value>| it.get(name).is_some_and(|it| !it.is_null());
    let mut levels = Vec::new();
    let mut rest = rows;
    while let Some(first) = rest.first() {
        let level = there(first);
        let n = rest.iter().take_while(|it| there(it) == level).count();
        varint((n as u64) << 1, &mut levels);
        levels.push(u8::from(level));
        rest = &rest[n..];
    }
    let mut page = (levels.len() as u32).to_le_bytes().to_vec();
    page.extend(levels);
    let mut bits = 0;
    for value in rows.iter().filter_map(|it| it.get(name)) {
        match (kind, value) {
            (Type::Text, Value::String(it)) => {
                page.extend((it.len() as u32).to_le_bytes());
                page.extend(it.as_bytes());
            }
            (Type::Whole, it) => {
                page.extend(it.as_i64().into_iter().flat_map(i64::to_le_bytes));
            }
            (Type::Number, it) => {
                page.extend(it.as_f64().into_iter().flat_map(f64::to_le_bytes));
            }
            (Type::Truth, Value::Bool(it)) => {
                if bits % 8 == 0 {
                    page.push(0);
                }
                let last = page.len() - 1;
                page[last] |= u8::from(*it) << (bits % 8);
                bits += 1;
            }
            _ => {}
        }
    }
    page
}

fn varint(mut it: u64, out: &mut Vec<u8>) {
    while it >= 0x80 {
        out.push(it as u8 | 0x80);
        it >>= 7;
    }
    out.push(it as u8);
}

/// Writes Thrift's compact protocol: a structure, its fields in the order of their numbers.
#[derive(Default)]
struct Thrift {
    out: Vec<u8>,
    field: i64,
}

impl Thrift {
    fn head(&mut self, field: i64, kind: u8) {
        // Numbers of fields never lie more than 15 apart here.
        self.out.push((((field - self.field) as u8) << 4) | kind);
        self.field = field;
    }

    fn zigzag(&mut self, it: i64) {
        varint(((it << 1) ^ (it >> 63)) as u64, &mut self.out);
    }

    fn int(&mut self, field: i64, it: i64) -> &mut Self {
        self.head(field, 5);
        self.zigzag(it);
        self
    }

    fn long(&mut self, field: i64, it: i64) -> &mut Self {
        self.head(field, 6);
        self.zigzag(it);
        self
    }

    fn bytes(&mut self, field: i64, it: &[u8]) -> &mut Self {
        self.head(field, 8);
        varint(it.len() as u64, &mut self.out);
        self.out.extend(it);
        self
    }

    fn list(&mut self, field: i64, n: usize, kind: u8) {
        self.head(field, 9);
        match n {
            0..15 => self.out.push(((n as u8) << 4) | kind),
            _ => {
                self.out.push(0xf0 | kind);
                varint(n as u64, &mut self.out);
            }
        }
    }

    fn ints(&mut self, field: i64, all: &[i64]) -> &mut Self {
        self.list(field, all.len(), 5);
        all.iter().for_each(|it| self.zigzag(*it));
        self
    }

    fn texts(&mut self, field: i64, all: &[&String]) -> &mut Self {
        self.list(field, all.len(), 8);
        for it in all {
            varint(it.len() as u64, &mut self.out);
            self.out.extend(it.as_bytes());
        }
        self
    }

    fn inner(&mut self, field: i64, fill: impl FnOnce(&mut Thrift)) {
        self.head(field, 12);
        let mut inner = Thrift::default();
        fill(&mut inner);
        self.out.extend(inner.end());
    }

    fn structs(&mut self, field: i64, n: usize, mut fill: impl FnMut(usize, &mut Thrift)) {
        self.list(field, n, 12);
        for i in 0..n {
            let mut inner = Thrift::default();
            fill(i, &mut inner);
            self.out.extend(inner.end());
        }
    }

    fn end(mut self) -> Vec<u8> {
        self.out.push(0);
        self.out
    }
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    /// Written as Parquet, and read back by the kind that reads corpora.
    fn back(records: &str) -> Result<String, String> {
        let mut kit = Kit::new("export");
        let with =
            "name = 'k'\nformat = 'parquet'\nshape = 'prompt'\nkeep = ['n', 'x', 'ok', 'text']";
        let folder = kit.folder.path().to_owned();
        kit.run(with, &[records.as_bytes()])
            .map_err(|it| it.to_string().replace(&format!("{}/", folder.display()), ""))?;
        let files: Vec<_> = std::fs::read_dir(folder.join("folder")).unwrap().collect();
        assert_eq!(files.len(), 1);
        let path = folder.join("folder/k.parquet");
        let mut corpus = Kit::new("corpus");
        Ok(corpus.run_at("", &[("files", vec![path])]).unwrap().remove(0))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let records: String = (0..300)
            .map(|it| {
                let x = if it % 7 == 0 { "null".to_owned() } else { format!("{}", it as f64 / 4.0) };
                let text = "水".repeat(it % 5);
                format!(
                    "{{\"prompt\":\"问{it}\",\"completion\":\"答\",\"n\":{},\"x\":{x},\"ok\":{},\"text\":\"{text}\"}}\n",
                    it as i64 - 100,
                    it % 3 == 0
                )
            })
            .collect();
        let found = back(&records).unwrap();
        assert_eq!(found.lines().count(), 300);
        for (line, record) in found.lines().zip(records.lines()) {
            let found: serde_json::Value = serde_json::from_str(line).unwrap();
            let mut want: serde_json::Value = serde_json::from_str(record).unwrap();
            if want["x"].is_null() {
                want.as_object_mut().unwrap().remove("x");
            }
            for (name, want) in want.as_object().unwrap() {
                let same = found[name] == *want || found[name].as_f64() == want.as_f64();
                assert!(same, "{name}: {line}");
            }
        }
    }

    #[test]
    fn what_has_no_column_is_named() {
        let record = |x: &str| {
            format!(
                "{{\"prompt\":\"a\",\"completion\":\"b\",\"n\":1,\"x\":{x},\"ok\":true,\"text\":\"\"}}\n"
            )
        };
        let error = |records: &str| back(records).unwrap_err();
        insta::assert_snapshot!(error(&record("[1]")), @"in0:1: field `x`: is a list or an object, for which Parquet has no flat column");
        insta::assert_snapshot!(error(&format!("{}{}", record("1"), record("\"a\""))), @"in0:2: field `x`: holds one type in some records and another in others");
    }
}
