//! Finds records by their ids, and says what of a record a person wants to read.

use std::collections::BTreeMap;
use std::path::Path;

use super::fields::Fields;
use crate::StepError;
use crate::records::Lines;

/// The fields that hold what people read, in the order in which they are looked for.
const READ: [&str; 7] = ["text", "output", "instruction", "prompt", "content", "messages", "title"];

/// What is looked for: the line on which a record is expected to stand, and its id.
pub type Wanted = BTreeMap<u64, String>;

/// Reads a file of records once, and says of each that is wanted what stands in `field`, or where
/// that is not said in the first field that people read. A record is found on its line, or on any
/// line by its id; one that is not there is left out.
pub fn texts(
    path: &Path,
    wanted: &Wanted,
    field: Option<&str>,
) -> Result<BTreeMap<u64, String>, StepError> {
    let mut found = BTreeMap::new();
    let by_id: BTreeMap<&str, u64> = wanted.iter().map(|(line, id)| (id.as_str(), *line)).collect();
    let mut lines = Lines::open(path)?;
    let mut buffer = Vec::new();
    while found.len() < wanted.len() && lines.next(&mut buffer)? {
        // A record without an id has the digest of its line: only its own line is asked for that.
        let named = id_of(&buffer);
        let line = match (wanted.get(&lines.line), named) {
            (Some(id), Some(it)) if id == it => lines.line,
            (Some(_), None) => lines.line,
            (_, Some(it)) if by_id.contains_key(it) => by_id[it],
            _ => continue,
        };
        let Ok(fields) = Fields::parse(&buffer) else {
            // A kind may take any line as a record.
            if wanted.get(&line).is_some_and(|it| *it == super::fields::digest_id(&buffer)) {
                found.insert(line, String::from_utf8_lossy(&buffer).into_owned());
            }
            continue;
        };
        if fields.id().is_ok_and(|it| wanted.get(&line).is_some_and(|id| *id == it)) {
            found.insert(line, read(&fields, field));
        }
    }
    Ok(found)
}

/// The id of a record as most begin: no JSON is read.
fn id_of(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(b"{\"id\":\"")?;
    let end = rest.iter().position(|it| matches!(it, b'"' | b'\\'))?;
    (rest[end] == b'"').then(|| std::str::from_utf8(&rest[..end]).ok()).flatten()
}

/// What of a record a person wants to read.
fn read(fields: &Fields<'_>, field: Option<&str>) -> String {
    let plain = |name: &str| match fields.optional_text(name) {
        Ok(it) => it.map(std::borrow::Cow::into_owned),
        Err(_) => fields.get(name).map(str::to_owned),
    };
    let named = field.and_then(plain);
    named.or_else(|| READ.into_iter().find_map(plain)).unwrap_or_else(|| {
        let pairs = fields.pairs().map(|(name, value)| format!("{name}: {value}"));
        pairs.collect::<Vec<_>>().join(", ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_by_line_and_id_or_by_id_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "{\"id\":\"a\",\"text\":\"one\"}\n{\"id\":\"c\",\"instruction\":\"\\u0041\"}\n{\"x\":1}\nbare\n";
        std::fs::write(file.path(), text).unwrap();
        let digest = |it: &str| super::super::fields::digest_id(it.as_bytes());
        let wanted = Wanted::from([
            (1, "a".to_owned()),
            (2, "b".to_owned()),
            (7, "c".to_owned()),
            (3, digest("{\"x\":1}")),
            (4, digest("bare")),
        ]);
        let found = texts(file.path(), &wanted, None).unwrap();
        let found: Vec<(u64, &str)> = found.iter().map(|(i, it)| (*i, it.as_str())).collect();
        assert_eq!(found, [(1, "one"), (3, "x: 1"), (4, "bare"), (7, "A")]);
        let found = texts(file.path(), &Wanted::from([(3, digest("{\"x\":1}"))]), Some("x"));
        assert_eq!(found.unwrap()[&3], "1");
    }
}
