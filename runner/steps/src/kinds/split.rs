//! `split`: a folder of files, each a run of the records, in order.
//!
//! ```toml
//! [steps.parts]
//! op   = "split"
//! in   = { data = "${steps.all.data}" }
//! with = { parts = 8 }
//! ```
//!
//! The files are `part-00000`, `part-00001` and so on; there are always `parts` of them, and their
//! lengths differ by one record at most. One after another they are the input.

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::page::page;
use crate::records::{Lines, Output, Progress, count_lines};
use crate::{Cx, Kind, Shard, StepError, params_of};

pub(crate) struct Split;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// How many files.
    #[schemars(range(min = 1, max = 100_000))]
    parts: usize,
}

impl Kind for Split {
    const SPEC: KindSpec = KindSpec {
        name: "split",
        version: 1,
        about: "split records into files of equal length",
        page: page!("split.rs"),
        inputs: &[Port { name: "data", arity: Arity::One, about: "the records" }],
        outputs: &[Slot { name: "parts", form: Form::Dir, about: "the files" }],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let input = cx.input("data")?.to_owned();
        let folder = cx.output("parts")?.to_owned();
        std::fs::create_dir_all(&folder).map_err(StepError::io(&folder))?;
        let total = count_lines(&input, cx)?;
        let mut progress = Progress::new("records", Some(total));
        let mut lines = Lines::open(&input)?;
        let mut line = Vec::new();
        for index in 0..params.parts {
            let mut output = Output::create(&folder.join(format!("part-{index:05}")))?;
            for _ in (Shard { index, count: params.parts }).range(total) {
                cx.check_stop()?;
                lines.next(&mut line)?;
                output.line(&line)?;
                progress.did(1, cx);
            }
            output.finish()?;
        }
        progress.say(cx);
        cx.count("records", total);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    #[test]
    fn parts_differ_by_one_record_at_most() {
        let parts = Kit::new("split").data("parts = 3", "a\nb\nc\nd");
        insta::assert_snapshot!(parts, @r#"
        part-00000: "a\n"
        part-00001: "b\n"
        part-00002: "c\nd\n"
        "#);
    }

    #[test]
    fn there_are_as_many_files_as_asked_for() {
        assert_eq!(Kit::new("split").data("parts = 2", ""), "part-00000: \"\"\npart-00001: \"\"\n");
    }
}
