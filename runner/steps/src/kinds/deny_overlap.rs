//! `deny_overlap`: stops the run where a record shares a run of characters with evaluation items.
//!
//! ```toml
//! [steps.apart]
//! op   = "deny_overlap"
//! in   = { data = "${steps.final.data}", against = ["exam", "${sources.chat_prompts}"] }
//! with = { fields = ["instruction", "output"] }
//!
//! [steps.chat]
//! op = "sft"
//! in = { model = "models/Yi-6B", data = ["${steps.apart.data}"] }
//! ```
//!
//! It finds what `decontaminate` finds, in the same way, and where that drops a record, this fails
//! and names it: so nothing is trained on it. `data` of the output is `data` of the input, byte for byte:
//! what reads it knows that it was looked through. Put `decontaminate` far above, and this right before
//! the training.

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;

use super::decontaminate::{Known, gram, min_hits, text};
use crate::model::record::Unfit;
use crate::page::page;
use crate::records::Output;
use crate::text::fields::Fields;
use crate::text::stream::Source;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct DenyOverlap;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The fields whose texts are looked at; a record may lack some of them.
    #[serde(default = "text")]
    fields: Vec<String>,
    /// How many characters a run has.
    #[serde(default = "gram")]
    #[schemars(range(min = 2, max = 200))]
    gram: usize,
    /// From how many shared runs on the step fails.
    #[serde(default = "min_hits")]
    #[schemars(range(min = 1))]
    min_hits: u64,
}

impl Kind for DenyOverlap {
    const SPEC: KindSpec = KindSpec {
        name: "deny_overlap",
        version: 2,
        about: "stop where a record shares text with evaluation items",
        page: page!("deny_overlap.rs"),
        inputs: &[
            Port { name: "data", arity: Arity::One, about: "the records" },
            Port { name: "against", arity: Arity::Many, about: "the evaluation items" },
        ],
        outputs: &[Slot { name: "data", form: Form::Records, about: "the records, as they came" }],
        shards: Some("data"),
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        if params.gram == 0 || params.fields.is_empty() {
            let reason = "`gram` is zero or `fields` is empty".to_owned();
            return Err(StepError::Params { kind: "deny_overlap", reason });
        }
        let known = Known::read(params.gram, cx)?;
        let mut source = Source::open("data", cx)?;
        let mut data = Output::create(cx.output("data")?)?;
        let work = |line: &[u8], part: &mut Part| {
            check(&known, params, line, &mut part.folded)?;
            part.data.extend_from_slice(line);
            part.data.push(b'\n');
            part.records += 1;
            Ok(())
        };
        let mut records = 0;
        source.each(cx, &work, &mut |part: Part| {
            records += part.records;
            data.bytes(&part.data)
        })?;
        data.finish()?;
        cx.count("records", records);
        cx.count("runs", known.n_runs());
        cx.count("too_short", known.too_short);
        Ok(())
    }
}

#[derive(Default)]
struct Part {
    data: Vec<u8>,
    folded: Vec<char>,
    records: u64,
}

fn check(known: &Known, params: &Params, line: &[u8], folded: &mut Vec<char>) -> Result<(), Unfit> {
    let fields = Fields::parse(line)?;
    let (mut hits, mut first, mut n_fields) = (0, None, 0);
    for name in &params.fields {
        let Some(text) = fields.optional_text(name)? else { continue };
        n_fields += 1;
        let found = known.look(&text, params.gram, folded);
        hits += found.hits;
        first = first.or(found.first.map(|it| (name, it)));
    }
    if n_fields == 0 {
        let names = params.fields.join("`, `");
        return Err(Unfit::new(format!("has none of the fields `{names}`")));
    }
    let Some((name, (place, run))) = first.filter(|_| hits >= params.min_hits) else {
        return Ok(());
    };
    let (file, at) = known.place(place);
    let id = fields.id()?;
    let what = format!("record `{id}` shares `{run}` with evaluation file {file}, line {at}");
    Err(Unfit::field(name.as_str(), format!("{what}: `decontaminate` drops such records")))
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    fn run(data: &str) -> Result<Vec<String>, String> {
        let mut kit = Kit::new("deny_overlap");
        let path = |name: &str, text: &str| {
            let path = kit.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            vec![path]
        };
        let items = "id,question\n0,水在标准大气压下的沸点是多少度\n";
        let inputs = [("data", path("d", data)), ("against", path("exam", items))];
        let folder = format!("{}/", kit.folder.path().display());
        let with = "fields = ['instruction', 'output']\ngram = 8";
        kit.run_at(with, &inputs).map_err(|it| it.to_string().replace(&folder, ""))
    }

    #[test]
    fn records_go_on_byte_for_byte_where_nothing_is_shared() {
        let data = "{\"output\": \"水的沸点是多少\"}\n{\"instruction\":\"别的\",\"x\":1.0}\n";
        assert_eq!(run(data).unwrap(), [data]);
    }

    #[test]
    fn the_first_record_that_shares_is_named_with_the_item() {
        let bad = "{\"id\":\"a\",\"instruction\":\"问：水在标准大气压下的沸点？\"}\n";
        assert_eq!(
            run(&format!("{{\"output\":\"好\"}}\n{bad}{bad}")).unwrap_err(),
            "d:2: field `instruction`: record `a` shares `水在标准大气压下` with evaluation file 1, \
             line 2: `decontaminate` drops such records"
        );
        assert_eq!(
            run("{\"text\":1}\n").unwrap_err(),
            "d:1: has none of the fields `instruction`, `output`"
        );
    }
}
