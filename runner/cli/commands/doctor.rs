//! `kun doctor`: what this machine has and what the store can do here.

use engine::execute::Local;
use engine::isolation;
use serde::Serialize;
use store::{Isolation, Store};

use crate::args::{Answer, Manifest, Results};
use crate::exit::Exit;
use crate::inside;
use crate::printer::{BAD, GOOD, Printer, WARNING, for_stdout};
use crate::project;
use crate::trouble::Trouble;

/// Show versions, processors, devices, drivers, disk and locks
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    at: Manifest,
    #[command(flatten)]
    results: Results,
    #[command(flatten)]
    answer: Answer,
}

/// One line of the answer.
#[derive(Debug, Serialize)]
struct Line {
    about: &'static str,
    state: State,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Good,
    Absent,
    Bad,
}

pub(crate) fn run(args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    let mut lines = machine();
    lines.extend(store_lines(&args.at, &args.results)?);
    let bad = lines.iter().any(|it| it.state == State::Bad);
    if args.answer.json {
        printer.json(&lines);
    } else {
        for line in &lines {
            let (style, word) = match line.state {
                State::Good => (GOOD, "ok"),
                State::Absent => (WARNING, "none"),
                State::Bad => (BAD, "bad"),
            };
            let text = format!("{style}{word:>5}{style:#} {:<10} {}", line.about, line.text);
            printer.data(for_stdout(text));
        }
    }
    Ok(if bad { Exit::Failed } else { Exit::Good })
}

fn good(about: &'static str, text: impl Into<String>) -> Line {
    Line { about, state: State::Good, text: text.into() }
}

fn machine() -> Vec<Line> {
    let steps::machine::Cpu { isa, cores } = steps::machine::Cpu::here();
    let processor = format!("{cores} cores, {}, numerics {}", isa.word(), steps::numerics());
    let memory = steps::machine::memory_bytes() >> 20;
    let mut lines = vec![
        good("kun", env!("CARGO_PKG_VERSION")),
        good("machine", engine::host()),
        good("processor", processor),
        good("memory", format!("{memory} MiB")),
    ];
    let cuda = steps::machine::Cuda::here();
    match &cuda.devices {
        Ok(devices) if devices.is_empty() => {
            let text = "a driver, and no device".to_owned();
            lines.push(Line { about: "gpu", state: State::Absent, text });
        }
        Ok(devices) => lines.extend(devices.iter().map(|it| good("gpu", it.to_string()))),
        Err(why) => lines.push(Line { about: "gpu", state: State::Absent, text: why.to_string() }),
    }
    lines.push(match cuda.kernels() {
        Ok(arch) => good("kernels", format!("compiled for {arch} when a step with `use.gpu` runs")),
        Err(why) => Line { about: "kernels", state: State::Absent, text: why.to_string() },
    });
    lines.push(match cuda.driver {
        Some((major, minor)) => good("driver", format!("CUDA {major}.{minor}")),
        None => Line { about: "driver", state: State::Absent, text: "no CUDA driver".to_owned() },
    });
    lines.push(if cuda.nvrtc {
        good("nvrtc", "the run-time compiler of CUDA is there")
    } else {
        let text = "the run-time compiler of CUDA is not on this machine".to_owned();
        Line { about: "nvrtc", state: State::Absent, text }
    });
    lines
}

fn store_lines(at: &Manifest, results: &Results) -> Result<Vec<Line>, Trouble> {
    let here = std::env::current_dir().unwrap_or_default();
    let home = match project::find_manifest(at) {
        Ok(manifest) => {
            let manifest = here.join(manifest);
            engine::Home::of(manifest.parent().unwrap_or(&here))
        }
        Err(_) => {
            let text = "no manifest here: the store is not looked at".to_owned();
            return Ok(vec![Line { about: "project", state: State::Absent, text }]);
        }
    };
    let mut lines = vec![good("project", home.root.display().to_string())];
    let wanted = project::isolation()?;
    let probed = project::open_store(results, &home).and_then(|it| {
        let probe = it.probe()?;
        Ok((it, probe))
    });
    match probed {
        Err(error) => {
            let text = engine::error::chain(&error);
            lines.push(Line { about: "store", state: State::Bad, text });
        }
        Ok((store, probe)) => {
            inside::begin_again(&store, wanted)?;
            lines.push(good("store", store.root().display().to_string()));
            lines.push(good("disk", format!("{} MiB free", probe.free_bytes >> 20)));
            let word = |it: bool| if it { "yes" } else { "no" };
            let text = format!(
                "reflink {}, hard link {}, fsync in {} us",
                word(probe.reflink),
                word(probe.hard_link),
                probe.fsync_us
            );
            lines.push(good("links", text));
            let state = if probe.locks { State::Good } else { State::Bad };
            let text = if probe.locks { "work" } else { "do not work on this file system" };
            lines.push(Line { about: "locks", state, text: text.to_owned() });
            lines.push(inputs_line(&store, wanted));
        }
    }
    Ok(lines)
}

/// How steps get their inputs here, and what that costs.
fn inputs_line(store: &Store, wanted: Option<Isolation>) -> Line {
    let tried = isolation::choose(store, &Local, wanted)
        .and_then(|way| Ok((way, isolation::cost(store, &Local, way)?)));
    match tried {
        Ok((way, cost)) => {
            let word = match way {
                Isolation::Reflink => "clones that share blocks with objects".to_owned(),
                Isolation::Mount => "links below a read-only mount".to_owned(),
                Isolation::Copy => {
                    let most = store::COPIED_INPUT >> 20;
                    format!("copies up to {most} MiB, verified links above")
                }
                Isolation::Link => "verified links".to_owned(),
            };
            good("inputs", format!("{word}, {} us for a small one", cost.as_micros()))
        }
        Err(error) => {
            let text = engine::error::chain(&error);
            Line { about: "inputs", state: State::Bad, text }
        }
    }
}
