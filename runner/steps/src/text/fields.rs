//! A record as its fields: names and values as they are written, so that what a kind does not touch
//! goes through byte for byte.

use std::borrow::Cow;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::ledger;
use crate::model::record::Unfit;

/// The fields of a record, in their order.
pub(crate) struct Fields<'a> {
    line: &'a [u8],
    all: Vec<(Cow<'a, str>, &'a RawValue)>,
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Deserialize<'a> for Pairs<'a> {
    fn deserialize<D: Deserializer<'a>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'a> Visitor<'a> for Reader {
            type Value = Pairs<'a>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Pairs<'a>, M::Error> {
                let mut all = Vec::with_capacity(8);
                while let Some((Name(name), value)) = map.next_entry()? {
                    all.push((name, value));
                }
                Ok(Pairs(all))
            }
        }
        from.deserialize_map(Reader)
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, Unfit> {
        let Pairs(all) = serde_json::from_slice(line)
            .map_err(|it| Unfit::new(format!("is no JSON object: {it}")))?;
        Ok(Self { line, all })
    }

    /// The value as it is written. Of several with one name the last counts, as everywhere.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.all.iter().rev().find(|(it, _)| it == name).map(|(_, value)| value.get())
    }

    /// Names and values as they are written, in their order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.all.iter().map(|(name, value)| (name.as_ref(), value.get()))
    }

    /// A field that is a text; nothing where there is none or it is null.
    pub(crate) fn optional_text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Unfit> {
        let Some(raw) = self.get(name).filter(|it| *it != "null") else { return Ok(None) };
        let inner = raw.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        let inner = inner.ok_or_else(|| Unfit::field(name, "is not a text"))?;
        if !inner.as_bytes().contains(&b'\\') {
            return Ok(Some(Cow::Borrowed(inner)));
        }
        match serde_json::from_str(raw) {
            Ok(it) => Ok(Some(Cow::Owned(it))),
            Err(it) => Err(Unfit::field(name, format!("is not a text: {it}"))),
        }
    }

    /// A field that must be a text.
    pub(crate) fn text(&self, name: &str) -> Result<Cow<'a, str>, Unfit> {
        self.optional_text(name)?.ok_or_else(|| Unfit::field(name, "is missing"))
    }

    /// The record's id: its field, or the digest of its line.
    pub(crate) fn id(&self) -> Result<Cow<'a, str>, Unfit> {
        match self.get("id") {
            Some(it) if it.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) => {
                Ok(Cow::Borrowed(it))
            }
            None | Some("null") => Ok(Cow::Owned(digest_id(self.line))),
            Some(_) => self.text("id"),
        }
    }

    /// The name of the corpus, where the record says it.
    pub(crate) fn source(&self) -> Result<Option<Cow<'a, str>>, Unfit> {
        self.optional_text("source")
    }

    /// Writes the record with these texts in place of what the fields held; a field that is not
    /// there is added at the end.
    pub(crate) fn write_with(&self, changes: &[(&str, &str)], out: &mut Vec<u8>) {
        out.push(b'{');
        let mut first = true;
        let mut name = |it: &str, out: &mut Vec<u8>| {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            ledger::text(it, out);
            out.push(b':');
        };
        for (field, value) in &self.all {
            name(field, out);
            match changes.iter().find(|(it, _)| it == field) {
                Some((_, new)) => ledger::text(new, out),
                None => out.extend_from_slice(value.get().as_bytes()),
            }
        }
        for (field, new) in changes.iter().filter(|(it, _)| self.get(it).is_none()) {
            name(field, out);
            ledger::text(new, out);
        }
        out.extend_from_slice(b"}\n");
    }

    /// Every field but these, as they are written, with a comma before each.
    pub(crate) fn write_rest(&self, without: &[&str], out: &mut Vec<u8>) {
        for (field, value) in self.all.iter().filter(|(it, _)| !without.contains(&it.as_ref())) {
            out.push(b',');
            ledger::text(field, out);
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
        }
    }
}

/// Who a line is in a ledger, for kinds that take any line: its `id` and `source` where it is a record
/// that has them, else the digest of the line.
pub(crate) fn who(line: &[u8]) -> (Cow<'_, str>, Option<Cow<'_, str>>) {
    let Ok(fields) = Fields::parse(line) else { return (Cow::Owned(digest_id(line)), None) };
    let id = fields.id().unwrap_or_else(|_| Cow::Owned(digest_id(line)));
    (id, fields.source().ok().flatten())
}

/// The id of a record that has none: 16 hex digits of the digest of its line.
pub(crate) fn digest_id(line: &[u8]) -> String {
    blake3::hash(line).to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> Fields<'_> {
        Fields::parse(line.as_bytes()).unwrap_or_else(|it| panic!("{}", it.reason))
    }

    #[test]
    fn what_is_not_touched_goes_through_byte_for_byte() {
        let line = r#"{"b": 1.50, "text":"a\u4e00","n":[1, {"x" :2}],"te\u0078t":"last"}"#;
        let fields = fields(line);
        assert!(fields.text("text").is_ok_and(|it| it == "last"));
        let mut out = Vec::new();
        fields.write_with(&[("text", "新\n"), ("more", "x")], &mut out);
        let out = String::from_utf8(out).unwrap();
        assert_eq!(
            out,
            "{\"b\":1.50,\"text\":\"新\\n\",\"n\":[1, {\"x\" :2}],\"text\":\"新\\n\",\"more\":\"x\"}\n"
        );
    }

    #[test]
    fn an_id_is_a_field_a_number_or_the_digest_of_the_line() {
        let id = |it: &str| fields(it).id().map_or_else(|it| it.reason, Cow::into_owned);
        assert_eq!(id(r#"{"id":"a\"b"}"#), "a\"b");
        assert_eq!(id(r#"{"id":-7}"#), "-7");
        assert_eq!(id(r#"{"id":[]}"#), "is not a text");
        assert_eq!(id("{}"), digest_id(b"{}"));
        assert_eq!(id("{}").len(), 16);
        assert_eq!(id(r#"{"id":null}"#).len(), 16);
    }

    #[test]
    fn any_line_is_somebody() {
        let who = |it: &str| format!("{:?}", super::who(it.as_bytes()));
        assert_eq!(who(r#"{"source":"s","id":1}"#), r#"("1", Some("s"))"#);
        assert_eq!(
            who(r#"{"source":[],"id":{}}"#),
            format!("({:?}, None)", digest_id(br#"{"source":[],"id":{}}"#))
        );
        assert_eq!(who("x"), format!("({:?}, None)", digest_id(b"x")));
    }

    #[test]
    fn what_is_no_object_or_no_text_is_said() {
        let reason = |it: &[u8]| Fields::parse(it).map(|_| ()).unwrap_err().reason;
        assert!(reason(b"[]").starts_with("is no JSON object: invalid type"));
        assert!(reason(b"{\"a\":\"\xff\"}").starts_with("is no JSON object"));
        assert!(reason("[".repeat(9999).as_bytes()).starts_with("is no JSON object"));
        let lone = fields(r#"{"text":"\ud800"}"#);
        assert!(lone.text("text").unwrap_err().reason.starts_with("is not a text: "));
        assert_eq!(lone.text("other").unwrap_err().reason, "is missing");
    }
}
