//! What the kinds share that ask a model about each record: `generate`, `label`, `refine`, `answer`.
//!
//! Records come in, in order; each is a question to the model unless its answer is known; the
//! answers are kept as they end, and the records go out in order with theirs. What a kind decides is
//! its [`Form`]: what it asks about a record, and which fields it adds.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plan::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map as Object, Value};

use crate::model::record::{COLUMNS, Columns, Record, Unfit};
use crate::model::{
    self, Answer, Answers, Chat, Conversation, How, ModelFolder, Prompt, Tokenizer,
};
use crate::records::{Output, Progress, count_lines, short_digest};
use crate::served::Asker;
use crate::texts::Texts;
use crate::{Cx, Say, StepError};

/// What becomes of a prompt that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnOverlong {
    /// The step fails and names the record.
    #[default]
    Error,
    /// The record gets an empty answer.
    Skip,
}

/// How a kind asks.
pub(crate) struct Settings<'a> {
    pub(crate) kind: &'static str,
    /// Without the tokens that end answers, which the model's folder says.
    pub(crate) how: How,
    pub(crate) template: Option<&'a str>,
    pub(crate) columns: &'a Columns,
    /// The field for the text, and the first part of the names of the others.
    pub(crate) into: &'a str,
    pub(crate) max_seq_len: Option<usize>,
    pub(crate) on_overlong: OnOverlong,
    /// How many answers are on their way at once.
    pub(crate) rows: usize,
}

/// What a kind asks about its records.
pub(crate) struct Asking<'a> {
    pub(crate) settings: Settings<'a>,
    pub(crate) prompt: Option<Prompt>,
    pub(crate) form: &'a dyn Form,
}

/// A record that is asked about.
pub(crate) struct Subject<'a> {
    pub(crate) record: Record<'a>,
    pub(crate) prompt: Option<&'a Prompt>,
    /// None where a server is asked.
    pub(crate) tokenizer: Option<&'a Tokenizer>,
    pub(crate) into: &'a str,
}

/// What is asked about a record, and what becomes of the answers.
pub(crate) trait Form {
    /// The question. What it puts into `map`, a copy of the record, goes out with it.
    fn question(
        &self,
        subject: &Subject<'_>,
        map: &mut Object<String, Value>,
    ) -> Result<Conversation, Unfit>;

    /// Adds the fields of the answers.
    fn add(&self, map: &mut Object<String, Value>, into: &str, answers: &[Answer]) {
        add(map, into, answers);
    }
}

/// The record is a conversation, or a prompt file makes a question of it.
pub(crate) struct Conversations;

impl Form for Conversations {
    fn question(
        &self,
        subject: &Subject<'_>,
        _: &mut Object<String, Value>,
    ) -> Result<Conversation, Unfit> {
        match subject.prompt {
            Some(it) => it.question(subject.record),
            None => question(subject.record),
        }
    }
}

/// The chat template that a step is given as a file, if it is.
pub(crate) fn template_file<'a>(cx: &'a Cx<'_>) -> Option<&'a Path> {
    cx.inputs("template").first().map(PathBuf::as_path)
}

/// The prompt file of a step, if it has one.
pub(crate) fn prompt_of(cx: &Cx<'_>) -> Result<Option<Prompt>, StepError> {
    Ok(cx.inputs("prompt").first().map(|it| Prompt::open(it)).transpose()?)
}

/// `columns` may only name what is read: fields of conversations, and those of the prompt file.
pub(crate) fn check_names(
    kind: &'static str,
    columns: &Columns,
    prompt: Option<&Prompt>,
) -> Result<(), StepError> {
    let inputs = prompt.map(Prompt::inputs).unwrap_or_default();
    let known = |it: &String| COLUMNS.contains(&it.as_str()) || inputs.contains(it);
    let Some(it) = columns.keys().find(|it| !known(it)) else { return Ok(()) };
    let names: std::collections::BTreeSet<&str> =
        COLUMNS.into_iter().chain(inputs.iter().map(String::as_str)).collect();
    let known = names.into_iter().collect::<Vec<_>>().join("`, `");
    let reason = format!("`columns.{it}` means nothing; what does: `{known}`");
    Err(StepError::Params { kind, reason })
}

/// What answers questions: a model in a folder, or one that a server has.
pub(crate) trait Answerer {
    /// With what texts are counted, where the folder is there.
    fn tokenizer(&self) -> Option<&Tokenizer>;
    /// How many questions are on their way, and how many shall be.
    fn pending(&self) -> (usize, usize);
    /// Puts a question in; `row` names it and decides about its draws.
    fn ask(&mut self, row: u64, conversation: &Conversation) -> Result<Asked, StepError>;
    /// Goes on until there is an answer or some time has passed.
    fn step(&mut self, cx: &Cx<'_>) -> Result<Vec<(u64, Vec<Answer>)>, StepError>;
    /// Asks nothing more; what is answered all the same.
    fn close(&mut self) -> Vec<(u64, Vec<Answer>)> {
        Vec::new()
    }
    /// What is to be said at the end.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    OnItsWay,
    /// It has no tokens.
    Empty,
    /// It has so many tokens where there is room for so many.
    Overlong(usize, usize),
}

/// The model of a folder.
struct Local<'a> {
    chat: Chat<'a>,
    answers: Answers<'a>,
    rows: usize,
}

impl Answerer for Local<'_> {
    fn tokenizer(&self) -> Option<&Tokenizer> {
        Some(self.chat.tokenizer)
    }

    fn pending(&self) -> (usize, usize) {
        // Twice what runs at once: a row that ends finds another.
        (self.answers.pending(), 2 * self.rows)
    }

    fn ask(&mut self, row: u64, conversation: &Conversation) -> Result<Asked, StepError> {
        let prompt = self.chat.prompt(conversation)?;
        let (n, context) = (prompt.len(), self.answers.context());
        if prompt.is_empty() {
            return Ok(Asked::Empty);
        }
        if n >= context {
            return Ok(Asked::Overlong(n, context));
        }
        self.answers.ask(row, prompt)?;
        Ok(Asked::OnItsWay)
    }

    fn step(&mut self, _: &Cx<'_>) -> Result<Vec<(u64, Vec<Answer>)>, StepError> {
        self.answers.step(&mut |_, _| {})
    }
}

/// Asks about every record of the input `data`, or of this step's part of it.
pub(crate) fn ask_all(asking: &Asking<'_>, cx: &mut Cx<'_>) -> Result<(), StepError> {
    let settings = &asking.settings;
    check_names(settings.kind, settings.columns, asking.prompt.as_ref())?;
    if let Some(server) = cx.server("model").cloned() {
        let mut asker = Asker::new(server, settings, template_file(cx))?;
        return pass(asking, &mut asker, cx);
    }
    let folder = ModelFolder::open(cx.input("model")?)?;
    let template = folder.template_of(template_file(cx), settings.template)?;
    let how = How { stop_ids: folder.stop_ids(&template), ..settings.how.clone() };
    let context = model::context(&folder.config, settings.max_seq_len);
    let answers = Answers::load(&folder, how, cx.device()?, context, settings.rows)?;
    let chat = Chat { tokenizer: &folder.tokenizer, template: &template };
    pass(asking, &mut Local { chat, answers, rows: settings.rows }, cx)
}

fn pass(
    asking: &Asking<'_>,
    answerer: &mut dyn Answerer,
    cx: &mut Cx<'_>,
) -> Result<(), StepError> {
    let input = cx.input("data")?.to_owned();
    let n = count_lines(&input, cx)?;
    let range = cx.shard.map_or(0..n, |it| it.range(n));
    let mut texts = Texts::open(&input, asking.settings.columns)?;
    texts.skip(range.start)?;
    let mut pump = Pump {
        asking,
        answerer,
        queue: VecDeque::new(),
        asked: BTreeMap::new(),
        counts: Counts::default(),
        synced: Instant::now(),
        output: Output::create(cx.output("data")?)?,
        progress: Progress::new("records", Some(range.end - range.start)),
    };
    let result = pump.all(&mut texts, range.end, cx);
    // What was answered is kept however it ended.
    for (row, answers) in pump.answerer.close() {
        pump.answered(row, &answers, cx)?;
    }
    cx.memo.sync()?;
    result?;
    let (counts, notes) = (pump.counts, pump.answerer.notes());
    pump.output.finish()?;
    let n = range.end - range.start;
    let asked = counts.asked;
    (cx.report)(Say::Note(format!("asked about {asked} of {n} records")));
    notes.into_iter().for_each(|it| (cx.report)(Say::Note(it)));
    cx.count("records", n);
    cx.count("prompt_tokens", counts.prompt_tokens);
    cx.count("tokens", counts.tokens);
    cx.count("stopped", counts.stopped);
    cx.count("overlong", counts.overlong);
    Ok(())
}

/// Records on their way through the model, in order.
struct Pump<'a> {
    asking: &'a Asking<'a>,
    answerer: &'a mut dyn Answerer,
    queue: VecDeque<Waiting>,
    /// Records that were asked about and not yet answered, by the row's name.
    asked: BTreeMap<u64, Digest>,
    counts: Counts,
    synced: Instant,
    output: Output,
    progress: Progress,
}

/// A record that waits for its answers, and for those before it.
struct Waiting {
    map: Object<String, Value>,
    digest: Digest,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    asked: u64,
    prompt_tokens: u64,
    tokens: u64,
    stopped: u64,
    overlong: u64,
}

/// So many records may wait for one before them.
const MOST_WAITING: usize = 4096;
/// What a kill costs at most, where the step has no `checkpoint`.
pub(crate) const SYNC_EVERY: Duration = Duration::from_secs(1);

impl Pump<'_> {
    fn all(&mut self, texts: &mut Texts<'_>, end: u64, cx: &mut Cx<'_>) -> Result<(), StepError> {
        loop {
            cx.check_stop()?;
            while texts.line() < end && self.wants() {
                cx.check_stop()?;
                self.enter(texts, cx)?;
            }
            self.leave(cx)?;
            if self.asked.is_empty() {
                if texts.line() >= end && self.queue.is_empty() {
                    break;
                }
                continue;
            }
            for (row, answers) in self.answerer.step(cx)? {
                self.answered(row, &answers, cx)?;
            }
            if self.synced.elapsed() >= cx.checkpoint.map_or(SYNC_EVERY, |it| it.every) {
                cx.memo.sync()?;
                self.synced = Instant::now();
            }
        }
        self.progress.say(cx);
        Ok(())
    }

    fn wants(&self) -> bool {
        let (pending, wanted) = self.answerer.pending();
        pending < wanted && self.queue.len() < MOST_WAITING
    }

    fn answered(&mut self, row: u64, answers: &[Answer], cx: &mut Cx<'_>) -> Result<(), StepError> {
        if let Some(digest) = self.asked.remove(&row) {
            keep(&digest, answers, cx)?;
            self.progress.did(1, cx);
        }
        Ok(())
    }

    /// A record comes in: asked about unless its answer is known or on its way.
    fn enter(&mut self, texts: &mut Texts<'_>, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let Asking { settings, prompt, form } = self.asking;
        let (into, tokenizer) = (settings.into, self.answerer.tokenizer());
        let read = texts.next(|record| {
            let mut map = record.map.clone();
            let subject = Subject { record, prompt: prompt.as_ref(), tokenizer, into };
            let conversation = form.question(&subject, &mut map)?;
            match record.map.contains_key(into) {
                true => Err(Unfit::field(into, "is there already")),
                false => Ok((map, conversation)),
            }
        })?;
        let Some((map, conversation)) = read else { return Ok(()) };
        let digest = Digest::of(texts.bytes());
        let row = short_digest(texts.bytes()) as u64;
        if self.asked.contains_key(&row) || known(&digest, cx)?.is_some() {
            self.progress.skipped(cx);
        } else {
            match self.answerer.ask(row, &conversation)? {
                Asked::OnItsWay => {
                    self.asked.insert(row, digest);
                    self.counts.asked += 1;
                }
                Asked::Empty => {
                    return Err(texts.mistake(None, "makes an empty prompt".to_owned()));
                }
                Asked::Overlong(n, _) if settings.on_overlong == OnOverlong::Skip => {
                    keep(&digest, &vec![overlong(n); settings.how.samples as usize], cx)?;
                    self.progress.did(1, cx);
                }
                Asked::Overlong(n, room) => {
                    let reason = format!("makes a prompt of {n} tokens; there is room for {room}");
                    return Err(texts.mistake(None, reason));
                }
            }
        }
        self.queue.push_back(Waiting { map, digest });
        Ok(())
    }

    /// The oldest records go out, as far as their answers are there.
    fn leave(&mut self, cx: &mut Cx<'_>) -> Result<(), StepError> {
        while let Some(it) = self.queue.front() {
            let Some(answers) = known(&it.digest, cx)? else { break };
            let Some(mut it) = self.queue.pop_front() else { break };
            for answer in &answers {
                self.counts.tokens += answer.tokens as u64;
                self.counts.prompt_tokens += answer.prompt_tokens as u64;
                self.counts.stopped += u64::from(answer.finish_reason == "stop");
                self.counts.overlong += u64::from(answer.finish_reason == OVERLONG);
            }
            self.asking.form.add(&mut it.map, self.asking.settings.into, &answers);
            let line = serde_json::to_vec(&it.map);
            self.output.line(&line.expect("texts and finite numbers are always JSON"))?;
        }
        Ok(())
    }
}

const OVERLONG: &str = "overlong";

/// What stands for the answer to a question that was too long.
pub(crate) fn overlong(prompt_tokens: usize) -> Answer {
    let (text, finish_reason) = (String::new(), OVERLONG.to_owned());
    let (tokens, logprob, weighed_tokens) = (0, Some(0.0), None);
    Answer { text, finish_reason, prompt_tokens, tokens, logprob, weighed_tokens }
}

/// The conversation, up to where the model shall go on.
pub(crate) fn question(record: Record<'_>) -> Result<Conversation, Unfit> {
    record.conversation()?.without_last_answer().map_err(|it| Unfit::new(it.to_string()))
}

fn keep(record: &Digest, answers: &[Answer], cx: &mut Cx<'_>) -> Result<(), StepError> {
    let asked = answers.iter().filter(|it| it.finish_reason != OVERLONG);
    let read = asked.clone().next().map_or(0, |it| it.prompt_tokens);
    let tokens = (read + asked.map(|it| it.tokens).sum::<usize>()) as u64;
    (cx.report)(Say::Spent { tokens });
    let kept = serde_json::to_vec(answers).expect("texts and finite numbers are always JSON");
    cx.memo.put(record, &kept)
}

fn known(record: &Digest, cx: &mut Cx<'_>) -> Result<Option<Vec<Answer>>, StepError> {
    let Some(kept) = cx.memo.get(record)? else { return Ok(None) };
    let wrong = |it: serde_json::Error| StepError::Memo { reason: it.to_string() };
    serde_json::from_slice(&kept).map(Some).map_err(wrong)
}

/// Adds the fields that every answer has.
pub(crate) fn add(map: &mut Object<String, Value>, into: &str, answers: &[Answer]) {
    let mut put = |name: String, of: &dyn Fn(&Answer) -> Value| {
        map.insert(name, each(answers, of));
    };
    put(into.to_owned(), &|it| it.text.as_str().into());
    put(format!("{into}_finish_reason"), &|it| it.finish_reason.as_str().into());
    put(format!("{into}_tokens"), &|it| it.tokens.into());
    put(format!("{into}_prompt_tokens"), &|it| it.prompt_tokens.into());
    put(format!("{into}_logprob"), &|it| it.logprob.into());
}

/// A value of the only answer, or the list of those of all.
pub(crate) fn each(answers: &[Answer], of: &dyn Fn(&Answer) -> Value) -> Value {
    match answers {
        [one] => of(one),
        many => many.iter().map(of).collect(),
    }
}

/// The parameters of the kinds that ask as the method's authors do, and what they come to.
macro_rules! asking_params {
    ($kind:literal, $into:literal { $($own:tt)* }) => {
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct Params {
            $($own)*
            /// The longest answer, in tokens.
            #[serde(default = "default_max_new_tokens")]
            #[schemars(range(min = 1))]
            max_new_tokens: usize,
            /// How freely tokens are picked; 0 always takes the likeliest.
            #[serde(default = "default_temperature")]
            temperature: f32,
            /// Only the likeliest tokens that have this much probability together.
            #[serde(default = "default_top_p")]
            top_p: f32,
            /// How much less likely a token becomes that occurred already.
            #[serde(default = "default_repetition_penalty")]
            repetition_penalty: f32,
            /// How many answers to each record.
            #[serde(default = "default_samples")]
            #[schemars(range(min = 1, max = 4096))]
            samples: u32,
            /// Texts that end an answer.
            #[serde(default)]
            stop: Vec<String>,
            /// The name of a built-in chat template; nothing: the model's own.
            template: Option<String>,
            /// What the data calls the fields, by our names.
            #[serde(default)]
            columns: $crate::model::record::Columns,
            /// The field for the text, and the first part of the names of the others.
            #[serde(default = "default_into")]
            into: String,
            /// The longest prompt and answer together; nothing: what the model was made for.
            #[schemars(range(min = 2))]
            max_seq_len: Option<usize>,
            /// What becomes of a prompt that leaves no room for an answer.
            #[serde(default)]
            on_overlong: $crate::asking::OnOverlong,
            /// How many answers are on their way at once.
            #[serde(default = "default_rows")]
            #[schemars(range(min = 1, max = 4096))]
            rows: usize,
        }

        fn default_max_new_tokens() -> usize {
            1024
        }

        fn default_temperature() -> f32 {
            0.5
        }

        fn default_top_p() -> f32 {
            0.95
        }

        fn default_repetition_penalty() -> f32 {
            1.2
        }

        fn default_samples() -> u32 {
            1
        }

        fn default_into() -> String {
            $into.to_owned()
        }

        fn default_rows() -> usize {
            32
        }

        impl Params {
            fn settings(&self, seed: u64) -> $crate::asking::Settings<'_> {
                let stop_texts = self.stop.iter().filter(|it| !it.is_empty()).cloned().collect();
                $crate::asking::Settings {
                    kind: $kind,
                    how: $crate::model::How {
                        sampling: $crate::model::Sampling {
                            temperature: self.temperature,
                            top_p: self.top_p,
                            repetition_penalty: self.repetition_penalty,
                            ..$crate::model::Sampling::GREEDY
                        },
                        seed,
                        max_new_tokens: self.max_new_tokens,
                        min_new_tokens: 0,
                        samples: self.samples,
                        stop_ids: Vec::new(),
                        stop_texts,
                    },
                    template: self.template.as_deref(),
                    columns: &self.columns,
                    into: &self.into,
                    max_seq_len: self.max_seq_len,
                    on_overlong: self.on_overlong,
                    rows: self.rows,
                }
            }
        }
    };
}
pub(crate) use asking_params;
