//! Files of records: one a line, read with a limit, written through a buffer; and how far it is.
//!
//! A line is what stands between line feeds; the last may lack one. A carriage return is part of
//! the line: bytes that came in go out.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::{Cx, Say, StepError};

/// The longest line that a record kind takes.
pub(crate) const MAX_LINE_BYTES: usize = 64 << 20;

/// Reads a file line by line, never holding more than one.
pub(crate) struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    /// The line that was read last, from 1.
    pub(crate) line: u64,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, StepError> {
        let file = File::open(path).map_err(StepError::io(path))?;
        let reader = BufReader::with_capacity(1 << 18, file);
        Ok(Self { reader, path: path.to_owned(), line: 0 })
    }

    /// Puts the next line into `buffer`, without its line feed; false at the end.
    pub(crate) fn next(&mut self, buffer: &mut Vec<u8>) -> Result<bool, StepError> {
        buffer.clear();
        let mut bounded = (&mut self.reader).take(MAX_LINE_BYTES as u64 + 1);
        let n = bounded.read_until(b'\n', buffer).map_err(StepError::io(&self.path))?;
        if n == 0 {
            return Ok(false);
        }
        self.line += 1;
        if buffer.last() == Some(&b'\n') {
            buffer.pop();
        } else if buffer.len() > MAX_LINE_BYTES {
            let limit = MAX_LINE_BYTES >> 20;
            return Err(self.mistake(None, format!("the line is longer than {limit} MiB")));
        }
        Ok(true)
    }

    /// Passes over `n` lines.
    pub(crate) fn skip(&mut self, n: u64) -> Result<(), StepError> {
        let mut buffer = Vec::new();
        for _ in 0..n {
            if !self.next(&mut buffer)? {
                break;
            }
        }
        Ok(())
    }

    /// An error about the line that was read last.
    pub(crate) fn mistake(&self, field: Option<&str>, reason: String) -> StepError {
        let field = field.map(str::to_owned);
        StepError::Record { file: self.path.clone(), line: self.line, field, reason }
    }
}

/// How many lines a file has.
pub(crate) fn count_lines(path: &Path, cx: &Cx<'_>) -> Result<u64, StepError> {
    let mut file = File::open(path).map_err(StepError::io(path))?;
    let mut buffer = vec![0; 1 << 20];
    let (mut n_lines, mut last) = (0, b'\n');
    loop {
        cx.check_stop()?;
        let n = file.read(&mut buffer).map_err(StepError::io(path))?;
        if n == 0 {
            return Ok(n_lines + u64::from(last != b'\n'));
        }
        n_lines += buffer[..n].iter().filter(|it| **it == b'\n').count() as u64;
        last = buffer[n - 1];
    }
}

/// Writes a file line by line.
pub(crate) struct Output {
    writer: BufWriter<File>,
    path: PathBuf,
}

impl Output {
    pub(crate) fn create(path: &Path) -> Result<Self, StepError> {
        let file = File::create(path).map_err(StepError::io(path))?;
        Ok(Self { writer: BufWriter::with_capacity(1 << 18, file), path: path.to_owned() })
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), StepError> {
        self.writer.write_all(bytes).map_err(StepError::io(&self.path))
    }

    pub(crate) fn line(&mut self, line: &[u8]) -> Result<(), StepError> {
        self.bytes(line)?;
        self.bytes(b"\n")
    }

    /// Must be called: an error at the last write is an error of the step.
    pub(crate) fn finish(mut self) -> Result<(), StepError> {
        self.writer.flush().map_err(StepError::io(&self.path))
    }
}

/// Writes a step's numbers to its slot `metrics`.
pub(crate) fn write_metrics(metrics: &Map<String, Value>, cx: &Cx<'_>) -> Result<(), StepError> {
    let text = serde_json::to_vec_pretty(metrics);
    let mut output = Output::create(cx.output("metrics")?)?;
    output.line(&text.expect("finite numbers are always JSON"))?;
    output.finish()
}

/// How far a kind is, said a few times a second.
pub(crate) struct Progress {
    unit: &'static str,
    total: Option<u64>,
    done: u64,
    skipped: u64,
    said: Instant,
}

/// Often enough for an eye, seldom enough for a log.
const SAY_EVERY: Duration = Duration::from_millis(200);

impl Progress {
    pub(crate) fn new(unit: &'static str, total: Option<u64>) -> Self {
        Self { unit, total, done: 0, skipped: 0, said: Instant::now() }
    }

    /// `n` more are done.
    pub(crate) fn did(&mut self, n: u64, cx: &mut Cx<'_>) {
        self.done += n;
        if self.said.elapsed() >= SAY_EVERY {
            self.said = Instant::now();
            self.say(cx);
        }
    }

    /// One more was done before.
    pub(crate) fn skipped(&mut self, cx: &mut Cx<'_>) {
        self.skipped += 1;
        self.did(1, cx);
    }

    /// Says how far it came.
    pub(crate) fn say(&self, cx: &mut Cx<'_>) {
        let (done, total, skipped) = (self.done, self.total, self.skipped);
        (cx.report)(Say::Progress { done, total, unit: self.unit.to_owned(), skipped });
    }
}

/// 128 bits of the digest of a line: two lines of a file share them by accident less often than
/// memory fails.
pub(crate) fn short_digest(bytes: &[u8]) -> u128 {
    short(&blake3::hash(bytes))
}

/// The first 128 bits of a digest.
pub(crate) fn short(digest: &blake3::Hash) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(bytes: &[u8]) -> Vec<Vec<u8>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut lines = Lines::open(file.path()).unwrap();
        let (mut buffer, mut all) = (Vec::new(), Vec::new());
        while lines.next(&mut buffer).unwrap() {
            all.push(buffer.clone());
        }
        all
    }

    #[test]
    fn the_last_line_may_lack_its_line_feed() {
        assert_eq!(lines_of(b"a\nb"), lines_of(b"a\nb\n"));
        assert_eq!(lines_of(b""), Vec::<Vec<u8>>::new());
        assert_eq!(lines_of(b"\n\r\n"), [&b""[..], b"\r"]);
    }

    #[test]
    fn a_line_over_the_limit_is_named_and_one_at_the_limit_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (length, good) in [(MAX_LINE_BYTES, true), (MAX_LINE_BYTES + 1, false)] {
            let mut bytes = b"first\n".to_vec();
            bytes.resize(6 + length, b'x');
            bytes.push(b'\n');
            std::fs::write(file.path(), bytes).unwrap();
            let mut lines = Lines::open(file.path()).unwrap();
            let mut buffer = Vec::new();
            assert!(lines.next(&mut buffer).unwrap());
            match lines.next(&mut buffer) {
                Ok(_) => assert!(good && buffer.len() == length),
                Err(it) => {
                    assert!(!good && it.to_string().ends_with(":2: the line is longer than 64 MiB"))
                }
            }
        }
    }
}
