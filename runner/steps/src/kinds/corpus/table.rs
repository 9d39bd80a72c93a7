//! The rows of a CSV file, quoted as Python's `csv` reads them: a quote opens a cell only where the
//! cell begins, and is a sign like any other in the middle of one.
//!
//! A cell that is opened and not closed would take the rest of the file. So a row has a longest
//! length: what is longer, or still open where the file ends, costs its first line alone, and
//! reading goes on with the next. That is linear in the file: once a stretch is known to stay inside a
//! quoted cell, every row that comes to be inside one there skips to its end.

use std::io::{self, BufRead};

/// Where a reader is in a row.
#[derive(Clone, Copy, PartialEq)]
enum Cell {
    /// At the beginning of a cell.
    Start,
    Plain,
    Quoted,
    /// Behind a quote that closes the cell, unless a second one follows.
    Closing,
}

impl Cell {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Start, b'"') | (Self::Closing, b'"') => Self::Quoted,
            (Self::Quoted, b'"') => Self::Closing,
            (Self::Quoted, _) => Self::Quoted,
            (_, b',') => Self::Start,
            _ => Self::Plain,
        }
    }
}

/// A stretch of the window: who is inside a quoted cell at the end of a line in it comes to `upto`
/// in this state, without an end of a row before.
#[derive(Clone, Copy)]
struct Open {
    from: usize,
    upto: usize,
    state: Cell,
}

/// What comes next.
#[derive(Debug, PartialEq)]
pub(super) enum Taken {
    /// A row of so many lines; it is in the buffer.
    Row(u64),
    /// So many lines that are no row, and why; their beginning is in the buffer.
    Unread(u64, String),
    End,
}

/// Takes rows from a reader.
pub(super) struct Table {
    longest: usize,
    /// Read and not taken yet, from `start`.
    window: Vec<u8>,
    start: usize,
    ended: bool,
    open: Option<Open>,
}

/// How a search for the end of a row ends.
enum Search {
    /// Behind the line feed at the end of the row, or at the end of the file.
    Found(usize),
    TooLong,
    /// The file ends inside a quoted cell.
    Unclosed,
}

impl Table {
    pub(super) fn new(longest: usize) -> Self {
        Self { longest, window: Vec::new(), start: 0, ended: false, open: None }
    }

    /// The next row, without the end of its last line.
    pub(super) fn next(
        &mut self,
        reader: &mut dyn BufRead,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Taken> {
        buffer.clear();
        self.forget_taken();
        if !self.is_there(self.start, reader)? {
            return Ok(Taken::End);
        }
        let ended = match self.search(reader)? {
            Search::Found(end) => {
                buffer.extend_from_slice(without_end(&self.window[self.start..end]));
                let n_lines = feeds(&self.window[self.start..end]).max(1);
                self.start = end;
                return Ok(Taken::Row(n_lines));
            }
            Search::TooLong => format!(" within {}", shown(self.longest)),
            Search::Unclosed => String::new(),
        };
        let first = self.window[self.start..].iter().position(|it| *it == b'\n');
        let line = &self.window[self.start..first.map_or(self.window.len(), |it| self.start + it)];
        buffer.extend_from_slice(without_end(line));
        let reason = if line.len() > self.longest {
            format!("is longer than {}", shown(self.longest))
        } else {
            format!("opens a quoted cell that does not end{ended}")
        };
        match first {
            Some(length) => self.start += length + 1,
            None => self.skip_line(reader)?,
        }
        Ok(Taken::Unread(1, reason))
    }

    /// Looks for the end of the row that begins at `start`.
    fn search(&mut self, reader: &mut dyn BufRead) -> io::Result<Search> {
        let (mut at, mut state) = (self.start, Cell::Start);
        // Where this row was first seen to go on over the end of a line.
        let mut open_from = None;
        loop {
            if at - self.start > self.longest {
                self.note_open(open_from, at, state);
                return Ok(Search::TooLong);
            }
            if !self.is_there(at, reader)? {
                self.note_open(open_from, at, state);
                let inside = state == Cell::Quoted;
                return Ok(if inside { Search::Unclosed } else { Search::Found(at) });
            }
            let byte = self.window[at];
            at += 1;
            if byte != b'\n' {
                state = state.after(byte);
            } else if state != Cell::Quoted {
                return Ok(Search::Found(at));
            } else if let Some(open) = self.open.filter(|it| it.from <= at && at < it.upto) {
                (at, state) = (open.upto, open.state);
                open_from.get_or_insert(open.from);
            } else {
                open_from.get_or_insert(at);
            }
        }
    }

    fn note_open(&mut self, from: Option<usize>, upto: usize, state: Cell) {
        if let Some(from) = from {
            self.open = Some(Open { from, upto, state });
        }
    }

    /// Whether there is a byte at this place of the window, which is read as far.
    fn is_there(&mut self, at: usize, reader: &mut dyn BufRead) -> io::Result<bool> {
        while at >= self.window.len() && !self.ended {
            let bytes = reader.fill_buf()?;
            let n = bytes.len();
            self.window.extend_from_slice(bytes);
            reader.consume(n);
            self.ended = n == 0;
        }
        Ok(at < self.window.len())
    }

    /// Passes over the rest of a line of which the window holds no end.
    fn skip_line(&mut self, reader: &mut dyn BufRead) -> io::Result<()> {
        self.window.clear();
        (self.start, self.open) = (0, None);
        while self.is_there(0, reader)? {
            if let Some(end) = self.window.iter().position(|it| *it == b'\n') {
                self.start = end + 1;
                return Ok(());
            }
            self.window.clear();
        }
        Ok(())
    }

    /// Drops what was taken, where that is most of the window.
    fn forget_taken(&mut self) {
        let n = self.start;
        if n * 2 < self.window.len() {
            return;
        }
        self.window.drain(..n);
        self.start = 0;
        self.open = self.open.filter(|it| it.upto > n).map(|it| Open {
            from: it.from.saturating_sub(n),
            upto: it.upto - n,
            ..it
        });
    }
}

/// A length as people say it.
pub(super) fn shown(bytes: usize) -> String {
    if bytes.is_multiple_of(1 << 20) {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{bytes} bytes")
    }
}

fn feeds(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|it| **it == b'\n').count() as u64
}

fn without_end(row: &[u8]) -> &[u8] {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.strip_suffix(b"\r").unwrap_or(row)
}

/// The cells of a row; a quote within quotes is written twice.
pub(super) fn cells(row: &str) -> Vec<String> {
    let mut all = Vec::new();
    let (mut cell, mut state) = (Vec::new(), Cell::Start);
    for byte in row.bytes() {
        let next = state.after(byte);
        let written = match (state, next) {
            (Cell::Plain | Cell::Start | Cell::Closing, Cell::Start) => {
                all.push(text(&mut cell));
                false
            }
            (Cell::Start, Cell::Quoted) | (Cell::Quoted, Cell::Closing) => false,
            _ => true,
        };
        if written {
            cell.push(byte);
        }
        state = next;
    }
    all.push(text(&mut cell));
    // A line end inside a quoted cell may have been written in two signs.
    all.iter_mut().filter(|it| it.contains("\r\n")).for_each(|it| *it = it.replace("\r\n", "\n"));
    all
}

fn text(cell: &mut Vec<u8>) -> String {
    let bytes = std::mem::take(cell);
    String::from_utf8(bytes)
        .unwrap_or_else(|it| String::from_utf8_lossy(it.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(longest: usize, text: &str) -> Vec<(Taken, String)> {
        let mut table = Table::new(longest);
        // Small pieces, so that every boundary is met.
        let mut reader = io::BufReader::with_capacity(7, text.as_bytes());
        let (mut all, mut buffer) = (Vec::new(), Vec::new());
        loop {
            let next = table.next(&mut reader, &mut buffer).unwrap();
            if next == Taken::End {
                return all;
            }
            all.push((next, String::from_utf8(buffer.clone()).unwrap()));
        }
    }

    #[test]
    fn cells_are_those_of_python() {
        // `next(csv.reader([row]))` of Python 3.12.
        for (row, python) in [
            ("a,b", vec!["a", "b"]),
            ("", vec![""]),
            (",", vec!["", ""]),
            ("\"a,\"\"b\",c", vec!["a,\"b", "c"]),
            ("5\" pipe,\"x\"", vec!["5\" pipe", "x"]),
            ("a \"b, c\" d", vec!["a \"b", " c\" d"]),
            ("\"a\"b\",c", vec!["ab\"", "c"]),
            ("\"\",\"\"\"\"", vec!["", "\""]),
            ("a, \"b\"", vec!["a", " \"b\""]),
            ("\"甲\n乙\",丙", vec!["甲\n乙", "丙"]),
        ] {
            assert_eq!(cells(row), python, "{row}");
        }
    }

    #[test]
    fn a_row_goes_over_lines_only_inside_quotes() {
        let all = taken(99, "a,b\r\n\"x\ny\",z\n5\" a,b\n\nlast,\"q\"");
        let rows: Vec<&str> = all.iter().map(|it| it.1.as_str()).collect();
        assert_eq!(rows, ["a,b", "\"x\ny\",z", "5\" a,b", "", "last,\"q\""]);
        assert_eq!(all[1].0, Taken::Row(2));
    }

    #[test]
    fn a_stray_quote_costs_its_line_alone() {
        let rows: String = (0..40).map(|i| format!("row {i},b\n")).collect();
        for longest in [50, 10_000] {
            let all = taken(longest, &format!("\"stray,b\n{rows}"));
            let Taken::Unread(1, reason) = &all[0].0 else { panic!("{:?}", all[0]) };
            assert!(reason.starts_with("opens a quoted cell that does not end"), "{reason}");
            assert_eq!(all[0].1, "\"stray,b");
            let good: Vec<String> = all[1..].iter().map(|it| format!("{}\n", it.1)).collect();
            assert_eq!(good.concat(), rows);
        }
    }

    #[test]
    fn a_line_that_is_too_long_costs_itself() {
        let all = taken(50, &format!("a\n{}\nb\n{}", "x".repeat(400), "y".repeat(400)));
        assert_eq!(all.len(), 4);
        assert_eq!(all[1].0, Taken::Unread(1, "is longer than 50 bytes".to_owned()));
        assert_eq!((all[0].1.as_str(), all[2].1.as_str()), ("a", "b"));
        assert!(all[3].1.len() < 100);
    }

    /// A reader of the definition's kind: each row is searched from its beginning.
    fn plainly(longest: usize, text: &str) -> Vec<(bool, String)> {
        let mut all = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let mut state = Cell::Start;
            let mut end = None;
            for (i, byte) in rest.bytes().enumerate() {
                if i > longest {
                    break;
                }
                if byte == b'\n' && state != Cell::Quoted {
                    end = Some(i + 1);
                    break;
                }
                state = if byte == b'\n' { state } else { state.after(byte) };
                if i + 1 == rest.len() && i < longest && state != Cell::Quoted {
                    end = Some(rest.len());
                }
            }
            let good = end.is_some();
            let end = end.unwrap_or_else(|| rest.find('\n').map_or(rest.len(), |it| it + 1));
            all.push((good, rest[..end].trim_end_matches('\n').to_owned()));
            rest = &rest[end..];
        }
        all
    }

    #[test]
    fn what_is_skipped_is_what_a_search_from_the_beginning_finds() {
        let mut state = 1_u64;
        let mut next = |n: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        for _ in 0..4_000 {
            let n = next(60);
            let text: String =
                (0..n).map(|_| ['"', ',', '\n', 'a', '"', '\n'][next(6) as usize]).collect();
            let longest = 1 + next(20) as usize;
            let found = taken(longest, &text).into_iter();
            let found: Vec<(bool, String)> =
                found.map(|(it, row)| (matches!(it, Taken::Row(_)), row)).collect();
            let wanted = plainly(longest, &text);
            // Of a line that is too long, only the beginning is kept.
            let same = |(a, b): (&(bool, String), &(bool, String))| {
                a.0 == b.0 && (a.1 == b.1 || !a.0 && b.1.starts_with(&a.1))
            };
            let all = found.len() == wanted.len() && found.iter().zip(&wanted).all(same);
            assert!(all, "{longest} {text:?}\n{found:?}\n{wanted:?}");
        }
    }

    #[test]
    fn lines_that_are_open_from_either_side_are_read_in_linear_time() {
        // Whether a row begins here or has gone on to here, it is inside a quoted cell at the end.
        let line = "x,\"y\",\"\n";
        let text = line.repeat(400_000);
        let mut table = Table::new(1 << 20);
        let mut reader = io::BufReader::with_capacity(1 << 16, text.as_bytes());
        let (mut n, mut buffer) = (0, Vec::new());
        let before = std::time::Instant::now();
        while table.next(&mut reader, &mut buffer).unwrap() != Taken::End {
            n += 1;
        }
        assert_eq!(n, 400_000);
        // From each beginning anew, it would be 400 GB.
        assert!(before.elapsed().as_secs() < 60, "{:?}", before.elapsed());
    }
}
