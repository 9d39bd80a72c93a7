//! The rows of a file, one after another, each as the bytes of a JSON object: lines, the elements of
//! one array, the rows of a table, paragraphs. No more than one row is in memory, and what is
//! broken is passed over with its reason.

use std::io::{self, BufRead};

use super::table::{Table, Taken, cells};
use super::{Format, Unit};
use crate::records::MAX_LINE_BYTES;
use crate::text::ledger;

/// What comes next in a file.
pub(crate) enum Next {
    /// A row; it is in the buffer.
    Row,
    /// Something that is no row, and why; its beginning is in the buffer.
    Unread(String),
    /// Nothing.
    End,
}

/// Reads rows.
pub(crate) struct Rows {
    reader: Box<dyn BufRead>,
    shape: Shape,
    /// The line at which the row begins, from 1.
    pub(crate) line: u64,
    /// How many line feeds were read.
    feeds: u64,
}

enum Shape {
    Lines,
    Text(Unit),
    Array(Array),
    /// A table, and the names of its columns once they were read.
    Table(Table, Option<Vec<String>>),
}

/// Where an array is.
#[derive(Clone, Copy, PartialEq)]
enum Array {
    Before,
    Within,
    /// Behind something broken, up to a line that begins with an object; whether a line began.
    Lost(bool),
    /// The brace of the next object was read with the broken one before it.
    Begun,
    After,
}

impl Rows {
    /// The rows of a file; one of a table has at most `longest_row` bytes.
    pub(crate) fn new(
        reader: Box<dyn BufRead>,
        format: Format,
        unit: Unit,
        longest_row: usize,
    ) -> Self {
        let shape = match format {
            Format::Json => Shape::Array(Array::Before),
            Format::Csv => Shape::Table(Table::new(longest_row), None),
            Format::Txt => Shape::Text(unit),
            _ => Shape::Lines,
        };
        Self { reader, shape, line: 0, feeds: 0 }
    }

    /// The next row, into the buffer.
    pub(crate) fn next(&mut self, buffer: &mut Vec<u8>) -> io::Result<Next> {
        buffer.clear();
        match &mut self.shape {
            Shape::Lines => self.json_line(buffer),
            Shape::Text(Unit::Line) => self.text(buffer, Unit::Line),
            Shape::Text(Unit::Paragraph) => self.text(buffer, Unit::Paragraph),
            Shape::Array(_) => self.element(buffer),
            Shape::Table(..) => self.table_row(buffer),
        }
    }

    /// Adds a line to the buffer, without its end: whether there was one, and whether it fits.
    fn line(&mut self, buffer: &mut Vec<u8>) -> io::Result<Option<bool>> {
        let (mut any, mut fits) = (false, true);
        loop {
            let bytes = self.reader.fill_buf()?;
            if bytes.is_empty() {
                return Ok(any.then_some(fits));
            }
            any = true;
            let end = bytes.iter().position(|it| *it == b'\n');
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            fits = fits && buffer.len() + piece.len() <= MAX_LINE_BYTES;
            if fits {
                buffer.extend_from_slice(piece);
            }
            let used = piece.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                self.feeds += 1;
                if buffer.last() == Some(&b'\r') {
                    buffer.pop();
                }
                return Ok(Some(fits));
            }
        }
    }

    fn json_line(&mut self, buffer: &mut Vec<u8>) -> io::Result<Next> {
        loop {
            buffer.clear();
            self.line = self.feeds + 1;
            match self.line(buffer)? {
                None => return Ok(Next::End),
                Some(false) => return Ok(Next::Unread(too_long())),
                Some(true) if buffer.iter().all(u8::is_ascii_whitespace) => {}
                Some(true) => return Ok(Next::Row),
            }
        }
    }

    /// Lines, or lines up to an empty one.
    fn text(&mut self, buffer: &mut Vec<u8>, unit: Unit) -> io::Result<Next> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let at = self.feeds + 1;
            let Some(fits) = self.line(&mut line)? else { break };
            if line.iter().all(u8::is_ascii_whitespace) && fits {
                if buffer.is_empty() { continue } else { break }
            }
            if buffer.is_empty() {
                self.line = at;
            } else {
                buffer.push(b'\n');
            }
            if !fits || buffer.len() + line.len() > MAX_LINE_BYTES {
                return Ok(Next::Unread(too_long()));
            }
            buffer.append(&mut line);
            if unit == Unit::Line {
                break;
            }
        }
        if buffer.is_empty() {
            return Ok(Next::End);
        }
        Ok(as_object(buffer, |text, out| pair("text", text, out)))
    }

    /// The next element of an array that is an object.
    fn element(&mut self, buffer: &mut Vec<u8>) -> io::Result<Next> {
        let state = match self.shape {
            Shape::Array(it) => it,
            _ => Array::After,
        };
        let mut scan = Scan { state, open: vec![], last: 0, in_text: false, escaped: false };
        if state == Array::Begun {
            self.line = self.feeds + 1;
            scan.state = Array::Within;
            scan.between(b'{', buffer);
        }
        loop {
            let bytes = self.reader.fill_buf()?;
            if bytes.is_empty() {
                self.shape = Shape::Array(Array::After);
                let cut = scan.state == Array::Within;
                return Ok(match (cut, buffer.is_empty()) {
                    (true, true) => Next::Unread("the array does not end".to_owned()),
                    (true, false) => Next::Unread("the file ends inside a record".to_owned()),
                    _ => Next::End,
                });
            }
            let mut used = 0;
            let mut found = None;
            for &it in bytes {
                if buffer.is_empty() {
                    self.line = self.feeds + 1;
                }
                used += 1;
                self.feeds += u64::from(it == b'\n');
                found = scan.take(it, buffer);
                if found.is_some() {
                    break;
                }
            }
            self.reader.consume(used);
            self.shape = Shape::Array(scan.state);
            if let Some(it) = found {
                return Ok(it);
            }
        }
    }

    fn table_row(&mut self, buffer: &mut Vec<u8>) -> io::Result<Next> {
        let Shape::Table(table, columns) = &mut self.shape else { return Ok(Next::End) };
        loop {
            self.line = self.feeds + 1;
            match table.next(&mut self.reader, buffer)? {
                Taken::End => return Ok(Next::End),
                Taken::Unread(n_lines, reason) => {
                    self.feeds += n_lines;
                    return Ok(Next::Unread(reason));
                }
                Taken::Row(n_lines) => self.feeds += n_lines,
            }
            if buffer.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let Some(columns) = columns else {
                let text = String::from_utf8_lossy(buffer);
                *columns = Some(cells(&text).iter().map(|it| it.trim().to_owned()).collect());
                continue;
            };
            let Ok(text) = std::str::from_utf8(buffer) else { return Ok(Next::Row) };
            let cells = cells(text);
            if cells.len() != columns.len() {
                let (n, wanted) = (cells.len(), columns.len());
                return Ok(Next::Unread(format!("has {n} cells where {wanted} columns are named")));
            }
            let mut out = vec![b'{'];
            for (name, cell) in columns.iter().zip(&cells) {
                pair(name, cell, &mut out);
                out.push(b',');
            }
            out.pop();
            out.push(b'}');
            *buffer = out;
            return Ok(Next::Row);
        }
    }
}

fn too_long() -> String {
    format!("is longer than {} MiB", MAX_LINE_BYTES >> 20)
}

fn pair(name: &str, value: &str, out: &mut Vec<u8>) {
    ledger::text(name, out);
    out.push(b':');
    ledger::text(value, out);
}

/// The buffer's text as an object. What is not UTF-8 stays as it is: the caller sees it.
fn as_object(buffer: &mut Vec<u8>, write: impl Fn(&str, &mut Vec<u8>)) -> Next {
    if let Ok(text) = std::str::from_utf8(buffer) {
        let mut out = vec![b'{'];
        write(text, &mut out);
        out.push(b'}');
        *buffer = out;
    }
    Next::Row
}

/// Follows an array byte by byte.
struct Scan {
    state: Array,
    /// The brackets that are open.
    open: Vec<u8>,
    /// The byte before, white space left out.
    last: u8,
    in_text: bool,
    escaped: bool,
}

impl Scan {
    /// Takes a byte: something where a row ends with it.
    fn take(&mut self, it: u8, buffer: &mut Vec<u8>) -> Option<Next> {
        match self.state {
            Array::Before => {
                if it == b'[' {
                    self.state = Array::Within;
                }
                return None;
            }
            Array::After | Array::Begun => return None,
            Array::Lost(fresh) => {
                match it {
                    b'\n' => self.state = Array::Lost(true),
                    b'{' if fresh => {
                        self.state = Array::Within;
                        return self.between(it, buffer);
                    }
                    _ if it.is_ascii_whitespace() => {}
                    _ => self.state = Array::Lost(false),
                }
                return None;
            }
            Array::Within => {}
        }
        if self.open.is_empty() && !self.in_text {
            return self.between(it, buffer);
        }
        if buffer.len() >= MAX_LINE_BYTES {
            self.state = Array::Lost(false);
            return Some(Next::Unread(too_long()));
        }
        if let Some(broken) = self.misplaced(it) {
            return Some(broken);
        }
        buffer.push(it);
        if !it.is_ascii_whitespace() {
            self.last = it;
        }
        match it {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_text => self.escaped = true,
            b'"' => self.in_text = !self.in_text,
            b'\n' if self.in_text => {
                self.state = Array::Lost(true);
                return Some(Next::Unread("a text goes on over the end of its line".to_owned()));
            }
            b'{' | b'[' if !self.in_text => self.open.push(it),
            b'}' | b']' if !self.in_text => {
                self.open.pop();
                if self.open.is_empty() {
                    return Some(Next::Row);
                }
            }
            _ => {}
        }
        None
    }

    /// A bracket that shows that the record before it does not end: an object where a name must
    /// stand, or the end of the array inside an object.
    fn misplaced(&mut self, it: u8) -> Option<Next> {
        if self.in_text || self.open.last() != Some(&b'{') {
            return None;
        }
        self.state = match it {
            b'{' if self.last == b',' => Array::Begun,
            b']' => Array::After,
            _ => return None,
        };
        Some(Next::Unread("the object does not end".to_owned()))
    }

    /// Between elements: what is no object is gathered up to the next comma.
    fn between(&mut self, it: u8, buffer: &mut Vec<u8>) -> Option<Next> {
        match it {
            b'{' if buffer.is_empty() => {
                buffer.push(it);
                self.open.push(b'{');
            }
            b',' | b'\n' | b']' => {
                if it == b']' {
                    self.state = Array::After;
                }
                if !buffer.is_empty() {
                    return Some(Next::Unread("is no object".to_owned()));
                }
            }
            _ if it.is_ascii_whitespace() => {}
            b'{' => {
                buffer.clear();
                buffer.push(it);
                self.open.push(b'{');
            }
            _ if buffer.len() < 200 => buffer.push(it),
            _ => {}
        }
        None
    }
}
