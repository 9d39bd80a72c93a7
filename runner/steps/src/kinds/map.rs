//! `map`: a program makes one record out of each record, and no record is made twice.
//!
//! ```toml
//! [steps.tagged]
//! op     = "map"
//! in     = { data = "${steps.clean.data}" }
//! with   = { run = ["python3", "scripts/tag.py"], same = ["id"] }
//! code   = ["scripts/tag.py"]
//! shards = 4
//! ```
//!
//! The program is started once and is a filter: each record is one line of its standard input, and
//! for each it writes exactly one line to its standard output, in order, and flushes. What it
//! writes to standard error is the step's log. It may read ahead and answer in batches, up to
//! `window` records: one that reads more before it answers (some read blocks of 4 KiB) waits for
//! input that does not come, so give it a larger `window`. At the end of its input it ends with
//! status 0. It starts in a folder of its own, finds the files of `code` there under their paths in
//! the project, and of the environment only what the step's `env` names.
//!
//! Each answer is kept under the content of its record, the program, its arguments, `env` and the
//! files in `code`. A later run asks only about records that are new, wherever they stand, and a run that
//! was killed goes on where it was. Equal records get one answer. The program must therefore answer
//! from the record alone: not from the ones before it, the clock or the network.
//!
//! `same` names fields that the answer must repeat from the record. Use it: a program that once
//! writes a line too many shifts all later answers, and `same` notices at once. Without it that is
//! noticed when answers outnumber records, at the latest at the end; answers of that run are then
//! withdrawn. So they are when the program ends with a status other than 0.
//!
//! An answer that is missing, too long or no UTF-8 stops the step and names the record; what was
//! answered before is kept.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use plan::kind::{Arity, Form, Port, Slot};
use plan::{Digest, KindSpec};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map as Object, Value};

use crate::filter::{Bounds, Fault, Filter, UNASKED};
use crate::page::page;
use crate::records::{Lines, Output, Progress, count_lines};
use crate::{Cx, Kind, Say, StepError, params_of};

pub(crate) struct Map;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The program and its arguments.
    run: Vec<String>,
    /// Fields that the answer must repeat unchanged; then both are JSON objects.
    #[serde(default)]
    same: Vec<String>,
    /// How many records may be on their way at once.
    #[serde(default = "default_window")]
    #[schemars(range(min = 1, max = 65_536))]
    window: usize,
    /// How many of the program run at once; nothing: one for each `cpu` in `use`.
    #[schemars(range(min = 1, max = 1024))]
    copies: Option<usize>,
    /// The longest answer.
    #[serde(default = "default_max_line_bytes")]
    #[schemars(range(min = 1))]
    max_line_bytes: usize,
}

fn default_window() -> usize {
    64
}

fn default_max_line_bytes() -> usize {
    16 << 20
}

impl Kind for Map {
    const SPEC: KindSpec = KindSpec {
        name: "map",
        version: 1,
        about: "make one record out of each with a program, each once",
        page: page!("map.rs"),
        inputs: &[Port { name: "data", arity: Arity::One, about: "the records" }],
        outputs: &[Slot { name: "data", form: Form::Records, about: "the answers, in order" }],
        unkeyed: &["window", "copies", "max_line_bytes"],
        shards: Some("data"),
        runs_programs: true,
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        if params.run.is_empty() {
            let reason = "`run` is empty".to_owned();
            return Err(StepError::Params { kind: "map", reason });
        }
        let input = cx.input("data")?.to_owned();
        let n = count_lines(&input, cx)?;
        let range = cx.shard.map_or(0..n, |it| it.range(n));
        let mut lines = Lines::open(&input)?;
        lines.skip(range.start)?;
        let copies = params.copies.unwrap_or(cx.threads).max(1);
        let mut pump = Pump {
            params,
            copies: (0..copies).map(|_| Copy::default()).collect(),
            queue: VecDeque::new(),
            bytes: 0,
            on_the_way: HashSet::new(),
            n_asked: 0,
            synced: Instant::now(),
            // Room for all on their way, so that asking never waits.
            bounds: Bounds {
                window: params.window * copies + 1,
                max_line_bytes: params.max_line_bytes,
            },
            output: Output::create(cx.output("data")?)?,
            progress: Progress::new("records", Some(range.end - range.start)),
        };
        let result = pump.all(&mut lines, range.end, cx);
        // What was answered is kept however it ended.
        cx.memo.sync()?;
        result?;
        let asked = pump.n_asked;
        pump.output.finish()?;
        let n = range.end - range.start;
        (cx.report)(Say::Note(format!("asked about {asked} of {n} records")));
        cx.count("records", n);
        Ok(())
    }
}

/// Records on their way through the program, in order.
struct Pump<'a> {
    params: &'a Params,
    copies: Vec<Copy>,
    queue: VecDeque<Pending>,
    /// The size of the queue's lines.
    bytes: usize,
    /// Records that were asked about and not yet answered.
    on_the_way: HashSet<Digest>,
    n_asked: u64,
    /// When the memo was last made durable.
    synced: Instant,
    bounds: Bounds,
    output: Output,
    progress: Progress,
}

/// One of the programs; it is started when there is a record to ask about.
#[derive(Default)]
struct Copy {
    filter: Option<Filter>,
    unanswered: usize,
    /// What this copy answered, to withdraw it should it turn out to be out of step.
    answered: Vec<Digest>,
}

struct Pending {
    line: u64,
    digest: Digest,
    /// The record's size, and the record itself where fields of it are compared.
    size: usize,
    question: Vec<u8>,
    from: From,
}

enum From {
    /// The memo, before or, for the twin of a record on its way, by the time it is its turn.
    Memo,
    /// The copy with this number.
    Copy(usize),
}

/// More than this is never on its way, but for one record.
const MAX_BYTES_ON_THE_WAY: usize = 64 << 20;
/// What a kill costs at most, where the step has no `checkpoint`.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// The first byte of a kept answer: one that stands, or one that was withdrawn.
const STANDS: u8 = 1;
const WITHDRAWN: u8 = 0;

impl Pump<'_> {
    /// Takes all records up to line `end`.
    fn all(&mut self, lines: &mut Lines, end: u64, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let room = self.params.window * self.copies.len();
        let mut line = Vec::new();
        while lines.line < end {
            cx.check_stop()?;
            lines.next(&mut line)?;
            self.enter(lines, &line, cx)?;
            while self.queue.len() >= room
                || (self.bytes > MAX_BYTES_ON_THE_WAY && self.queue.len() > 1)
            {
                self.leave(cx)?;
            }
        }
        // A program that reads in blocks answers the last of them only now.
        self.copies.iter_mut().filter_map(|it| it.filter.as_mut()).for_each(Filter::end_questions);
        while !self.queue.is_empty() {
            cx.check_stop()?;
            self.leave(cx)?;
        }
        self.progress.say(cx);
        self.finish(cx)
    }

    /// A record comes in: asked about unless its answer is known or on its way.
    fn enter(&mut self, lines: &Lines, line: &[u8], cx: &mut Cx<'_>) -> Result<(), StepError> {
        let digest = Digest::of(line);
        let known = self.on_the_way.contains(&digest) || answer_of(&digest, cx)?.is_some();
        let mut it = Pending {
            line: lines.line,
            digest,
            size: line.len(),
            question: Vec::new(),
            from: From::Memo,
        };
        if known {
            self.progress.skipped(cx);
        } else {
            if std::str::from_utf8(line).is_err() {
                return Err(lines.mistake(None, "the record is not UTF-8".to_owned()));
            }
            if !self.params.same.is_empty() {
                it.question = line.to_vec();
            }
            it.from = From::Copy(self.ask(line.to_vec())?);
            self.on_the_way.insert(digest);
        }
        self.bytes += it.size;
        self.queue.push_back(it);
        Ok(())
    }

    /// Asks the copy that has least to do.
    fn ask(&mut self, question: Vec<u8>) -> Result<usize, StepError> {
        let least = self.copies.iter().enumerate().min_by_key(|(_, it)| it.unanswered);
        let i = least.map_or(0, |(i, _)| i);
        let copy = &mut self.copies[i];
        if copy.filter.is_none() {
            let filter = Filter::start(&self.params.run, self.bounds)?;
            copy.filter = Some(filter);
        }
        if let Some(it) = &copy.filter {
            it.ask(question);
        }
        copy.unanswered += 1;
        self.n_asked += 1;
        Ok(i)
    }

    /// The oldest record goes out, once its answer is there.
    fn leave(&mut self, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let Some(it) = self.queue.pop_front() else { return Ok(()) };
        self.bytes -= it.size;
        let answer = match it.from {
            From::Copy(i) => self.take_answer(i, &it, cx)?,
            From::Memo => answer_of(&it.digest, cx)?.ok_or_else(|| StepError::Memo {
                reason: format!("the answer for record {} is gone", it.line),
            })?,
        };
        self.output.line(&answer)
    }

    fn take_answer(
        &mut self,
        i: usize,
        it: &Pending,
        cx: &mut Cx<'_>,
    ) -> Result<Vec<u8>, StepError> {
        let copy = &mut self.copies[i];
        let Some(filter) = &mut copy.filter else {
            return Err(StepError::Memo { reason: "a record was asked of nobody".to_owned() });
        };
        let answer = filter.answer(cx.stop).map_err(|fault| filter.error(fault, Some(it.line)))?;
        copy.unanswered -= 1;
        let out_of_step = match out_of_step(&self.params.same, &it.question, &answer) {
            Some(reason) => Some(reason),
            None if copy.unanswered == 0 && filter.spoke_unasked() => Some(UNASKED.to_owned()),
            None => None,
        };
        if let Some(reason) = out_of_step {
            let error = filter.error(Fault::Did(reason), Some(it.line));
            self.withdraw(i, cx)?;
            return Err(error);
        }
        copy.answered.push(it.digest);
        self.on_the_way.remove(&it.digest);
        let mut kept = Vec::with_capacity(answer.len() + 1);
        kept.push(STANDS);
        kept.extend_from_slice(&answer);
        cx.memo.put(&it.digest, &kept)?;
        let sync_every = cx.checkpoint.map_or(SYNC_EVERY, |it| it.every);
        if self.synced.elapsed() >= sync_every {
            cx.memo.sync()?;
            self.synced = Instant::now();
        }
        self.progress.did(1, cx);
        Ok(answer)
    }

    /// All copies end well, or what they answered is withdrawn.
    fn finish(&mut self, cx: &mut Cx<'_>) -> Result<(), StepError> {
        for i in 0..self.copies.len() {
            let Some(filter) = self.copies[i].filter.take() else { continue };
            let name = self.params.run[0].clone();
            match filter.finish(cx.stop) {
                Ok(()) => {}
                Err(Fault::Stopped) => return Err(StepError::Stopped),
                Err(Fault::Did(reason)) => {
                    self.withdraw(i, cx)?;
                    return Err(StepError::Program { program: name, reason, line: None });
                }
            }
        }
        Ok(())
    }

    /// Forgets what a copy answered in this run.
    fn withdraw(&mut self, i: usize, cx: &mut Cx<'_>) -> Result<(), StepError> {
        for it in self.copies[i].answered.drain(..) {
            cx.memo.put(&it, &[WITHDRAWN])?;
        }
        Ok(())
    }
}

/// The answer that is kept for a record.
fn answer_of(record: &Digest, cx: &mut Cx<'_>) -> Result<Option<Vec<u8>>, StepError> {
    Ok(cx.memo.get(record)?.and_then(|it| match it.split_first() {
        Some((&STANDS, answer)) => Some(answer.to_vec()),
        _ => None,
    }))
}

/// Why an answer cannot belong to its question.
fn out_of_step(same: &[String], question: &[u8], answer: &[u8]) -> Option<String> {
    if same.is_empty() {
        return None;
    }
    let object = |it| serde_json::from_slice::<Object<String, Value>>(it).ok();
    let Some(question) = object(question) else {
        return Some("was asked with a record that is not a JSON object".to_owned());
    };
    let Some(answer) = object(answer) else {
        return Some("answered with a line that is not a JSON object".to_owned());
    };
    let name = same.iter().find(|name| question.get(*name) != answer.get(*name))?;
    let show = |it: Option<&Value>| it.map_or("nothing".to_owned(), Value::to_string);
    let (was, is) = (show(question.get(name)), show(answer.get(name)));
    Some(format!("answered with `{name}` {is}, asked with {was}"))
}

#[cfg(test)]
mod tests;
