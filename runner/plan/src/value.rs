//! Values that people write in a manifest, once their references are resolved.
//!
//! There are no dates (write them as text) and no numbers that are not finite: both would have
//! more than one spelling in a key.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A value with its type: `9000` and `"9000"` and `9000.0` are three values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number with a fraction or an exponent.
    Float(f64),
    /// Text.
    Text(String),
    /// An ordered list.
    List(Vec<Value>),
    /// Names to values, in the order of the names.
    Table(BTreeMap<String, Value>),
}

impl Value {
    /// What its type is called on a screen.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// The value as TOML, for a kind that reads its parameters with serde.
    pub fn to_toml(&self) -> toml::Value {
        match self {
            Value::Bool(it) => toml::Value::Boolean(*it),
            Value::Int(it) => toml::Value::Integer(*it),
            Value::Float(it) => toml::Value::Float(*it),
            Value::Text(it) => toml::Value::String(it.clone()),
            Value::List(it) => toml::Value::Array(it.iter().map(Value::to_toml).collect()),
            Value::Table(it) => {
                toml::Value::Table(it.iter().map(|(k, v)| (k.clone(), v.to_toml())).collect())
            }
        }
    }
}

/// One spelling per value: the text that enters a key, and the text that `kun why` shows.
/// Strings are quoted as in JSON, floats keep a point or an exponent, tables are sorted.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(it) => write!(f, "{it}"),
            Value::Int(it) => write!(f, "{it}"),
            // Negative zero is zero; `{:?}` is the shortest text that reads back to the same bits.
            Value::Float(it) => write!(f, "{:?}", if *it == 0.0 { 0.0 } else { *it }),
            Value::Text(it) => quote(it, f),
            Value::List(it) => {
                f.write_str("[")?;
                for (i, it) in it.iter().enumerate() {
                    write!(f, "{}{it}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Value::Table(it) => {
                f.write_str("{")?;
                for (i, (name, it)) in it.iter().enumerate() {
                    write!(f, "{}{}: {it}", if i == 0 { "" } else { ", " }, quoted(name))?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Writes what [`quoted`] gives.
pub(crate) fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if text.bytes().any(|it| it < b' ' || it == b'"' || it == b'\\') {
        return f.write_str(&quoted(text));
    }
    f.write_str("\"")?;
    f.write_str(text)?;
    f.write_str("\"")
}

pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always valid JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_spellings_of_nine_thousand_are_three_values() {
        let values = [Value::Int(9000), Value::Float(9000.0), Value::Text("9000".into())];
        assert_eq!(values.map(|it| it.to_string()), ["9000", "9000.0", "\"9000\""]);
    }

    #[test]
    fn negative_zero_is_zero() {
        assert_eq!(Value::Float(-0.0).to_string(), Value::Float(0.0).to_string());
    }
}
