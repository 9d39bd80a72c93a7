//! `kun report`: the newest results of a workflow as one HTML file, with how they were made.

mod gather;
mod how;
mod live;
mod now;
mod since;
mod words;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ::report::page::{Language, Page, file_name, files};
use ::report::tensorboard::events;
use steps::StepError;
use steps::reporting::{Item, Manner, scalars, sections};

use crate::args::Common;
use crate::exit::Exit;
use crate::last;
use crate::printer::Printer;
use crate::project::{self, Opened};
use crate::reach::Reach;
use crate::trouble::Trouble;
use crate::words::near;

/// Write what the newest results say, and how they were made, as one HTML file
///
/// Nothing is run. The page asks no network and runs no script; beside it are the same as Markdown, each
/// table as CSV and JSON, and each figure as SVG. Of runs that are named (`kun report last~1 last`) it
/// tells the results side by side. With `--serve` the page follows what a run does, until Ctrl-C.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest, then targets or runs; nothing: the workflow's own targets
    #[arg(value_name = "TARGET")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
    /// The folder to write; what is in it of an earlier report is replaced
    #[arg(long, value_name = "FOLDER", default_value = "report")]
    out: PathBuf,
    /// The language of the words around the data
    #[arg(long, value_enum, default_value_t = In::En)]
    language: In,
    /// How many answers are shown beside their raw texts
    #[arg(long, value_name = "N", default_value_t = 20)]
    samples: usize,
    /// Write the curves of training as TensorBoard's event files too
    #[arg(long)]
    tensorboard: bool,
    /// Tell what changed since this run (`last~1` is the one before the newest)
    #[arg(long, value_name = "RUN")]
    since: Option<String>,
    /// Write nothing; serve the page, which follows the newest run while it goes on
    #[arg(
        long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:0",
        conflicts_with_all = ["tensorboard", "json"]
    )]
    serve: Option<SocketAddr>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum In {
    /// English
    En,
    /// Chinese
    Zh,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.common.manifest.take_from(&mut args.words);
    if let Some(address) = args.serve {
        return live::serve(args, address, printer);
    }
    if args.reach != Reach::default() {
        return Err(Trouble::helped(
            "nothing is served",
            "`--serve` does, and follows the newest run",
        ));
    }
    let (page, items) = page(&open(&args)?, &args, Vec::new())?;
    for (name, content) in files(&page) {
        write(&args.out.join(name), content.as_bytes())?;
    }
    if args.tensorboard {
        curves(&items, &args.out)?;
    }
    let index = args.out.join("index.html");
    match args.common.answer.json {
        true => printer.json(&serde_json::json!({
            "page": index, "sections": page.sections.len(), "warnings": page.warnings,
        })),
        false => printer.data(near(&index)),
    }
    Ok(Exit::Good)
}

/// One folder for each training run: that is what TensorBoard takes for a run.
fn curves(items: &[Item], out: &Path) -> Result<(), Trouble> {
    for item in items {
        let found = scalars(item).map_err(|it| Trouble::user(engine::error::chain(&it)))?;
        let Some(found) = found else { continue };
        let all: Vec<(&str, &[(f64, f64)])> =
            found.iter().map(|(name, points)| (name.as_str(), points.as_slice())).collect();
        let folder = out.join("tensorboard").join(file_name(&item.name));
        write(&folder.join("events.out.tfevents.0.kun"), &events(&all))?;
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> Result<(), Trouble> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|it| Trouble::io(folder, it))?;
    }
    std::fs::write(path, content).map_err(|it| Trouble::io(path, it))
}

/// The project; words that name runs are no targets.
fn open(args: &Args) -> Result<Opened, Trouble> {
    let targets = if runs(args)?.is_empty() { args.words.clone() } else { Vec::new() };
    project::open(&args.common, targets)
}

/// The runs that are named.
fn runs(args: &Args) -> Result<Vec<String>, Trouble> {
    let home = project::home(&args.common.manifest)?;
    let is_run = |it: &&String| last::is_run(&home, it);
    let found: Vec<String> = args.words.iter().filter(is_run).cloned().collect();
    match found.len() == args.words.len() || found.is_empty() {
        true => Ok(found),
        false => Err(Trouble::user("expected targets or runs, not both")),
    }
}

/// The page, and the outputs that it tells of; `more` are those that are not finished.
fn page(opened: &Opened, args: &Args, more: Vec<Item>) -> Result<(Page, Vec<Item>), Trouble> {
    let runs = runs(args)?;
    let mut gathered = match runs.is_empty() {
        true => gather::newest(opened)?,
        false => gather::of_runs(opened, &runs)?,
    };
    gathered.items.extend(more);
    let (made, items) = (gathered.made, gathered.items);
    let language = language(args);
    let words = words::of(language);
    let manner = Manner { language, samples: args.samples };
    let wrong = |it: StepError| Trouble::user(engine::error::chain(&it));
    let mut sections = sections(&items, manner, &mut |_| {}).map_err(wrong)?;
    let changes = since::sections(opened, (args.since.as_deref(), &runs), words)?;
    let at = sections.len().min(1);
    sections.splice(at..at, changes);
    sections.push(how::section(opened, &made, words));
    let page = Page {
        title: opened.workflow.name().to_owned(),
        about: opened.workflow.desc().to_owned(),
        language,
        warnings: how::warnings(opened, (&made, !runs.is_empty()), words),
        sections,
    };
    Ok((page, items))
}

fn language(args: &Args) -> Language {
    if args.language == In::Zh { Language::Chinese } else { Language::English }
}
