//! Shows a run on a terminal: bars for what goes on, a line for what has happened. Where standard
//! error is no terminal there are only lines, and few of them.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use engine::events::{End, Event, Reuse, Sink};
use engine::time;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::printer::{BAD, FAINT, GOOD, NAME, Printer, Talk, WARNING, acted};
use crate::words;

/// Without a terminal, how often a step may say how far it is.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Writes events as JSON lines on standard output.
pub(crate) struct JsonLines<'a>(pub(crate) &'a Printer);

impl Sink for JsonLines<'_> {
    fn take(&mut self, event: &Event) {
        self.0.json(event);
    }
}

/// Shows events to a person.
pub(crate) struct Screen<'a> {
    printer: &'a Printer,
    bars: Option<MultiProgress>,
    /// How many steps are done, below the bars of those that run.
    overall: Option<ProgressBar>,
    running: BTreeMap<String, Running>,
    /// How long ago the next event happened.
    ago: Duration,
    /// What is over and done is not worth a line any more.
    past: bool,
}

struct Running {
    began: Instant,
    said: Instant,
    bar: Option<ProgressBar>,
    /// Units done when the step first said how many: they are not this run's.
    first_done: Option<u64>,
}

impl<'a> Screen<'a> {
    pub(crate) fn new(printer: &'a Printer) -> Self {
        let live = std::io::stderr().is_terminal() && printer.talk == Talk::Normal;
        Self {
            printer,
            bars: live.then(MultiProgress::new),
            overall: None,
            running: BTreeMap::new(),
            ago: Duration::ZERO,
            past: false,
        }
    }

    /// Takes an event that happened some time ago; without a line of its own, if it is long `past`.
    pub(crate) fn take_late(&mut self, event: &Event, ago: Duration, past: bool) {
        (self.ago, self.past) = (ago, past);
        self.take(event);
        (self.ago, self.past) = (Duration::ZERO, false);
    }

    fn line(&self, text: String) {
        match &self.bars {
            _ if self.past => {}
            Some(bars) => bars.suspend(|| self.printer.say(text)),
            None => self.printer.say(text),
        }
    }

    /// What went wrong is said even when quiet.
    fn bad_line(&self, text: String) {
        match &self.bars {
            Some(bars) => bars.suspend(|| self.printer.complain(text)),
            None => self.printer.complain(text),
        }
    }

    fn begin(&mut self, n_steps: usize) {
        self.overall = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(n_steps as u64).with_prefix("Steps"));
            let style =
                ProgressStyle::with_template("{prefix:>12.cyan} {pos}/{len} {wide_bar:.dim}");
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("━━ "));
            }
            bar.tick();
            bar
        });
    }

    /// One step less to do, however it ended.
    fn count(&self, event: &Event) {
        let Some(overall) = &self.overall else { return };
        match event {
            Event::StepReused { .. }
            | Event::StepDone { .. }
            | Event::StepFailed { .. }
            | Event::StepStopped { .. }
            | Event::StepSkipped { .. } => overall.inc(1),
            Event::RunEnded { .. } => overall.finish_and_clear(),
            _ => {}
        }
    }

    fn start(&mut self, step: &str, message: &str) {
        let bar = self.bars.as_ref().map(|bars| {
            let style =
                ProgressStyle::with_template("{prefix:>12.cyan} {wide_msg} {elapsed:>4.dim}");
            let bar = ProgressBar::no_length().with_prefix("Running").with_elapsed(self.ago);
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar.set_message(message.to_owned());
            bar.enable_steady_tick(Duration::from_millis(500));
            match &self.overall {
                Some(overall) => bars.insert_before(overall, bar),
                None => bars.add(bar),
            }
        });
        let now = Instant::now();
        let began = now.checked_sub(self.ago).unwrap_or(now);
        self.running.insert(step.to_owned(), Running { began, said: began, bar, first_done: None });
    }

    fn stop(&mut self, step: &str) {
        let shards = format!("{step} shard ");
        let gone: Vec<String> = self
            .running
            .keys()
            .filter(|it| *it == step || it.starts_with(&shards))
            .cloned()
            .collect();
        for it in gone {
            if let Some(Running { bar: Some(bar), .. }) = self.running.remove(&it) {
                bar.finish_and_clear();
            }
        }
    }

    fn progress(
        &mut self,
        step: &str,
        (done, skipped): (u64, u64),
        total: Option<u64>,
        unit: &str,
    ) {
        if !self.running.contains_key(step) {
            self.start(step, step);
        }
        let Some(running) = self.running.get_mut(step) else { return };
        let first = *running.first_done.get_or_insert(skipped);
        let seconds = running.began.elapsed().as_secs_f64();
        let text = format!("{step} {}", far((done, first.max(skipped)), total, unit, seconds));
        match &running.bar {
            Some(bar) => {
                if let Some(total) = total {
                    bar.set_length(total);
                }
                bar.set_position(done);
                bar.set_message(text);
            }
            None if running.said.elapsed() > LINE_EVERY => {
                running.said = Instant::now();
                self.printer.act(NAME, "At", text);
            }
            None => {}
        }
    }

    fn failed(&mut self, step: &str, reason: &str, log: &str, tail: &[String]) {
        self.stop(step);
        self.bad_line(acted(BAD, "Failed", format!("{step}: {reason}")));
        for line in tail {
            self.bad_line(format!("             {FAINT}|{FAINT:#} {line}"));
        }
        if std::fs::metadata(log).is_ok_and(|it| it.len() > 0) {
            self.bad_line(acted(FAINT, "log", words::near(std::path::Path::new(log))));
        }
    }
}

impl Sink for Screen<'_> {
    fn take(&mut self, event: &Event) {
        self.count(event);
        match event {
            Event::RunStarted { n_steps, n_cached, n_stale, n_maybe, .. } => {
                if n_stale + n_maybe > 0 {
                    let text = plan_line(*n_steps, *n_cached, *n_stale, *n_maybe);
                    self.line(acted(GOOD, "Plan", text));
                    self.begin(n_stale + n_maybe);
                }
            }
            Event::StepWaiting { step, holder, orphan } => {
                let help = if *orphan { " (`--break-orphans` ends it)" } else { "" };
                self.line(acted(NAME, "Waiting", format!("{step}: made by {holder}{help}")));
            }
            Event::StepReused { step, how, .. } => {
                let how = match how {
                    Reuse::CutOff => "what it reads came out as it was",
                    Reuse::Elsewhere => "made by another process",
                };
                self.line(acted(GOOD, "Same", format!("{step}: {how}")));
            }
            Event::StepStarted { step, why, shards, shards_done, .. } => {
                let shards = match (shards, shards_done) {
                    (1, _) => String::new(),
                    (n, 0) => format!(" in {n} shards"),
                    (n, done) => format!(" in {n} shards, {done} done before"),
                };
                // On a terminal the bar says so, and goes when the step is done.
                if self.bars.is_none() {
                    self.line(acted(NAME, "Running", format!("{step}{shards}: {why}")));
                }
                self.start(step, &format!("{step}{shards}: {why}"));
            }
            Event::StepProgress { step, done, total, unit, skipped } => {
                self.progress(step, (*done, *skipped), *total, unit);
            }
            Event::StepNote { step, text } => {
                self.line(acted(NAME, "Note", format!("{step}: {text}")));
            }
            Event::StepRetried { step, attempt, wait_ms, reason } => {
                let wait = time::duration(*wait_ms);
                let text = format!("{step}: attempt {attempt}: {reason}; again in {wait}");
                self.line(acted(WARNING, "Retry", text));
            }
            Event::StepDone { step, took_ms, counts, .. } => {
                self.stop(step);
                let counts: Vec<String> = counts.iter().map(|(k, v)| format!("{k} {v}")).collect();
                let counts = if counts.is_empty() {
                    String::new()
                } else {
                    format!(", {}", counts.join(", "))
                };
                let text = format!("{step} in {}{counts}", time::duration(*took_ms));
                self.line(acted(GOOD, "Done", text));
            }
            Event::StepFailed { step, reason, log, tail } => self.failed(step, reason, log, tail),
            Event::StepStopped { step } => {
                self.stop(step);
                self.line(acted(WARNING, "Stopped", format!("{step}: what it had done is kept")));
            }
            Event::StepSkipped { step, because } => {
                self.line(acted(WARNING, "Skipped", format!("{step}: {because}")));
            }
            Event::Stopping { now } => {
                let text = if *now {
                    "killing what runs"
                } else {
                    "asking steps to stop (again: kill them)"
                };
                self.line(acted(WARNING, "Stopping", text));
            }
            Event::BudgetReached { what, limit } => {
                let text = format!("the budget is used up: `{what}` is {limit}");
                self.line(acted(WARNING, "Stopping", text));
            }
            Event::Exported { path, kept, .. } => {
                if let Some(kept) = kept {
                    let text = format!("`{path}` had been edited: it is kept as `{kept}`");
                    self.line(acted(WARNING, "Kept", text));
                }
            }
            Event::Warning { text } => match &self.bars {
                Some(bars) => bars.suspend(|| self.printer.warn(text)),
                None => self.printer.warn(text),
            },
            Event::RunEnded { end: End::Failed, .. } => self.bad_line(ended(event)),
            Event::RunEnded { .. } => self.line(ended(event)),
        }
    }
}

/// How far something is, how fast it goes, and how long it will take; what was there before does not
/// count for how fast.
pub(crate) fn far(
    (done, before): (u64, u64),
    total: Option<u64>,
    unit: &str,
    seconds: f64,
) -> String {
    let rate = done.saturating_sub(before) as f64 / seconds.max(0.001);
    let left = total.map(|it| it.saturating_sub(done)).filter(|_| rate > 0.0);
    let eta = left.map(|it| time::duration((it as f64 / rate * 1000.0) as u64));
    let of = total.map(|it| format!("/{it}")).unwrap_or_default();
    let eta = eta.map(|it| format!(", {it} left")).unwrap_or_default();
    format!("{done}{of} {unit}, {rate:.0}/s{eta}")
}

/// What a run will do, in one line.
pub(crate) fn plan_line(n_steps: usize, n_cached: usize, n_stale: usize, n_maybe: usize) -> String {
    let maybe = if n_maybe > 0 { format!(", {n_maybe} may run") } else { String::new() };
    let (steps, runs) = (words::count(n_steps, "step"), if n_stale == 1 { "runs" } else { "run" });
    format!("{steps}: {n_cached} cached, {n_stale} {runs}{maybe}")
}

fn ended(event: &Event) -> String {
    let Event::RunEnded { end, n_ran, n_reused, n_failed, n_skipped, n_stopped, took_ms } = event
    else {
        return String::new();
    };
    let took = time::duration(*took_ms);
    if *end == End::Good && *n_ran == 0 {
        let text = format!("nothing to run, {n_reused} reused in {took}");
        return acted(GOOD, "Finished", text);
    }
    let said = [
        (n_failed, "failed"),
        (n_stopped, "stopped"),
        (n_skipped, "not run"),
        (n_ran, "ran"),
        (n_reused, "reused"),
    ];
    let parts: Vec<String> =
        said.iter().filter(|it| *it.0 > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let text = format!("{} in {took}", parts.join(", "));
    match end {
        End::Good => acted(GOOD, "Finished", text),
        End::Failed => acted(BAD, "Finished", text),
        End::Interrupted => {
            acted(WARNING, "Interrupted", format!("{text}; the same command goes on from here"))
        }
        End::Budget => {
            acted(WARNING, "Stopped", format!("{text}; the same command goes on with a new budget"))
        }
    }
}
