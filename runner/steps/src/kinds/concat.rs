//! `concat`: one file out of many, byte for byte, in the order of `parts`.
//!
//! ```toml
//! [steps.all]
//! op   = "concat"
//! in   = { parts = "${steps.clean[*].data}" }
//! with = { separator_newline = true }
//! ```
//!
//! Any files will do: text, JSON lines, members of a gzip or zstd stream. Nothing is parsed and
//! nothing is held in memory, however long a line is.

use std::fs::File;
use std::io::{Read, Write};

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::page::page;
use crate::records::Progress;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Concat;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// Put a line feed after a part that does not end with one, unless it is the last or empty.
    #[serde(default)]
    separator_newline: bool,
}

impl Kind for Concat {
    const SPEC: KindSpec = KindSpec {
        name: "concat",
        version: 1,
        about: "join files byte for byte",
        page: page!("concat.rs"),
        inputs: &[Port { name: "parts", arity: Arity::Many, about: "the files, in order" }],
        outputs: &[Slot { name: "data", form: Form::File, about: "all of them" }],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let target = cx.output("data")?.to_owned();
        let mut output = File::create(&target).map_err(StepError::io(&target))?;
        let mut buffer = vec![0; 1 << 20];
        let mut done = 0;
        let mut last = b'\n';
        let mut progress = Progress::new("bytes", None);
        for part in cx.inputs("parts").to_vec() {
            let mut input = File::open(&part).map_err(StepError::io(&part))?;
            let mut separate = params.separator_newline && last != b'\n';
            loop {
                cx.check_stop()?;
                let n = input.read(&mut buffer).map_err(StepError::io(&part))?;
                if n == 0 {
                    break;
                }
                if std::mem::take(&mut separate) {
                    output.write_all(b"\n").map_err(StepError::io(&target))?;
                }
                output.write_all(&buffer[..n]).map_err(StepError::io(&target))?;
                done += n as u64;
                last = buffer[n - 1];
                progress.did(n as u64, cx);
            }
        }
        progress.say(cx);
        cx.count("bytes", done);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    fn concat(with: &str, parts: &[&[u8]]) -> String {
        Kit::new("concat").run(with, parts).unwrap().remove(0)
    }

    #[test]
    fn bytes_are_joined_as_they_are() {
        assert_eq!(concat("", &[b"a", b"", b"b\n", b"c"]), "ab\nc");
        assert_eq!(concat("", &[b""]), "");
    }

    #[test]
    fn a_line_feed_comes_between_parts_and_never_into_them() {
        assert_eq!(concat("separator_newline = true", &[b"a", b"", b"b\n", b"c"]), "a\nb\nc");
        let long = vec![b'x'; (2 << 20) + 1];
        let joined = concat("separator_newline = true", &[&long, &long]);
        assert_eq!(joined.len(), 2 * long.len() + 1);
        assert_eq!(joined.find('\n'), Some(long.len()));
    }

    #[test]
    fn stops_when_asked_and_refuses_parameters_it_does_not_know() {
        let mut kit = Kit::new("concat");
        kit.stop_after = 0;
        assert_eq!(kit.error("", "a"), "stopped on request");
        assert!(
            kit.error("other = 1", "a")
                .starts_with("parameters of `concat`: unknown field `other`")
        );
    }
}
