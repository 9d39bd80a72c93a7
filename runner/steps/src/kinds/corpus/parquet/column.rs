//! One column of one group of rows: its pages, read one after another, as cells.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::runs::Runs;
use super::thrift::{self, Fields};
use super::unpack::{LARGEST, unpack};
use super::{Column, Kind, Wrong};

/// What stands in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Natural(u64),
    Single(f32),
    Double(f64),
    Bytes(&'a [u8]),
}

/// Reads the cells of a column.
pub(super) struct Cells {
    kind: Kind,
    optional: bool,
    codec: i64,
    from: std::io::Take<BufReader<File>>,
    dictionary: Option<Dictionary>,
    page: Page,
}

struct Dictionary {
    bytes: Vec<u8>,
    /// Where each value begins.
    starts: Vec<usize>,
}

#[derive(Default)]
struct Page {
    bytes: Vec<u8>,
    /// How many cells are left.
    left: u64,
    /// Whether there is a cell, where it may be missing.
    levels: Option<Runs>,
    values: Values,
}

/// How values are written.
enum Values {
    /// From this byte, and of truth values from this bit.
    Plain(usize, u64),
    Dictionary(Runs),
    Truths(Runs),
}

impl Default for Values {
    fn default() -> Self {
        Values::Plain(0, 0)
    }
}

impl Cells {
    /// `meta` is the column's own part of the file's description.
    pub(super) fn open(path: &Path, column: &Column, meta: &Fields) -> Result<Self, Wrong> {
        let place = |field| meta.int(field).and_then(|it| u64::try_from(it).ok());
        let data = place(9).ok_or_else(|| Wrong::form("a column has no pages"))?;
        let start = place(11).filter(|it| *it > 0).map_or(data, |it| it.min(data));
        let size = place(7).ok_or_else(|| Wrong::form("a column does not say its size"))?;
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(Self {
            kind: column.kind,
            optional: column.optional,
            codec: meta.int(4).unwrap_or(0),
            from: BufReader::with_capacity(1 << 16, file).take(size),
            dictionary: None,
            page: Page::default(),
        })
    }

    /// The cell of the next row.
    pub(super) fn next(&mut self) -> Result<Cell<'_>, Wrong> {
        while self.page.left == 0 {
            self.turn()?;
        }
        self.page.left -= 1;
        let Page { bytes, levels, values, .. } = &mut self.page;
        if let Some(levels) = levels
            && levels.next(bytes)? == 0
        {
            return Ok(Cell::Null);
        }
        match values {
            Values::Truths(runs) => Ok(Cell::Bool(runs.next(bytes)? == 1)),
            Values::Plain(at, bit) if self.kind == Kind::Bool => {
                let byte = bytes.get(*at + (*bit / 8) as usize).ok_or_else(early)?;
                *bit += 1;
                Ok(Cell::Bool(byte >> ((*bit - 1) % 8) & 1 == 1))
            }
            Values::Plain(at, _) => plain(self.kind, bytes, at),
            Values::Dictionary(runs) => {
                let i = runs.next(bytes)? as usize;
                let none = || Wrong::form("a page names a value that its dictionary lacks");
                let dictionary = self.dictionary.as_ref().ok_or_else(none)?;
                let mut at = *dictionary.starts.get(i).ok_or_else(none)?;
                plain(self.kind, &dictionary.bytes, &mut at)
            }
        }
    }

    /// Reads the next page.
    fn turn(&mut self) -> Result<(), Wrong> {
        let header = thrift::read(&mut self.from)?;
        let size = |field| {
            let n = header.int(field).and_then(|it| usize::try_from(it).ok());
            n.filter(|it| *it <= LARGEST)
                .ok_or_else(|| Wrong::form("a page has no size, or too large a one"))
        };
        let (unpacked, packed) = (size(2)?, size(3)?);
        let mut bytes = Vec::new();
        (&mut self.from).take(packed as u64).read_to_end(&mut bytes)?;
        if bytes.len() < packed {
            return Err(early());
        }
        let part =
            |field| header.inner(field).ok_or_else(|| Wrong::form("a page has half a header"));
        match header.int(1) {
            Some(0) => self.first_form(part(5)?, &bytes, unpacked),
            Some(2) => {
                let n = part(7)?.int(1).unwrap_or(0);
                self.dictionary = Some(self.dictionary(unpack(self.codec, &bytes, unpacked)?, n)?);
                Ok(())
            }
            Some(3) => self.second_form(part(8)?, bytes, unpacked),
            // An index.
            _ => Ok(()),
        }
    }

    fn dictionary(&self, bytes: Vec<u8>, n: i64) -> Result<Dictionary, Wrong> {
        let (mut starts, mut at) = (Vec::new(), 0);
        for _ in 0..n {
            starts.push(at);
            plain(self.kind, &bytes, &mut at)?;
        }
        Ok(Dictionary { bytes, starts })
    }

    /// Levels and values are packed together; the levels' length stands before them.
    fn first_form(&mut self, head: &Fields, packed: &[u8], n: usize) -> Result<(), Wrong> {
        let bytes = unpack(self.codec, packed, n)?;
        let mut at = 0;
        let levels = match self.optional {
            true => {
                if head.int(3) != Some(3) {
                    return Err(Wrong::form("a page has levels of an old kind"));
                }
                let n = length(&bytes, &mut at)?;
                let runs = Runs::new((at, at + n), 1)?;
                at += n;
                Some(runs)
            }
            false => None,
        };
        self.fill(head.int(1), head.int(2), (bytes, at, levels))
    }

    /// Levels are not packed and stand before the values.
    fn second_form(&mut self, head: &Fields, packed: Vec<u8>, n: usize) -> Result<(), Wrong> {
        let count = |field| head.int(field).and_then(|it| usize::try_from(it).ok()).unwrap_or(0);
        let (definition, repetition) = (count(5), count(6));
        let before = definition.saturating_add(repetition);
        if before > packed.len() || before > n {
            return Err(early());
        }
        let mut bytes = packed[..before].to_vec();
        match head.bool(7) {
            Some(false) => bytes.extend_from_slice(&packed[before..]),
            _ => bytes.extend(unpack(self.codec, &packed[before..], n - before)?),
        }
        let levels = match self.optional {
            true => Some(Runs::new((repetition, before), 1)?),
            false => None,
        };
        self.fill(head.int(1), head.int(4), (bytes, before, levels))
    }

    fn fill(
        &mut self,
        n: Option<i64>,
        encoding: Option<i64>,
        (bytes, mut at, levels): (Vec<u8>, usize, Option<Runs>),
    ) -> Result<(), Wrong> {
        let values = match encoding {
            Some(0) => Values::Plain(at, 0),
            Some(2 | 8) => {
                // Where all cells are missing, not even the width is there.
                let bits = bytes.get(at).copied().unwrap_or(0);
                Values::Dictionary(Runs::new((at + 1, bytes.len()), u32::from(bits))?)
            }
            Some(3) if self.kind == Kind::Bool => {
                let n = length(&bytes, &mut at)?;
                Values::Truths(Runs::new((at, at + n), 1)?)
            }
            _ => {
                let reason = "a page is written in one of the delta encodings, which are not read; \
                              write the file with plain or dictionary encoding";
                return Err(Wrong::form(reason));
            }
        };
        let left = n.and_then(|it| u64::try_from(it).ok());
        let left = left.ok_or_else(|| Wrong::form("a page does not say how many rows it has"))?;
        self.page = Page { bytes, left, levels, values };
        Ok(())
    }
}

fn early() -> Wrong {
    Wrong::form("a page ends early")
}

/// A length in four bytes, and that so many bytes stand behind it.
fn length(bytes: &[u8], at: &mut usize) -> Result<usize, Wrong> {
    let four: [u8; 4] = fixed(bytes, at)?;
    let n = u32::from_le_bytes(four) as usize;
    if bytes.len() - *at < n {
        return Err(early());
    }
    Ok(n)
}

fn fixed<const N: usize>(bytes: &[u8], at: &mut usize) -> Result<[u8; N], Wrong> {
    let found = bytes.get(*at..).and_then(|it| it.first_chunk::<N>()).ok_or_else(early)?;
    *at += N;
    Ok(*found)
}

/// A value in its plain form.
fn plain<'a>(kind: Kind, bytes: &'a [u8], at: &mut usize) -> Result<Cell<'a>, Wrong> {
    Ok(match kind {
        Kind::Bool => return Err(Wrong::form("a dictionary of truth values")),
        Kind::Int32 => Cell::Int(i64::from(i32::from_le_bytes(fixed(bytes, at)?))),
        Kind::Natural32 => Cell::Natural(u64::from(u32::from_le_bytes(fixed(bytes, at)?))),
        Kind::Int64 => Cell::Int(i64::from_le_bytes(fixed(bytes, at)?)),
        Kind::Natural64 => Cell::Natural(u64::from_le_bytes(fixed(bytes, at)?)),
        Kind::Single => Cell::Single(f32::from_le_bytes(fixed(bytes, at)?)),
        Kind::Double => Cell::Double(f64::from_le_bytes(fixed(bytes, at)?)),
        Kind::Bytes => {
            let n = length(bytes, at)?;
            *at += n;
            Cell::Bytes(&bytes[*at - n..*at])
        }
    })
}
