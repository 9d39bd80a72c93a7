//! `anonymize`: finds personal data, and drops the record, puts a word in its place, or counts it.
//!
//! ```toml
//! [steps.private]
//! op   = "anonymize"
//! in   = { data = "${steps.plain.data}" }
//! with = { fields = ["text"], id_card = "drop", address = "count", samples = 20 }
//! ```
//!
//! | type | what counts as one | in its place |
//! |---|---|---|
//! | `mobile` | 11 digits from 13 to 19, plain or as 3-4-4, perhaps after 86 or 0086, with borders | `[手机号]` |
//! | `id_card` | 18 places with a day that there was and the right check digit | `[身份证号]` |
//! | `bank_card` | 16 to 19 digits, plain or in fours, whose Luhn sum is right | `[银行卡号]` |
//! | `landline` | an area code and a number, parted by a mark or in brackets; 400 and 800 numbers | `[电话号码]` |
//! | `email` | a name, `@` and a domain | `[邮箱]` |
//! | `ip` | four numbers that are an address of the open Internet, from 10.0.0.0 on | `[IP地址]` |
//! | `qq` | 5 to 11 digits after `QQ` or `扣扣` | `[QQ号]` |
//! | `wechat` | an account after `微信`, `VX` and the like, with `号` or a colon | `[微信号]` |
//! | `address` | a street, village or estate with a number, and what belongs to it | `[地址]` |
//!
//! Each type is `replace`, `drop`, `count` or `off`. `placeholders` replaces the words. Run `normalize`
//! first: full-width digits are not found. Numbers inside a web address are what a page is called by, and are left
//! alone; an address of a machine is found there too.
//!
//! `ledger` has a line for each record with how much of each type it holds; a record that is dropped
//! fails the types for which it is. `samples` shows, of each type, so many findings drawn over the
//! whole input with what stands around them, so that somebody can see how often the finder is right.
//! They are drawn by digest: the same records give the same samples. **`samples` and the values that
//! stand in it are the personal data themselves.**

use std::collections::{BTreeMap, BTreeSet};

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::record::Unfit;
use crate::page::page;
use crate::records::Output;
use crate::text::fields::Fields;
use crate::text::ledger::{Bounds, Limit, Verdict};
use crate::text::personal::{self, Found, Type};
use crate::text::stream::{Sieved, Source};
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Anonymize;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The fields whose texts are searched.
    #[serde(default = "default_fields")]
    fields: Vec<String>,
    /// Mobile numbers of the mainland.
    #[serde(default)]
    mobile: Treatment,
    /// Identity cards.
    #[serde(default)]
    id_card: Treatment,
    /// Bank cards.
    #[serde(default)]
    bank_card: Treatment,
    /// Landlines.
    #[serde(default)]
    landline: Treatment,
    /// E-mail addresses.
    #[serde(default)]
    email: Treatment,
    /// Addresses of machines.
    #[serde(default)]
    ip: Treatment,
    /// QQ numbers.
    #[serde(default)]
    qq: Treatment,
    /// WeChat accounts.
    #[serde(default)]
    wechat: Treatment,
    /// Addresses of people.
    #[serde(default)]
    address: Treatment,
    /// What is put in the place of a type, where it is not ours.
    #[serde(default)]
    placeholders: BTreeMap<String, String>,
    /// How many findings of each type are shown.
    #[serde(default = "default_samples")]
    #[schemars(range(max = 100_000))]
    samples: usize,
}

fn default_fields() -> Vec<String> {
    vec!["text".to_owned()]
}

fn default_samples() -> usize {
    20
}

/// What becomes of a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Treatment {
    /// A word is put in its place.
    #[default]
    Replace,
    /// The record is dropped.
    Drop,
    /// It is counted and stays.
    Count,
    /// It is not looked at.
    Off,
}

impl Params {
    fn treatment(&self, what: Type) -> Treatment {
        match what {
            Type::Mobile => self.mobile,
            Type::IdCard => self.id_card,
            Type::BankCard => self.bank_card,
            Type::Landline => self.landline,
            Type::Email => self.email,
            Type::Ip => self.ip,
            Type::Qq => self.qq,
            Type::Wechat => self.wechat,
            Type::Address => self.address,
        }
    }

    fn placeholder(&self, what: Type) -> &str {
        self.placeholders.get(what.name()).map_or(what.placeholder(), String::as_str)
    }
}

impl Kind for Anonymize {
    const SPEC: KindSpec = KindSpec {
        name: "anonymize",
        version: 2,
        about: "replace personal data, or drop what holds it",
        page: page!("anonymize.rs"),
        inputs: &[Port { name: "data", arity: Arity::One, about: "the records" }],
        outputs: &[
            Slot { name: "data", form: Form::Records, about: "the records that go on" },
            Slot { name: "ledger", form: Form::Records, about: "what each record holds" },
            Slot { name: "samples", form: Form::Records, about: "findings, as they stand" },
        ],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn limits(&self, params: &Params) -> Result<Vec<Limit>, StepError> {
        let dropped = Type::ALL.iter().filter(|it| params.treatment(**it) == Treatment::Drop);
        let none = Bounds { min: None, max: Some(0.0) };
        Ok(dropped.map(|it| Limit::of(it.name(), none)).collect())
    }

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let known = |it: &String| Type::ALL.iter().any(|what| what.name() == it);
        if let Some(it) = params.placeholders.keys().find(|it| !known(it)) {
            let names: Vec<&str> = Type::ALL.iter().map(|it| it.name()).collect();
            let reason = format!("no type `{it}`; the types are `{}`", names.join("`, `"));
            return Err(StepError::Params { kind: "anonymize", reason });
        }
        let mut source = Source::open("data", cx)?;
        let mut data = Output::create(cx.output("data")?)?;
        let mut ledger = Output::create(cx.output("ledger")?)?;
        let mut samples = Output::create(cx.output("samples")?)?;
        let mut all = Gathered::default();
        let (mut kept, mut dropped) = (0, 0);
        let work = |line: &[u8], part: &mut Part| record(params, line, part);
        source.each(cx, &work, &mut |part: Part| {
            kept += part.kept();
            dropped += part.dropped();
            all.join(part.scratch.gathered, params.samples);
            data.bytes(&part.data)?;
            ledger.bytes(&part.ledger)
        })?;
        for it in all.samples.values().flatten() {
            samples.line(it.text.as_bytes())?;
        }
        data.finish()?;
        ledger.finish()?;
        samples.finish()?;
        cx.count("kept", kept);
        cx.count("dropped", dropped);
        for what in Type::ALL {
            cx.count(what.name(), all.counts.get(what.name()).copied().unwrap_or(0));
        }
        Ok(())
    }
}

type Part = Sieved<Scratch>;

/// What is used again for each record, and what is gathered from all.
#[derive(Default)]
struct Scratch {
    found: Vec<Found>,
    gathered: Gathered,
}

/// Findings by type: how many, and the samples, those with the smallest digests.
#[derive(Default)]
struct Gathered {
    counts: BTreeMap<&'static str, u64>,
    samples: BTreeMap<Type, BTreeSet<Drawn>>,
}

/// A sample, in the order of the draw.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Drawn {
    lot: [u8; 16],
    text: String,
}

impl Gathered {
    fn join(&mut self, other: Gathered, n_samples: usize) {
        for (what, n) in other.counts {
            *self.counts.entry(what).or_default() += n;
        }
        for (what, samples) in other.samples {
            samples.into_iter().for_each(|it| self.draw(what, it, n_samples));
        }
    }

    fn draw(&mut self, what: Type, it: Drawn, n_samples: usize) {
        let samples = self.samples.entry(what).or_default();
        samples.insert(it);
        while samples.len() > n_samples {
            samples.pop_last();
        }
    }

    /// Whether a sample with this lot would be among the first.
    fn wants(&self, what: Type, lot: &[u8; 16], n_samples: usize) -> bool {
        let samples = self.samples.get(&what);
        let last = samples.filter(|it| it.len() >= n_samples).and_then(BTreeSet::last);
        n_samples > 0 && last.is_none_or(|it| *lot < it.lot)
    }
}

fn record(params: &Params, line: &[u8], part: &mut Part) -> Result<(), Unfit> {
    let fields = Fields::parse(line)?;
    let (id, source) = (fields.id()?, fields.source()?);
    let mut counts = [0_u64; Type::ALL.len()];
    let mut changes: Vec<(&str, String)> = Vec::new();
    for name in &params.fields {
        let Some(text) = fields.optional_text(name)? else { continue };
        let mut found = std::mem::take(&mut part.scratch.found);
        personal::find(&text, &mut found);
        found.retain(|it| params.treatment(it.what) != Treatment::Off);
        for (i, it) in found.iter().enumerate() {
            counts[it.what as usize] += 1;
            sample(params, (&id, name, &text), (i, *it), &mut part.scratch.gathered);
        }
        if let Some(new) = replaced(params, &text, &found) {
            changes.push((name, new));
        }
        part.scratch.found = found;
    }
    let values: Vec<(&str, f64)> =
        Type::ALL.iter().map(|it| (it.name(), counts[*it as usize] as f64)).collect();
    let mut fails = Vec::new();
    for what in Type::ALL {
        let n = counts[what as usize];
        *part.scratch.gathered.counts.entry(what.name()).or_default() += n;
        if n > 0 && params.treatment(what) == Treatment::Drop {
            fails.push(what.name());
        }
    }
    let verdict = Verdict { id: &id, source: source.as_deref(), fails: &fails, values: &values };
    if !part.judge(&verdict) {
        return Ok(());
    }
    if changes.is_empty() {
        part.data.extend_from_slice(line);
        part.data.push(b'\n');
    } else {
        let changes: Vec<(&str, &str)> =
            changes.iter().map(|(it, new)| (*it, new.as_str())).collect();
        fields.write_with(&changes, &mut part.data);
    }
    Ok(())
}

/// The text with words in the place of what is to be replaced; nothing where that is nothing.
fn replaced(params: &Params, text: &str, found: &[Found]) -> Option<String> {
    let mut new = String::new();
    let mut at = 0;
    for it in found.iter().filter(|it| params.treatment(it.what) == Treatment::Replace) {
        new.push_str(&text[at..it.start]);
        new.push_str(params.placeholder(it.what));
        at = it.end;
    }
    if at == 0 {
        return None;
    }
    new.push_str(&text[at..]);
    Some(new)
}

#[derive(Serialize)]
struct Sample<'a> {
    #[serde(rename = "type")]
    what: &'static str,
    id: &'a str,
    field: &'a str,
    before: &'a str,
    found: &'a str,
    after: &'a str,
}

/// Keeps the finding as a sample, where its lot is among the smallest.
fn sample(
    params: &Params,
    (id, field, text): (&str, &str, &str),
    (i, it): (usize, Found),
    gathered: &mut Gathered,
) {
    let mut hasher = blake3::Hasher::new();
    for part in [id, field, &text[it.start..it.end]] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(&(i as u64).to_le_bytes());
    let mut lot = [0; 16];
    lot.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    if !gathered.wants(it.what, &lot, params.samples) {
        return;
    }
    /// How many characters stand on each side.
    const AROUND: usize = 16;
    let start = text[..it.start].char_indices().rev().nth(AROUND - 1).map_or(0, |it| it.0);
    let after = &text[it.end..];
    let end = after.char_indices().nth(AROUND).map_or(after.len(), |it| it.0);
    let sample = Sample {
        what: it.what.name(),
        id,
        field,
        before: &text[start..it.start],
        found: &text[it.start..it.end],
        after: &after[..end],
    };
    let text = serde_json::to_string(&sample).expect("texts can be written into memory");
    gathered.draw(it.what, Drawn { lot, text }, params.samples);
}

#[cfg(test)]
mod tests {
    use crate::kit::Kit;

    const INPUT: &str = concat!(
        "{\"id\":\"a\",\"source\":\"s\",\"text\":\"请拨13800138000或写信到a@b.com。\",\"n\":1.0}\n",
        "{\"id\":\"b\",\"text\":\"没有什么\"}\n",
        "{\"id\":\"c\",\"text\":\"身份证11010519491231002X，住在张江路123号5栋601室。\"}\n",
    );

    #[test]
    fn each_type_has_its_treatment() {
        let mut kit = Kit::new("anonymize");
        let with = "id_card = 'drop'\nemail = 'count'\nplaceholders = { mobile = '<号>' }";
        let outputs = kit.run(with, &[INPUT.as_bytes()]).unwrap();
        insta::assert_snapshot!(outputs.join("--\n"), @r#"
        {"id":"a","source":"s","text":"请拨<号>或写信到a@b.com。","n":1.0}
        {"id":"b","text":"没有什么"}
        --
        {"id":"a","source":"s","keep":true,"first":null,"fails":[],"values":{"mobile":1,"id_card":0,"bank_card":0,"landline":0,"email":1,"ip":0,"qq":0,"wechat":0,"address":0}}
        {"id":"b","source":null,"keep":true,"first":null,"fails":[],"values":{"mobile":0,"id_card":0,"bank_card":0,"landline":0,"email":0,"ip":0,"qq":0,"wechat":0,"address":0}}
        {"id":"c","source":null,"keep":false,"first":"id_card","fails":["id_card"],"values":{"mobile":0,"id_card":1,"bank_card":0,"landline":0,"email":0,"ip":0,"qq":0,"wechat":0,"address":1}}
        --
        {"type":"mobile","id":"a","field":"text","before":"请拨","found":"13800138000","after":"或写信到a@b.com。"}
        {"type":"id_card","id":"c","field":"text","before":"身份证","found":"11010519491231002X","after":"，住在张江路123号5栋601室"}
        {"type":"email","id":"a","field":"text","before":"拨13800138000或写信到","found":"a@b.com","after":"。"}
        {"type":"address","id":"c","field":"text","before":"519491231002X，住在","found":"张江路123号5栋601室","after":"。"}
        "#);
        assert_eq!((kit.count("kept"), kit.count("dropped")), (Some(2), Some(1)));
        assert_eq!((kit.count("mobile"), kit.count("ip")), (Some(1), Some(0)));
        let outputs = kit.run("mobile = 'off'\nemail = 'off'\nsamples = 0", &[INPUT.as_bytes()]);
        insta::assert_snapshot!(outputs.unwrap().join("--\n"), @r#"
        {"id":"a","source":"s","text":"请拨13800138000或写信到a@b.com。","n":1.0}
        {"id":"b","text":"没有什么"}
        {"id":"c","text":"身份证[身份证号]，住在[地址]。"}
        --
        {"id":"a","source":"s","keep":true,"first":null,"fails":[],"values":{"mobile":0,"id_card":0,"bank_card":0,"landline":0,"email":0,"ip":0,"qq":0,"wechat":0,"address":0}}
        {"id":"b","source":null,"keep":true,"first":null,"fails":[],"values":{"mobile":0,"id_card":0,"bank_card":0,"landline":0,"email":0,"ip":0,"qq":0,"wechat":0,"address":0}}
        {"id":"c","source":null,"keep":true,"first":null,"fails":[],"values":{"mobile":0,"id_card":1,"bank_card":0,"landline":0,"email":0,"ip":0,"qq":0,"wechat":0,"address":1}}
        --
        "#);
    }

    #[test]
    fn samples_do_not_depend_on_threads() {
        let line =
            |i: u64| format!("{{\"text\":\"电话{}，QQ：{}\"}}\n", 13_800_000_000 + i, 10_000 + i);
        let input: String = (0..400).map(line).collect();
        let mut kit = Kit::new("anonymize");
        let one = kit.run("samples = 5", &[input.as_bytes()]).unwrap();
        kit.threads = 3;
        assert_eq!(kit.run("samples = 5", &[input.as_bytes()]).unwrap(), one);
        assert_eq!(one[2].lines().count(), 10);
    }

    #[test]
    fn mistakes_are_named() {
        let mut kit = Kit::new("anonymize");
        let error = kit.error("placeholders = { phone = 'x' }", INPUT);
        assert!(error.starts_with("parameters of `anonymize`: no type `phone`; the types are"));
        assert_eq!(kit.error("", "{\"text\":7}\n"), "in0:1: field `text`: is not a text");
    }
}
