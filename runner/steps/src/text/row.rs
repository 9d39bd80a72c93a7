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
