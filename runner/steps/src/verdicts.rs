//! Verdicts over items, and what two lists of them over the same items come to: for the kind `compare` and the
//! command of that name.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::StepError;
use crate::records::Lines;
pub use crate::statistics::Paired;
use crate::statistics::{interval, paired, rounded};

/// A verdict, and the group that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The verdict.
    pub right: bool,
    /// The group, where one was asked for.
    pub group: Option<String>,
}

/// Verdicts by the ids of their items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts(pub BTreeMap<String, Item>);

/// How often verdicts are right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// How many there are.
    pub n: u64,
    /// How many are right.
    pub right: u64,
    /// Their share.
    pub share: f64,
    /// Where Wilson's interval of 95 % begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
}

impl Share {
    /// Of these verdicts.
    pub fn of(all: &[bool]) -> Self {
        let (n, right) = (all.len() as u64, all.iter().filter(|it| **it).count() as u64);
        let (low, high) = interval(right, n);
        let share = rounded(right as f64 / n.max(1) as f64);
        Self { n, right, share, low: rounded(low), high: rounded(high) }
    }
}

impl Verdicts {
    /// The verdicts of an exam: records with `id` and `right`, and with `subject` where all have one.
    /// Nothing, where the file does not begin with such a record.
    pub fn of_exam(path: &Path) -> Result<Option<Self>, StepError> {
        let (mut lines, mut buffer) = (Lines::open(path)?, Vec::new());
        if !lines.next(&mut buffer)? {
            return Ok(None);
        }
        let Ok(Value::Object(first)) = serde_json::from_slice(&buffer) else { return Ok(None) };
        if !first.contains_key("id") || !first.get("right").is_some_and(Value::is_boolean) {
            return Ok(None);
        }
        let by = first.get("subject").is_some_and(Value::is_string).then_some("subject");
        Self::read(path, ("right", by), &|| Ok(())).map(Some)
    }

    /// The verdicts that stand in `field`, with the group in the field `by`.
    pub(crate) fn read(
        path: &Path,
        (field, by): (&str, Option<&str>),
        check_stop: &dyn Fn() -> Result<(), StepError>,
    ) -> Result<Self, StepError> {
        let (mut lines, mut buffer, mut items) = (Lines::open(path)?, Vec::new(), BTreeMap::new());
        while lines.next(&mut buffer)? {
            check_stop()?;
            let record: Value = serde_json::from_slice(&buffer)
                .map_err(|it| lines.mistake(None, it.to_string()))?;
            let id = match &record["id"] {
                Value::String(it) => it.clone(),
                Value::Number(it) => it.to_string(),
                _ => return Err(lines.mistake(Some("id"), "is no text".to_owned())),
            };
            let Some(right) = record[field].as_bool() else {
                return Err(lines.mistake(Some(field), "is neither true nor false".to_owned()));
            };
            let group = match by {
                None => None,
                Some(by) => match record[by].as_str() {
                    Some(it) => Some(it.to_owned()),
                    None => return Err(lines.mistake(Some(by), "is no text".to_owned())),
                },
            };
            if items.insert(id.clone(), Item { right, group }).is_some() {
                return Err(lines.mistake(Some("id"), format!("`{id}` comes twice")));
            }
        }
        Ok(Self(items))
    }

    /// The verdicts of a group, or all, in the order of their ids.
    pub fn of_group(&self, group: Option<&str>) -> Vec<bool> {
        let mine = |it: &&Item| group.is_none() || it.group.as_deref() == group;
        self.0.values().filter(mine).map(|it| it.right).collect()
    }

    /// The groups, in order.
    pub fn groups(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.0.values().filter_map(|it| it.group.as_deref()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The mean of the groups' shares, which OpenCompass reports; of verdicts without groups their share.
    pub fn mean(&self) -> f64 {
        let groups = self.groups();
        if groups.is_empty() {
            return Share::of(&self.of_group(None)).share;
        }
        let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for it in self.0.values() {
            if let Some(group) = &it.group {
                let count = counts.entry(group).or_default();
                count.0 += 1;
                count.1 += u64::from(it.right);
            }
        }
        let sum: f64 = counts.values().map(|(n, right)| *right as f64 / *n as f64).sum();
        rounded(sum / counts.len() as f64)
    }

    /// An item that one of both has and the other has not: whether the other lacks it, and its id.
    pub fn unlike<'a>(&'a self, other: &'a Self) -> Option<(bool, &'a str)> {
        let lacks = |a: &'a Self, b: &Self| a.0.keys().find(|it| !b.0.contains_key(*it));
        let missing = lacks(self, other).map(|it| (true, it.as_str()));
        missing.or_else(|| lacks(other, self).map(|it| (false, it.as_str())))
    }

    /// How the other's verdicts differ from these; nothing where the items are not the same.
    pub fn against(&self, other: &Self) -> Option<Paired> {
        let same = self.unlike(other).is_none();
        same.then(|| paired(&self.of_group(None), &other.of_group(None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exam_is_known_by_its_first_record_and_its_mean_is_that_of_subjects() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Verdicts::of_exam(&path)
        };
        let line = |id: u32, subject: &str, right: bool| {
            format!("{{\"id\":{id},\"subject\":\"{subject}\",\"right\":{right}}}\n")
        };
        let first = [line(1, "a", true), line(2, "a", false), line(3, "b", true)].concat();
        let first = read(&first).unwrap().unwrap();
        assert_eq!((first.mean(), first.groups()), (0.75, vec!["a", "b"]));
        assert_eq!(Share::of(&first.of_group(None)).right, 2);
        let plain = read("{\"id\":\"1\",\"right\":true}\n{\"id\":\"2\",\"right\":false}\n");
        let plain = plain.unwrap().unwrap();
        assert_eq!((plain.mean(), plain.unlike(&first)), (0.5, Some((false, "3"))));
        assert_eq!((first.unlike(&plain), plain.against(&first)), (Some((true, "3")), None));
        assert_eq!(first.against(&first).unwrap().difference, 0.0);
        for other in ["", "x\n", "[]\n", "{\"id\":1}\n", "{\"id\":1,\"right\":1}\n"] {
            assert_eq!(read(other).unwrap(), None, "{other}");
        }
        let broken = read(&(line(1, "a", true) + "{\"id\":2,\"right\":true}\n")).unwrap_err();
        assert!(broken.to_string().ends_with("x:2: field `subject`: is no text"), "{broken}");
    }
}
