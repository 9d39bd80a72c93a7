//! `score_text`: how likely a model finds each record's text: loss, perplexity, tokens.
//!
//! ```toml
//! [steps.fluent]
//! op     = "score_text"
//! in     = { model = "models/Yi-6B", data = "${steps.raw.data}" }
//! with   = { columns = { text = "output" } }
//! shards = 4
//! ```
//!
//! A record with `text` is scored as a whole, each token after those before it; its first token has
//! no loss, unless the model's folder asks for a token before every text. A record that is a
//! conversation, in one of the forms that `sft` reads, is rendered by the chat template, and its
//! answers are scored with the tokens that end them; `loss_on = "all"` scores everything.
//!
//! What is written is the record with three more fields, whose names `into` may begin:
//!
//! - `nll`: minus the logarithm of the probability, summed over the scored tokens;
//! - `tokens`: how many there are;
//! - `ppl`: the exponential of `nll` through `tokens`; `null` where there are none.
//!
//! A text's numbers depend on the model and the text alone, to the last bit, and not on the records
//! beside it. Each is kept under its record, so that records that are added cost only themselves.

use std::collections::{BTreeSet, VecDeque};

use kernels::AnyDevice;
use kernels::generate::Model;
use kernels::score::{Scorer, Text};
use plan::kind::{Arity, Form, Port, Slot};
use plan::{Digest, KindSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map as Object, Value};

use crate::model::record::{Columns, Record, Unfit};
use crate::model::{self, Chat, Conversation, LossOn, ModelFolder, Sample, Template};
use crate::page::page;
use crate::records::{Output, Progress, count_lines};
use crate::texts::{Texts, check_columns};
use crate::{Cx, Kind, Say, StepError, params_of};

pub(crate) struct ScoreText;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The name of a built-in chat template; nothing: the model's own.
    template: Option<String>,
    /// What of a conversation is scored.
    #[serde(default)]
    loss_on: On,
    /// What the data calls the fields, by our names.
    #[serde(default)]
    columns: Columns,
    /// How the names of the new fields begin.
    #[serde(default)]
    into: String,
    /// The longest text, in tokens; nothing: what the model was made for.
    #[schemars(range(min = 2))]
    max_seq_len: Option<usize>,
    /// What becomes of a longer one.
    #[serde(default)]
    on_overlong: OnOverlong,
}

/// Which tokens count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum On {
    /// Those of the answers, with the token that ends each.
    #[default]
    Answer,
    /// All.
    All,
}

impl On {
    pub(crate) fn loss(self) -> LossOn {
        match self {
            On::Answer => LossOn::Answer,
            On::All => LossOn::All,
        }
    }
}

/// What becomes of a text that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnOverlong {
    /// The step fails and names the record.
    #[default]
    Error,
    /// Only its beginning is scored.
    Truncate,
}

impl Kind for ScoreText {
    const SPEC: KindSpec = KindSpec {
        name: "score_text",
        version: 1,
        about: "loss and perplexity of each record under a model",
        page: page!("score_text.rs"),
        inputs: &[
            Port { name: "model", arity: Arity::One, about: "the model" },
            Port { name: "data", arity: Arity::One, about: "the records" },
        ],
        outputs: &[Slot {
            name: "data",
            form: Form::Records,
            about: "the records with their numbers, in order",
        }],
        numerics: true,
        shards: Some("data"),
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        check_columns("score_text", &params.columns)?;
        let folder = ModelFolder::open(cx.input("model")?)?;
        let template = match (&params.template, Template::of_folder(&folder.path)?) {
            (Some(name), _) => Some(Template::built_in(name)?),
            (None, own) => own,
        };
        let input = cx.input("data")?.to_owned();
        let n = count_lines(&input, cx)?;
        let range = cx.shard.map_or(0..n, |it| it.range(n));
        let mut texts = Texts::open(&input, &params.columns)?;
        texts.skip(range.start)?;
        let context = model::context(&folder.config, params.max_seq_len);
        let mut pump = Pump {
            params,
            scorer: scorer(&folder, context, cx.device()?)?,
            template: template.as_ref(),
            folder: &folder,
            context,
            batch: Batch::default(),
            totals: Totals::default(),
            output: Output::create(cx.output("data")?)?,
            progress: Progress::new("records", Some(range.end - range.start)),
        };
        let result = pump.all(&mut texts, range.end, cx);
        // What was scored is kept however it ended.
        cx.memo.sync()?;
        result?;
        let totals = pump.totals;
        pump.output.finish()?;
        cx.count("records", range.end - range.start);
        cx.count("tokens", totals.tokens);
        cx.count("truncated", totals.truncated);
        Ok(())
    }
}

fn scorer(
    folder: &ModelFolder,
    context: usize,
    device: AnyDevice,
) -> Result<Scorer<AnyDevice>, StepError> {
    let model =
        Model::load(std::sync::Arc::new(device), &folder.config, &folder.weights()?, context)?;
    let settings = model::settings(&model, 8)?;
    Ok(Scorer::new(std::sync::Arc::new(model), settings)?)
}

/// The numbers of a text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Score {
    nll: f64,
    tokens: u64,
    truncated: bool,
}

impl Score {
    fn perplexity(&self) -> Option<f64> {
        (self.tokens > 0).then(|| exp(self.nll / self.tokens as f64))
    }
}

/// Records that are scored together.
#[derive(Default)]
struct Batch {
    records: VecDeque<(Object<String, Value>, Digest)>,
    digests: Vec<Digest>,
    asked: BTreeSet<Digest>,
    samples: Vec<Sample>,
    tokens: usize,
}

/// A batch is full with so many tokens, or so many records.
const BATCH_TOKENS: usize = 1 << 14;
const BATCH_RECORDS: usize = 1 << 12;

#[derive(Clone, Copy, Default)]
struct Totals {
    tokens: u64,
    truncated: u64,
}

struct Pump<'a> {
    params: &'a Params,
    scorer: Scorer<AnyDevice>,
    folder: &'a ModelFolder,
    template: Option<&'a Template>,
    context: usize,
    batch: Batch,
    totals: Totals,
    output: Output,
    progress: Progress,
}

impl Pump<'_> {
    fn all(&mut self, texts: &mut Texts<'_>, end: u64, cx: &mut Cx<'_>) -> Result<(), StepError> {
        while texts.line() < end {
            cx.check_stop()?;
            self.enter(texts, cx)?;
            if self.batch.tokens >= BATCH_TOKENS || self.batch.records.len() >= BATCH_RECORDS {
                self.score(cx)?;
            }
        }
        self.score(cx)?;
        self.progress.say(cx);
        Ok(())
    }

    fn enter(&mut self, texts: &mut Texts<'_>, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let names = ["nll", "tokens", "ppl"].map(|it| format!("{}{it}", self.params.into));
        let read = texts.next(|it| match names.iter().find(|name| it.map.contains_key(*name)) {
            Some(name) => Err(Unfit::field(name.as_str(), "is there already")),
            None => Ok((it.map.clone(), what(it)?)),
        })?;
        let Some((map, what)) = read else { return Ok(()) };
        let digest = Digest::of(texts.bytes());
        if self.batch.asked.contains(&digest) || known(&digest, cx)?.is_some() {
            self.progress.skipped(cx);
        } else {
            let sample = self.sample(what)?;
            let n = sample.ids.len();
            if n > self.context && self.params.on_overlong == OnOverlong::Error {
                let room = self.context;
                let reason = format!("has {n} tokens; there is room for {room}");
                return Err(texts.mistake(None, reason));
            }
            self.batch.tokens += n.min(self.context);
            self.batch.digests.push(digest);
            self.batch.asked.insert(digest);
            self.batch.samples.push(sample);
        }
        self.batch.records.push_back((map, digest));
        Ok(())
    }

    fn sample(&self, what: What) -> Result<Sample, StepError> {
        let tokenizer = &self.folder.tokenizer;
        match what {
            What::Text(text) => {
                let ids = tokenizer.encode_document(&text)?;
                let trained = vec![true; ids.len()];
                Ok(Sample { ids, trained })
            }
            What::Conversation(conversation) => {
                let Some(template) = self.template else {
                    return Err(self.folder.template(None).err().map_or_else(
                        || StepError::Wiring { what: "template", name: "template" },
                        StepError::from,
                    ));
                };
                let chat = Chat { tokenizer, template };
                Ok(chat.sample(&conversation, self.params.loss_on.loss())?)
            }
        }
    }

    /// Scores what is new of the batch, keeps it, and writes the batch.
    fn score(&mut self, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let batch = std::mem::take(&mut self.batch);
        (cx.report)(Say::Spent { tokens: batch.tokens as u64 });
        let text = |it: &Sample| {
            let ids = it.ids[..it.ids.len().min(self.context)].to_vec();
            Text { prompt: Vec::new(), ids }
        };
        let texts: Vec<Text> = batch.samples.iter().map(text).collect();
        let scored = self.scorer.texts(&texts)?;
        for ((digest, sample), scored) in batch.digests.iter().zip(&batch.samples).zip(scored) {
            let mut score = Score { nll: 0.0, tokens: 0, truncated: false };
            // The first token has no loss.
            for (nll, trained) in scored.nll.iter().zip(sample.trained.iter().skip(1)) {
                if *trained {
                    score.nll += f64::from(*nll);
                    score.tokens += 1;
                }
            }
            score.truncated = sample.ids.len() > self.context;
            let kept = serde_json::to_vec(&score).expect("finite numbers are always JSON");
            cx.memo.put(digest, &kept)?;
            self.progress.did(1, cx);
        }
        cx.memo.sync()?;
        for (map, digest) in batch.records {
            let score = known(&digest, cx)?;
            let gone = || StepError::Memo { reason: "a score is gone".to_owned() };
            self.write(map, score.ok_or_else(gone)?)?;
        }
        Ok(())
    }

    fn write(&mut self, mut map: Object<String, Value>, score: Score) -> Result<(), StepError> {
        self.totals.tokens += score.tokens;
        self.totals.truncated += u64::from(score.truncated);
        let into = &self.params.into;
        map.insert(format!("{into}nll"), score.nll.into());
        map.insert(format!("{into}tokens"), score.tokens.into());
        map.insert(format!("{into}ppl"), score.perplexity().into());
        let line = serde_json::to_vec(&map).expect("texts and finite numbers are always JSON");
        self.output.line(&line)
    }
}

/// What of a record is scored.
enum What {
    Text(String),
    Conversation(Conversation),
}

fn what(record: Record<'_>) -> Result<What, Unfit> {
    if record.has_text() {
        return Ok(What::Text(record.text()?.to_owned()));
    }
    record.conversation().map(What::Conversation)
}

fn known(record: &Digest, cx: &mut Cx<'_>) -> Result<Option<Score>, StepError> {
    let Some(kept) = cx.memo.get(record)? else { return Ok(None) };
    let wrong = |it: serde_json::Error| StepError::Memo { reason: it.to_string() };
    serde_json::from_slice(&kept).map(Some).map_err(wrong)
}

/// The exponential, of numbers up to some hundreds. The library's may differ between systems.
pub(crate) fn exp(x: f64) -> f64 {
    let exponent = (x * std::f64::consts::LOG2_E).round().clamp(-1000.0, 1000.0);
    // The logarithm of 2 in two parts: products with the first are exact.
    let rest = x - exponent * 6.931_471_803_691_238e-1 - exponent * 1.908_214_929_270_588e-10;
    let series = (1..=16).rev().fold(1.0, |sum, n| 1.0 + sum * rest / f64::from(n));
    series * f64::from_bits(((exponent as i64 + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::generate::tests::model;
    use crate::kit::Kit;

    fn run(kit: &mut Kit, with: &str, data: &str) -> Result<String, StepError> {
        let model = model(kit.folder.path());
        let file = kit.folder.path().join("records");
        std::fs::write(&file, data).unwrap();
        let out = kit.run_at(with, &[("model", vec![model]), ("data", vec![file])])?;
        Ok(out.into_iter().next().unwrap())
    }

    fn values(with: &str, data: &str) -> Vec<Value> {
        let out = run(&mut Kit::new("score_text"), with, data).unwrap();
        out.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
    }

    const DATA: &str = "{\"text\":\"The river rose.\"}\n{\"text\":\"今天下雨\"}\n{\"text\":\"a\"}\n\
        {\"prompt\":\"rain?\",\"completion\":\"rain\"}\n{\"text\":\"\"}\n";

    #[test]
    fn numbers_do_not_depend_on_neighbours_threads_or_shards() {
        let whole = run(&mut Kit::new("score_text"), "", DATA).unwrap();
        let mut kit = Kit::new("score_text");
        kit.threads = 2;
        assert_eq!(run(&mut kit, "", DATA).unwrap(), whole);
        let alone: String = DATA
            .lines()
            .map(|it| run(&mut Kit::new("score_text"), "", &format!("{it}\n")).unwrap())
            .collect();
        assert_eq!(alone, whole);
        let shard = |index| {
            let mut kit = Kit::new("score_text");
            kit.shard = Some(crate::Shard { index, count: 2 });
            run(&mut kit, "", DATA).unwrap()
        };
        assert_eq!((0..2).map(shard).collect::<String>(), whole);
    }

    #[test]
    fn a_step_with_a_device_has_the_processor_s_numbers_or_says_that_there_is_none() {
        let mut kit = Kit::new("score_text");
        kit.gpu = Some(plan::kind::Numerics::Exact);
        match run(&mut kit, "", DATA) {
            Ok(out) => assert_eq!(out, run(&mut Kit::new("score_text"), "", DATA).unwrap()),
            Err(why) => assert!(why.to_string().contains("no CUDA device"), "{why}"),
        }
    }

    #[test]
    fn tokens_that_have_a_loss_are_counted() {
        let all = values("", DATA);
        let tokens: Vec<u64> = all.iter().map(|it| it["tokens"].as_u64().unwrap()).collect();
        let tokenizer = model::Tokenizer::open(&model::tests::fixture("made")).unwrap();
        let n = |text: &str| tokenizer.encode_plain(text).unwrap().len() as u64;
        // An answer counts with the token that ends it, a text without its first token.
        let want = [n("The river rose.") - 1, n("今天下雨") - 1, n("a") - 1, n("rain") + 1, 0];
        assert_eq!(tokens, want);
        for it in &all {
            let (nll, n) = (it["nll"].as_f64().unwrap(), it["tokens"].as_f64().unwrap());
            match it["ppl"].as_f64() {
                Some(ppl) => assert!((ppl - (nll / n).exp()).abs() < 1e-9 * ppl),
                None => assert_eq!(n, 0.0),
            }
        }
    }

    #[test]
    fn a_score_is_made_once_and_kept() {
        let mut kit = Kit::new("score_text");
        let whole = run(&mut kit, "into = 'base_'", DATA).unwrap();
        assert!(whole.contains("\"base_ppl\":"));
        assert_eq!(kit.memo.0.len(), 5);
        let more = format!("{DATA}{{\"text\":\"one more\"}}\n");
        assert!(run(&mut kit, "into = 'base_'", &more).unwrap().starts_with(&whole));
        assert_eq!(kit.memo.0.len(), 6);
    }

    #[test]
    fn what_is_too_long_is_named_or_cut() {
        let long = format!("{{\"text\":\"{}\"}}\n", "雨 ".repeat(300));
        let mut kit = Kit::new("score_text");
        let error = run(&mut kit, "", &long).unwrap_err().to_string();
        assert!(error.ends_with("records:1: has 600 tokens; there is room for 96"), "{error}");
        let out = values("on_overlong = 'truncate'", &long);
        assert_eq!(out[0]["tokens"], 95);
        let error = run(&mut kit, "", "{\"text\":\"a\",\"ppl\":1}\n").unwrap_err().to_string();
        assert!(error.ends_with("records:1: field `ppl`: is there already"), "{error}");
    }

    #[test]
    fn the_exponential_is_exact_to_the_last_digits() {
        for i in -2000..2000 {
            let x = f64::from(i) / 50.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 4e-15, "{x}");
        }
    }
}
