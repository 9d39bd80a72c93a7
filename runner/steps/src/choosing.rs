//! What the kinds share that let a model choose among texts about each record: `judge`, `classify`.
//!
//! A choice's weight is the probability that the model answers with it, every token counted. The
//! question is computed once for all its choices, and what questions begin with alike is shared. A
//! record's numbers are kept, so that it is asked about once; they depend on neither its company nor
//! how often the step was interrupted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use kernels::AnyDevice;
use kernels::generate::Model;
use kernels::score::{Choices, Scored, Scorer};
use plan::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map as Object, Value};

use crate::asking::{OnOverlong, check_names, question, template_file};
use crate::kinds::score_text::exp;
use crate::model::record::{Columns, Unfit};
use crate::model::{self, Answers, Chat, Conversation, How, LossOn, ModelFolder, Prompt};
use crate::records::{Progress, count_lines};
use crate::served::weigh_all;
use crate::texts::Texts;
use crate::{Cx, Say, StepError};

/// How a kind lets a model choose.
pub(crate) struct Choosing<'a> {
    pub(crate) kind: &'static str,
    pub(crate) prompt: Option<Prompt>,
    pub(crate) choices: &'a [String],
    pub(crate) end: End,
    pub(crate) template: Option<&'a str>,
    pub(crate) columns: &'a Columns,
    /// The field that must not be there yet.
    pub(crate) into: &'a str,
    pub(crate) max_seq_len: Option<usize>,
    pub(crate) on_overlong: OnOverlong,
    /// The longest answer, where the model also writes one.
    pub(crate) writes: Option<usize>,
}

/// Whether the token that ends an answer belongs to a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Counts,
    Ignored,
}

/// What is known about a record. Kept as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Weighed {
    /// The logarithm of each choice's probability; none for a question that was too long, and where
    /// a server says only what it writes.
    pub(crate) log_probabilities: Vec<f64>,
    /// What the model wrote, where it was asked to.
    pub(crate) text: Option<String>,
}

impl Weighed {
    /// How probable each choice is, of all choices.
    pub(crate) fn shares(&self) -> Vec<f64> {
        let all = &self.log_probabilities;
        let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // Below this a share is nothing.
        let weights: Vec<f64> = all.iter().map(|it| exp((it - most).max(-600.0))).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|it| it / sum).collect()
    }

    /// The choices by their place, the likeliest first; of equal ones the first.
    pub(crate) fn ranked(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.log_probabilities.len()).collect();
        let all = &self.log_probabilities;
        places.sort_by(|a, b| all[*b].total_cmp(&all[*a]));
        places
    }

    /// How much likelier, as a logarithm, the first choice is than the second.
    pub(crate) fn margin(&self) -> Option<f64> {
        let [first, second, ..] = self.ranked()[..] else { return None };
        Some(self.log_probabilities[first] - self.log_probabilities[second])
    }
}

/// A record with what is known about it.
pub(crate) struct Found<'a> {
    pub(crate) line: &'a [u8],
    pub(crate) map: Object<String, Value>,
    pub(crate) weighed: Weighed,
}

/// Takes records in order.
pub(crate) type Take<'a> = dyn FnMut(Found<'_>) -> Result<(), StepError> + 'a;

/// Lets the model choose about every record of the input `data`, or of this step's part of it.
pub(crate) fn choose_all(
    choosing: &Choosing<'_>,
    take: &mut Take<'_>,
    cx: &mut Cx<'_>,
) -> Result<(), StepError> {
    check(choosing)?;
    if let Some(server) = cx.server("model").cloned() {
        return weigh_all(choosing, server, (take, cx));
    }
    let folder = ModelFolder::open(cx.input("model")?)?;
    let template = folder.template_of(template_file(cx), choosing.template)?;
    let input = cx.input("data")?.to_owned();
    let n = count_lines(&input, cx)?;
    let range = cx.shard.map_or(0..n, |it| it.range(n));
    let mut texts = Texts::open(&input, choosing.columns)?;
    texts.skip(range.start)?;
    let context = model::context(&folder.config, choosing.max_seq_len);
    let mut pump = Pump {
        choosing,
        chat: Chat { tokenizer: &folder.tokenizer, template: &template },
        folder: &folder,
        jury: None,
        context,
        batch: Batch::default(),
        progress: Progress::new("records", Some(range.end - range.start)),
    };
    let result = pump.all(&mut texts, range.end, (take, cx));
    // What was weighed is kept however it ended.
    cx.memo.sync()?;
    result?;
    cx.count("records", range.end - range.start);
    Ok(())
}

fn check(choosing: &Choosing<'_>) -> Result<(), StepError> {
    let kind = choosing.kind;
    let different: BTreeSet<&String> = choosing.choices.iter().collect();
    let reason = if choosing.choices.len() < 2 {
        "there must be at least two choices"
    } else if different.len() < choosing.choices.len() {
        "two choices are equal"
    } else if different.contains(&String::new()) {
        "a choice is empty"
    } else {
        return check_names(kind, choosing.columns, choosing.prompt.as_ref());
    };
    Err(StepError::Params { kind, reason: reason.to_owned() })
}

/// So many answers are written at once.
const WRITING: usize = 32;
/// A batch is full with so many tokens or records: what a kill costs at most.
const BATCH_TOKENS: usize = 1 << 13;
const BATCH_RECORDS: usize = 256;

/// Records that are worked on together.
#[derive(Default)]
struct Batch {
    records: VecDeque<(Object<String, Value>, Vec<u8>)>,
    /// Records about which nothing is known yet, with their choices and their questions.
    new: Vec<(Digest, Choices, Vec<u32>)>,
    asked: BTreeSet<Digest>,
    tokens: usize,
}

struct Pump<'a> {
    choosing: &'a Choosing<'a>,
    chat: Chat<'a>,
    folder: &'a ModelFolder,
    /// Its weights are read when the first record has to be weighed, so another threshold costs
    /// nothing of it.
    jury: Option<Jury<'a>>,
    context: usize,
    batch: Batch,
    progress: Progress,
}

/// What each choice of each question weighs, and what was written to a question.
type Verdicts = (Vec<Vec<Scored>>, BTreeMap<u64, String>);

/// What weighs, and what writes where that is asked for.
struct Jury<'a> {
    scorer: Scorer<AnyDevice>,
    writer: Option<Answers<'a>>,
}

impl<'a> Jury<'a> {
    fn load(pump: &Pump<'a>, cx: &Cx<'_>) -> Result<Self, StepError> {
        let (folder, context) = (pump.folder, pump.context);
        let device = Arc::new(cx.device()?);
        let model = Arc::new(Model::load(device, &folder.config, &folder.weights()?, context)?);
        let writer = pump.choosing.writes.map(|n_tokens| {
            let how = How::greedy(n_tokens, folder.stop_ids(pump.chat.template));
            Answers::of(folder, Arc::clone(&model), how, WRITING)
        });
        let settings = model::settings(&model, 8)?;
        Ok(Self { scorer: Scorer::new(model, settings)?, writer: writer.transpose()? })
    }
}

impl Pump<'_> {
    fn all(
        &mut self,
        texts: &mut Texts<'_>,
        end: u64,
        (take, cx): (&mut Take<'_>, &mut Cx<'_>),
    ) -> Result<(), StepError> {
        while texts.line() < end {
            cx.check_stop()?;
            self.enter(texts, cx)?;
            let batch = &self.batch;
            if batch.tokens >= BATCH_TOKENS || batch.records.len() >= BATCH_RECORDS {
                self.finish(take, cx)?;
            }
        }
        self.finish(take, cx)?;
        self.progress.say(cx);
        Ok(())
    }

    fn enter(&mut self, texts: &mut Texts<'_>, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let Some((map, conversation)) = next_record(self.choosing, texts)? else { return Ok(()) };
        let digest = Digest::of(texts.bytes());
        if self.batch.asked.contains(&digest) || known(&digest, cx)?.is_some() {
            self.progress.skipped(cx);
        } else {
            let choices = choices(self.chat, &conversation, self.choosing)?;
            let question = self.chat.prompt(&conversation)?;
            let longest = choices.candidates.iter().map(Vec::len).max().unwrap_or(0);
            let n = (choices.prompt.len() + longest).max(question.len() + 1);
            if choices.prompt.is_empty() {
                return Err(texts.mistake(None, "makes an empty prompt".to_owned()));
            }
            if n <= self.context {
                self.batch.tokens += n;
                self.batch.new.push((digest, choices, question));
                self.batch.asked.insert(digest);
            } else if self.choosing.on_overlong == OnOverlong::Skip {
                keep(&digest, &Weighed { log_probabilities: Vec::new(), text: None }, cx)?;
                self.progress.did(1, cx);
            } else {
                let room = self.context;
                let reason = format!("has {n} tokens with an answer; there is room for {room}");
                return Err(texts.mistake(None, reason));
            }
        }
        self.batch.records.push_back((map, texts.bytes().to_vec()));
        Ok(())
    }

    fn weigh(
        &mut self,
        choices: &[Choices],
        questions: Vec<Vec<u32>>,
        cx: &Cx<'_>,
    ) -> Result<Verdicts, StepError> {
        if choices.is_empty() {
            return Ok((Vec::new(), BTreeMap::new()));
        }
        let mut jury = match self.jury.take() {
            Some(it) => it,
            None => Jury::load(self, cx)?,
        };
        let scored = jury.scorer.choices(choices)?;
        let written = match &mut jury.writer {
            Some(it) => write(it, questions, cx)?,
            None => BTreeMap::new(),
        };
        self.jury = Some(jury);
        Ok((scored, written))
    }

    /// Weighs what is new of the batch, keeps it, and hands the batch on.
    fn finish(&mut self, take: &mut Take<'_>, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let batch = std::mem::take(&mut self.batch);
        (cx.report)(Say::Spent { tokens: batch.tokens as u64 });
        let (mut digests, mut choices, mut questions) = (Vec::new(), Vec::new(), Vec::new());
        for (digest, parcel, question) in batch.new {
            digests.push(digest);
            choices.push(parcel);
            questions.push(question);
        }
        let (scored, mut written) = self.weigh(&choices, questions, cx)?;
        for (i, (digest, scored)) in digests.iter().zip(scored).enumerate() {
            let log_probabilities = scored.iter().map(|it| it.log_probability()).collect();
            let text = written.remove(&(i as u64));
            keep(digest, &Weighed { log_probabilities, text }, cx)?;
            self.progress.did(1, cx);
        }
        cx.memo.sync()?;
        for (map, line) in batch.records {
            let gone = || StepError::Memo { reason: "what was weighed is gone".to_owned() };
            let weighed = known(&Digest::of(&line), cx)?.ok_or_else(gone)?;
            take(Found { line: &line, map, weighed })?;
        }
        Ok(())
    }
}

/// A record with the question about it.
pub(crate) type Questioned = (Object<String, Value>, Conversation);

/// The next record, with the question about it.
pub(crate) fn next_record(
    choosing: &Choosing<'_>,
    texts: &mut Texts<'_>,
) -> Result<Option<Questioned>, StepError> {
    let Choosing { prompt, into, .. } = choosing;
    texts.next(|record| {
        if record.map.contains_key(*into) {
            return Err(Unfit::field(*into, "is there already"));
        }
        let conversation = match prompt {
            Some(it) => it.question(record)?,
            None => question(record)?,
        };
        Ok((record.map.clone(), conversation))
    })
}

/// What the model writes to each question.
fn write(
    writer: &mut Answers<'_>,
    questions: Vec<Vec<u32>>,
    cx: &Cx<'_>,
) -> Result<BTreeMap<u64, String>, StepError> {
    let mut texts = BTreeMap::new();
    for (row, question) in (0..).zip(questions) {
        writer.ask(row, question)?;
    }
    while writer.pending() > 0 {
        cx.check_stop()?;
        for (row, answers) in writer.step(&mut |_, _| {})? {
            texts.extend(answers.into_iter().map(|it| (row, it.text)));
        }
    }
    Ok(texts)
}

/// The tokens of a question and of each choice as the answer to it.
pub(crate) fn choices(
    chat: Chat<'_>,
    question: &Conversation,
    choosing: &Choosing<'_>,
) -> Result<Choices, StepError> {
    let mut all: Vec<Vec<u32>> = Vec::new();
    let mut begin = usize::MAX;
    for choice in choosing.choices {
        let mut answered = question.clone();
        answered.push("assistant", choice);
        let mut sample = chat.sample(&answered, LossOn::Answer)?;
        // Behind the end there may be a line feed, which nobody asks the model for.
        let answer = sample.trained.iter().rposition(|it| *it).map_or(0, |it| it + 1);
        let first = sample.trained[..answer].iter().rposition(|it| !*it).map_or(0, |it| it + 1);
        sample.ids.truncate(answer);
        let ends = sample.ids.last().is_some_and(|it| chat.tokenizer.is_control(*it));
        if choosing.end == End::Ignored && ends {
            sample.ids.pop();
        }
        begin = begin.min(first);
        all.push(sample.ids);
    }
    // A piece may reach from the prompt into an answer: then the prompt ends before it.
    let alike = |at: usize| all.iter().all(|it| it.get(at).is_some_and(|id| *id == all[0][at]));
    let begin = (0..begin).take_while(|at| alike(*at)).count();
    let candidates = all.iter().map(|it| it[begin..].to_vec()).collect();
    Ok(Choices { prompt: all[0][..begin].to_vec(), candidates })
}

pub(crate) fn keep(record: &Digest, weighed: &Weighed, cx: &mut Cx<'_>) -> Result<(), StepError> {
    let kept = serde_json::to_vec(weighed).expect("texts and finite numbers are always JSON");
    cx.memo.put(record, &kept)
}

pub(crate) fn known(record: &Digest, cx: &mut Cx<'_>) -> Result<Option<Weighed>, StepError> {
    let Some(kept) = cx.memo.get(record)? else { return Ok(None) };
    let wrong = |it: serde_json::Error| StepError::Memo { reason: it.to_string() };
    serde_json::from_slice(&kept).map(Some).map_err(wrong)
}
