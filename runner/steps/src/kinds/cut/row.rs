//! A ledger's line as it is written: what does not change goes out as it came in.

use std::borrow::Cow;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::model::record::Unfit;

/// The parts of a line.
pub(super) struct Row<'a> {
    /// JSON, as it is written.
    pub(super) id: &'a str,
    /// JSON, as it is written.
    pub(super) source: &'a str,
    pub(super) fails: Vec<Cow<'a, str>>,
    pub(super) values: Vec<(Cow<'a, str>, f64)>,
    /// JSON, as it is written.
    pub(super) raw_values: &'a str,
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
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, Unfit> {
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
