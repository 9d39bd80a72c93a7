//! The JSON Schema of a manifest, for editors: the grammar and the step kinds in another language.
//!
//! It is for completion and quick red lines; what it cannot say, `kun check` says.

use serde_json::{Map, Value as Json, json};

use crate::grammar::{Grammar, MANIFEST, Names, Shape};
use crate::kind::{Accepts, Arity, KindSpec, Param};

/// The JSON Schema of a manifest.
pub fn schema(kinds: &[&KindSpec]) -> Json {
    let mut root = table(&MANIFEST);
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("kun workflow, format 1");
    let step = &mut root["properties"]["steps"]["additionalProperties"];
    let words = kinds.iter().map(|it| json!({ "const": it.name, "description": it.about }));
    step["properties"]["op"]["anyOf"] = words.collect();
    step["oneOf"] = json!([{ "required": ["op"] }, { "required": ["run"] }]);
    step["allOf"] = kinds.iter().map(|it| kind(it)).collect();
    root
}

fn table(grammar: &Grammar) -> Json {
    let mut properties = Map::new();
    for key in grammar.keys {
        let mut property = shape(&key.shape);
        property["description"] = json!(key.about);
        properties.insert(key.name.to_owned(), property);
    }
    let required: Vec<&str> =
        grammar.keys.iter().filter(|it| it.required).map(|it| it.name).collect();
    let mut out = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        out["required"] = json!(required);
    }
    out
}

fn shape(shape: &Shape) -> Json {
    match shape {
        Shape::Any => json!({}),
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Text => json!({ "type": "string" }),
        Shape::Float => json!({ "type": "number" }),
        Shape::Int(min, max) => bounds(Some(*min), Some(*max)),
        Shape::Time => {
            json!({ "type": "string", "pattern": TIME_PATTERN, "examples": ["90s", "1h30m"] })
        }
        Shape::Times => json!({ "type": "string", "examples": ["10s..5m"] }),
        Shape::Size => json!({ "type": "string", "examples": ["4GiB"] }),
        Shape::Word(words) => json!({ "type": "string", "enum": words }),
        Shape::List(of) => json!({ "type": "array", "items": self::shape(of) }),
        Shape::Table(grammar) => table(grammar),
        Shape::Map(names, of) => {
            let mut out = json!({ "type": "object", "additionalProperties": self::shape(of) });
            let pattern = match names {
                Names::Word => Some("^[A-Za-z0-9_-]{1,128}$"),
                Names::Name => Some("^[A-Za-z0-9_.-]{1,128}$"),
                Names::Variable | Names::Free => None,
            };
            if let Some(it) = pattern {
                out["propertyNames"] = json!({ "pattern": it });
            }
            out
        }
        Shape::Either(shapes) => {
            json!({ "anyOf": shapes.iter().map(self::shape).collect::<Vec<_>>() })
        }
    }
}

const TIME_PATTERN: &str = "^([0-9]+(ms|s|m|h|d))+$";

fn bounds(min: Option<i64>, max: Option<i64>) -> Json {
    let mut out = json!({ "type": "integer" });
    if let Some(it) = min.filter(|it| *it > i64::MIN) {
        out["minimum"] = json!(it);
    }
    if let Some(it) = max.filter(|it| *it < i64::MAX) {
        out["maximum"] = json!(it);
    }
    out
}

/// What a step of a kind may have.
fn kind(spec: &KindSpec) -> Json {
    let params = (spec.params)();
    let with: Map<String, Json> = params.iter().map(|it| (it.name.clone(), param(it))).collect();
    let needed: Vec<&str> =
        params.iter().filter(|it| it.required).map(|it| it.name.as_str()).collect();
    let ports: Map<String, Json> = spec
        .inputs
        .iter()
        .map(|it| (it.name.to_owned(), json!({ "description": it.about })))
        .collect();
    let required: Vec<&str> =
        spec.inputs.iter().filter(|it| it.arity != Arity::Optional).map(|it| it.name).collect();
    let mut out = json!({
        "if": { "properties": { "op": { "const": spec.name } }, "required": ["op"] },
        "then": { "properties": {
            "with": { "properties": with, "required": needed, "additionalProperties": false },
            "in": { "properties": ports, "required": required, "additionalProperties": false },
        } },
    });
    if !spec.runs_programs {
        out["then"]["properties"]["code"] = json!(false);
        out["then"]["properties"]["env"] = json!(false);
    }
    out
}

/// A parameter, or a reference to one.
fn param(param: &Param) -> Json {
    let reference = json!({ "type": "string", "pattern": "\\$\\{" });
    let mut out = match &param.accepts {
        Accepts::Any => json!({}),
        it => json!({ "anyOf": [accepts(it), reference] }),
    };
    out["description"] = json!(param.about);
    if let Some(it) = &param.default {
        out["default"] = serde_json::from_str(&it.to_string()).unwrap_or(Json::Null);
    }
    out
}

fn accepts(it: &Accepts) -> Json {
    match it {
        Accepts::Any => json!({}),
        Accepts::Bool => json!({ "type": "boolean" }),
        Accepts::Int { min, max } => bounds(*min, *max),
        Accepts::Float => json!({ "type": "number" }),
        Accepts::Text => json!({ "type": "string" }),
        Accepts::OneOf(words) => json!({ "type": "string", "enum": words }),
        Accepts::List(of) => json!({ "type": "array", "items": accepts(of) }),
        Accepts::Map(of) => json!({ "type": "object", "additionalProperties": accepts(of) }),
    }
}
