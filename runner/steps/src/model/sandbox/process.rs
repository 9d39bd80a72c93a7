//! The side that asks: a template's processes, and what it means when one ends.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::process::Signal;
use serde_json::{Value as Json, json};

use super::codec;
use super::serve::{MEMORY_MIB, PROCESSOR_SECONDS};
use super::{Context, RenderError, Undefined};

/// How the program that renders is started.
pub struct Program {
    /// The program, and its arguments.
    pub command: Vec<OsString>,
    /// Its environment: what its allocator must know, since that reads it before anything else.
    pub environment: Vec<(&'static str, &'static str)>,
}

/// The program that renders, once it is known.
static PROGRAM: OnceLock<Program> = OnceLock::new();

/// What an answer holds besides the text: a reason, names.
const ANSWER_SLACK_BYTES: usize = 8 << 20;

/// From now on, templates of others are rendered by processes of this program, which calls
/// [`super::serve()`]. The first call counts.
pub fn render_apart(program: Program) {
    let _ = PROGRAM.set(program);
}

/// A template, and the processes that have compiled it and wait: one for each thread that renders
/// at the same time.
pub(in super::super) struct Sandbox {
    program: &'static Program,
    opening: Vec<u8>,
    undeclared: BTreeSet<String>,
    idle: Mutex<Vec<Process>>,
}

impl Sandbox {
    /// Compiles a template apart; none where no program is known that does it.
    pub(super) fn new(source: &str, undefined: Undefined) -> Result<Option<Self>, RenderError> {
        let Some(program) = PROGRAM.get() else { return Ok(None) };
        let mut opening = Vec::new();
        let strict = undefined == Undefined::Strict;
        codec::encode(&json!({ "source": source, "strict": strict }), &mut opening);
        let mut process = Process::start(program)?;
        let names = process.ask(&opening, ANSWER_SLACK_BYTES)?;
        let undeclared = names["undeclared"].as_array().into_iter().flatten();
        let undeclared = undeclared.filter_map(Json::as_str).map(str::to_owned).collect();
        Ok(Some(Self { program, opening, undeclared, idle: Mutex::new(vec![process]) }))
    }

    pub(super) fn undeclared(&self) -> &BTreeSet<String> {
        &self.undeclared
    }

    pub(super) fn render(
        &self,
        context: &Context<'_>,
        limit: usize,
    ) -> Result<String, RenderError> {
        let mut request = Vec::new();
        codec::encode_request(limit, context, &mut request);
        let mut process = self.process()?;
        let mut answer = process.ask(&request, limit.saturating_add(ANSWER_SLACK_BYTES))?;
        // Only a process that is well comes back.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(process);
        match answer["text"].take() {
            Json::String(text) => Ok(text),
            _ => Err(RenderError::of_process("its process answered without a text".to_owned())),
        }
    }

    fn process(&self) -> Result<Process, RenderError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(process) = idle {
            return Ok(process);
        }
        let mut process = Process::start(self.program)?;
        process.ask(&self.opening, ANSWER_SLACK_BYTES)?;
        Ok(process)
    }
}

/// A process that renders one template.
struct Process {
    child: Child,
    /// None once it was told that nothing more comes.
    to: Option<ChildStdin>,
    from: ChildStdout,
}

impl Process {
    fn start(program: &Program) -> Result<Self, RenderError> {
        let failed = |error: io::Error| {
            RenderError::of_process(format!("the process that renders does not start: {error}"))
        };
        let (name, arguments) =
            program.command.split_first().ok_or(io::ErrorKind::NotFound.into()).map_err(failed)?;
        let mut command = Command::new(name);
        command.args(arguments).env_clear().envs(program.environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A signal to our group is ours to answer; the process ends with its input.
        command.process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (to, from) = pipes.ok_or(io::ErrorKind::BrokenPipe.into()).map_err(failed)?;
        Ok(Self { child, to: Some(to), from })
    }

    fn ask(&mut self, request: &[u8], limit: usize) -> Result<Json, RenderError> {
        let answer = self.exchange(request, limit);
        let Ok(Some(answer)) = answer else { return Err(self.ended()) };
        let answer = codec::decode(&answer).map_err(|_| self.ended())?;
        match answer["reason"].as_str() {
            None => Ok(answer),
            Some(reason) => Err(RenderError {
                reason: reason.to_owned(),
                line: answer["line"].as_u64().and_then(|it| usize::try_from(it).ok()),
                undefined: answer["undefined"] == true,
            }),
        }
    }

    fn exchange(&mut self, request: &[u8], limit: usize) -> io::Result<Option<Vec<u8>>> {
        let to = self.to.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        codec::send(to, request)?;
        codec::receive(&mut self.from, limit)
    }

    /// Why there is no answer.
    fn ended(&mut self) -> RenderError {
        self.to = None;
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        let signal = self.child.wait().ok().and_then(|it| it.signal());
        let is = |it: Signal| signal == Some(it.as_raw());
        RenderError::of_process(if is(Signal::XCPU) {
            format!("computes for more than {PROCESSOR_SECONDS} s")
        } else if said.contains("overflowed its stack") {
            "nests too deep".to_owned()
        } else if is(Signal::ABORT) || is(Signal::SEGV) || is(Signal::BUS) {
            format!("needs more than {MEMORY_MIB} MiB of memory")
        } else {
            let said = said.lines().next().unwrap_or("without a word");
            format!("the process that renders ended: {said}")
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends with its input, also in the middle of a template.
        self.to = None;
        let _ = self.child.wait();
    }
}
