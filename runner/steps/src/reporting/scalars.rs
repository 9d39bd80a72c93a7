//! All numbers of a training log, for tools that draw curves.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Item;
use super::seen::is_log;
use crate::StepError;
use crate::records::Lines;

/// Curves by name: steps and values.
pub type Curves = BTreeMap<String, Vec<(f64, f64)>>;

/// Every number of a training log by its name, over the steps; nothing where an output is no such log.
pub fn scalars(item: &Item) -> Result<Option<Curves>, StepError> {
    if !item.path.is_file() {
        return Ok(None);
    }
    let (mut lines, mut buffer, mut curves) = (Lines::open(&item.path)?, Vec::new(), Curves::new());
    while lines.next(&mut buffer)? {
        let map = match serde_json::from_slice::<Map<String, Value>>(&buffer) {
            Ok(it) => it,
            Err(_) if lines.line == 1 => return Ok(None),
            Err(it) => return Err(lines.mistake(None, it.to_string())),
        };
        if lines.line == 1 && !is_log(&map) {
            return Ok(None);
        }
        let Some(step) = map.get("step").and_then(Value::as_f64) else { continue };
        let numbers = map.iter().filter(|it| !matches!(it.0.as_str(), "step" | "steps"));
        for (name, value) in numbers.filter_map(|it| Some((it.0, it.1.as_f64()?))) {
            curves.entry(name.clone()).or_default().push((step, value));
        }
    }
    Ok(Some(curves).filter(|it| !it.is_empty()))
}
