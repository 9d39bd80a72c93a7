//! One running program that answers lines: a question to its standard input, an answer from its
//! standard output, in order.
//!
//! Two threads stand between the kind and the pipes, so neither side can wait for the other while
//! the other waits for it: a question is taken at once as long as fewer than `window` are
//! unanswered, and answers are read while questions are still being written.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::StepError;

/// How often a wait looks whether the step is asked to stop.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a program that has closed its standard output may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// A program that was started.
pub(crate) struct Filter {
    program: String,
    child: Child,
    questions: Option<SyncSender<Vec<u8>>>,
    answers: Receiver<Answer>,
}

enum Answer {
    Line(Vec<u8>),
    TooLong,
    Broken(std::io::Error),
    End,
}

/// What a program did instead of answering.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The step is asked to stop.
    Stopped,
    /// A sentence that follows the program's name.
    Did(String),
}

/// The bounds of a conversation.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// How many questions may be unanswered.
    pub(crate) window: usize,
    /// The longest answer.
    pub(crate) max_line_bytes: usize,
}

impl Filter {
    /// Starts the program; its standard error is the step's.
    pub(crate) fn start(run: &[String], bounds: Bounds) -> Result<Self, StepError> {
        let program = run.first().cloned().unwrap_or_default();
        let cannot = |it: &dyn std::fmt::Display| StepError::Program {
            program: program.clone(),
            reason: format!("cannot be started: {it}"),
            line: None,
        };
        let mut child = Command::new(&program)
            .args(run.get(1..).unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|it| cannot(&it))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(cannot(&"it has no pipes"));
        };
        let (questions, to_write) = sync_channel(bounds.window);
        // One more for the end: the reader never waits for a kind that has stopped asking.
        let (read, answers) = sync_channel(bounds.window + 1);
        std::thread::spawn(move || write_questions(stdin, &to_write));
        std::thread::spawn(move || read_answers(stdout, &read, bounds.max_line_bytes));
        Ok(Self { program, child, questions: Some(questions), answers })
    }

    /// Asks; does not wait while fewer than `window` questions are unanswered.
    pub(crate) fn ask(&self, question: Vec<u8>) {
        if let Some(it) = &self.questions {
            // An error: the program has ended, which the next answer says with its reason.
            let _ = it.send(question);
        }
    }

    /// No more questions: the program sees the end of its input once it has read them all.
    pub(crate) fn end_questions(&mut self) {
        self.questions = None;
    }

    /// The next answer.
    pub(crate) fn answer(&mut self, stop: &dyn Fn() -> bool) -> Result<Vec<u8>, Fault> {
        match self.next(stop)? {
            Answer::Line(it) => match std::str::from_utf8(&it) {
                Ok(_) => Ok(it),
                Err(_) => Err(Fault::Did("answered with bytes that are not UTF-8".to_owned())),
            },
            Answer::TooLong => {
                Err(Fault::Did("answered with a line over `max_line_bytes`".to_owned()))
            }
            Answer::Broken(it) => Err(Fault::Did(format!("cannot be read from: {it}"))),
            Answer::End => {
                let status = self.wait(stop)?;
                Err(Fault::Did(format!("ended before it answered, with {status}")))
            }
        }
    }

    /// Whether something came to which there was no question.
    pub(crate) fn spoke_unasked(&self) -> bool {
        matches!(self.answers.try_recv(), Ok(Answer::Line(_) | Answer::TooLong))
    }

    /// Ends the conversation: no more questions, no more answers, a good end.
    pub(crate) fn finish(mut self, stop: &dyn Fn() -> bool) -> Result<(), Fault> {
        self.questions = None;
        match self.next(stop)? {
            Answer::End => {}
            Answer::Broken(it) => return Err(Fault::Did(format!("cannot be read from: {it}"))),
            Answer::Line(_) | Answer::TooLong => return Err(Fault::Did(UNASKED.to_owned())),
        }
        let status = self.wait(stop)?;
        if status.success() {
            return Ok(());
        }
        Err(Fault::Did(format!("ended with {status} after its last answer")))
    }

    /// A step error about what the program did.
    pub(crate) fn error(&self, fault: Fault, line: Option<u64>) -> StepError {
        match fault {
            Fault::Stopped => StepError::Stopped,
            Fault::Did(reason) => {
                StepError::Program { program: self.program.clone(), reason, line }
            }
        }
    }

    fn next(&self, stop: &dyn Fn() -> bool) -> Result<Answer, Fault> {
        loop {
            match self.answers.recv_timeout(LOOK_EVERY) {
                Ok(it) => return Ok(it),
                Err(RecvTimeoutError::Disconnected) => return Ok(Answer::End),
                Err(RecvTimeoutError::Timeout) if stop() => return Err(Fault::Stopped),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// The status of a program that has closed its standard output.
    fn wait(&mut self, stop: &dyn Fn() -> bool) -> Result<ExitStatus, Fault> {
        self.questions = None;
        let unknown = |it: std::io::Error| Fault::Did(format!("cannot be waited for: {it}"));
        let since = Instant::now();
        loop {
            if let Some(it) = self.child.try_wait().map_err(unknown)? {
                return Ok(it);
            }
            if stop() {
                return Err(Fault::Stopped);
            }
            if since.elapsed() > GRACE {
                self.child.kill().map_err(unknown)?;
                return self.child.wait().map_err(unknown);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What is said of answers without a question.
pub(crate) const UNASKED: &str = "answered with more lines than it was asked";

impl Drop for Filter {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes until there are no more questions or the program no longer reads; then closes the pipe.
fn write_questions(stdin: ChildStdin, questions: &Receiver<Vec<u8>>) {
    let mut pipe = BufWriter::with_capacity(1 << 16, stdin);
    while let Ok(first) = questions.recv() {
        // What else waits goes out with it, so many short lines are one system call.
        for it in std::iter::once(first).chain(questions.try_iter()) {
            if pipe.write_all(&it).and_then(|()| pipe.write_all(b"\n")).is_err() {
                return;
            }
        }
        if pipe.flush().is_err() {
            return;
        }
    }
}

fn read_answers(stdout: ChildStdout, answers: &SyncSender<Answer>, max_line_bytes: usize) {
    let mut pipe = BufReader::with_capacity(1 << 16, stdout);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut pipe).take(max_line_bytes as u64 + 1);
        let answer = match bounded.read_until(b'\n', &mut line) {
            Err(it) => Answer::Broken(it),
            Ok(0) => Answer::End,
            Ok(_) if line.last() == Some(&b'\n') => {
                line.pop();
                Answer::Line(line)
            }
            Ok(_) if line.len() > max_line_bytes => Answer::TooLong,
            Ok(_) => Answer::Line(line),
        };
        let last = !matches!(answer, Answer::Line(_));
        // An error: nobody listens any more.
        if answers.send(answer).is_err() || last {
            return;
        }
    }
}
