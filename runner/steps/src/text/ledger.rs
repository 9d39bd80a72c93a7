//! The ledger of a kind that filters: for each record that came in, whether it was kept, which rules
//! it failed, and every value that was measured.
//!
//! One JSON object a line, in the order of the records:
//!
//! ```json
//! {"id":"a1","source":"wudao","keep":false,"first":"length","fails":["length"],"values":{"length":3}}
//! ```
//!
//! A record is kept exactly when it fails no rule, and `first` is the first of `fails`: the writer
//! cannot write anything else, and the reader refuses it. The order of `values` is that in which the
//! rules are asked. `source` is null where the record has none.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::StepError;
use crate::records::Lines;

/// A line of a ledger, as it is read.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The record.
    pub id: String,
    /// The corpus that it comes from.
    pub source: Option<String>,
    /// Whether it went on.
    pub keep: bool,
    /// The first rule that it failed.
    pub first: Option<String>,
    /// Every rule that it failed, in the order of the rules.
    pub fails: Vec<String>,
    /// What was measured.
    pub values: Values,
}

/// Values by rule, in the order of the rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values(pub Vec<(String, f64)>);

impl Values {
    /// The value of a rule.
    pub fn get(&self, rule: &str) -> Option<f64> {
        self.0.iter().find(|(name, _)| name == rule).map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Values;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("numbers by rule")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Values, M::Error> {
                let mut all = Vec::new();
                while let Some(it) = map.next_entry()? {
                    all.push(it);
                }
                Ok(Values(all))
            }
        }
        from.deserialize_map(Pairs)
    }
}

/// What is said of a record.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    /// The record.
    pub id: &'a str,
    /// The corpus that it comes from.
    pub source: Option<&'a str>,
    /// Every rule that it failed, in the order of the rules; none: it is kept.
    pub fails: &'a [&'a str],
    /// What was measured. A value that is not finite is left out: JSON has no such numbers.
    pub values: &'a [(&'a str, f64)],
}

impl Verdict<'_> {
    /// Writes the line, with its line feed.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"id\":");
        text(self.id, out);
        out.extend_from_slice(b",\"source\":");
        match self.source {
            None => out.extend_from_slice(b"null"),
            Some(it) => text(it, out),
        }
        judgement(self.fails, out);
        out.extend_from_slice(b",\"values\":{");
        let finite = self.values.iter().filter(|(_, value)| value.is_finite());
        for (i, (name, value)) in finite.enumerate() {
            out.extend_from_slice(if i == 0 { b"" } else { b"," });
            text(name, out);
            out.push(b':');
            number(*value, out);
        }
        out.extend_from_slice(b"}}\n");
    }
}

/// The fields `keep`, `first` and `fails`, with the comma before them.
pub(crate) fn judgement(fails: &[&str], out: &mut Vec<u8>) {
    match fails.first() {
        None => out.extend_from_slice(b",\"keep\":true,\"first\":null,\"fails\":["),
        Some(first) => {
            out.extend_from_slice(b",\"keep\":false,\"first\":");
            text(first, out);
            out.extend_from_slice(b",\"fails\":[");
        }
    }
    for (i, it) in fails.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"" } else { b"," });
        text(it, out);
    }
    out.push(b']');
}

/// Rounded to six places, the precision of a stored ratio. Compare what is stored: then a cut by
/// the ledger agrees with the kind that wrote it.
pub fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// A JSON text.
pub(crate) fn text(it: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, it).expect("a text can be written into memory");
}

/// The shortest JSON number that reads as this one.
fn number(value: f64, out: &mut Vec<u8>) {
    let whole = value as i64;
    if whole as f64 == value && whole.unsigned_abs() < 1 << 53 {
        serde_json::to_writer(out, &whole).expect("a number can be written into memory");
    } else {
        serde_json::to_writer(out, &value).expect("a number can be written into memory");
    }
}

/// The least and the greatest value with which a rule is passed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// The least.
    pub min: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
}

impl Bounds {
    /// Whether a value lies within.
    pub fn hold(&self, value: f64) -> bool {
        self.min.is_none_or(|it| value >= it) && self.max.is_none_or(|it| value <= it)
    }
}

/// Where a rule's threshold stands.
///
/// Thresholds are parameters, so they are in a step's key, and the ledger does not repeat them: its
/// lines stay those of the records, and ledgers of shards are put together as they are. The reasons:
/// `doc/decisions/0017-thresholds.md`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// The rule.
    pub rule: String,
    /// The value that it looks at; mostly of the rule's name.
    pub value: String,
    /// With which values it is passed.
    pub bounds: Bounds,
}

impl Limit {
    /// A rule that looks at the value of its name.
    pub fn of(rule: &str, bounds: Bounds) -> Self {
        Self { rule: rule.to_owned(), value: rule.to_owned(), bounds }
    }
}

/// The limits of rules whose thresholds are two parameters, by rule.
pub(crate) fn limits_of(min: &BTreeMap<String, f64>, max: &BTreeMap<String, f64>) -> Vec<Limit> {
    let rules: BTreeSet<&String> = min.keys().chain(max.keys()).collect();
    let bounds = |rule| Bounds { min: min.get(rule).copied(), max: max.get(rule).copied() };
    rules.into_iter().map(|it| Limit::of(it, bounds(it))).collect()
}

/// Reads a ledger, line by line.
pub struct Ledger {
    lines: Lines,
    buffer: Vec<u8>,
}

impl Ledger {
    /// Opens it.
    pub fn open(path: &Path) -> Result<Self, StepError> {
        Ok(Self { lines: Lines::open(path)?, buffer: Vec::new() })
    }

    /// The next line; nothing at the end.
    #[expect(clippy::should_implement_trait, reason = "an iterator would have no errors")]
    pub fn next(&mut self) -> Result<Option<Entry>, StepError> {
        if !self.lines.next(&mut self.buffer)? {
            return Ok(None);
        }
        let wrong = |it: Cow<'static, str>| self.lines.mistake(None, it.into_owned());
        let entry: Entry = serde_json::from_slice(&self.buffer)
            .map_err(|it| wrong(format!("no line of a ledger: {it}").into()))?;
        if entry.keep != entry.fails.is_empty() {
            return Err(wrong("`keep` does not agree with `fails`".into()));
        }
        if entry.first.as_ref() != entry.fails.first() {
            return Err(wrong("`first` is not the first of `fails`".into()));
        }
        Ok(Some(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Entry>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut ledger = Ledger::open(file.path()).unwrap();
        let mut all = Vec::new();
        loop {
            match ledger.next() {
                Ok(Some(it)) => all.push(it),
                Ok(None) => return Ok(all),
                Err(it) => {
                    return Err(it.to_string().replace(&file.path().display().to_string(), "l"));
                }
            }
        }
    }

    #[test]
    fn what_is_written_is_read_in_its_order() {
        let mut out = Vec::new();
        let values = [("length", 12.0), ("a\"", 0.25), ("ppl", f64::NAN), ("z", -1e-300)];
        Verdict { id: "a\n1", source: Some("维基"), fails: &[], values: &values }.write(&mut out);
        let fails = ["z", "length"];
        Verdict { id: "", source: None, fails: &fails, values: &[] }.write(&mut out);
        let text = String::from_utf8(out).unwrap();
        insta::assert_snapshot!(text, @r#"
        {"id":"a\n1","source":"维基","keep":true,"first":null,"fails":[],"values":{"length":12,"a\"":0.25,"z":-1e-300}}
        {"id":"","source":null,"keep":false,"first":"z","fails":["z","length"],"values":{}}
        "#);
        let all = read(&text).unwrap();
        assert_eq!(all[0].values.get("a\""), Some(0.25));
        assert_eq!(all[0].values.get("ppl"), None);
        assert_eq!(all[0].values.0[0], ("length".to_owned(), 12.0));
        assert_eq!(all[1].first.as_deref(), Some("z"));
    }

    #[test]
    fn a_line_that_contradicts_itself_is_named() {
        let line = |keep: bool, first: &str, fails: &str| {
            let rest = format!("\"first\":{first},\"fails\":{fails},\"values\":{{}}");
            format!("{{\"id\":\"1\",\"source\":null,\"keep\":{keep},{rest}}}\n")
        };
        let good = line(true, "null", "[]");
        let error = |bad: String| read(&format!("{good}{bad}")).unwrap_err();
        assert_eq!(
            error(line(true, "\"a\"", "[\"a\"]")),
            "l:2: `keep` does not agree with `fails`"
        );
        assert_eq!(
            error(line(false, "\"b\"", "[\"a\"]")),
            "l:2: `first` is not the first of `fails`"
        );
        assert!(error("{}".to_owned()).starts_with("l:2: no line of a ledger: missing field"));
        assert_eq!(read(&good).unwrap().len(), 1);
    }

    #[test]
    fn bounds_hold_their_ends() {
        let bounds = Bounds { min: Some(1.0), max: Some(2.0) };
        assert!(bounds.hold(1.0) && bounds.hold(2.0) && !bounds.hold(0.9) && !bounds.hold(2.1));
        assert!(Bounds::default().hold(f64::INFINITY));
    }

    #[test]
    fn six_places_are_kept() {
        assert_eq!(rounded(1.0 / 3.0), 0.333_333);
        assert_eq!(rounded(7.0), 7.0);
    }
}
