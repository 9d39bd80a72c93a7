//! `count`: lines, bytes, characters and distinct lines of any files, as metrics.
//!
//! ```toml
//! [steps.size]
//! op = "count"
//! in = { data = "${steps.clean[*].data}" }
//! ```
//!
//! `characters` are Unicode code points without line feeds; in bytes that are not UTF-8, those that
//! do not continue a code point. `distinct_lines` compares lines by their hash. Lines may be of any
//! length; memory grows by about 20 bytes for each distinct line.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::page::page;
use crate::records::{Output, Progress, short};
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Count;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {}

#[derive(Default, Serialize)]
struct Metrics {
    lines: u64,
    bytes: u64,
    characters: u64,
    distinct_lines: u64,
}

impl Kind for Count {
    const SPEC: KindSpec = KindSpec {
        name: "count",
        version: 1,
        about: "count lines, bytes, characters and distinct lines",
        page: page!("count.rs"),
        inputs: &[Port { name: "data", arity: Arity::Many, about: "the files" }],
        outputs: &[Slot { name: "metrics", form: Form::Metrics, about: "the four numbers" }],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, _: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let mut tally = Tally::default();
        let mut progress = Progress::new("bytes", None);
        let mut buffer = vec![0; 1 << 20];
        for path in cx.inputs("data").to_vec() {
            let mut file = File::open(&path).map_err(StepError::io(&path))?;
            loop {
                cx.check_stop()?;
                let n = file.read(&mut buffer).map_err(StepError::io(&path))?;
                if n == 0 {
                    break;
                }
                tally.take(&buffer[..n]);
                progress.did(n as u64, cx);
            }
            tally.end_file();
        }
        progress.say(cx);
        let mut metrics = tally.metrics;
        metrics.distinct_lines = tally.distinct.len() as u64;
        let text = serde_json::to_vec_pretty(&metrics).expect("four numbers are always JSON");
        let mut output = Output::create(cx.output("metrics")?)?;
        output.line(&text)?;
        output.finish()?;
        cx.count("lines", metrics.lines);
        Ok(())
    }
}

/// The numbers so far, and the hash of the line that has begun.
#[derive(Default)]
struct Tally {
    metrics: Metrics,
    distinct: HashSet<u128>,
    line: blake3::Hasher,
    /// Whether bytes of a line stand in `line`.
    began: bool,
}

impl Tally {
    fn take(&mut self, bytes: &[u8]) {
        self.metrics.bytes += bytes.len() as u64;
        for piece in bytes.split_inclusive(|it| *it == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let starts = text.iter().filter(|it| (**it as i8) >= -64).count();
            self.metrics.characters += starts as u64;
            self.line.update(text);
            self.began = true;
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        self.metrics.lines += 1;
        self.distinct.insert(short(&self.line.finalize()));
        self.line.reset();
        self.began = false;
    }

    /// A file may end without a line feed; the next one begins a new line.
    fn end_file(&mut self) {
        if self.began {
            self.end_line();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    #[test]
    fn counts_characters_and_not_bytes_and_ends_a_line_with_its_file() {
        let inputs: [&[u8]; 3] = ["中文\na".as_bytes(), b"a\n\n", b""];
        let metrics = Kit::new("count").run("", &inputs).unwrap().remove(0);
        insta::assert_snapshot!(metrics, @r#"
        {
          "lines": 4,
          "bytes": 11,
          "characters": 4,
          "distinct_lines": 3
        }
        "#);
    }

    #[test]
    fn a_line_longer_than_any_buffer_is_one_line() {
        let long = vec![b'x'; (3 << 20) + 1];
        let metrics = Kit::new("count").run("", &[&long]).unwrap().remove(0);
        assert!(metrics.contains("\"lines\": 1,"));
        assert!(metrics.contains("\"characters\": 3145729,"));
    }
}
