//! One record's way through the outputs of a workflow: where it stands, with its children, and what
//! became of its fields from one step to the next.
//!
//! Files are read as streams; what is held are the record and its children, and of those no more
//! than are asked for.

use std::path::Path;

use serde_json::{Map, Value};

use super::fields::{Fields, digest_id};
use super::ledger::text;
use crate::StepError;
use crate::records::Lines;

/// A record, where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its line, from 1.
    pub line: u64,
    /// Its id: the one that is looked for, or that of a child.
    pub id: String,
    /// Its fields.
    pub record: Map<String, Value>,
}

/// What was found in a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sighting {
    /// The records, in order.
    pub seen: Vec<Seen>,
    /// How many more there are.
    pub more: u64,
}

/// Finds a record and its children, `ID.N`, in a file of records; at most so many.
pub fn find(path: &Path, id: &str, most: usize) -> Result<Sighting, StepError> {
    let mut written = Vec::new();
    text(id, &mut written);
    let written = String::from_utf8_lossy(&written[1..written.len() - 1]).into_owned();
    let is_digest = id.len() == 16 && id.bytes().all(|it| it.is_ascii_hexdigit());
    let mut found = Sighting::default();
    let mut lines = Lines::open(path)?;
    let mut line = Vec::new();
    while lines.next(&mut line)? {
        let Ok(words) = std::str::from_utf8(&line) else { continue };
        // Most lines are not read as JSON; an id that is written with escapes is.
        let has_it = words.contains(&written) || words.contains("\"id\":\"\\");
        let may_be_nameless = is_digest && !words.contains("\"id\"");
        if !has_it && !may_be_nameless || may_be_nameless && digest_id(&line) != id {
            continue;
        }
        let Ok(fields) = Fields::parse(&line) else { continue };
        let Ok(own) = fields.id() else { continue };
        let is_child = || own.strip_prefix(id).is_some_and(|it| it.starts_with('.'));
        if own != id && !is_child() {
            continue;
        }
        let record = serde_json::from_slice(&line);
        let record =
            record.map_err(|it| lines.mistake(None, format!("is no JSON object: {it}")))?;
        if found.seen.len() < most {
            found.seen.push(Seen { line: lines.line, id: own.into_owned(), record });
        } else {
            found.more += 1;
        }
    }
    Ok(found)
}

/// What became of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Became<'a> {
    /// It is new.
    New(&'a Value),
    /// It is no longer there.
    Gone(&'a Value),
    /// It is another.
    Other(&'a Value, &'a Value),
}

/// The fields in which two versions of a record differ, in their order; those that are gone at last.
pub fn differences<'a>(
    was: &'a Map<String, Value>,
    is: &'a Map<String, Value>,
) -> Vec<(&'a str, Became<'a>)> {
    let mut all = Vec::new();
    for (name, value) in is {
        match was.get(name) {
            None => all.push((name.as_str(), Became::New(value))),
            Some(it) if it != value => all.push((name.as_str(), Became::Other(it, value))),
            Some(_) => {}
        }
    }
    let gone = was.iter().filter(|(name, _)| !is.contains_key(*name));
    all.extend(gone.map(|(name, value)| (name.as_str(), Became::Gone(value))));
    all
}

/// Whether a record is another one's next version, and not a note about it: they share a field that is
/// no name.
pub fn goes_on(was: &Map<String, Value>, is: &Map<String, Value>) -> bool {
    let names = ["id", "source", "line"];
    is.keys().any(|it| !names.contains(&it.as_str()) && was.contains_key(it))
        || was.keys().all(|it| names.contains(&it.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_and_its_children_are_found_and_no_others() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bare = "{\"text\":\"x\"}";
        let ids = ["\"a\"", "\"ab\"", "\"a.0\"", "\"b\"", "\"\\u0061.1\"", "7", "\"a.0.2\""];
        let mut lines: Vec<String> = ids.iter().map(|it| format!("{{\"id\":{it}}}")).collect();
        lines.push(bare.to_owned());
        lines.push("{\"id\":\"b\",\"text\":\"about a\"}".to_owned());
        lines.push("a".to_owned());
        std::fs::write(file.path(), lines.join("\n")).unwrap();
        let ids = |id: &str, most| {
            let found = find(file.path(), id, most).unwrap();
            let ids: Vec<String> =
                found.seen.iter().map(|it| format!("{}:{}", it.line, it.id)).collect();
            (ids.join(" "), found.more)
        };
        assert_eq!(ids("a", 9), ("1:a 3:a.0 5:a.1 7:a.0.2".to_owned(), 0));
        assert_eq!(ids("a", 1), ("1:a".to_owned(), 3));
        assert_eq!(ids("7", 9), ("6:7".to_owned(), 0));
        let digest = digest_id(bare.as_bytes());
        assert_eq!(ids(&digest, 9), (format!("8:{digest}"), 0));
    }

    #[test]
    fn fields_are_new_gone_or_other() {
        let map = |it: &str| serde_json::from_str::<Map<String, Value>>(it).unwrap();
        let was = map(r#"{"id":1,"text":"a","old":2}"#);
        let is = map(r#"{"id":1,"text":"b","score":null}"#);
        let said: Vec<String> = differences(&was, &is).iter().map(|it| format!("{it:?}")).collect();
        assert_eq!(
            said,
            [
                r#"("text", Other(String("a"), String("b")))"#,
                r#"("score", New(Null))"#,
                r#"("old", Gone(Number(2)))"#
            ]
        );
        assert!(goes_on(&was, &is) && !goes_on(&was, &map(r#"{"id":1,"cluster":3}"#)));
        assert!(goes_on(&map(r#"{"id":1}"#), &map(r#"{"id":1,"n":1}"#)));
    }
}
