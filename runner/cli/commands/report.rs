//! `kun report`: the newest results of a workflow as one HTML file, with how they were made.

use std::path::{Path, PathBuf};

use ::report::chart::{Bar, Chart, Marks, Span};
use ::report::page::{Block, Cell, Language, Page, Section, Table, file_name, files};
use ::report::tensorboard::events;
use plan::InstanceId;
use plan::kind::Form;
use steps::StepError;
use steps::reporting::{Item, Manner, scalars, sections};
use store::Record;

use crate::args::Common;
use crate::exit::Exit;
use crate::last::{Last, Lasts};
use crate::printer::Printer;
use crate::project::{self, Opened};
use crate::trouble::Trouble;
use crate::words;

/// Write what the newest results say, and how they were made, as one HTML file
///
/// Nothing is run. The page asks no network and runs no script; beside it are the same as Markdown, each
/// table as CSV and JSON, and each figure as SVG.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest, then targets; nothing: the workflow's own targets
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
    let opened = project::open(&args.common, args.words.clone())?;
    let (page, items) = page(&opened, &args)?;
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
        false => printer.data(words::near(&index)),
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

/// A step with its newest result.
struct Made {
    address: String,
    last: Option<Last>,
}

fn page(opened: &Opened, args: &Args) -> Result<(Page, Vec<Item>), Trouble> {
    let lasts = Lasts::new(opened)?;
    let (mut made, mut items) = (Vec::new(), Vec::new());
    for (i, instance) in opened.graph.instances.iter().enumerate() {
        let (id, address) = (InstanceId(i), instance.address.to_string());
        let last = lasts.of(id)?;
        if let Some(last) = &last {
            items.extend(told(&lasts, (id, &address), last)?);
        }
        made.push(Made { address, last });
    }
    let language = if args.language == In::Zh { Language::Chinese } else { Language::English };
    let manner = Manner { language, samples: args.samples };
    let wrong = |it: StepError| Trouble::user(engine::error::chain(&it));
    let mut sections = sections(&items, manner, &mut |_| {}).map_err(wrong)?;
    sections.push(how(opened, &made, words_of(language)));
    let page = Page {
        title: opened.workflow.name().to_owned(),
        about: String::new(),
        language,
        warnings: warnings(&made, words_of(language)),
        sections,
    };
    Ok((page, items))
}

/// The outputs of a result that a report may have a use for.
fn told(
    lasts: &Lasts<'_>,
    (id, address): (InstanceId, &str),
    last: &Last,
) -> Result<Vec<Item>, Trouble> {
    let limits = if last.as_asked { lasts.limits(id)? } else { Vec::new() };
    // What came in as it was; else what went on, under the same id.
    let records: Vec<PathBuf> =
        [lasts.input(id, last, "data"), lasts.output(last, "data")].into_iter().flatten().collect();
    let mut items = Vec::new();
    for (slot, output) in &last.record.outputs {
        if !matches!(output.form, Form::Metrics | Form::Records) {
            continue;
        }
        if let Some(path) = lasts.output(last, slot) {
            let (name, records) = (address.to_owned(), records.clone());
            items.push(Item { name, path, records, limits: limits.clone() });
        }
    }
    Ok(items)
}

/// The words of this part, in a language.
struct Words {
    how: &'static str,
    steps: &'static str,
    step: &'static str,
    result: &'static str,
    fresh: &'static str,
    stale: &'static str,
    missing: &'static str,
    seconds: &'static str,
    processor: &'static str,
    memory: &'static str,
    counts: &'static str,
    times: &'static str,
    sources: &'static str,
    source: &'static str,
    digest: &'static str,
    made_by: &'static str,
    stale_about: &'static str,
    missing_about: &'static str,
}

fn words_of(language: Language) -> &'static Words {
    match language {
        Language::English => &Words {
            how: "How it was made",
            steps: "Steps",
            step: "step",
            result: "result",
            fresh: "as asked",
            stale: "stale",
            missing: "none",
            seconds: "seconds",
            processor: "processor, s",
            memory: "memory, MiB",
            counts: "counted",
            times: "When each step ran",
            sources: "What it was made from",
            source: "source",
            digest: "digest",
            made_by: "made by",
            stale_about: "These results are of an earlier state of the workflow:",
            missing_about: "These steps have no result yet:",
        },
        Language::Chinese => &Words {
            how: "如何得到",
            steps: "步骤",
            step: "步骤",
            result: "结果",
            fresh: "与清单一致",
            stale: "已过期",
            missing: "无",
            seconds: "秒",
            processor: "处理器时间（秒）",
            memory: "内存（MiB）",
            counts: "计数",
            times: "各步骤运行时间",
            sources: "数据来源",
            source: "来源",
            digest: "摘要",
            made_by: "由以下版本得到",
            stale_about: "以下结果来自工作流的旧状态：",
            missing_about: "以下步骤尚无结果：",
        },
    }
}

fn warnings(made: &[Made], words: &Words) -> Vec<String> {
    let named = |about: &str, wanted: &dyn Fn(&Made) -> bool| {
        let all: Vec<&str> =
            made.iter().filter(|it| wanted(it)).map(|it| it.address.as_str()).collect();
        (!all.is_empty()).then(|| format!("{about} {}", all.join(", ")))
    };
    let stale = named(words.stale_about, &|it| it.last.as_ref().is_some_and(|it| !it.fresh));
    let missing = named(words.missing_about, &|it| it.last.is_none());
    stale.into_iter().chain(missing).collect()
}

fn how(opened: &Opened, made: &[Made], words: &Words) -> Section {
    let mut blocks = vec![Block::Picture {
        title: words.steps.to_owned(),
        svg: ::report::svg::svg(&super::graph::picture(opened)),
    }];
    blocks.extend(times(made, words).map(Block::Chart));
    blocks.push(Block::Table(steps_table(made, words)));
    blocks.push(Block::Table(sources(opened, words)));
    let mut versions: Vec<String> = made
        .iter()
        .filter_map(|it| it.last.as_ref())
        .map(|it| format!("kun {} · {}", it.record.kun, it.record.host))
        .collect();
    versions.sort();
    versions.dedup();
    blocks.push(Block::Text(format!("{} {}", words.made_by, versions.join(", "))));
    Section { title: words.how.to_owned(), blocks }
}

/// Results of one run beside each other in time; of several only how long each took.
fn times(made: &[Made], words: &Words) -> Option<Chart> {
    let records: Vec<(&str, &Record)> = made
        .iter()
        .filter_map(|it| Some((it.address.as_str(), &it.last.as_ref()?.record)))
        .collect();
    let first = records.iter().map(|it| it.1.started).min()?;
    let last = records.iter().map(|it| it.1.started + it.1.took_ms).max()?;
    let sum: u64 = records.iter().map(|it| it.1.took_ms).sum();
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let span = |(name, it): &(&str, &Record)| Span {
        name: (*name).to_owned(),
        start: seconds(it.started - first),
        end: seconds(it.started - first + it.took_ms),
        note: format!("{} s", seconds(it.took_ms)),
    };
    let bar = |(name, it): &(&str, &Record)| Bar {
        name: (*name).to_owned(),
        value: seconds(it.took_ms),
        interval: None,
    };
    let marks = match last - first <= 2 * sum + 1000 {
        true => Marks::Spans(records.iter().map(span).collect()),
        false => Marks::Bars(records.iter().map(bar).collect()),
    };
    let (x, y) = (words.seconds.to_owned(), words.seconds.to_owned());
    Some(Chart { title: words.times.to_owned(), x, y, marks })
}

fn steps_table(made: &[Made], words: &Words) -> Table {
    let row = |it: &Made| {
        let Some(last) = &it.last else {
            return vec![Cell::text(&it.address), Cell::text(words.missing)];
        };
        let record = &last.record;
        let counts: Vec<String> =
            record.counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
        vec![
            Cell::text(&it.address),
            Cell::text(if last.fresh { words.fresh } else { words.stale }),
            Cell::Number(record.took_ms as f64 / 1000.0, 1),
            Cell::Number(record.cpu_ms as f64 / 1000.0, 1),
            Cell::Number(record.peak_bytes as f64 / f64::from(1 << 20), 0),
            Cell::text(counts.join(", ")),
            Cell::text(record.key.to_string()),
        ]
    };
    let columns = [
        words.step,
        words.result,
        words.seconds,
        words.processor,
        words.memory,
        words.counts,
        words.digest,
    ];
    Table {
        title: words.steps.to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: made.iter().map(row).collect(),
    }
}

fn sources(opened: &Opened, words: &Words) -> Table {
    let row = |(i, source): (usize, &plan::graph::Source)| {
        let digest = opened.gathered.facts.sources[i].map(|it| it.to_string());
        vec![
            Cell::text(engine::facts::source_name(source)),
            Cell::text(source.path.display().to_string()),
            Cell::text(digest.unwrap_or_default()),
        ]
    };
    let columns = [words.source, "", words.digest];
    Table {
        title: words.sources.to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: opened.graph.sources.iter().enumerate().map(row).collect(),
    }
}
