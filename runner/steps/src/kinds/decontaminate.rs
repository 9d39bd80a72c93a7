//! `decontaminate`: drops records that share a run of characters with evaluation items.
//!
//! ```toml
//! [steps.clean]
//! op   = "decontaminate"
//! in   = { data = "${steps.once.data}", against = ["exam/val.csv", "exam/chat.jsonl"] }
//! with = { fields = ["text"], gram = 13 }
//! ```
//!
//! `against` are files, or folders of them. A line that is a JSON object or list stands for the texts
//! in it, whatever their names; any other line for itself. Of each text all runs of `gram`
//! characters are taken, of letters and digits alone: white space and punctuation do not count, and
//! neither does the width of letters and digits or the case of Latin letters. Shorter texts are passed over, and
//! counted.
//!
//! A record fails the rule `overlap` when its `fields` hold as many of these runs as `min_hits`, or
//! more. The ledger has the values `overlap` (how many) and `share` (of the record's runs).
//! `matches` has a record for each that was dropped: `id`, `file` (the input's number, from 1, and
//! the path in it where it is a folder), `line`, and `run`, the first that was found.
//!
//! Memory: about 30 bytes for each distinct run of the evaluation files, and a batch of records.

use std::collections::HashMap;
use std::path::Path;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::corpus;
use crate::model::record::Unfit;
use crate::page::page;
use crate::records::{Lines, Output};
use crate::text::fields::Fields;
use crate::text::ledger::{Bounds, Limit, Verdict, rounded};
use crate::text::minhash::{each_gram, fold_letters};
use crate::text::stream::{Sieved, Source};
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Decontaminate;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The fields whose texts are looked at.
    #[serde(default = "text")]
    fields: Vec<String>,
    /// How many characters a run has.
    #[serde(default = "gram")]
    #[schemars(range(min = 2, max = 200))]
    gram: usize,
    /// From how many shared runs on a record is dropped.
    #[serde(default = "min_hits")]
    #[schemars(range(min = 1))]
    min_hits: u64,
}

pub(super) fn text() -> Vec<String> {
    vec!["text".to_owned()]
}

pub(crate) fn gram() -> usize {
    13
}

pub(super) fn min_hits() -> u64 {
    1
}

impl Kind for Decontaminate {
    const SPEC: KindSpec = KindSpec {
        name: "decontaminate",
        version: 2,
        about: "drop records that share text with evaluation items",
        page: page!("decontaminate.rs"),
        inputs: &[
            Port { name: "data", arity: Arity::One, about: "the records" },
            Port { name: "against", arity: Arity::Many, about: "the evaluation items" },
        ],
        outputs: &[
            Slot { name: "data", form: Form::Records, about: "those that share too little" },
            Slot { name: "ledger", form: Form::Records, about: "what each record shares" },
            Slot { name: "matches", form: Form::Records, about: "what was dropped, and for what" },
        ],
        shards: Some("data"),
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn limits(&self, params: &Params) -> Result<Vec<Limit>, StepError> {
        let most = params.min_hits.saturating_sub(1) as f64;
        Ok(vec![Limit::of("overlap", Bounds { min: None, max: Some(most) })])
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        if params.gram == 0 || params.fields.is_empty() {
            let reason = "`gram` is zero or `fields` is empty".to_owned();
            return Err(StepError::Params { kind: "decontaminate", reason });
        }
        let known = Known::read(params.gram, cx)?;
        let mut source = Source::open("data", cx)?;
        let mut data = Output::create(cx.output("data")?)?;
        let mut ledger = Output::create(cx.output("ledger")?)?;
        let mut matches = Output::create(cx.output("matches")?)?;
        let (mut kept, mut dropped) = (0, 0);
        let work = |line: &[u8], part: &mut Sieved<Scratch>| known.judge(line, params, part);
        source.each(cx, &work, &mut |part: Sieved<Scratch>| {
            kept += part.kept();
            dropped += part.dropped();
            data.bytes(&part.data)?;
            ledger.bytes(&part.ledger)?;
            matches.bytes(&part.scratch.matches)
        })?;
        cx.count("kept", kept);
        cx.count("dropped", dropped);
        cx.count("runs", known.n_runs());
        cx.count("too_short", known.too_short);
        data.finish()?;
        ledger.finish()?;
        matches.finish()
    }
}

#[derive(Default)]
struct Scratch {
    folded: Vec<char>,
    matches: Vec<u8>,
}

/// A record that was dropped, as `matches` has it.
#[derive(Serialize)]
struct Hit<'a> {
    id: &'a str,
    file: &'a str,
    line: u64,
    run: String,
}

/// The runs of the evaluation items.
pub(super) struct Known {
    /// The hash of a run to the file and the line in which it stands first.
    grams: HashMap<u64, (u32, u32)>,
    files: Vec<String>,
    pub(super) too_short: u64,
}

/// What a text shares with the evaluation items.
#[derive(Default)]
pub(super) struct Shared {
    /// How many of its runs.
    pub(super) hits: u64,
    /// Of how many.
    pub(super) all: u64,
    /// Where the first of them stands, and what it is.
    pub(super) first: Option<((u32, u32), String)>,
}

impl Known {
    pub(super) fn read(gram: usize, cx: &Cx<'_>) -> Result<Self, StepError> {
        let mut known = Self { grams: HashMap::new(), files: Vec::new(), too_short: 0 };
        for it in corpus::files(cx.inputs("against"), &[])? {
            known.file(&it.path, gram, cx)?;
            known.files.push(it.shown);
        }
        Ok(known)
    }

    fn file(&mut self, path: &Path, gram: usize, cx: &Cx<'_>) -> Result<(), StepError> {
        let mut lines = Lines::open(path)?;
        let (mut line, mut folded) = (Vec::new(), Vec::new());
        while lines.next(&mut line)? {
            cx.check_stop()?;
            let text = std::str::from_utf8(&line)
                .map_err(|it| lines.mistake(None, format!("is not UTF-8: {it}")))?;
            let place = (self.files.len() as u32, lines.line as u32);
            let json = serde_json::from_str(text).ok().filter(|it: &Value| !it.is_number());
            let mut texts = Vec::new();
            match &json {
                Some(it) => gather(it, &mut texts),
                None => texts.push(text),
            }
            for it in texts {
                fold_letters(it, &mut folded);
                if folded.len() < gram {
                    self.too_short += u64::from(!folded.is_empty());
                    continue;
                }
                each_gram(&folded, gram, |hash| {
                    self.grams.entry(hash).or_insert(place);
                });
            }
        }
        Ok(())
    }

    /// How many different runs the items have.
    pub(super) fn n_runs(&self) -> u64 {
        self.grams.len() as u64
    }

    /// A place in words: the file and the line.
    pub(super) fn place(&self, (file, line): (u32, u32)) -> (&str, u32) {
        (&self.files[file as usize], line)
    }

    /// What a text shares with the items.
    pub(super) fn look(&self, text: &str, gram: usize, folded: &mut Vec<char>) -> Shared {
        fold_letters(text, folded);
        let (mut shared, mut at) = (Shared::default(), 0);
        each_gram(folded, gram, |hash| {
            shared.all += 1;
            if let Some(place) = self.grams.get(&hash) {
                shared.hits += 1;
                let run = |it: &[char]| it.iter().take(gram).collect::<String>();
                shared.first.get_or_insert_with(|| (*place, run(&folded[at..])));
            }
            at += 1;
        });
        shared
    }

    fn judge(&self, line: &[u8], params: &Params, part: &mut Sieved<Scratch>) -> Result<(), Unfit> {
        let fields = Fields::parse(line)?;
        let (mut hits, mut all, mut first) = (0_u64, 0_u64, None);
        for name in &params.fields {
            let shared = self.look(&fields.text(name)?, params.gram, &mut part.scratch.folded);
            hits += shared.hits;
            all += shared.all;
            first = first.or(shared.first);
        }
        let (id, source) = (fields.id()?, fields.source()?);
        let fails: &[&str] = if hits >= params.min_hits { &["overlap"] } else { &[] };
        let share = rounded(hits as f64 / all.max(1) as f64);
        let values = [("overlap", hits as f64), ("share", share)];
        let verdict = Verdict { id: &id, source: source.as_deref(), fails, values: &values };
        if part.judge(&verdict) {
            part.data.extend_from_slice(line);
            part.data.push(b'\n');
        } else if let Some((place, run)) = first {
            let (file, line) = self.place(place);
            let hit = Hit { id: &id, file, line: line.into(), run };
            let text = serde_json::to_vec(&hit).expect("texts and numbers are always JSON");
            part.scratch.matches.extend_from_slice(&text);
            part.scratch.matches.push(b'\n');
        }
        Ok(())
    }
}

/// Every text in a value. The reader bounds the depth.
/// All texts of a value.
pub(crate) fn gather<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::String(it) => texts.push(it),
        Value::Array(all) => all.iter().for_each(|it| gather(it, texts)),
        Value::Object(all) => all.values().for_each(|it| gather(it, texts)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::kit::Kit;

    fn run(kit: &mut Kit, with: &str, data: &str, against: &[&str]) -> Vec<String> {
        let write = |name: &str, text: &str| -> PathBuf {
            let path = kit.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let data = vec![write("records", data)];
        let against =
            against.iter().enumerate().map(|(i, it)| write(&format!("a{i}"), it)).collect();
        kit.run_at(with, &[("data", data), ("against", against)]).unwrap()
    }

    #[test]
    fn a_record_that_holds_an_item_is_dropped_and_says_which() {
        let data = "{\"id\":\"a\",\"text\":\"水在标准大气压下的沸点是多少度？\"}\n\
                    {\"id\":\"b\",\"text\":\"完全不同的一段话，说的是别的事情。\"}\n\
                    {\"id\":\"c\",\"text\":\"短\"}\n\
                    {\"id\":\"d\",\"text\":\"ABC  ｄｅｆ ghi\"}\n";
        let against = [
            "id,question,A\n0,水在标准大气压下的沸点 是,100\n",
            "{\"q\":{\"t\":[\"短\",\"xabcdefghi\"]}}\n",
        ];
        let mut kit = Kit::new("decontaminate");
        let outputs = run(&mut kit, "gram = 9", data, &against);
        insta::assert_snapshot!(outputs.join("--\n"), @r#"
        {"id":"b","text":"完全不同的一段话，说的是别的事情。"}
        {"id":"c","text":"短"}
        --
        {"id":"a","source":null,"keep":false,"first":"overlap","fails":["overlap"],"values":{"overlap":4,"share":0.571429}}
        {"id":"b","source":null,"keep":true,"first":null,"fails":[],"values":{"overlap":0,"share":0}}
        {"id":"c","source":null,"keep":true,"first":null,"fails":[],"values":{"overlap":0,"share":0}}
        {"id":"d","source":null,"keep":false,"first":"overlap","fails":["overlap"],"values":{"overlap":1,"share":1}}
        --
        {"id":"a","file":"1","line":2,"run":"水在标准大气压下的"}
        {"id":"d","file":"2","line":1,"run":"abcdefghi"}
        "#);
        assert_eq!(kit.count("too_short"), Some(1));
        kit.threads = 3;
        assert_eq!(outputs, run(&mut kit, "gram = 9", data, &against));
        let outputs = run(&mut kit, "gram = 9\nmin_hits = 2", data, &against);
        assert_eq!(outputs[0].lines().count(), 3);
    }
    #[test]
    fn punctuation_of_any_width_neither_makes_a_match_nor_hides_one() {
        let data = "{\"id\":\"a\",\"text\":\"诊断为，类风湿，关节炎\"}\n\
                    {\"id\":\"b\",\"text\":\"——，。！？；：、（）……——\"}\n\
                    {\"id\":\"c\",\"text\":\"水的『沸点』，是 多少（度）\"}\n";
        // The commas of a table are the marks of no text.
        let against = ["7,甲,类风湿,关节炎,乙\n", "——，。！？；：、（）……——\n水的沸点是多少度？\n"];
        let mut kit = Kit::new("decontaminate");
        let outputs = run(&mut kit, "gram = 8", data, &against);
        let ids: Vec<&str> = outputs[0].lines().map(|it| &it[7..8]).collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(
            outputs[2],
            "{\"id\":\"c\",\"file\":\"2\",\"line\":2,\"run\":\"水的沸点是多少度\"}\n"
        );
        assert_eq!(kit.count("too_short"), Some(0));
        // The six letters are there in both, whatever stands between them.
        let outputs = run(&mut kit, "gram = 6", data, &against);
        assert!(outputs[2].contains("\"run\":\"类风湿关节炎\""), "{}", outputs[2]);
    }
}
