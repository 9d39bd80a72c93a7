//! A manifest as a tree of values, each with its place; the text is not needed to read it.
//!
//! Dates, infinite numbers and integers beyond 64 bits do not get past this file: they are
//! mistakes, and leave a broken node about which nobody complains again.

use toml::Spanned;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use crate::Value;
use crate::mistake::Mistake;
use crate::text::{At, Text, Texts};

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) data: Data,
}

/// A value of a manifest.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Table(Table),
    /// Something whose mistake has been said.
    Broken,
}

/// Names to values, sorted by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(Vec<Item>);

/// One entry of a table.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) name: String,
    /// Where the name stands.
    pub(crate) at: At,
    pub(crate) node: Node,
}

/// Deeper nesting than this is refused before the text is parsed: every reader of the tree,
/// drop included, may then recurse.
pub(crate) const MAX_DEPTH: usize = 100;

/// Tables of up to this many entries are searched from end to end.
const FEW: usize = 8;

/// Syntax mistakes beyond this number are counted, not shown.
const MAX_SYNTAX_MISTAKES: usize = 100;

/// Parses one file. What could be understood comes back even where there are mistakes.
pub(crate) fn parse(texts: &Texts, file: u32, found: &mut Vec<Mistake>) -> Table {
    let Some(text) = texts.get(file as usize) else { return Table::default() };
    if let Some(it) = crate::plain::read(text.as_str(), file) {
        return it;
    }
    if let Some((start, end)) = too_deep(text.as_str()) {
        let at = At { file, start, end };
        let message = format!("this is nested more than {MAX_DEPTH} levels deep");
        found.push(Mistake::new("manifest::too-deep", message).at(texts, at, ""));
        return Table::default();
    }
    parse_full(texts, file, found)
}

/// Parses one file that may be any TOML, or none; it is not nested too deep.
pub(crate) fn parse_full(texts: &Texts, file: u32, found: &mut Vec<Mistake>) -> Table {
    let (root, errors) = DeTable::parse_recoverable(texts[file as usize].as_str());
    syntax_mistakes(texts, file, &errors, found);
    Reader { texts, file, found }.table(root.into_inner())
}

/// Notes syntax mistakes, less the echoes of others: those on the same line, and the lines that a
/// bracket swallowed because nothing closed it.
fn syntax_mistakes(texts: &Texts, file: u32, errors: &[toml::de::Error], found: &mut Vec<Mistake>) {
    let is_open = |it: &toml::de::Error| {
        it.message().contains("array") || it.message().contains("inline table")
    };
    let mut errors: Vec<&toml::de::Error> = errors.iter().collect();
    errors.sort_by_key(|it| (it.span().map(|it| it.start), !is_open(it)));
    let mut last: Option<(u32, bool)> = None;
    for error in errors.iter().copied().take(MAX_SYNTAX_MISTAKES) {
        let mistake = syntax_mistake(texts, file, error);
        let line = mistake.labels.first().map_or(0, |it| it.0.line);
        match last {
            Some((before, _)) if line == before => {}
            Some((before, true)) if line == before + 1 => last = Some((line, true)),
            _ => {
                last = Some((line, is_open(error)));
                found.push(mistake);
            }
        }
    }
    if errors.len() > MAX_SYNTAX_MISTAKES {
        let message = "there are more syntax mistakes after these";
        found.push(Mistake::new("manifest::syntax", message));
    }
}

fn syntax_mistake(texts: &Texts, file: u32, error: &toml::de::Error) -> Mistake {
    let text: &Text = &texts[file as usize];
    let length = text.as_str().len();
    let span = error.span().unwrap_or(0..0);
    let at = At { file, start: span.start.min(length) as u32, end: span.end.min(length) as u32 };
    Mistake::new("manifest::syntax", error.message().to_owned()).at(texts, at, "")
}

struct Reader<'a> {
    texts: &'a Texts,
    file: u32,
    found: &'a mut Vec<Mistake>,
}

impl Reader<'_> {
    fn table(&mut self, table: DeTable<'_>) -> Table {
        let mut items = Vec::with_capacity(table.len());
        for (name, value) in table {
            let at = self.at(&name);
            let name = name.into_inner().into_owned();
            items.push(Item { name, at, node: self.node(value) });
        }
        Table(items)
    }

    fn node(&mut self, value: Spanned<DeValue<'_>>) -> Node {
        let at = self.at(&value);
        let data = match value.into_inner() {
            DeValue::String(it) => Data::Text(it.into_owned()),
            DeValue::Integer(it) => self.int(&it, at),
            DeValue::Float(it) => self.float(&it, at),
            DeValue::Boolean(it) => Data::Bool(it),
            DeValue::Datetime(_) => {
                let message = "there are no dates in a manifest";
                let mistake = Mistake::new("manifest::date", message).at(self.texts, at, "");
                self.found.push(mistake.help("write it as text, in quotes"));
                Data::Broken
            }
            DeValue::Array(it) => Data::List(it.into_iter().map(|it| self.node(it)).collect()),
            DeValue::Table(it) => Data::Table(self.table(it)),
        };
        Node { at, data }
    }

    fn int(&mut self, it: &DeInteger<'_>, at: At) -> Data {
        match i64::from_str_radix(it.as_str(), it.radix()) {
            Ok(it) => Data::Int(it),
            Err(_) => {
                let message = format!("`{it}` does not fit into 64 bits");
                self.found
                    .push(Mistake::new("manifest::bad-number", message).at(self.texts, at, ""));
                Data::Broken
            }
        }
    }

    fn float(&mut self, it: &DeFloat<'_>, at: At) -> Data {
        match it.as_str().parse::<f64>() {
            Ok(it) if it.is_finite() => Data::Float(it),
            _ => {
                let message = format!("`{it}` is not a finite number");
                self.found
                    .push(Mistake::new("manifest::bad-number", message).at(self.texts, at, ""));
                Data::Broken
            }
        }
    }

    fn at<T>(&self, it: &Spanned<T>) -> At {
        let span = it.span();
        At { file: self.file, start: span.start as u32, end: span.end as u32 }
    }
}

impl Node {
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(it) => Some(it),
            _ => None,
        }
    }

    pub(crate) fn int(&self) -> Option<i64> {
        match self.data {
            Data::Int(it) => Some(it),
            _ => None,
        }
    }

    pub(crate) fn bool(&self) -> Option<bool> {
        match self.data {
            Data::Bool(it) => Some(it),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> Option<&[Node]> {
        match &self.data {
            Data::List(it) => Some(it),
            _ => None,
        }
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.data {
            Data::Table(it) => Some(it),
            _ => None,
        }
    }

    /// What its type is called on a screen.
    pub(crate) fn type_name(&self) -> &'static str {
        match &self.data {
            Data::Bool(_) => "a boolean",
            Data::Int(_) => "an integer",
            Data::Float(_) => "a float",
            Data::Text(_) => "a string",
            Data::List(_) => "a list",
            Data::Table(_) => "a table",
            Data::Broken => "broken",
        }
    }

    /// The value without its places; none where something in it is broken.
    pub(crate) fn value(&self) -> Option<Value> {
        Some(match &self.data {
            Data::Bool(it) => Value::Bool(*it),
            Data::Int(it) => Value::Int(*it),
            Data::Float(it) => Value::Float(*it),
            Data::Text(it) => Value::Text(it.clone()),
            Data::List(it) => Value::List(it.iter().map(Node::value).collect::<Option<_>>()?),
            Data::Table(it) => {
                let entry = |it: &Item| Some((it.name.clone(), it.node.value()?));
                Value::Table(it.0.iter().map(entry).collect::<Option<_>>()?)
            }
            Data::Broken => return None,
        })
    }
}

impl Table {
    /// Entries sorted by name; the names differ.
    pub(crate) fn from_sorted(items: Vec<Item>) -> Self {
        Self(items)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Item> {
        // Most names differ in length, so that in a small table nearly nothing is compared.
        if self.0.len() <= FEW {
            return self.0.iter().find(|it| it.name == name);
        }
        let i = self.0.binary_search_by(|it| it.name.as_str().cmp(name)).ok()?;
        self.0.get(i)
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Item> {
        let i = self.0.binary_search_by(|it| it.name.as_str().cmp(name)).ok()?;
        Some(self.0.remove(i))
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Item> {
        self.0.iter()
    }

    pub(crate) fn into_items(self) -> Vec<Item> {
        self.0
    }

    /// The entries in the order in which they were written; `rank` orders the files.
    pub(crate) fn as_written(&self, rank: &[u32]) -> Vec<&Item> {
        let mut items: Vec<&Item> = self.0.iter().collect();
        items.sort_by_key(|it| (rank.get(it.at.file as usize).copied(), it.at.start));
        items
    }
}

/// Where the text nests deeper than [`MAX_DEPTH`]; brackets, braces and points in keys count.
/// An estimate that errs upwards by little: it does not need the text to be TOML.
fn too_deep(text: &str) -> Option<(u32, u32)> {
    let mut scan = Scan { bytes: text.as_bytes(), ..Scan::default() };
    while scan.i < scan.bytes.len() {
        if scan.step() {
            return Some((scan.i as u32, (scan.i + 1).min(scan.bytes.len()) as u32));
        }
        scan.i += 1;
    }
    None
}

#[derive(Default)]
struct Scan<'a> {
    bytes: &'a [u8],
    i: usize,
    /// The levels that each open bracket added.
    open: Vec<usize>,
    sum: usize,
    /// Points since the last separator.
    points: usize,
    /// Levels of the last `[header]`.
    header: usize,
    value: bool,
}

impl Scan<'_> {
    /// Reads one byte or string; whether the depth is now too great.
    fn step(&mut self) -> bool {
        match self.bytes[self.i] {
            b'"' | b'\'' => self.skip_string(),
            b'#' => {
                let rest = &self.bytes[self.i..];
                self.i += rest.iter().position(|it| *it == b'\n').unwrap_or(rest.len()) - 1;
            }
            b'.' => self.points += 1,
            b'=' => self.value = true,
            b'[' | b'{' => {
                if self.open.is_empty() && !self.value {
                    self.header = 0;
                }
                self.open.push(1 + self.points);
                self.sum += 1 + self.points;
                self.points = 0;
            }
            b']' | b'}' => {
                let levels = self.open.pop().unwrap_or(0);
                self.sum -= levels;
                if self.open.is_empty() && !self.value {
                    self.header = levels + self.points;
                }
                self.points = 0;
            }
            b',' => self.points = 0,
            b'\n' => {
                self.points = 0;
                if self.open.is_empty() {
                    self.value = false;
                }
            }
            _ => {}
        }
        self.header + self.sum + self.points > MAX_DEPTH
    }

    /// Moves to the last byte of the string that starts here.
    fn skip_string(&mut self) {
        let quote = self.bytes[self.i];
        let rest = &self.bytes[self.i..];
        let long = rest.starts_with(&[quote; 3]);
        let mut i = if long { 3 } else { 1 };
        while i < rest.len() {
            match rest[i] {
                b'\\' if quote == b'"' => i += 1,
                b'\n' if !long => break,
                it if it == quote && !long => break,
                it if it == quote && rest[i..].starts_with(&[quote; 3]) => {
                    i += 2;
                    // Up to two quotes may stand before the three that close.
                    let more = rest[i + 1..].iter().take(2).take_while(|it| **it == quote);
                    i += more.count();
                    break;
                }
                _ => {}
            }
            i += 1;
        }
        // A line break that ends an unclosed string still counts as one.
        let at_break = rest.get(i) == Some(&b'\n');
        self.i += i.min(rest.len()) - usize::from(at_break || i >= rest.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_seen_in_brackets_braces_keys_and_headers() {
        for text in [
            format!("a = {}", "[".repeat(10_000)),
            format!("a = {}", "{b=".repeat(10_000)),
            format!("a{} = 1", ".a".repeat(10_000)),
            format!("[a{}]", ".a".repeat(10_000)),
            format!("[a{}]\nb{} = {}", ".a".repeat(60), ".b".repeat(20), "{c=".repeat(40)),
            format!("a = {}", format!("{{b{}=", ".b".repeat(50)).repeat(10)),
        ] {
            assert!(too_deep(&text).is_some(), "{}", &text[..40]);
        }
    }

    #[test]
    fn points_in_strings_comments_and_floats_are_no_depth() {
        let text = format!(
            "a = \"{0}\"\nb = '''{0}\n{0}''' # {0}\nc = [{1}]\nd.e = 0.5\n{2}",
            ".[".repeat(500),
            "0.5, ".repeat(500),
            "[steps.x]\nrun = [\"a\"]\n".repeat(500)
        );
        assert_eq!(too_deep(&text), None);
    }
}
