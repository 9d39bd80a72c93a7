//! The text of a manifest file, with its lines: what spans are drawn on.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use crate::Place;

/// One manifest file.
pub struct Text {
    name: Arc<PathBuf>,
    text: String,
    /// The offset at which each line starts.
    starts: Vec<u32>,
}

/// Of the lines around a mistake no more is shown: a file may be one line.
const LONGEST_SHOWN: usize = 16 << 10;

/// A stretch of one of the loaded files; small, so that every node can carry one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct At {
    /// Index into [`Texts`].
    pub(crate) file: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// All files that a manifest is made of, in the order in which their settings apply.
pub(crate) type Texts = Vec<Arc<Text>>;

impl Text {
    /// Takes a file's text; the name is the one that messages show.
    pub fn new(name: PathBuf, text: String) -> Self {
        let breaks = text.match_indices('\n').map(|it| it.0 as u32 + 1);
        let starts = std::iter::once(0).chain(breaks).collect();
        Self { name: Arc::new(name), text, starts }
    }

    /// The file's name.
    pub fn name(&self) -> &Arc<PathBuf> {
        &self.name
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A stretch of it, with its line.
    pub fn place(&self, start: usize, end: usize) -> Place {
        let line = self.starts.partition_point(|it| *it as usize <= start) as u32;
        Place { file: Arc::clone(&self.name), line, start, end }
    }

    /// The bytes of the lines of a span, and of so many lines around it.
    fn window(&self, span: &SourceSpan, before: usize, after: usize) -> Range<usize> {
        let line = |at: usize| self.starts.partition_point(|it| *it as usize <= at).max(1) - 1;
        let first = line(span.offset()).saturating_sub(before);
        let last = line(span.offset() + span.len()) + after + 1;
        let end = self.starts.get(last).map_or(self.text.len(), |it| *it as usize);
        self.starts[first] as usize..end
    }

    /// The part of a long line that is shown for a span in it.
    fn around(&self, span: &SourceSpan, line: &Range<usize>) -> Range<usize> {
        let margin = LONGEST_SHOWN / 8;
        let start = span.offset().saturating_sub(margin).max(line.start);
        let end = (span.offset() + span.len() + margin).min(line.end);
        self.text.floor_char_boundary(start)..self.text.ceil_char_boundary(end)
    }

    /// The column of an offset, from 1, in characters.
    pub fn column(&self, offset: usize) -> usize {
        let line = self.starts.partition_point(|it| *it as usize <= offset);
        let start = self.starts[line.max(1) - 1] as usize;
        let end = offset.min(self.text.len());
        self.text.get(start..end).map_or(1, |it| it.chars().count() + 1)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({}, {} bytes)", self.name.display(), self.text.len())
    }
}

impl SourceCode for Text {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        // Reading from the beginning of the file would take as long as the file is, for each mistake.
        let mut window = self.window(span, lines_before + 1, lines_after + 1);
        let mut column = 0;
        if window.len() > LONGEST_SHOWN && span.len() <= LONGEST_SHOWN / 4 {
            let line = self.window(span, 0, 0);
            window = self.around(span, &line);
            column = window.start - line.start;
        }
        let offset = span.offset().saturating_sub(window.start);
        let local = SourceSpan::new(offset.into(), span.len());
        let inner = self.text[window.clone()].read_span(&local, lines_before, lines_after)?;
        let found =
            SourceSpan::new((inner.span().offset() + window.start).into(), inner.span().len());
        let first_line = self.starts.partition_point(|it| (*it as usize) <= window.start) - 1;
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.display().to_string(),
            inner.data(),
            found,
            inner.line() + first_line,
            inner.column() + column,
            inner.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, at: usize, len: usize) -> (String, usize, usize, usize) {
        let text = Text::new("w.toml".into(), text.to_owned());
        let span = SourceSpan::new(at.into(), len);
        let it = text.read_span(&span, 1, 1).unwrap();
        let data = String::from_utf8(it.data().to_vec()).unwrap();
        (data, it.line(), it.column(), it.span().offset())
    }

    #[test]
    fn what_is_shown_of_a_file_is_what_a_reading_of_all_of_it_shows() {
        let text = "a = 1\nb = 2\r\n\nc = 3\ndd = 4\nlast";
        for at in 0..text.len() {
            for len in 0..=(text.len() - at).min(9) {
                let span = SourceSpan::new(at.into(), len);
                for (before, after) in [(0, 0), (1, 1), (3, 2)] {
                    let whole = text.read_span(&span, before, after).unwrap();
                    let ours = Text::new("w.toml".into(), text.to_owned());
                    let ours = ours.read_span(&span, before, after).unwrap();
                    assert_eq!(
                        (ours.data(), ours.span()),
                        (whole.data(), whole.span()),
                        "{at}+{len}"
                    );
                    let place = |it: &dyn SpanContents<'_>| (it.line(), it.column());
                    assert_eq!(place(&*ours), place(&*whole), "{at}+{len}");
                }
            }
        }
    }

    #[test]
    fn of_a_long_line_the_part_around_the_mistake_is_shown() {
        let long = format!("first\nx = [{}]\nlast\n", "甲, ".repeat(1_000_000));
        let at = long.find("甲").unwrap() + 5 * 500_000;
        let (data, line, column, offset) = shown(&long, at, 3);
        assert!(data.len() <= LONGEST_SHOWN && long[offset..].starts_with(&data));
        assert_eq!((line, column), (1, offset - "first\n".len()));
        assert!((offset..offset + data.len()).contains(&at));
        let (data, line, ..) = shown(&long, 2, 2);
        assert!(data.starts_with("first") && data.len() <= LONGEST_SHOWN && line == 0);
    }
}
