//! `segment`: cuts documents into passages that stand for themselves.
//!
//! ```toml
//! [steps.passages]
//! op     = "segment"
//! in     = { data = "${steps.plain.data}", tokenizer = "models/Yi-6B" }
//! with   = { min = 32, max = 512 }
//! shards = 4
//! ```
//!
//! A heading begins a passage: `# …`, `第一章 …`, `【…】`, a numbered line that is no list, or a short line
//! without punctuation after an empty one, with a line below it. Paragraphs under it, which are lines, go into a passage as
//! long as they fit; one that is longer than `max` is cut between sentences, never inside of one: what
//! stands in quotation marks or brackets belongs together. `min` and `max` are in tokens where there is
//! a `tokenizer`, else in characters; a passage is as long as its sentences together, each by itself;
//! headings do not count.
//!
//! A passage has the fields of its document, with `id` = `DOCUMENT.N`, the passage as `text`, its
//! `heading` where there is one, and `from`: the document's `id`, and `start` and `end`, characters of
//! its text. With `headings = "field"` the heading is not in the text.
//!
//! `ledger` has a line for each passage: `length`, which fails below `min`, and above `max` where a
//! single sentence is too long; and `points_back`, 1 where a passage that is not the first under a
//! heading begins with a word such as `因此` or `它`. With `self_contained` such a passage is dropped.

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::record::Unfit;
use crate::model::{TextError, Tokenizer};
use crate::page::page;
use crate::text::fields::Fields;
use crate::text::ledger::{self, Bounds, Limit, Verdict};
use crate::text::passages::{Passage, passages, points_back};
use crate::text::stream::{Sieved, sieve};
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Segment;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The field whose text is cut.
    #[serde(default = "default_field")]
    field: String,
    /// The least length of a passage.
    #[serde(default = "default_min")]
    min: usize,
    /// The greatest.
    #[serde(default = "default_max")]
    #[schemars(range(min = 1))]
    max: usize,
    /// Where headings stand.
    #[serde(default)]
    headings: Headings,
    /// Drop passages that point back at what stands before them.
    #[serde(default = "yes")]
    self_contained: bool,
}

fn default_field() -> String {
    "text".to_owned()
}

fn default_min() -> usize {
    32
}

fn default_max() -> usize {
    512
}

fn yes() -> bool {
    true
}

/// Where headings stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Headings {
    /// In the passage's text, above it, and in `heading`.
    #[default]
    Text,
    /// In `heading` only.
    Field,
}

impl Kind for Segment {
    const SPEC: KindSpec = KindSpec {
        name: "segment",
        version: 1,
        about: "cut documents into passages that stand for themselves",
        page: page!("segment.rs"),
        inputs: &[
            Port { name: "data", arity: Arity::One, about: "the documents" },
            Port { name: "tokenizer", arity: Arity::Optional, about: "counts tokens" },
        ],
        outputs: &[
            Slot { name: "data", form: Form::Records, about: "the passages that go on" },
            Slot {
                name: "ledger",
                form: Form::Records,
                about: "every passage's length and verdict",
            },
        ],
        shards: Some("data"),
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn limits(&self, params: &Params) -> Result<Vec<Limit>, StepError> {
        let bounds = Bounds { min: Some(params.min as f64), max: Some(params.max as f64) };
        let mut limits = vec![Limit::of("length", bounds)];
        if params.self_contained {
            limits.push(Limit::of("points_back", Bounds { min: None, max: Some(0.0) }));
        }
        Ok(limits)
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        if params.min > params.max {
            let reason = format!("`min` is {}, more than `max`, {}", params.min, params.max);
            return Err(StepError::Params { kind: "segment", reason });
        }
        let tokenizer = match cx.inputs("tokenizer").first() {
            Some(folder) => Some(Tokenizer::open(folder)?),
            None => None,
        };
        let cutter = Cutter { params, tokenizer };
        sieve(cx, &|line: &[u8], part: &mut Sieved<()>| cutter.record(line, part))
    }
}

struct Cutter<'a> {
    params: &'a Params,
    tokenizer: Option<Tokenizer>,
}

/// Where a passage comes from.
#[derive(Serialize)]
struct From<'a> {
    id: &'a str,
    start: usize,
    end: usize,
}

impl Cutter<'_> {
    fn length(&self, text: &str) -> Result<usize, TextError> {
        match &self.tokenizer {
            Some(it) => Ok(it.encode_plain(text)?.len()),
            None => Ok(text.chars().count()),
        }
    }

    fn record(&self, line: &[u8], part: &mut Sieved<()>) -> Result<(), Unfit> {
        let fields = Fields::parse(line)?;
        let text = fields.text(&self.params.field)?;
        let (id, source) = (fields.id()?, fields.source()?);
        let all = passages(&text, self.params.max, &|it| self.length(it))
            .map_err(|it| Unfit::field(&self.params.field, it.to_string()))?;
        // Characters before a byte, counted on from passage to passage.
        let (mut bytes, mut chars) = (0, 0);
        for (i, mut passage) in all.into_iter().enumerate() {
            if let (Headings::Field, Some(it)) = (self.params.headings, &passage.heading) {
                let body = it.end.clamp(passage.span.start, passage.span.end);
                let white = text[body..].len() - text[body..].trim_start().len();
                passage.span.start = (body + white).min(passage.span.end);
            }
            let own = format!("{id}.{i}");
            if !self.judge(&own, source.as_deref(), (&text, &passage), part) {
                continue;
            }
            chars += text[bytes..passage.span.start].chars().count();
            let start = chars;
            chars += text[passage.span.clone()].chars().count();
            bytes = passage.span.end;
            let from = From { id: &id, start, end: chars };
            self.write(&fields, &own, (&text, &passage, &from), &mut part.data);
        }
        Ok(())
    }

    fn judge(
        &self,
        id: &str,
        source: Option<&str>,
        (text, passage): (&str, &Passage),
        part: &mut Sieved<()>,
    ) -> bool {
        let back = passage.goes_on && points_back(text[passage.span.clone()].trim_start());
        let mut fails = Vec::new();
        if passage.length < self.params.min || passage.length > self.params.max {
            fails.push("length");
        }
        if back && self.params.self_contained {
            fails.push("points_back");
        }
        let values =
            [("length", passage.length as f64), ("points_back", f64::from(u8::from(back)))];
        part.judge(&Verdict { id, source, fails: &fails, values: &values })
    }

    fn write(
        &self,
        fields: &Fields<'_>,
        id: &str,
        (text, passage, from): (&str, &Passage, &From<'_>),
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(b"{\"id\":");
        ledger::text(id, out);
        fields.write_rest(&["id", "text", "heading", "from", &self.params.field], out);
        out.extend_from_slice(b",\"text\":");
        ledger::text(&text[passage.span.clone()], out);
        if let Some(it) = &passage.heading {
            out.extend_from_slice(b",\"heading\":");
            ledger::text(text[it.clone()].trim_start_matches('#').trim(), out);
        }
        out.extend_from_slice(b",\"from\":");
        let from = serde_json::to_string(from).expect("a text and two numbers are JSON");
        out.extend_from_slice(from.as_bytes());
        out.extend_from_slice(b"}\n");
    }
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    const INPUT: &str = concat!(
        "{\"id\":\"d\",\"source\":\"s\",\"text\":\"# 水果\\n苹果是红的，很甜。\\n\\n因此人人爱吃苹果，天天吃。还有梨。\",\"n\":1.0}\n",
        "{\"title\":\"无\",\"text\":\"短。\"}\n",
    );

    #[test]
    fn passages_say_where_they_come_from() {
        let mut kit = Kit::new("segment");
        let outputs = kit.run("min = 4\nmax = 13", &[INPUT.as_bytes()]).unwrap();
        insta::assert_snapshot!(outputs.join("--\n"), @r##"
        {"id":"d.0","source":"s","n":1.0,"text":"# 水果\n苹果是红的，很甜。","heading":"水果","from":{"id":"d","start":0,"end":14}}
        {"id":"d.2","source":"s","n":1.0,"text":"还有梨。","heading":"水果","from":{"id":"d","start":29,"end":33}}
        --
        {"id":"d.0","source":"s","keep":true,"first":null,"fails":[],"values":{"length":9,"points_back":0}}
        {"id":"d.1","source":"s","keep":false,"first":"points_back","fails":["points_back"],"values":{"length":13,"points_back":1}}
        {"id":"d.2","source":"s","keep":true,"first":null,"fails":[],"values":{"length":4,"points_back":0}}
        {"id":"b19a153a96623b71.0","source":null,"keep":false,"first":"length","fails":["length"],"values":{"length":2,"points_back":0}}
        "##);
        assert_eq!((kit.count("kept"), kit.count("dropped")), (Some(2), Some(2)));
        let with = "min = 2\nmax = 100\nheadings = 'field'\nself_contained = false";
        let outputs = kit.run(with, &[INPUT.as_bytes()]).unwrap();
        insta::assert_snapshot!(outputs[0], @r#"
        {"id":"d.0","source":"s","n":1.0,"text":"苹果是红的，很甜。\n\n因此人人爱吃苹果，天天吃。还有梨。","heading":"水果","from":{"id":"d","start":5,"end":33}}
        {"id":"b19a153a96623b71.0","title":"无","text":"短。","from":{"id":"b19a153a96623b71","start":0,"end":2}}
        "#);
    }

    #[test]
    fn offsets_are_characters_of_the_document() {
        let text = "第一句话在这里。第二句话在这里。\n\n第三句话在这里。";
        let input = format!("{}\n", serde_json::json!({"id": "x", "text": text}));
        let outputs = Kit::new("segment").run("min = 1\nmax = 8", &[input.as_bytes()]).unwrap();
        assert_eq!(outputs[0].lines().count(), 3);
        for line in outputs[0].lines() {
            let it: serde_json::Value = serde_json::from_str(line).unwrap();
            let at = |name: &str| it["from"][name].as_u64().unwrap() as usize;
            let slice: String =
                text.chars().skip(at("start")).take(at("end") - at("start")).collect();
            assert_eq!(it["text"], slice.as_str());
        }
    }

    #[test]
    fn lengths_are_tokens_where_there_is_a_tokenizer() {
        let folder = crate::model::tests::fixture("made");
        let mut kit = Kit::new("segment");
        let data = kit.folder.path().join("documents");
        std::fs::write(&data, INPUT).unwrap();
        let inputs = [("data", vec![data]), ("tokenizer", vec![folder.clone()])];
        let outputs = kit.run_at("min = 1\nmax = 4000", &inputs).unwrap();
        let tokenizer = crate::model::Tokenizer::open(&folder).unwrap();
        let n = |it: &str| tokenizer.encode_plain(it).unwrap().len();
        let first: serde_json::Value =
            serde_json::from_str(outputs[1].lines().next().unwrap()).unwrap();
        let wanted = n("苹果是红的，很甜。") + n("因此人人爱吃苹果，天天吃。") + n("还有梨。");
        assert_eq!(first["values"]["length"], wanted);
    }

    #[test]
    fn a_window_that_is_none_is_refused() {
        let error = Kit::new("segment").error("min = 9\nmax = 8", INPUT);
        assert_eq!(error, "parameters of `segment`: `min` is 9, more than `max`, 8");
    }
}
