//! `years`: which years texts name.
//!
//! ```toml
//! [steps.years]
//! op   = "years"
//! in   = { data = "${steps.final.data}" }
//! with = { fields = ["instruction", "output"], from = 2000, to = 2024 }
//! ```
//!
//! What counts as the name of a year, and nothing else does:
//!
//! | form | example |
//! |---|---|
//! | four digits and `年`, with blanks between or not | `2008年`, `２００８ 年` |
//! | four Chinese numerals and `年` | `二〇〇八年`, `二零零八年` |
//! | four digits, one of `-` `/` `.` and a month from 1 to 12 of one or two digits | `2008-05-12`, `2008/5`, `2008.05.12` |
//! | four digits, one of `-` `–` `—` `~` `～` `至` `到`, and a year that counts | `2005-2008年`: both |
//!
//! Digits are `0` to `9` and `０` to `９`; numerals `〇 ○ 零 一 二 三 四 五 六 七 八 九`, one for each digit. No
//! further digit, Latin letter or decimal point stands before the four; no further numeral before four numerals;
//! no digit behind a month. So `12008年`, `no2008年` and `1.2008年` name none; nor do `08年`, `两千零八年` or a bare `2008`.
//! A year counts from `from` to `to`, both included.
//!
//! A record counts once for each year that it names, in whichever of `fields` and however often. `histogram` has a
//! record for each year from the first that is named to the last: `of` (`year`), `from`, `below` (the year
//! after) and `n`. `metrics`: `records`, `with_year` (records that name at least one), `mentions` (the
//! sum of all `n`), and `first`, `last` and `p50` of the mentions.

use std::collections::{BTreeMap, BTreeSet};

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, json};

use crate::page::page;
use crate::records::{Output, write_metrics};
use crate::text::fields::Fields;
use crate::text::lengths::Lengths;
use crate::text::stream::Source;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Years;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The fields whose texts are read.
    #[serde(default = "super::lengths::pair")]
    fields: Vec<String>,
    /// The first year that counts.
    #[serde(default = "default_from")]
    #[schemars(range(max = 9999))]
    from: u64,
    /// The last.
    #[serde(default = "default_to")]
    #[schemars(range(max = 9999))]
    to: u64,
}

fn default_from() -> u64 {
    1900
}

fn default_to() -> u64 {
    2099
}

impl Kind for Years {
    const SPEC: KindSpec = KindSpec {
        name: "years",
        version: 1,
        about: "which years texts name, as a histogram",
        page: page!("years.rs"),
        inputs: &[Port { name: "data", arity: Arity::One, about: "the records" }],
        outputs: &[
            Slot { name: "metrics", form: Form::Metrics, about: "how many records name years" },
            Slot { name: "histogram", form: Form::Records, about: "how many name each year" },
        ],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        if params.fields.is_empty() || params.from > params.to || params.to > 9999 {
            let reason = "`fields` is empty, or `from` to `to` are no years up to 9999".to_owned();
            return Err(StepError::Params { kind: "years", reason });
        }
        let work = |line: &[u8], part: &mut Found| {
            let fields = Fields::parse(line)?;
            let mut years = BTreeSet::new();
            for name in &params.fields {
                if let Some(text) = fields.optional_text(name)? {
                    let all = named(&text).into_iter();
                    years.extend(all.filter(|it| (params.from..=params.to).contains(it)));
                }
            }
            part.records += 1;
            part.with_year += u64::from(!years.is_empty());
            years.into_iter().for_each(|it| part.years.add(it));
            Ok(())
        };
        let mut all = Found::default();
        Source::open("data", cx)?.each(cx, &work, &mut |part: Found| {
            all.records += part.records;
            all.with_year += part.with_year;
            all.years.take(&part.years);
            Ok(())
        })?;
        let mut histogram = Output::create(cx.output("histogram")?)?;
        for (year, n) in each_year(&all.years.0) {
            let line = json!({ "of": "year", "from": year, "below": year + 1, "n": n });
            histogram.line(line.to_string().as_bytes())?;
        }
        histogram.finish()?;
        let mut metrics = Map::new();
        metrics.insert("records".to_owned(), all.records.into());
        metrics.insert("with_year".to_owned(), all.with_year.into());
        metrics.insert("mentions".to_owned(), all.years.n().into());
        if all.years.n() > 0 {
            for (name, place) in [("first", 0), ("p50", 50), ("last", 100)] {
                metrics.insert(name.to_owned(), all.years.quantile(place).into());
            }
        }
        write_metrics(&metrics, cx)?;
        cx.count("records", all.records);
        cx.count("with_year", all.with_year);
        Ok(())
    }
}

/// What neighbouring records name.
#[derive(Default)]
struct Found {
    records: u64,
    with_year: u64,
    years: Lengths,
}

/// Every year from the first to the last, those that nobody names too.
fn each_year(years: &BTreeMap<u64, u64>) -> impl Iterator<Item = (u64, u64)> {
    let ends = years.keys().next().copied().zip(years.keys().next_back().copied());
    let all = ends.into_iter().flat_map(|(first, last)| first..=last);
    all.map(|it| (it, years.get(&it).copied().unwrap_or(0)))
}

/// The years that a text names, by the rule at the head of this file.
fn named(text: &str) -> BTreeSet<u64> {
    // Most texts name none, and are told by one look.
    if !text.contains(['年', '-', '/', '.']) {
        return BTreeSet::new();
    }
    let text: Vec<char> = text.chars().collect();
    let (mut years, mut at) = (BTreeSet::new(), BTreeSet::new());
    // From the end: whether a range begins with a year is known once its end is.
    for i in (0..text.len().saturating_sub(3)).rev() {
        let Some(year) = digits(&text, i).or_else(|| numerals(&text, i)) else { continue };
        let counts = year.ends
            || text.get(i + 5).is_some() && RANGE.contains(&text[i + 4]) && at.contains(&(i + 5));
        if counts {
            at.insert(i);
            years.insert(year.value);
        }
    }
    years
}

const RANGE: [char; 7] = ['-', '–', '—', '~', '～', '至', '到'];
const NUMERALS: [char; 10] = ['〇', '一', '二', '三', '四', '五', '六', '七', '八', '九'];

/// Four digits, and whether what follows makes them a year by itself.
struct Four {
    value: u64,
    ends: bool,
}

fn digit(it: char) -> Option<u64> {
    match it {
        '0'..='9' => Some(u64::from(u32::from(it) - u32::from('0'))),
        '０'..='９' => Some(u64::from(u32::from(it) - u32::from('０'))),
        _ => None,
    }
}

fn numeral(it: char) -> Option<u64> {
    let it = if matches!(it, '零' | '○') { '〇' } else { it };
    NUMERALS.iter().position(|all| *all == it).map(|it| it as u64)
}

fn value(text: &[char], i: usize, of: fn(char) -> Option<u64>) -> Option<u64> {
    text.get(i..i + 4)?.iter().try_fold(0, |sum, it| Some(sum * 10 + of(*it)?))
}

fn digits(text: &[char], i: usize) -> Option<Four> {
    let value = value(text, i, digit)?;
    let before = i.checked_sub(1).map(|it| text[it]);
    let joined = |it: char| {
        digit(it).is_some() || it.is_ascii_alphabetic() || matches!(it, 'ａ'..='ｚ' | 'Ａ'..='Ｚ')
    };
    let decimal = before.is_some_and(|it| matches!(it, '.' | '．'))
        && i.checked_sub(2).is_some_and(|it| digit(text[it]).is_some());
    if before.is_some_and(joined) || decimal {
        return None;
    }
    let rest = &text[i + 4..];
    let blanks = rest.iter().take_while(|it| matches!(it, ' ' | '\u{3000}')).count();
    let ends = rest.get(blanks) == Some(&'年') || has_month(rest);
    Some(Four { value, ends })
}

fn numerals(text: &[char], i: usize) -> Option<Four> {
    let value = value(text, i, numeral)?;
    if i.checked_sub(1).is_some_and(|it| numeral(text[it]).is_some()) {
        return None;
    }
    Some(Four { value, ends: text.get(i + 4) == Some(&'年') })
}

fn has_month(rest: &[char]) -> bool {
    if !rest.first().is_some_and(|it| matches!(it, '-' | '/' | '.')) {
        return false;
    }
    // A third digit is looked at, so that what is longer is no month.
    let month: Vec<u64> = rest[1..].iter().take(3).map_while(|it| digit(*it)).collect();
    let value = month.iter().fold(0, |sum, it| sum * 10 + it);
    matches!(month.len(), 1 | 2) && (1..=12).contains(&value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Kit;

    #[test]
    fn years_are_what_the_rule_says() {
        let of = |text: &str| named(text).into_iter().collect::<Vec<u64>>();
        for text in [
            "在2008年，",
            "２００８　年",
            "二〇〇八年",
            "二零零八年",
            "二○○八年",
            "2008-05-12",
            "2008/5",
            "于2008.12完成",
        ] {
            assert_eq!(of(text), [2008], "{text}");
        }
        for text in [
            "12008年",
            "a2008年",
            "1.2008年",
            "08年",
            "两千零八年",
            "2008",
            "2008 kg",
            "2008-13",
            "2008-100",
            "一二〇〇八年",
            "共2008元",
            "2008.",
            "200八年",
            "年",
        ] {
            assert!(of(text).is_empty(), "{text}: {:?}", of(text));
        }
        assert_eq!(of("2005-2008年，2001至2003～2004年"), [2001, 2003, 2004, 2005, 2008]);
        assert_eq!(of("从一九九八到2002年"), [1998, 2002]);
        // A long chain costs no stack.
        assert_eq!(of(&("2001-".repeat(200_000) + "2002年")), [2001, 2002]);
    }

    #[test]
    fn a_record_counts_once_for_each_year_and_years_between_are_there() {
        let data = concat!(
            "{\"instruction\":\"2008年和2008年\",\"output\":\"2011年\"}\n",
            "{\"instruction\":\"2008年\"}\n",
            "{\"output\":\"1066年\"}\n",
        );
        let run = |threads| {
            let mut kit = Kit::new("years");
            kit.threads = threads;
            kit.run("", &[data.as_bytes()]).unwrap()
        };
        let out = run(1);
        insta::assert_snapshot!(out[1], @r#"
        {"of":"year","from":2008,"below":2009,"n":2}
        {"of":"year","from":2009,"below":2010,"n":0}
        {"of":"year","from":2010,"below":2011,"n":0}
        {"of":"year","from":2011,"below":2012,"n":1}
        "#);
        let metrics: serde_json::Value = serde_json::from_str(&out[0]).unwrap();
        assert_eq!(
            metrics,
            json!({ "records": 3, "with_year": 2, "mentions": 3, "first": 2008,
            "p50": 2008, "last": 2011 })
        );
        assert_eq!(run(3), out);
        assert!(Kit::new("years").error("from = 5\nto = 4", "").contains("`from` to `to`"));
        assert!(Kit::new("years").run("", &[b""]).unwrap()[1].is_empty());
    }
}
