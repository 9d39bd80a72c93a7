//! Reads plain TOML, which is what manifests are mostly made of, several times faster than the full
//! parser.
//!
//! Gives up at the first thing that it does not know, and at every mistake; then the full parser
//! reads the text, so there is one judge of what TOML is. What is read here is read there just so,
//! places and all: a test compares the two.

use crate::text::At;
use crate::tree::{Data, Item, Node, Table};

/// The tree of a text; none: the full parser must read it.
pub(crate) fn read(text: &str, file: u32) -> Option<Table> {
    let bytes = text.as_bytes();
    Reader { text, bytes, i: 0, file, items: Vec::new(), nodes: Vec::new() }.document()
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    /// The byte that comes next.
    i: usize,
    file: u32,
    /// Entries of tables and items of lists that are not closed, those of the innermost last: so
    /// that what is kept has no more room than it needs.
    items: Vec<Item>,
    nodes: Vec<Node>,
}

/// A table whose end has not been seen.
struct Open {
    name: String,
    name_at: At,
    at: At,
    /// Where its entries begin in [`Reader::items`].
    start: usize,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Option<Table> {
        // From the outermost to the innermost.
        let mut open: Vec<Open> = Vec::new();
        loop {
            self.blank_lines()?;
            match self.bytes.get(self.i) {
                None => break,
                Some(b'[') => self.header(&mut open)?,
                Some(_) => {
                    let item = self.pair()?;
                    self.items.push(item);
                }
            }
            self.blanks();
            if !matches!(self.bytes.get(self.i), None | Some(b'\n' | b'#')) {
                return None;
            }
        }
        self.close_to(&mut open, 0)?;
        self.table_from(0)
    }

    /// Closes all tables but the outermost `n`.
    fn close_to(&mut self, open: &mut Vec<Open>, n: usize) -> Option<()> {
        while open.len() > n {
            let Open { name, name_at, at, start } = open.pop()?;
            let data = Data::Table(self.table_from(start)?);
            self.items.push(Item { name, at: name_at, node: Node { at, data } });
        }
        Some(())
    }

    /// The table whose entries are all from one on. None where a name stands twice: a mistake, or
    /// a table that is opened again.
    fn table_from(&mut self, start: usize) -> Option<Table> {
        let mut items: Vec<Item> = self.items.drain(start..).collect();
        items.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let distinct = items.windows(2).all(|it| it[0].name != it[1].name);
        distinct.then(|| Table::from_sorted(items))
    }

    /// `[a.b]`: tables that it leaves are closed for good.
    fn header(&mut self, open: &mut Vec<Open>) -> Option<()> {
        let start = self.i;
        self.i += 1;
        let mut path = Vec::with_capacity(2);
        loop {
            self.blanks();
            path.push(self.key()?);
            self.blanks();
            self.i += 1;
            match self.bytes.get(self.i - 1)? {
                b'.' => {}
                b']' => break,
                _ => return None,
            }
        }
        let same = open.iter().zip(&path).take_while(|(open, it)| open.name == it.0).count();
        // A table that is open already is being defined again.
        if same == path.len() {
            return None;
        }
        self.close_to(open, same)?;
        for (name, name_at) in path.into_iter().skip(same) {
            let start = self.items.len();
            open.push(Open { name: name.to_owned(), name_at, at: name_at, start });
        }
        open.last_mut()?.at = self.at(start);
        Some(())
    }

    fn pair(&mut self) -> Option<Item> {
        let (name, at) = self.key()?;
        self.blanks();
        self.take(b'=')?;
        self.blanks();
        Some(Item { name: name.to_owned(), at, node: self.value()? })
    }

    fn value(&mut self) -> Option<Node> {
        let start = self.i;
        let data = match self.bytes.get(self.i)? {
            b'"' => Data::Text(self.string()?),
            b'\'' => Data::Text(self.literal()?),
            b'[' => self.list()?,
            b'{' => self.inline_table()?,
            _ => self.word()?,
        };
        Some(Node { at: self.at(start), data })
    }

    fn string(&mut self) -> Option<String> {
        self.i += 1;
        let mut text = String::new();
        let mut from = self.i;
        loop {
            match *self.bytes.get(self.i)? {
                b'"' => break,
                b'\\' => {
                    text += &self.text[from..self.i];
                    text.push(match self.bytes.get(self.i + 1)? {
                        b'"' => '"',
                        b'\\' => '\\',
                        b'n' => '\n',
                        b't' => '\t',
                        _ => return None,
                    });
                    self.i += 2;
                    from = self.i;
                }
                it if is_control(it) => return None,
                _ => self.i += 1,
            }
        }
        if text.is_empty() {
            text = self.text[from..self.i].to_owned();
        } else {
            text += &self.text[from..self.i];
        }
        self.i += 1;
        // Three quotes begin a long string.
        let long = text.is_empty() && self.bytes.get(self.i) == Some(&b'"');
        (!long).then_some(text)
    }

    fn literal(&mut self) -> Option<String> {
        self.i += 1;
        let from = self.i;
        loop {
            match *self.bytes.get(self.i)? {
                b'\'' => break,
                it if is_control(it) => return None,
                _ => self.i += 1,
            }
        }
        let text = self.text[from..self.i].to_owned();
        self.i += 1;
        let long = text.is_empty() && self.bytes.get(self.i) == Some(&b'\'');
        (!long).then_some(text)
    }

    fn list(&mut self) -> Option<Data> {
        self.i += 1;
        let start = self.nodes.len();
        loop {
            self.blank_lines()?;
            if self.take(b']').is_some() {
                break;
            }
            let node = self.value()?;
            self.nodes.push(node);
            self.blank_lines()?;
            if self.take(b',').is_none() {
                self.take(b']')?;
                break;
            }
        }
        Some(Data::List(self.nodes.drain(start..).collect()))
    }

    fn inline_table(&mut self) -> Option<Data> {
        self.i += 1;
        let start = self.items.len();
        self.blanks();
        if self.take(b'}').is_none() {
            loop {
                self.blanks();
                let item = self.pair()?;
                self.items.push(item);
                self.blanks();
                if self.take(b',').is_none() {
                    self.take(b'}')?;
                    break;
                }
            }
        }
        Some(Data::Table(self.table_from(start)?))
    }

    /// A boolean or a number.
    fn word(&mut self) -> Option<Data> {
        let rest = &self.bytes[self.i..];
        let is_part = |it: &u8| it.is_ascii_alphanumeric() || b"+-._:".contains(it);
        let length = rest.iter().position(|it| !is_part(it)).unwrap_or(rest.len());
        let word = &self.text[self.i..self.i + length];
        self.i += length;
        match word {
            "true" => return Some(Data::Bool(true)),
            "false" => return Some(Data::Bool(false)),
            _ => {}
        }
        let digits = word.strip_prefix('-').unwrap_or(word);
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (digits, None),
        };
        let all_digits = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
        if !all_digits(whole) || word.len() > 18 || (whole.len() > 1 && whole.starts_with('0')) {
            return None;
        }
        match fraction {
            None => word.parse().ok().map(Data::Int),
            Some(it) if all_digits(it) => word.parse().ok().map(Data::Float),
            Some(_) => None,
        }
    }

    /// A name without quotes.
    fn key(&mut self) -> Option<(&'a str, At)> {
        let start = self.i;
        let is_part = |it: &u8| it.is_ascii_alphanumeric() || *it == b'_' || *it == b'-';
        while self.bytes.get(self.i).is_some_and(is_part) {
            self.i += 1;
        }
        let text: &'a str = self.text;
        (self.i > start).then(|| (&text[start..self.i], self.at(start)))
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        let found = self.bytes.get(self.i) == Some(&byte);
        self.i += usize::from(found);
        found.then_some(())
    }

    fn blanks(&mut self) {
        while matches!(self.bytes.get(self.i), Some(b' ' | b'\t')) {
            self.i += 1;
        }
    }

    /// Blanks, line ends and comments.
    fn blank_lines(&mut self) -> Option<()> {
        loop {
            match self.bytes.get(self.i) {
                Some(b' ' | b'\t' | b'\n') => self.i += 1,
                Some(b'#') => {
                    while self.bytes.get(self.i).is_some_and(|it| *it != b'\n') {
                        if is_control(self.bytes[self.i]) {
                            return None;
                        }
                        self.i += 1;
                    }
                }
                _ => return Some(()),
            }
        }
    }

    /// From a byte to here.
    fn at(&self, start: usize) -> At {
        At { file: self.file, start: start as u32, end: self.i as u32 }
    }
}

/// What may stand in no text and no comment.
fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::text::Text;

    /// Whether the text was read here; then it was read like that by the full parser.
    fn is_read_alike(text: &str) -> bool {
        let texts = vec![Arc::new(Text::new("x.toml".into(), text.to_owned()))];
        let Some(plain) = read(text, 0) else { return false };
        let mut found = Vec::new();
        let full = crate::tree::parse_full(&texts, 0, &mut found);
        assert!(found.is_empty(), "{text:?} has mistakes: {found:?}");
        assert_eq!(format!("{plain:#?}"), format!("{full:#?}"), "{text:?}");
        true
    }

    #[test]
    fn plain_manifests_are_read_here_and_alike() {
        for text in [
            "",
            "# only a comment",
            "a = 1\nb = -2 # c\n\n[x]\nc=[1, 2.5, true ,\n # d\n 'e',]\n[x.y]\nf={}\n[ z . w ]",
            "[steps.a]\nrun = [\"sh\", \"a\\\"b\\\\c\\n\"]\nin = { a = \"${x}\", b = ['ü'] }\n[steps.b]",
            "a = ''\nb = \"\"\nc = { d = { e = [[], [{}]] } , f = 0 }\n[a-b]\n[_]\n1 = 0.0",
        ] {
            assert!(is_read_alike(text), "{text}");
        }
    }

    #[test]
    fn what_is_not_plain_or_wrong_is_left_to_the_full_parser() {
        for text in [
            "a.b = 1",
            "'a' = 1",
            "a = 1\na = 2",
            "[a]\n[a]",
            "[a.b]\n[a]",
            "[[a]]",
            "a = 1 b = 2",
            "a = 01",
            "a = 1_0",
            "a = +1",
            "a = 1e3",
            "a = 0x1",
            "a = inf",
            "a = 1979-05-27",
            "a = \"\"\"b\"\"\"",
            "a = '''b'''",
            "a = \"\\u00e9\"",
            "a = \"b",
            "a = [1",
            "a = {b=1",
            "a = {b=1,}",
            "a = {\nb=1}",
            "a = {b=1,b=2}",
            "a = 1\r\n",
            "# \u{1}",
            "a = \"\u{7f}\"",
            "[a]\n[b]\n[a.c]",
            "a = 9223372036854775808",
            "a",
            "a =",
            "[a",
            "[]",
            "[a]b=1",
            "a = -",
            "a = 1.",
            "a = .5",
            "a = {b=1}\n[a.c]",
            "\u{feff}a = 1",
            "a = [,]",
            "a = tru",
        ] {
            assert!(!is_read_alike(text), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_read_here_is_read_alike_by_the_full_parser(
            parts in prop::collection::vec(prop::sample::select(&[
                "a", "b", "steps", ".", " = ", "=", "1", "-0", "0.5", "'x'", "\"y\"", "\"\\\"\"",
                "[", "]", "{", "}", ", ", "\n", "\n[a]\n", "\n[a.b]\n", "\n[b]\n", "a = 1\n", " ",
                "b = [", "c = {d = ", "# e\n", "true", "ü", "\t", "''", "\"\"", "\\", "e = 'f'\n",
                "\n[steps.x]\nrun = ['a']\n", "\n[steps.y]\n", "in = { a = 'b', c = 2 }\n", "\r\n",
            ][..]), 0..24)
        ) {
            is_read_alike(&parts.concat());
        }
    }
}
