//! `nested`: checks that each file of records is part of the next, and stops the run where it is not.
//!
//! ```toml
//! [steps.growing]
//! op   = "nested"
//! in   = { data = ["${variants.kun-9k.steps.chosen.data}", "${variants.kun-26k.steps.chosen.data}", "${variants.kun-52k.steps.chosen.data}"] }
//! with = { by = "id" }
//! ```
//!
//! `data` are the files, the smallest first. Every record of one must be in the next, as often as it
//! is there. Records are the same whose lines are, byte for byte, or, with `by`, whose fields of
//! that name hold the same text or number. The first record that is missing is named with its
//! file's number and its line; the step then fails, and what stands below it does not run.
//!
//! `metrics` has the number of records of each file: `records_1`, `records_2` and so on.
//!
//! Memory: about 40 bytes for each distinct record of the longest file.

use std::collections::HashMap;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::page::page;
use crate::records::{Lines, Progress, short_digest, write_metrics};
use crate::text::fields::Fields;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Nested;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The field by which records are the same; nothing: the whole line.
    by: Option<String>,
}

impl Kind for Nested {
    const SPEC: KindSpec = KindSpec {
        name: "nested",
        version: 1,
        about: "stop where a file of records is not part of the next",
        page: page!("nested.rs"),
        inputs: &[Port { name: "data", arity: Arity::Many, about: "the files, smallest first" }],
        outputs: &[Slot { name: "metrics", form: Form::Metrics, about: "how long each is" }],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let mut progress = Progress::new("records", None);
        let mut metrics = Map::new();
        let mut above: Option<HashMap<u128, u64>> = None;
        // From the longest down, so that one file is in memory, and the next is read against it.
        for (i, path) in cx.inputs("data").to_vec().iter().enumerate().rev() {
            let mut here = HashMap::new();
            let mut lines = Lines::open(path)?;
            let mut line = Vec::new();
            while lines.next(&mut line)? {
                cx.check_stop()?;
                progress.did(1, cx);
                let digest = digest(&lines, &line, params)?;
                let n: &mut u64 = here.entry(digest).or_default();
                *n += 1;
                if above.as_ref().is_some_and(|it| it.get(&digest).is_none_or(|most| most < n)) {
                    return Err(missing(&lines, &line, (i, params)));
                }
            }
            metrics.insert(format!("records_{}", i + 1), Value::from(lines.line));
            above = Some(here);
        }
        progress.say(cx);
        metrics.sort_keys();
        write_metrics(&metrics, cx)
    }
}

fn digest(lines: &Lines, line: &[u8], params: &Params) -> Result<u128, StepError> {
    let Some(field) = &params.by else { return Ok(short_digest(line)) };
    let fields = Fields::parse(line).map_err(|it| lines.mistake(None, it.reason))?;
    let value: Value = match fields.get(field) {
        Some(it) => serde_json::from_str(it)
            .map_err(|it| lines.mistake(Some(field), format!("cannot be read: {it}")))?,
        None => return Err(lines.mistake(Some(field), "is missing".to_owned())),
    };
    match value {
        Value::String(_) | Value::Number(_) => Ok(short_digest(value.to_string().as_bytes())),
        _ => Err(lines.mistake(Some(field), "is neither a text nor a number".to_owned())),
    }
}

fn missing(lines: &Lines, line: &[u8], (i, params): (usize, &Params)) -> StepError {
    let who = match &params.by {
        Some(by) => {
            let fields = Fields::parse(line).ok();
            let value = fields.and_then(|it| it.get(by)).unwrap_or_default();
            format!("the record with `{by}` {value}")
        }
        None => "the record".to_owned(),
    };
    let (here, next) = (i + 1, i + 2);
    lines.mistake(None, format!("{who} is in file {here} more often than in file {next}"))
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    fn run(with: &str, files: &[&str]) -> Result<String, String> {
        let mut kit = Kit::new("nested");
        let files: Vec<&[u8]> = files.iter().map(|it| it.as_bytes()).collect();
        let folder = format!("{}/", kit.folder.path().display());
        let outputs = kit.run(with, &files);
        outputs.map(|mut it| it.remove(0)).map_err(|it| it.to_string().replace(&folder, ""))
    }

    const A: &str = "{\"id\":1,\"x\":1}\n{\"id\":\"b\"}\n";

    #[test]
    fn each_file_is_part_of_the_next() {
        let more = format!("{{\"id\":7}}\n{A}{A}");
        let metrics = run("", &["", A, A, &more]).unwrap();
        let wanted = ["\"records_1\": 0", "\"records_2\": 2", "\"records_4\": 5"];
        assert!(wanted.iter().all(|it| metrics.contains(it)), "{metrics}");
        let other = "{\"id\":\"b\",\"y\":2}\n{\"id\":1}\n";
        assert!(run("by = 'id'", &[A, other]).is_ok());
    }

    #[test]
    fn what_is_not_there_or_not_as_often_is_named() {
        let error = |with: &str, files: &[&str]| run(with, files).unwrap_err();
        assert_eq!(
            error("", &[A, A, "{\"id\":1,\"x\":1}\n"]),
            "in1:2: the record is in file 2 more often than in file 3"
        );
        assert_eq!(
            error("by = 'id'", &["{\"id\":1}\n{\"id\":1}\n", A]),
            "in0:2: the record with `id` 1 is in file 1 more often than in file 2"
        );
        assert_eq!(error("by = 'x'", &["", A]), "in1:2: field `x`: is missing");
        assert_eq!(
            error("by = 'x'", &["", "{\"x\":[]}"]),
            "in1:1: field `x`: is neither a text nor a number"
        );
    }
}
