//! `eval`: a multiple-choice exam in the shape of C-Eval or CMMLU.
//!
//! ```toml
//! [steps.ceval]
//! op   = "eval"
//! in   = { model = "${steps.final.model}", exam = "${sources.ceval}" }
//! with = { shape = "ceval", mode = "ppl" }
//! ```
//!
//! `exam` is a folder: for C-Eval `dev/SUBJECT_dev.csv` and `val/SUBJECT_val.csv`, for CMMLU
//! `dev/SUBJECT.csv` and `test/SUBJECT.csv`, with the columns `question`, `A`, `B`, `C`, `D` and
//! `answer`. The subjects are those of the benchmark, 52 and 67, unless the folder holds a
//! `subjects.json`: a list of `{"key": …, "zh": …, "categories": [ … ]}`. A subject that is missing,
//! or has fewer questions than the benchmark, fails the step.
//!
//! | `preset` | `mode` | what is asked, and which answer counts |
//! |---|---|---|
//! | `opencompass` | `ppl` | five questions with answers, then this one; of the four whole texts the one with the least loss through tokens, the first token counted too |
//! | `opencompass` | `gen` | the same, greedily continued; the first capital letter |
//! | `lm_eval` | `ppl` | as lm-evaluation-harness asks; of ` A` to ` D` the most probable |
//! | `cloze` | `ppl` | the question alone; of the options' texts the most probable as an answer, the end counted |
//!
//! Prompts are OpenCompass 0.2.1's to the byte, without a chat template or with `template =
//! "yi-chatml"`. Where there is no room for all questions that are shown, they are taken away from the
//! end, each question by itself. Of equal losses the first letter counts.
//!
//! `metrics`: `accuracy` is the mean over subjects, which OpenCompass reports, and
//! `accuracy_of_questions` the share of all questions with Wilson's interval of 95 %; then both for
//! each group. `subjects` has them for each subject, `predictions` every question with its losses or
//! what was written. Losses do not depend on what is computed together. Each question is kept under
//! its prompt: a step that was killed asks only what is left.
//!
//! With `training`, a file or folder of what the model was trained on, each prediction says whether its question
//! was `seen`: whether one text there has at least half of the question's runs of 13 characters. Each subject says how
//! many were, and `metrics` has `accuracy_of_unseen_questions` with its interval.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kernels::AnyDevice;
use kernels::generate::Model;
use kernels::score::Scorer;
use plan::kind::{Arity, Form, Port, Slot};
use plan::{Digest, KindSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::exam::asked::{Asked, Asker, Manner, Way};
use crate::exam::folder::{Wanted, sheets};
use crate::exam::overlap::Overlap;
use crate::exam::prompt::{Preset, Writer};
use crate::exam::tally::{Count, Tally};
use crate::exam::{LETTERS, Question, Shape, Sheet};
use crate::model::{self, Answers, How, ModelFolder};
use crate::page::page;
use crate::records::{Output, Progress, write_metrics};
use crate::{Cx, Kind, StepError, params_of};

mod losses;

pub(crate) struct Eval;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// Whose files and words the exam has.
    shape: Shape,
    /// How answers are found: four texts are compared, or the model writes.
    #[serde(default)]
    mode: Mode,
    /// Whose way to ask.
    #[serde(default)]
    preset: Preset,
    /// The part that is asked; nothing: `val` of C-Eval, `test` of CMMLU.
    split: Option<String>,
    /// How many questions are shown with their answers.
    #[serde(default = "default_shots")]
    #[schemars(range(max = 100))]
    shots: usize,
    /// Only these subjects; nothing: all.
    #[serde(default)]
    subjects: Vec<String>,
    /// The name of a built-in chat template; nothing: the prompts are plain text.
    template: Option<String>,
    /// The longest text in tokens.
    #[serde(default = "default_max_seq_len")]
    #[schemars(range(min = 2))]
    max_seq_len: usize,
    /// The longest answer that is written, in tokens.
    #[serde(default = "default_max_new_tokens")]
    #[schemars(range(min = 1))]
    max_new_tokens: usize,
}

/// How answers are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// Texts are compared.
    #[default]
    Ppl,
    /// The model writes.
    Gen,
}

fn default_shots() -> usize {
    5
}

fn default_max_seq_len() -> usize {
    2048
}

fn default_max_new_tokens() -> usize {
    100
}

impl Kind for Eval {
    const SPEC: KindSpec = KindSpec {
        name: "eval",
        version: 2,
        about: "a multiple-choice exam: C-Eval, CMMLU, or one in their shape",
        page: page!("eval.rs"),
        inputs: &[
            Port { name: "model", arity: Arity::One, about: "the model" },
            Port { name: "exam", arity: Arity::One, about: "the folder of the exam" },
            Port {
                name: "training",
                arity: Arity::Optional,
                about: "what the model was trained on",
            },
        ],
        outputs: &[
            Slot { name: "metrics", form: Form::Metrics, about: "accuracy, over all and by group" },
            Slot { name: "subjects", form: Form::Records, about: "accuracy by subject" },
            Slot { name: "predictions", form: Form::Records, about: "every question's answer" },
        ],
        numerics: true,
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let exam = cx.input("exam")?.to_owned();
        let wanted = Wanted {
            shape: params.shape,
            split: params.split.as_deref().unwrap_or(params.shape.split()),
            shots: if params.preset == Preset::Cloze { 0 } else { params.shots },
            subjects: &params.subjects,
        };
        let sheets = sheets(&exam, &wanted)?;
        let overlap = match cx.inputs("training") {
            [] => None,
            training => Some(Overlap::find(&sheets, training, cx)?),
        };
        let folder = ModelFolder::open(cx.input("model")?)?;
        let context = model::context(&folder.config, Some(params.max_seq_len));
        let manner = Manner {
            preset: params.preset,
            written: params.mode == Mode::Gen,
            template: params.template.as_deref(),
            room: context,
        };
        let asker = Asker::new(&folder, &manner)?;
        let n = sheets.iter().map(|it| it.questions.len() as u64).sum();
        let mut room = Room {
            params,
            exam: &exam,
            context,
            examiner: Examiner::new(&asker, &folder, (params, context), cx.device()?)?,
            asker: &asker,
            overlap,
            predictions: Output::create(cx.output("predictions")?)?,
            progress: Progress::new("questions", Some(n)),
        };
        let mut tally = Tally::new(room.overlap.is_some());
        for sheet in &sheets {
            let result = room.sheet(sheet, cx);
            // What was found is kept however it ended.
            cx.memo.sync()?;
            tally.subject(&sheet.subject, result?);
        }
        room.progress.say(cx);
        room.predictions.finish()?;
        write(&tally, cx)
    }
}

fn write(tally: &Tally, cx: &mut Cx<'_>) -> Result<(), StepError> {
    let mut subjects = Output::create(cx.output("subjects")?)?;
    for it in tally.records() {
        subjects.line(it.to_string().as_bytes())?;
    }
    subjects.finish()?;
    let numbers = tally.metrics();
    write_metrics(&numbers, cx)?;
    for name in ["questions", "unclear"] {
        cx.count(name, numbers.get(name).and_then(|it| it.as_u64()).unwrap_or(0));
    }
    Ok(())
}

/// What was found of a question. Kept as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Found {
    /// The loss of each letter.
    Losses([f64; 4]),
    /// What was written.
    Text(String),
}

impl Found {
    /// The letter that was given: the one with the least loss, the first of equal ones; or the first
    /// capital letter, whichever it is.
    fn letter(&self) -> Option<String> {
        match self {
            Found::Losses(all) => {
                let least = (0..4).reduce(|a, b| if all[b] < all[a] { b } else { a })?;
                Some(LETTERS[least].to_owned())
            }
            Found::Text(text) => text.chars().find(|it| it.is_uppercase()).map(String::from),
        }
    }
}

/// The model, in the way in which it is asked.
enum Examiner<'a> {
    Compares(Way, Box<Scorer<AnyDevice>>),
    Writes(Box<Answers<'a>>),
}

/// So many answers are written at once.
const WRITING: usize = 32;

impl<'a> Examiner<'a> {
    fn new(
        asker: &Asker<'_>,
        folder: &'a ModelFolder,
        (params, context): (&Params, usize),
        device: AnyDevice,
    ) -> Result<Self, StepError> {
        let device = Arc::new(device);
        let model = Arc::new(Model::load(device, &folder.config, &folder.weights()?, context)?);
        if asker.way != Way::Written {
            let settings = model::settings(&model, 8)?;
            return Ok(Self::Compares(asker.way, Box::new(Scorer::new(model, settings)?)));
        }
        let stop_ids = match params.template.as_deref() {
            Some(name) => folder.stop_ids(&model::Template::built_in(name)?),
            None => folder.config.eos.clone(),
        };
        let how = How::greedy(params.max_new_tokens, stop_ids);
        Ok(Self::Writes(Box::new(Answers::of(folder, model, how, WRITING)?)))
    }

    fn find(&mut self, batch: &[Asked], cx: &Cx<'_>) -> Result<Vec<Found>, StepError> {
        match self {
            Self::Compares(Way::Whole, scorer) => losses::of_wholes(scorer, batch),
            Self::Compares(_, scorer) => losses::of_endings(scorer, batch),
            Self::Writes(answers) => {
                for (row, it) in (0..).zip(batch) {
                    answers.ask(row, it.stem.clone())?;
                }
                let mut texts = BTreeMap::new();
                while answers.pending() > 0 {
                    cx.check_stop()?;
                    for (row, it) in answers.step(&mut |_, _| {})? {
                        texts.extend(it.into_iter().map(|it| (row, it.text)));
                    }
                }
                Ok(texts.into_values().map(Found::Text).collect())
            }
        }
    }
}

/// A batch is full with so many tokens: what a kill costs at most.
const BATCH_TOKENS: usize = 1 << 14;

/// Where the exam is held.
struct Room<'a> {
    params: &'a Params,
    exam: &'a Path,
    context: usize,
    asker: &'a Asker<'a>,
    overlap: Option<Overlap>,
    examiner: Examiner<'a>,
    predictions: Output,
    progress: Progress,
}

impl Room<'_> {
    fn sheet(&mut self, sheet: &Sheet, cx: &mut Cx<'_>) -> Result<Count, StepError> {
        let (mut batch, mut count, mut tokens, mut first) = (Vec::new(), Count::default(), 0, 0);
        for (i, question) in sheet.questions.iter().enumerate() {
            cx.check_stop()?;
            let asked = self.ask(sheet, question, i)?;
            tokens += asked.tokens();
            batch.push(asked);
            if tokens >= BATCH_TOKENS || i + 1 == sheet.questions.len() {
                self.answer((sheet, first), std::mem::take(&mut batch), &mut count, cx)?;
                (tokens, first) = (0, i + 1);
            }
        }
        Ok(count)
    }

    fn ask(&self, sheet: &Sheet, question: &Question, i: usize) -> Result<Asked, StepError> {
        let writer = Writer { shape: self.params.shape, sheet, shots: sheet.shots.len() };
        let mut asked = self.asker.ask(writer, question)?;
        if self.asker.way == Way::Written {
            // Cut at its beginning, as OpenCompass does, so that an answer has room.
            let room = self.context.saturating_sub(self.params.max_new_tokens).max(1);
            asked.stem.drain(..asked.stem.len().saturating_sub(room));
        }
        let reason = match asked.tokens() {
            _ if asked.stem.is_empty() => "begins with its answer".to_owned(),
            n if n > self.context => format!("has {n} tokens; there is room for {}", self.context),
            _ => return Ok(asked),
        };
        let file = self.exam.join(&sheet.subject.key);
        let reason = format!("question {}: {reason}", i + 1);
        Err(StepError::Record { file, line: i as u64 + 2, field: None, reason })
    }

    /// Finds what is new of a batch, keeps it, and writes all of it down.
    fn answer(
        &mut self,
        (sheet, first): (&Sheet, usize),
        batch: Vec<Asked>,
        count: &mut Count,
        cx: &mut Cx<'_>,
    ) -> Result<(), StepError> {
        let digests: Vec<Digest> = batch.iter().map(digest).collect();
        let mut new = Vec::new();
        for (asked, digest) in batch.iter().zip(&digests) {
            match known(digest, cx)? {
                Some(_) => self.progress.skipped(cx),
                None => new.push((asked.clone(), *digest)),
            }
        }
        let (asked, places): (Vec<Asked>, Vec<Digest>) = new.into_iter().unzip();
        for (found, digest) in self.examiner.find(&asked, cx)?.into_iter().zip(places) {
            let kept = serde_json::to_vec(&found).expect("texts and numbers are always JSON");
            cx.memo.put(&digest, &kept)?;
            self.progress.did(1, cx);
        }
        cx.memo.sync()?;
        for (i, (asked, digest)) in batch.iter().zip(&digests).enumerate() {
            let gone = || StepError::Memo { reason: "an answer is gone".to_owned() };
            let found = known(digest, cx)?.ok_or_else(gone)?;
            let (place, letter) = (first + i, found.letter());
            let question = &sheet.questions[place];
            let right = letter.as_deref() == Some(LETTERS[question.answer]);
            count.n += 1;
            count.right += u64::from(right);
            count.unclear += u64::from(letter.is_none());
            let seen = self.overlap.as_ref().map(|it| it.has(&sheet.subject.key, place));
            count.seen += u64::from(seen == Some(true));
            count.seen_right += u64::from(seen == Some(true) && right);
            let id = format!("{}/{}", sheet.subject.key, place + 1);
            let mut line = json!({
                "id": id, "subject": sheet.subject.key, "question": question.text,
                "options": question.options, "answer": LETTERS[question.answer],
                "prediction": letter, "right": right, "shots": asked.shots,
                "prompt": blake3::hash(asked.prompt.as_bytes()).to_hex().as_str(),
            });
            match found {
                Found::Losses(all) => line["losses"] = all.to_vec().into(),
                Found::Text(text) => line["text"] = text.into(),
            }
            if let Some(it) = seen {
                line["seen"] = it.into();
            }
            self.predictions.line(line.to_string().as_bytes())?;
        }
        Ok(())
    }
}

/// What a question's answer depends on, besides what is in the step's key.
fn digest(asked: &Asked) -> Digest {
    let text = serde_json::to_vec(&(&asked.stem, &asked.tails));
    Digest::of(&text.expect("numbers are always JSON"))
}

fn known(record: &Digest, cx: &mut Cx<'_>) -> Result<Option<Found>, StepError> {
    let Some(kept) = cx.memo.get(record)? else { return Ok(None) };
    let wrong = |it: serde_json::Error| StepError::Memo { reason: it.to_string() };
    serde_json::from_slice(&kept).map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests;
