//! Whether a value is one that a kind's parameter takes, and the value as the kind will see it.

use crate::Value;
use crate::kind::Accepts;
use crate::mistake::Mistake;
use crate::suggest;

/// The value as the parameter takes it: integers become floats where floats are meant.
pub(crate) fn accept(accepts: &Accepts, name: &str, value: &Value) -> Result<Value, Mistake> {
    let wrong = |wants: &str| {
        let message = format!("`{name}` is {}, expected {wants}", value.type_name());
        Err(Mistake::new("manifest::wrong-type", message))
    };
    match (accepts, value) {
        (Accepts::Any, it) => Ok(it.clone()),
        (Accepts::Bool, it @ Value::Bool(_)) => Ok(it.clone()),
        (Accepts::Bool, _) => wrong("a boolean"),
        (Accepts::Int { min, max }, Value::Int(it)) => bounded(*min, *max, name, *it),
        (Accepts::Int { .. }, _) => wrong("an integer"),
        (Accepts::Float, Value::Int(it)) => Ok(Value::Float(*it as f64)),
        (Accepts::Float, it @ Value::Float(_)) => Ok(it.clone()),
        (Accepts::Float, _) => wrong("a float"),
        (Accepts::Text, it @ Value::Text(_)) => Ok(it.clone()),
        (Accepts::Text, _) => wrong("a string"),
        (Accepts::OneOf(words), Value::Text(it)) => {
            if words.contains(it) {
                return Ok(value.clone());
            }
            let message = format!("`{name}` cannot be `{}`", it.escape_debug());
            let help = suggest::advice(it, words.iter().map(String::as_str));
            Err(Mistake::new("manifest::bad-value", message).maybe_help(help))
        }
        (Accepts::OneOf(words), _) => wrong(&format!("one of `{}`", words.join("`, `"))),
        (Accepts::List(of), Value::List(items)) => {
            let items = items.iter().map(|it| accept(of, name, it)).collect::<Result<_, _>>()?;
            Ok(Value::List(items))
        }
        (Accepts::List(_), _) => wrong("a list"),
        (Accepts::Map(of), Value::Table(items)) => {
            let item = |(key, it): (&String, &Value)| {
                Ok((key.clone(), accept(of, &format!("{name}.{key}"), it)?))
            };
            Ok(Value::Table(items.iter().map(item).collect::<Result<_, Mistake>>()?))
        }
        (Accepts::Map(_), _) => wrong("a table"),
    }
}

fn bounded(min: Option<i64>, max: Option<i64>, name: &str, it: i64) -> Result<Value, Mistake> {
    let bound = match (min, max) {
        (Some(min), _) if it < min => format!("at least {min}"),
        (_, Some(max)) if it > max => format!("at most {max}"),
        _ => return Ok(Value::Int(it)),
    };
    Err(Mistake::new("manifest::bad-value", format!("`{name}` is {it} and must be {bound}")))
}
