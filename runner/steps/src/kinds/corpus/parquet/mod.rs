//! Parquet as JSON lines: one object for each row, as if the file had been one of these.
//!
//! Read are columns of truth values, numbers and texts that stand in each row once or may be missing, in
//! plain or dictionary encoding, packed with Snappy, gzip, zstd or nothing: what `pyarrow`, `pandas` and
//! `datasets` write where nothing is said. Lists, structures and numbers in odd widths are left out, and said.

mod column;
mod runs;
mod thrift;
mod unpack;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use column::{Cell, Cells};
use thrift::{Fields, Value};

/// The first and the last bytes of a file.
pub(super) const MAGIC: &[u8] = b"PAR1";
/// The description of a file is not longer.
const LONGEST_FOOTER: u64 = 16 << 20;

/// Why a file cannot be read.
#[derive(Debug)]
enum Wrong {
    Form(String),
    Io(io::Error),
}

impl Wrong {
    fn form(reason: &str) -> Self {
        Wrong::Form(reason.to_owned())
    }
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Wrong::form("the file ends early"),
            _ => Wrong::Io(error),
        }
    }
}

impl From<Wrong> for io::Error {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Form(reason) => {
                io::Error::new(io::ErrorKind::InvalidData, format!("parquet: {reason}"))
            }
            Wrong::Io(it) => it,
        }
    }
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Int32,
    Natural32,
    Int64,
    Natural64,
    Single,
    Double,
    Bytes,
}

/// A column that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    name: String,
    kind: Kind,
    optional: bool,
    /// Its place among the columns of a group.
    place: usize,
}

/// A file as JSON lines.
pub(super) struct Parquet {
    path: PathBuf,
    columns: Vec<Column>,
    groups: std::vec::IntoIter<Value>,
    /// The columns of the group at hand, and how many of its rows are left.
    cells: Vec<Cells>,
    rows_left: u64,
    out: Vec<u8>,
    read: usize,
    /// What is left out, for people.
    pub(super) without: Vec<String>,
}

impl Parquet {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let footer = footer(path)?;
        let (columns, without) = columns(footer.list(2))?;
        if columns.is_empty() {
            return Err(Wrong::form("no column holds one text or number in each row").into());
        }
        Ok(Self {
            path: path.to_owned(),
            columns,
            groups: footer.list(4).to_vec().into_iter(),
            cells: Vec::new(),
            rows_left: 0,
            out: Vec::new(),
            read: 0,
            without,
        })
    }

    /// Writes the next row; false at the end.
    fn row(&mut self) -> Result<bool, Wrong> {
        while self.rows_left == 0 {
            let Some(group) = self.groups.next() else { return Ok(false) };
            self.group(&group)?;
        }
        self.rows_left -= 1;
        self.out.push(b'{');
        for (i, (column, cells)) in self.columns.iter().zip(&mut self.cells).enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            text(column.name.as_bytes(), &mut self.out);
            self.out.push(b':');
            cell(cells.next()?, &mut self.out);
        }
        self.out.extend_from_slice(b"}\n");
        Ok(true)
    }

    fn group(&mut self, group: &Value) -> Result<(), Wrong> {
        let broken = || Wrong::form("a group of rows has half a description");
        let Value::Struct(group) = group else { return Err(broken()) };
        let rows = group.int(3).and_then(|it| u64::try_from(it).ok()).ok_or_else(broken)?;
        self.cells.clear();
        for column in &self.columns {
            let Some(Value::Struct(chunk)) = group.list(1).get(column.place) else {
                return Err(broken());
            };
            if chunk.text(1).is_some() {
                return Err(Wrong::form("a column lies in another file"));
            }
            let meta = chunk.inner(3).ok_or_else(broken)?;
            self.cells.push(Cells::open(&self.path, column, meta)?);
        }
        self.rows_left = rows;
        Ok(())
    }
}

impl Read for Parquet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.out.len() {
            self.out.clear();
            self.read = 0;
            // Some rows at a time.
            while self.out.len() < 1 << 16 && self.row()? {}
        }
        let n = buffer.len().min(self.out.len() - self.read);
        buffer[..n].copy_from_slice(&self.out[self.read..self.read + n]);
        self.read += n;
        Ok(n)
    }
}

/// The file's description, which stands at its end.
fn footer(path: &Path) -> Result<Fields, Wrong> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut end = [0; 8];
    file.seek(SeekFrom::Start(size.saturating_sub(8).max(4)))?;
    file.read_exact(&mut end)?;
    if &end[4..] != MAGIC {
        return Err(Wrong::form("the file does not end as one does: it is cut, or encrypted"));
    }
    let length = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
    if length > LONGEST_FOOTER || length + 12 > size {
        return Err(Wrong::form("the description at the end is longer than it can be"));
    }
    file.seek(SeekFrom::Start(size - 8 - length))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    thrift::read(&mut &bytes[..])
}

/// The columns that are read, and the names of the others. The first element is the whole; columns
/// are the elements without children, and those of one level stand directly below it.
fn columns(elements: &[Value]) -> Result<(Vec<Column>, Vec<String>), Wrong> {
    let (mut columns, mut without) = (Vec::new(), Vec::new());
    let (mut place, mut at) = (0, 1);
    while at < elements.len() {
        let Value::Struct(element) = &elements[at] else {
            return Err(Wrong::form("the description names half a column"));
        };
        let name = element.text(4).unwrap_or_default();
        let leaves_before = place;
        at = past(elements, at, &mut place, 0)?;
        let single = place == leaves_before + 1 && element.int(5).unwrap_or(0) == 0;
        match kind(element).filter(|_| single && element.int(3) != Some(2)) {
            Some(kind) => {
                let optional = element.int(3) == Some(1);
                columns.push(Column { name, kind, optional, place: leaves_before });
            }
            None => without.push(name),
        }
    }
    Ok((columns, without))
}

/// Where the element behind this one and all below it stands; counts the columns that it has.
fn past(elements: &[Value], at: usize, leaves: &mut usize, depth: usize) -> Result<usize, Wrong> {
    let Some(Value::Struct(element)) = elements.get(at).filter(|_| depth < 100) else {
        return Err(Wrong::form("the description is nested in no order"));
    };
    let children = element.int(5).unwrap_or(0);
    let mut next = at + 1;
    for _ in 0..children {
        next = past(elements, next, leaves, depth + 1)?;
    }
    *leaves += usize::from(children == 0);
    Ok(next)
}

fn kind(element: &Fields) -> Option<Kind> {
    let natural = matches!(element.int(6), Some(11..=14));
    // A decimal is not the number that stands for it.
    match (element.int(1)?, element.int(6)) {
        (_, Some(5)) => None,
        (0, _) => Some(Kind::Bool),
        (1, _) if natural => Some(Kind::Natural32),
        (1, _) => Some(Kind::Int32),
        (2, _) if natural => Some(Kind::Natural64),
        (2, _) => Some(Kind::Int64),
        (4, _) => Some(Kind::Single),
        (5, _) => Some(Kind::Double),
        (6, _) => Some(Kind::Bytes),
        _ => None,
    }
}

fn cell(cell: Cell<'_>, out: &mut Vec<u8>) {
    let written = match cell {
        Cell::Bytes(it) => {
            text(it, out);
            return;
        }
        Cell::Null => write!(out, "null"),
        Cell::Bool(it) => write!(out, "{it}"),
        Cell::Int(it) => write!(out, "{it}"),
        Cell::Natural(it) => write!(out, "{it}"),
        Cell::Single(it) if it.is_finite() => {
            serde_json::to_writer(out, &it).map_err(io::Error::from)
        }
        Cell::Double(it) if it.is_finite() => {
            serde_json::to_writer(out, &it).map_err(io::Error::from)
        }
        Cell::Single(_) | Cell::Double(_) => write!(out, "null"),
    };
    written.expect("memory can be written to");
}

/// A JSON text; bytes that are not UTF-8 stay, so that the row is kept aside as any such row is.
fn text(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for it in bytes {
        match it {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *it]),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..0x20 => write!(out, "\\u{it:04x}").expect("memory can be written to"),
            _ => out.push(*it),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests;
