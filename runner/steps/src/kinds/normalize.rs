//! `normalize`: one way of writing: half-width letters and digits, composed characters, plain spaces.
//!
//! ```toml
//! [steps.plain]
//! op     = "normalize"
//! in     = { data = "${steps.raw.data}" }
//! with   = { fields = ["text"] }
//! shards = 4
//! ```
//!
//! - `width`: full-width letters, digits and the ideographic space become half-width: `ＡＢＣ　１２３` is
//!   `ABC 123`. Chinese punctuation (`，。！？：；（）`) is left alone; of the other full-width signs those
//!   that belong to numbers and addresses (`％＋－．／＝＠＃＆＊＿`) become half-width.
//! - `compose`: canonical composition (NFC): a letter and its accent are one character.
//! - `spaces`: line ends are line feeds; invisible characters and controls go; other spaces and tabs
//!   become one space; spaces at the ends of lines go, and so does a space between two Chinese
//!   characters or beside Chinese punctuation; more than one empty line in a row is one; what is
//!   empty at the beginning and the end goes.
//! - `simplify` (off): traditional characters become simplified ones, each by itself, by OpenCC's table.
//!   What depends on the word is not looked at: `乾坤` becomes `干坤`.
//!
//! A field that is not there is passed over; one that is no text is an error. All else of a record
//! goes through as it is. Normalizing twice changes nothing more.

use std::borrow::Cow;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::record::Unfit;
use crate::page::page;
use crate::records::Output;
use crate::text::fields::Fields;
use crate::text::normal::{Steps, normalize};
use crate::text::stream::Source;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Normalize;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The fields whose texts are changed.
    #[serde(default = "default_fields")]
    fields: Vec<String>,
    /// Full-width letters, digits and spaces become half-width.
    #[serde(default = "yes")]
    width: bool,
    /// Characters are composed (NFC).
    #[serde(default = "yes")]
    compose: bool,
    /// White space is made plain.
    #[serde(default = "yes")]
    spaces: bool,
    /// Traditional characters become simplified ones.
    #[serde(default)]
    simplify: bool,
}

fn default_fields() -> Vec<String> {
    vec!["text".to_owned()]
}

fn yes() -> bool {
    true
}

/// What comes out of neighbouring records.
#[derive(Default)]
struct Part {
    data: Vec<u8>,
    changed: u64,
    records: u64,
}

impl Kind for Normalize {
    const SPEC: KindSpec = KindSpec {
        name: "normalize",
        version: 1,
        about: "one width, one composition, plain spaces",
        page: page!("normalize.rs"),
        inputs: &[Port { name: "data", arity: Arity::One, about: "the records" }],
        outputs: &[Slot {
            name: "data",
            form: Form::Records,
            about: "the records with their texts normalized, in order",
        }],
        shards: Some("data"),
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let Params { width, compose, spaces, simplify, .. } = *params;
        let steps = Steps { width, compose, spaces, simplify };
        let mut source = Source::open("data", cx)?;
        let mut data = Output::create(cx.output("data")?)?;
        let (mut records, mut changed) = (0, 0);
        let work = |line: &[u8], part: &mut Part| record(&params.fields, steps, line, part);
        source.each(cx, &work, &mut |part: Part| {
            records += part.records;
            changed += part.changed;
            data.bytes(&part.data)
        })?;
        data.finish()?;
        cx.count("records", records);
        cx.count("changed", changed);
        Ok(())
    }
}

fn record(names: &[String], steps: Steps, line: &[u8], part: &mut Part) -> Result<(), Unfit> {
    let fields = Fields::parse(line)?;
    let mut changes: Vec<(&str, String)> = Vec::new();
    for name in names {
        let Some(old) = fields.optional_text(name)? else { continue };
        if let Cow::Owned(new) = normalize(&old, steps) {
            changes.push((name, new));
        }
    }
    part.records += 1;
    if changes.is_empty() {
        part.data.extend_from_slice(line);
        part.data.push(b'\n');
        return Ok(());
    }
    part.changed += 1;
    let changes: Vec<(&str, &str)> =
        changes.iter().map(|(name, it)| (*name, it.as_str())).collect();
    fields.write_with(&changes, &mut part.data);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    #[test]
    fn texts_are_normalized_and_the_rest_goes_through() {
        let input = concat!(
            "{\"id\": 1, \"text\":\"ＡＢＣ　１２３，好\\r\\n\\r\\n\\r\\n\\r\\n完 了  \",\"n\":1.50}\n",
            "{ \"text\" : \"没有变\" }\n",
            "{\"title\":\"Ｘ\"}\n",
        );
        let mut kit = Kit::new("normalize");
        insta::assert_snapshot!(kit.data("", input), @r#"
        {"id":1,"text":"ABC 123，好\n\n完了","n":1.50}
        { "text" : "没有变" }
        {"title":"Ｘ"}
        "#);
        assert_eq!((kit.count("records"), kit.count("changed")), (Some(3), Some(1)));
        assert!(kit.data("fields = ['title', 'text']", input).ends_with("{\"title\":\"X\"}\n"));
        assert_eq!(kit.error("", "{\"text\":[]}\n"), "in0:1: field `text`: is not a text");
    }

    #[test]
    fn threads_and_shards_change_nothing() {
        let input: String = (0..300).map(|i| format!("{{\"text\":\"第　{i}　行ａ\"}}\n")).collect();
        let mut kit = Kit::new("normalize");
        let whole = kit.data("", &input);
        kit.threads = 4;
        assert_eq!(kit.data("", &input), whole);
        let mut parts = String::new();
        for index in 0..3 {
            kit.shard = Some(crate::Shard { index, count: 3 });
            parts += &kit.data("", &input);
        }
        assert_eq!(parts, whole);
    }
}
