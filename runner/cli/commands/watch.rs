//! `kun watch`: what another terminal's run does, as that terminal shows it.

use std::thread::sleep;
use std::time::Duration;

use engine::events::{Event, Sink as _};
use engine::follow::Follow;
use engine::runs::Kept;
use engine::time;

use crate::args::{Answer, Manifest};
use crate::exit::Exit;
use crate::last;
use crate::printer::{FAINT, Printer, WARNING};
use crate::progress::{JsonLines, Screen};
use crate::project;
use crate::trouble::Trouble;

const EVERY: Duration = Duration::from_millis(300);
/// Of what was over before, no more events have a line.
const PAST: usize = 30;

/// Watch a run from another terminal
///
/// Shows what `kun run` shows, of a run that was started anywhere: what happened, how far each step is,
/// how long it will take. It only reads; ending it ends nothing else. When the run ends, so does it, with
/// the run's exit code. `kun report --serve` shows the same run on a page.
#[derive(Debug, clap::Args)]
#[command(override_usage = "kun watch [OPTIONS] [MANIFEST] [RUN]")]
pub(crate) struct Args {
    /// The run (default: the newest; `last~1` is the one before)
    #[arg(num_args = 0..=2, value_name = "RUN")]
    words: Vec<String>,
    #[command(flatten)]
    at: Manifest,
    #[command(flatten)]
    answer: Answer,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.at.take_from(&mut args.words);
    let name = match args.words.as_slice() {
        [] => "last",
        [it] => it,
        _ => return Err(Trouble::user("expected one run")),
    };
    let home = project::home(&args.at)?;
    let (folder, id) = (home.runs(), last::run(&home, name)?);
    let io = |it| Trouble::io(&folder.join(&id), it);
    let mut follow = Follow::open(&folder, &id).map_err(io)?;
    let mut shown = Shown::new(&args, printer);
    shown.printer.act(FAINT, "Run", &id);
    loop {
        // Asked before the news: what is written last is written while it still goes on.
        let goes_on = follow.goes_on();
        if let Some(end) = shown.news(&follow.news().map_err(io)?) {
            return Ok(end);
        }
        if !goes_on {
            let text = "it was killed; `kun run` goes on from where it was";
            printer.act(WARNING, "Interrupted", text);
            return Ok(Exit::Interrupted);
        }
        for event in follow.progress() {
            shown.progress(event);
        }
        sleep(EVERY);
    }
}

/// What was said so far.
struct Shown<'a> {
    printer: &'a Printer,
    screen: Screen<'a>,
    json: bool,
    /// Progress that was told: JSON lines say it once.
    told: Vec<Event>,
    /// Whether what was over before this command began has been told.
    began: bool,
}

impl<'a> Shown<'a> {
    fn new(args: &Args, printer: &'a Printer) -> Self {
        let screen = Screen::new(printer);
        Self { printer, screen, json: args.answer.json, told: Vec::new(), began: false }
    }

    /// The exit code, if the run ended.
    fn news(&mut self, news: &[Kept]) -> Option<Exit> {
        let past = if self.began { 0 } else { news.len().saturating_sub(PAST) };
        self.began = true;
        let now = time::now_ms();
        for (i, it) in news.iter().enumerate() {
            if self.json {
                self.printer.json(it);
            } else {
                let ago = Duration::from_millis(now.saturating_sub(it.at));
                self.screen.take_late(&it.event, ago, i < past);
            }
        }
        news.iter().find_map(|it| match &it.event {
            Event::RunEnded { end, .. } => Some((*end).into()),
            _ => None,
        })
    }

    fn progress(&mut self, event: Event) {
        if !self.json {
            self.screen.take(&event);
        } else if !self.told.contains(&event) {
            JsonLines(self.printer).take(&event);
            self.told.retain(|it| step(it) != step(&event));
            self.told.push(event);
        }
    }
}

fn step(event: &Event) -> Option<&str> {
    match event {
        Event::StepProgress { step, .. } => Some(step),
        _ => None,
    }
}
