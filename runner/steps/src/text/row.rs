//! A ledger's line as it is written: what does not change goes out as it came in.

use std::borrow::Cow;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::model::record::Unfit;

/// The parts of a line. Nothing is copied where nothing is escaped: a million lines are read in a
/// second.
pub(crate) struct Row<'a> {
    /// JSON, as it is written.
    pub(crate) id: &'a str,
    /// JSON, as it is written.
    pub(crate) source: &'a str,
    pub(crate) fails: Vec<Cow<'a, str>>,
    pub(crate) values: Vec<(Cow<'a, str>, f64)>,
    /// JSON, as it is written.
    pub(crate) raw_values: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(rename = "keep")]
    _keep: bool,
    #[serde(rename = "first", borrow)]
    _first: Option<Cow<'a, str>>,
    #[serde(borrow)]
    fails: Vec<Name<'a>>,
    #[serde(borrow)]
    values: &'a RawValue,
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

struct Pairs<'a>(Vec<(Cow<'a, str>, f64)>);

impl<'a> Deserialize<'a> for Pairs<'a> {
    fn deserialize<D: Deserializer<'a>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'a> Visitor<'a> for Reader {
            type Value = Pairs<'a>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("numbers by rule")
            }

            fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Pairs<'a>, M::Error> {
                let mut all = Vec::with_capacity(16);
                while let Some((Name(name), value)) = map.next_entry()? {
                    all.push((name, value));
                }
                Ok(Pairs(all))
            }
        }
        from.deserialize_map(Reader)
    }
}

impl<'a> Row<'a> {
    /// The value of a rule.
    pub(crate) fn value(&self, rule: &str) -> Option<f64> {
        self.values.iter().find(|(name, _)| name == rule).map(|(_, value)| *value)
    }

    /// The id.
    pub(crate) fn plain_id(&self) -> Result<Cow<'a, str>, Unfit> {
        plain(self.id).map_err(|it| Unfit::field("id", format!("is not a text: {it}")))
    }

    /// The name of the corpus.
    pub(crate) fn plain_source(&self) -> Result<Option<Cow<'a, str>>, Unfit> {
        if self.source == "null" {
            return Ok(None);
        }
        let source = plain(self.source);
        source.map(Some).map_err(|it| Unfit::field("source", format!("is not a text: {it}")))
    }

    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, Unfit> {
        // As we write them, most lines have nothing that a parser is needed for.
        let text = std::str::from_utf8(line).ok();
        if let Some(it) = text.and_then(|it| Scan { text: it, at: 0 }.row()) {
            return Ok(it);
        }
        Self::parse_any(line)
    }

    fn parse_any(line: &'a [u8]) -> Result<Self, Unfit> {
        let wrong = |it: serde_json::Error| Unfit::new(format!("no line of a ledger: {it}"));
        let raw: Raw<'a> = serde_json::from_slice(line).map_err(wrong)?;
        let Pairs(values) = serde_json::from_str(raw.values.get()).map_err(wrong)?;
        Ok(Self {
            id: raw.id.get(),
            source: raw.source.map_or("null", RawValue::get),
            fails: raw.fails.into_iter().map(|it| it.0).collect(),
            values,
            raw_values: raw.values.get(),
        })
    }
}

/// A text that is written as JSON.
fn plain(json: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    serde_json::from_str::<Name<'_>>(json).map(|it| it.0)
}

/// Reads a line in the very form in which the ledger's writer puts it, without escapes.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn row(mut self) -> Option<Row<'a>> {
        self.take("{\"id\":")?;
        let id = self.quoted()?;
        self.take(",\"source\":")?;
        let source = self.null_or_quoted()?;
        self.take(",\"keep\":")?;
        self.take("true").or_else(|| self.take("false"))?;
        self.take(",\"first\":")?;
        self.null_or_quoted()?;
        self.take(",\"fails\":[")?;
        let mut fails = Vec::new();
        while self.take("]").is_none() {
            if !fails.is_empty() {
                self.take(",")?;
            }
            fails.push(Cow::Borrowed(inner(self.quoted()?)));
        }
        self.take(",\"values\":")?;
        let begin = self.at;
        self.take("{")?;
        let mut values = Vec::with_capacity(16);
        while self.take("}").is_none() {
            if !values.is_empty() {
                self.take(",")?;
            }
            let name = inner(self.quoted()?);
            self.take(":")?;
            values.push((Cow::Borrowed(name), self.number()?));
        }
        let raw_values = &self.text[begin..self.at];
        self.take("}")?;
        let all = self.at == self.text.len();
        all.then_some(Row { id, source, fails, values, raw_values })
    }

    fn take(&mut self, wanted: &str) -> Option<()> {
        let rest = &self.text.as_bytes()[self.at..];
        rest.starts_with(wanted.as_bytes()).then(|| self.at += wanted.len())
    }

    /// A text with its quotes, where nothing in it is escaped.
    fn quoted(&mut self) -> Option<&'a str> {
        let begin = self.at;
        self.take("\"")?;
        let rest = &self.text.as_bytes()[self.at..];
        let n = rest.iter().position(|it| matches!(it, b'"' | b'\\' | 0..0x20))?;
        (rest[n] == b'"').then(|| self.at += n + 1)?;
        Some(&self.text[begin..self.at])
    }

    fn null_or_quoted(&mut self) -> Option<&'a str> {
        match self.take("null") {
            Some(()) => Some("null"),
            None => self.quoted(),
        }
    }

    /// A number of JSON's grammar, to the nearest float.
    fn number(&mut self) -> Option<f64> {
        let begin = self.at;
        let minus = self.take("-").is_some();
        let (mut digits, mut n_digits) = (0_u64, 0);
        let whole = self.digits(&mut digits, &mut n_digits);
        let zero = self.text.as_bytes().get(self.at - whole) == Some(&b'0');
        if whole == 0 || whole > 1 && zero {
            return None;
        }
        let mut behind = 0;
        if self.take(".").is_some() {
            behind = self.digits(&mut digits, &mut n_digits);
            if behind == 0 {
                return None;
            }
        }
        let exponent = matches!(self.text.as_bytes().get(self.at), Some(b'e' | b'E'));
        // Both are floats without error, so their quotient is the nearest one.
        if n_digits <= 15 && !exponent {
            let value = digits as f64 / POWERS[behind];
            return Some(if minus { -value } else { value });
        }
        if exponent {
            self.at += 1;
            self.take("-").or_else(|| self.take("+"));
            if self.digits(&mut 0, &mut 0) == 0 {
                return None;
            }
        }
        self.text[begin..self.at].parse().ok().filter(|it: &f64| it.is_finite())
    }

    fn digits(&mut self, value: &mut u64, n_digits: &mut usize) -> usize {
        let begin = self.at;
        while let Some(it @ b'0'..=b'9') = self.text.as_bytes().get(self.at) {
            *value = value.wrapping_mul(10).wrapping_add(u64::from(it - b'0'));
            self.at += 1;
        }
        *n_digits += self.at - begin;
        self.at - begin
    }
}

const POWERS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// A text without its quotes.
fn inner(quoted: &str) -> &str {
    &quoted[1..quoted.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(row: &Row<'_>) -> String {
        let Row { id, source, fails, values, raw_values } = row;
        format!("{id} {source} {fails:?} {values:?} {raw_values}")
    }

    const LINE: &str = "{\"id\":\"a1\",\"source\":\"悟道\",\"keep\":false,\"first\":\"ppl\",\
        \"fails\":[\"ppl\",\"b\"],\"values\":{\"ppl\":12.25,\"b\":0,\"c\":-3e2,\"d\":0.3333333333333333}}";

    #[test]
    fn what_is_scanned_is_what_a_parser_reads() {
        let line = LINE.as_bytes();
        let scanned = Scan { text: LINE, at: 0 }.row().map(|it| shown(&it));
        assert_eq!(scanned, Row::parse_any(line).ok().map(|it| shown(&it)));
        let pieces =
            ["", "\"", "\\", "\\n", ",", "]", "}", "null", "1", "0", "-", ".", "e", "\n", "é", " "];
        let mut n_scanned = 0;
        for at in (0..=LINE.len()).filter(|it| LINE.is_char_boundary(*it)) {
            for piece in pieces {
                for cut in [0, 1, 4].map(|it| (at + it).min(LINE.len())) {
                    let Some(rest) = LINE.get(cut..) else { continue };
                    let text = format!("{}{piece}{rest}", &LINE[..at]);
                    let Some(row) = (Scan { text: &text, at: 0 }).row() else { continue };
                    let parsed = Row::parse_any(text.as_bytes());
                    let parsed = parsed.unwrap_or_else(|it| panic!("{text}: {}", it.reason));
                    for (ours, theirs) in row.values.iter().zip(&parsed.values) {
                        // Theirs may be the float beside the nearest one.
                        let near = (ours.1 - theirs.1).abs() <= ours.1.abs() * f64::EPSILON;
                        assert!(ours.0 == theirs.0 && near, "{text}");
                    }
                    let without = |it: Row<'_>| shown(&Row { values: Vec::new(), ..it });
                    assert_eq!(row.values.len(), parsed.values.len());
                    assert_eq!(without(row), without(parsed), "{text}");
                    n_scanned += 1;
                }
            }
        }
        assert!(n_scanned > 500, "{n_scanned}");
    }

    #[test]
    fn a_number_is_the_nearest_float() {
        let read = |text: &str| {
            let mut scan = Scan { text, at: 0 };
            scan.number().filter(|_| scan.at == text.len())
        };
        for text in ["0", "-0", "7", "0.1", "123456789012345", "0.000001", "12.345678", "-2.5"] {
            assert_eq!(read(text).map(f64::to_bits), text.parse().ok().map(f64::to_bits), "{text}");
        }
        for text in ["1e-300", "0.1234567890123456789", "9007199254740993", "1E+5"] {
            assert_eq!(read(text), text.parse().ok(), "{text}");
        }
        for text in ["", "-", "01", ".5", "5.", "1e", "1e400", "inf", "NaN", "+1", "0x1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
