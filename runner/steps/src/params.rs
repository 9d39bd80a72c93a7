//! From a Rust type to the list of parameters that the planner checks: name, words, type, default.

use plan::Value;
use plan::kind::{Accepts, Param};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json};

/// The parameters that a type with these fields stands for, in the order of the fields.
pub fn params_of<T: JsonSchema>() -> Vec<Param> {
    let settings = SchemaSettings::draft2020_12().with(|it| it.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let empty = Map::new();
    let root = schema.as_object().unwrap_or(&empty);
    let required: Vec<&str> = list(root, "required").iter().filter_map(Json::as_str).collect();
    let Some(properties) = root.get("properties").and_then(Json::as_object) else {
        return Vec::new();
    };
    let param = |(name, schema): (&String, &Json)| Param {
        name: name.clone(),
        about: words(schema),
        accepts: accepts(schema),
        default: schema.get("default").and_then(value),
        required: required.contains(&name.as_str()),
    };
    properties.iter().map(param).collect()
}

/// The field's documentation on one line.
fn words(schema: &Json) -> String {
    let text = schema.get("description").and_then(Json::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn accepts(schema: &Json) -> Accepts {
    let Some(object) = schema.as_object() else { return Accepts::Any };
    if let Some(words) = one_of(object) {
        return Accepts::OneOf(words);
    }
    // An `Option` of something that is no plain type: that, or null, which TOML cannot write.
    let inner = list(object, "anyOf").iter().find(|it| it.get("type") != Some(&"null".into()));
    if let Some(inner) = inner {
        return accepts(inner);
    }
    let items = |name| Box::new(object.get(name).map_or(Accepts::Any, accepts));
    match type_of(object) {
        Some("boolean") => Accepts::Bool,
        Some("integer") => {
            Accepts::Int { min: bound(object, "minimum"), max: bound(object, "maximum") }
        }
        Some("number") => Accepts::Float,
        Some("string") => Accepts::Text,
        Some("array") => Accepts::List(items("items")),
        Some("object") if object.contains_key("additionalProperties") => {
            Accepts::Map(items("additionalProperties"))
        }
        _ => Accepts::Any,
    }
}

/// The words of an enum: `enum = [..]`, or `oneOf` with a `const` each where variants have
/// documentation.
fn one_of(object: &Map<String, Json>) -> Option<Vec<String>> {
    let word = |it: &Json| it.as_str().map(str::to_owned);
    if object.contains_key("enum") {
        return Some(list(object, "enum").iter().filter_map(word).collect());
    }
    let variants = list(object, "oneOf");
    let mut words = Vec::new();
    for it in variants {
        match it.get("const") {
            Some(it) => words.extend(word(it)),
            None => words.extend(list(it.as_object()?, "enum").iter().filter_map(word)),
        }
    }
    (!words.is_empty()).then_some(words)
}

/// The type, less the null of an `Option`.
fn type_of(object: &Map<String, Json>) -> Option<&str> {
    match object.get("type")? {
        Json::String(it) => Some(it),
        Json::Array(all) => all.iter().filter_map(Json::as_str).find(|it| *it != "null"),
        _ => None,
    }
}

fn bound(object: &Map<String, Json>, name: &str) -> Option<i64> {
    let it = object.get(name)?;
    // Generators write whole bounds as floats too; one beyond 64 bits is no bound for TOML.
    it.as_i64().or_else(|| it.as_f64().filter(|it| it.abs() < 9e15).map(|it| it as i64))
}

fn list<'a>(object: &'a Map<String, Json>, name: &str) -> &'a [Json] {
    object.get(name).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// A default as a manifest would write it; null is "nothing".
fn value(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(it) => Value::Bool(*it),
        Json::Number(it) => match it.as_i64() {
            Some(it) => Value::Int(it),
            None => Value::Float(it.as_f64()?),
        },
        Json::String(it) => Value::Text(it.clone()),
        Json::Array(all) => Value::List(all.iter().filter_map(value).collect()),
        Json::Object(all) => {
            Value::Table(all.iter().filter_map(|(k, v)| Some((k.clone(), value(v)?))).collect())
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(serde::Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    #[allow(dead_code, reason = "only its schema is used")]
    enum Mode {
        /// The first.
        Strict,
        Loose,
    }

    #[derive(serde::Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its schema is used")]
    struct Everything {
        /// How many
        /// there are.
        n: u32,
        #[serde(default = "half")]
        share: f64,
        #[serde(default)]
        keep: bool,
        mode: Mode,
        other: Option<Mode>,
        #[serde(default)]
        words: Vec<String>,
        #[serde(default)]
        weights: BTreeMap<String, f64>,
        name: Option<String>,
        offset: i64,
        free: serde_json::Value,
    }

    fn half() -> f64 {
        0.5
    }

    #[test]
    fn every_type_a_kind_may_use_is_read() {
        let params = params_of::<Everything>();
        let text = |it: &Param| {
            let default = it.default.as_ref().map(Value::to_string).unwrap_or_default();
            format!("{} {:?} [{default}] {:?} {}", it.name, it.accepts, it.about, it.required)
        };
        let text: Vec<_> = params.iter().map(text).collect();
        insta::assert_snapshot!(text.join("\n"), @r#"
        n Int { min: Some(0), max: None } [] "How many there are." true
        share Float [0.5] "" false
        keep Bool [false] "" false
        mode OneOf(["loose", "strict"]) [] "" true
        other OneOf(["loose", "strict"]) [] "" false
        words List(Text) [[]] "" false
        weights Map(Float) [{}] "" false
        name Text [] "" false
        offset Int { min: None, max: None } [] "" true
        free Any [] "" true
        "#);
    }
}
