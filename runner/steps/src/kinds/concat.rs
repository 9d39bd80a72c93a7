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
use crate::{Cx, Kind, Say, StepError, params_of};

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
        unkeyed: &[],
        draws: false,
        numerics: false,
        shards: None,
        params: params_of::<Params>,
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let target = cx.output("data")?.to_owned();
        let mut output = File::create(&target).map_err(StepError::io(&target))?;
        let mut buffer = vec![0; 1 << 20];
        let mut done = 0;
        let mut last = b'\n';
        for part in cx.inputs("parts").to_vec() {
            let mut input = File::open(&part).map_err(StepError::io(&part))?;
            loop {
                cx.check_stop()?;
                let n = input.read(&mut buffer).map_err(StepError::io(&part))?;
                if n == 0 {
                    break;
                }
                if params.separator_newline && last != b'\n' {
                    output.write_all(b"\n").map_err(StepError::io(&target))?;
                }
                output.write_all(&buffer[..n]).map_err(StepError::io(&target))?;
                done += n as u64;
                last = buffer[n - 1];
                let unit = "bytes".to_owned();
                (cx.report)(Say::Progress { done, total: None, unit, skipped: 0 });
            }
        }
        cx.count("bytes", done);
        Ok(())
    }
}
