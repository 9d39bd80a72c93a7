//! What a ledger says of a filter as a whole: how many records each rule drops, alone or with
//! others, which records stand next to a threshold, and what another threshold would keep.
//!
//! A ledger is read once, as a stream; what is held are counts and the few records that are asked
//! for.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::ledger::{Bounds, Limit};
use super::row::Row;
use crate::StepError;
use crate::records::Lines;

/// What is asked of a ledger.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Where the thresholds stand, as far as that is known.
    pub limits: Vec<Limit>,
    /// How many records next to each side of a threshold.
    pub borderline: usize,
    /// How many dropped records of each rule.
    pub samples: usize,
    /// Only the records of this rule.
    pub rule: Option<String>,
    /// Other bounds of one rule, each by itself.
    pub tries: Vec<Limit>,
}

/// A filter in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Funnel {
    /// How many records came in.
    pub records: u64,
    /// How many went on.
    pub kept: u64,
    /// How many did not.
    pub dropped: u64,
    /// The rules, in the order in which they are asked.
    pub rules: Vec<RuleCount>,
    /// The same by source, in the order of their names.
    pub sources: Vec<SourceCount>,
    /// What other bounds would keep.
    pub tries: Vec<Tried>,
    /// Records next to a threshold: of each side the nearest first.
    pub borderline: Vec<Pick>,
    /// Dropped records, drawn by their ids: the same ledger gives the same.
    pub samples: Vec<Pick>,
    /// Every name that has values.
    pub values: Vec<String>,
}

/// A rule in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RuleCount {
    /// Its name.
    pub rule: String,
    /// The least value with which it is passed, where it is known.
    pub min: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
    /// How many records fail it.
    #[serde(flatten)]
    pub counts: Counts,
}

/// How many records fail a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All that do.
    pub fails: u64,
    /// Those that fail no rule before it.
    pub first: u64,
    /// Those that fail no other: what the rule alone contributes.
    pub only: u64,
}

/// A source in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SourceCount {
    /// Its name; none for records that name no source.
    pub source: Option<String>,
    /// How many records came in.
    pub records: u64,
    /// How many went on.
    pub kept: u64,
    /// By rule; rules that none of its records fail are left out.
    pub rules: BTreeMap<String, Counts>,
}

/// What other bounds of one rule would keep.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// The rule.
    pub rule: String,
    /// Its least value.
    pub min: Option<f64>,
    /// Its greatest value.
    pub max: Option<f64>,
    /// How many records would go on.
    pub kept: u64,
    /// How many of those did not.
    pub more: u64,
    /// How many that went on would not.
    pub fewer: u64,
}

/// A record that is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pick {
    /// The rule for which it is shown.
    pub rule: String,
    /// Its value, where it has one.
    pub value: Option<f64>,
    /// Whether it passes the rule.
    pub passes: bool,
    /// Whether it went on.
    pub keep: bool,
    /// Its line in the ledger, from 1.
    pub line: u64,
    /// Its id.
    pub id: String,
    /// What was looked at, where it is still there.
    pub text: Option<String>,
}

/// Sources beyond these are counted as one: their names may be as many as there are records.
const MAX_SOURCES: usize = 1000;
/// The name of what is counted as one.
const OTHERS: &str = "…";

impl Funnel {
    /// Reads a ledger.
    pub fn read(path: &Path, asked: &Asked) -> Result<Self, StepError> {
        let mut lines = Lines::open(path)?;
        let mut reading = Reading::new(asked);
        let mut line = Vec::new();
        while lines.next(&mut line)? {
            let row = Row::parse(&line).and_then(|it| reading.row(&it, lines.line));
            row.map_err(|it| lines.mistake(it.field.as_deref(), it.reason))?;
        }
        Ok(reading.finish(lines.line))
    }
}

/// What is counted while a ledger is read.
struct Reading<'a> {
    asked: &'a Asked,
    rules: Vec<String>,
    values: Vec<String>,
    counts: Vec<Counts>,
    kept: u64,
    sources: Vec<(Option<String>, u64, u64, Vec<Counts>)>,
    /// The source as it is written, and its place; the last, which most often comes again.
    source: Option<(String, usize)>,
    places: BTreeMap<String, usize>,
    tries: Vec<Tried>,
    borders: Vec<Border>,
    samples: BTreeMap<usize, Nearest>,
}

impl<'a> Reading<'a> {
    fn new(asked: &'a Asked) -> Self {
        let shown = |it: &&Limit| asked.rule.as_ref().is_none_or(|rule| *rule == it.rule);
        let mut borders = Vec::new();
        for limit in asked.limits.iter().filter(shown).filter(|_| asked.borderline > 0) {
            let edges = [limit.bounds.min, limit.bounds.max].into_iter().flatten();
            borders.extend(edges.map(|at| Border::new(limit, at, asked.borderline)));
        }
        let tried = |it: &Limit| {
            let (rule, Bounds { min, max }) = (it.rule.clone(), it.bounds);
            Tried { rule, min, max, kept: 0, more: 0, fewer: 0 }
        };
        Self {
            asked,
            rules: Vec::new(),
            values: Vec::new(),
            counts: Vec::new(),
            kept: 0,
            sources: Vec::new(),
            source: None,
            places: BTreeMap::new(),
            tries: asked.tries.iter().map(tried).collect(),
            borders,
            samples: BTreeMap::new(),
        }
    }

    fn row(&mut self, row: &Row<'_>, line: u64) -> Result<(), crate::model::record::Unfit> {
        let keep = row.fails.is_empty();
        self.kept += u64::from(keep);
        // The kinds write all values or those of the rules that were asked: the order is theirs.
        if row.values.len() != self.values.len() || line == 1 {
            for (name, _) in &row.values {
                place(&mut self.values, name);
            }
        }
        let source = self.source(row)?;
        self.sources[source].1 += 1;
        self.sources[source].2 += u64::from(keep);
        for (i, name) in row.fails.iter().enumerate() {
            let rule = place(&mut self.rules, name);
            if rule == self.counts.len() {
                self.counts.push(Counts::default());
            }
            self.counts[rule].add(i, row.fails.len());
            let of_source = &mut self.sources[source].3;
            if of_source.len() <= rule {
                of_source.resize(rule + 1, Counts::default());
            }
            of_source[rule].add(i, row.fails.len());
            let shown = self.asked.rule.as_ref().is_none_or(|it| it == name);
            if self.asked.samples > 0 && shown {
                self.sample(rule, row, line)?;
            }
        }
        for (tried, limit) in self.tries.iter_mut().zip(&self.asked.tries) {
            let others = row.fails.iter().any(|it| *it != limit.rule);
            let passes = !others && row.value(&limit.value).is_some_and(|it| limit.bounds.hold(it));
            tried.kept += u64::from(passes);
            tried.more += u64::from(passes && !keep);
            tried.fewer += u64::from(!passes && keep);
        }
        for border in &mut self.borders {
            border.row(row, line)?;
        }
        Ok(())
    }

    /// The place of the row's source.
    fn source(&mut self, row: &Row<'_>) -> Result<usize, crate::model::record::Unfit> {
        if let Some((name, place)) = &self.source
            && name == row.source
        {
            return Ok(*place);
        }
        let place = match self.places.get(row.source) {
            Some(it) => *it,
            None => {
                let full = self.sources.len() >= MAX_SOURCES;
                let written = if full { "\"…\"" } else { row.source };
                let next = self.sources.len();
                let place = *self.places.entry(written.to_owned()).or_insert(next);
                if place == next {
                    let name = row.plain_source()?.map(std::borrow::Cow::into_owned);
                    let name = if full { Some(OTHERS.to_owned()) } else { name };
                    self.sources.push((name, 0, 0, Vec::new()));
                }
                place
            }
        };
        self.source = Some((row.source.to_owned(), place));
        Ok(place)
    }

    fn sample(
        &mut self,
        rule: usize,
        row: &Row<'_>,
        line: u64,
    ) -> Result<(), crate::model::record::Unfit> {
        let most = self.asked.samples;
        let nearest = self.samples.entry(rule).or_insert_with(|| Nearest::new(most));
        let lot = lot(row.id);
        if !nearest.takes(lot, line) {
            return Ok(());
        }
        let name = &self.rules[rule];
        let value = self.asked.limits.iter().find(|it| it.rule == *name);
        let value = row.value(value.map_or(name, |it| &it.value));
        nearest.put(lot, pick(row, line, (name, value, false))?);
        Ok(())
    }

    fn finish(self, records: u64) -> Funnel {
        let limit = |name: &str| self.asked.limits.iter().find(|it| it.rule == name);
        // Rules with a threshold stand in the order of their values, whether or not one fails.
        let mut order: Vec<&str> = Vec::new();
        let with_value = |it: &&str| {
            self.values
                .iter()
                .position(|name| limit(it).map_or(*it, |it| it.value.as_str()) == name)
        };
        let known = self.asked.limits.iter().map(|it| it.rule.as_str());
        for it in known.chain(self.rules.iter().map(String::as_str)) {
            if !order.contains(&it) {
                order.push(it);
            }
        }
        order.sort_by_key(|it| with_value(it).unwrap_or(usize::MAX));
        let rules = order.into_iter().map(|rule| {
            let at = self.rules.iter().position(|it| it == rule);
            let bounds = limit(rule).map(|it| it.bounds).unwrap_or_default();
            RuleCount {
                rule: rule.to_owned(),
                min: bounds.min,
                max: bounds.max,
                counts: at.map(|it| self.counts[it]).unwrap_or_default(),
            }
        });
        let rules: Vec<RuleCount> = rules.collect();
        let mut sources: Vec<SourceCount> = Vec::new();
        for (source, n, kept, counts) in self.sources {
            let named = self.rules.iter().zip(counts).filter(|(_, it)| it.fails > 0);
            let rules = named.map(|(name, it)| (name.clone(), it)).collect();
            sources.push(SourceCount { source, records: n, kept, rules });
        }
        sources.sort_by(|a, b| a.source.cmp(&b.source));
        let mut samples: Vec<(usize, Nearest)> = self.samples.into_iter().collect();
        samples.sort_by_key(|(i, _)| rules.iter().position(|it| it.rule == self.rules[*i]));
        Funnel {
            records,
            kept: self.kept,
            dropped: records - self.kept,
            rules,
            sources,
            tries: self.tries,
            borderline: self.borders.into_iter().flat_map(Border::picks).collect(),
            samples: samples.into_iter().flat_map(|(_, it)| it.picks()).collect(),
            values: self.values,
        }
    }
}

impl Counts {
    /// One more, for which the rule is the i-th of `n`.
    fn add(&mut self, i: usize, n: usize) {
        self.fails += 1;
        self.first += u64::from(i == 0);
        self.only += u64::from(n == 1);
    }
}

/// The place of a name among those seen; a new one is put at the end.
fn place(all: &mut Vec<String>, name: &str) -> usize {
    all.iter().position(|it| it == name).unwrap_or_else(|| {
        all.push(name.to_owned());
        all.len() - 1
    })
}

fn pick(
    row: &Row<'_>,
    line: u64,
    (rule, value, passes): (&str, Option<f64>, bool),
) -> Result<Pick, crate::model::record::Unfit> {
    let (rule, keep) = (rule.to_owned(), row.fails.is_empty());
    let id = row.plain_id()?.into_owned();
    Ok(Pick { rule, value, passes, keep, line, id, text: None })
}

/// A number that a record's id always has: FNV-1a, and a mixing so that like ids lie apart.
fn lot(id: &str) -> f64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (hash >> 12) as f64
}

/// A threshold, and the records nearest to it.
struct Border {
    rule: String,
    value: String,
    bounds: Bounds,
    at: f64,
    passing: Nearest,
    failing: Nearest,
}

impl Border {
    fn new(limit: &Limit, at: f64, most: usize) -> Self {
        let (rule, value, bounds) = (limit.rule.clone(), limit.value.clone(), limit.bounds);
        let (passing, failing) = (Nearest::new(most), Nearest::new(most));
        Self { rule, value, bounds, at, passing, failing }
    }

    fn row(&mut self, row: &Row<'_>, line: u64) -> Result<(), crate::model::record::Unfit> {
        let Some(value) = row.value(&self.value) else { return Ok(()) };
        let passes = self.bounds.hold(value);
        // With two bounds, what fails the other one is none of this border.
        let other = match self.bounds.min == Some(self.at) {
            true => self.bounds.max.is_some_and(|it| value > it),
            false => self.bounds.min.is_some_and(|it| value < it),
        };
        let side = if passes { &mut self.passing } else { &mut self.failing };
        let distance = (value - self.at).abs();
        if !other && side.takes(distance, line) {
            side.put(distance, pick(row, line, (&self.rule, Some(value), passes))?);
        }
        Ok(())
    }

    fn picks(self) -> impl Iterator<Item = Pick> {
        self.passing.picks().chain(self.failing.picks())
    }
}

/// The picks with the smallest numbers, of equal numbers the first.
struct Nearest {
    most: usize,
    all: Vec<(f64, Pick)>,
}

impl Nearest {
    fn new(most: usize) -> Self {
        Self { most, all: Vec::new() }
    }

    fn takes(&self, number: f64, _line: u64) -> bool {
        // Rows come in order, so an equal number comes too late.
        self.all.len() < self.most || self.all.last().is_some_and(|it| number < it.0)
    }

    fn put(&mut self, number: f64, pick: Pick) {
        let at = self.all.partition_point(|it| it.0 <= number);
        self.all.insert(at, (number, pick));
        self.all.truncate(self.most);
    }

    fn picks(self) -> impl Iterator<Item = Pick> {
        self.all.into_iter().map(|it| it.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEDGER: &str = r#"{"id":"a","source":"x","keep":true,"first":null,"fails":[],"values":{"length":9,"ppl":40}}
{"id":"b","source":"x","keep":false,"first":"length","fails":["length"],"values":{"length":3,"ppl":30}}
{"id":"c","source":"y","keep":false,"first":"length","fails":["length","ppl"],"values":{"length":2,"ppl":90}}
{"id":"d","source":null,"keep":false,"first":"ppl","fails":["ppl"],"values":{"length":5,"ppl":51}}
{"id":"e","source":null,"keep":false,"first":"lost","fails":["lost"],"values":{"length":5}}
{"id":"f","source":"x","keep":true,"first":null,"fails":[],"values":{"length":6,"ppl":50}}
"#;

    fn limits() -> Vec<Limit> {
        vec![
            Limit::of("ppl", Bounds { min: None, max: Some(50.0) }),
            Limit::of("length", Bounds { min: Some(5.0), max: Some(8.0) }),
        ]
    }

    fn read(asked: &Asked) -> Funnel {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), LEDGER).unwrap();
        Funnel::read(file.path(), asked).unwrap()
    }

    #[test]
    fn rules_are_counted_alone_first_and_in_all_and_by_source() {
        let funnel = read(&Asked { limits: limits(), ..Asked::default() });
        assert_eq!((funnel.records, funnel.kept, funnel.dropped), (6, 2, 4));
        let line = |it: &RuleCount| {
            let Counts { fails, first, only } = it.counts;
            format!("{} {:?} {:?} {fails} {first} {only}", it.rule, it.min, it.max)
        };
        let lines: Vec<String> = funnel.rules.iter().map(line).collect();
        assert_eq!(
            lines,
            [
                "length Some(5.0) Some(8.0) 2 2 1",
                "ppl None Some(50.0) 2 1 1",
                "lost None None 1 1 1"
            ]
        );
        let sources: Vec<_> =
            funnel.sources.iter().map(|it| (it.source.as_deref(), it.records, it.kept)).collect();
        assert_eq!(sources, [(None, 2, 0), (Some("x"), 3, 2), (Some("y"), 1, 0)]);
        assert_eq!(funnel.sources[2].rules["ppl"], Counts { fails: 1, first: 0, only: 0 });
    }

    #[test]
    fn another_threshold_is_asked_of_the_values_and_other_rules_stand() {
        let try_max = |it| Limit::of("ppl", Bounds { min: None, max: Some(it) });
        let tries = vec![try_max(40.0), try_max(60.0), try_max(1000.0)];
        let funnel = read(&Asked { tries, ..Asked::default() });
        let said: Vec<_> = funnel.tries.iter().map(|it| (it.kept, it.more, it.fewer)).collect();
        assert_eq!(said, [(1, 0, 1), (3, 1, 0), (3, 1, 0)]);
    }

    #[test]
    fn the_nearest_of_each_side_are_shown_and_each_border_has_its_own() {
        let funnel = read(&Asked { limits: limits(), borderline: 2, ..Asked::default() });
        let line = |it: &Pick| format!("{} {:?} {} {}", it.rule, it.value, it.passes, it.id);
        let lines: Vec<String> = funnel.borderline.iter().map(line).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        ppl Some(50.0) true f
        ppl Some(40.0) true a
        ppl Some(51.0) false d
        ppl Some(90.0) false c
        length Some(5.0) true d
        length Some(5.0) true e
        length Some(3.0) false b
        length Some(2.0) false c
        length Some(6.0) true f
        length Some(5.0) true d
        length Some(9.0) false a
        "#);
        let asked = Asked { rule: Some("length".to_owned()), samples: 1, ..Asked::default() };
        let funnel = read(&asked);
        assert_eq!(funnel.samples.len(), 1);
        assert!(["b", "c"].contains(&funnel.samples[0].id.as_str()));
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{}\n").unwrap();
        let error = Funnel::read(file.path(), &Asked::default()).unwrap_err().to_string();
        assert!(error.contains(":1: no line of a ledger: missing field"), "{error}");
    }
}
