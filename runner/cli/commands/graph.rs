//! `kun graph`: the steps as a picture, for Graphviz, for Mermaid, or as it stands in SVG.

use engine::planning::Standing;
use report::graph::{Class, Node, Picture};

use crate::args::Common;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::project::{self, Opened};
use crate::trouble::Trouble;

/// Draw the steps and what they read
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest, then targets; nothing: the workflow's own targets
    #[arg(value_name = "TARGET")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
    /// The language of the picture
    #[arg(long, value_enum, default_value_t = Format::Dot, conflicts_with = "json")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For Graphviz
    Dot,
    /// For Markdown
    Mermaid,
    /// A picture
    Svg,
    /// Nodes and edges
    Json,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.common.manifest.take_from(&mut args.words);
    let opened = project::open(&args.common, args.words.clone())?;
    let printed = picture(&opened);
    let format = if args.common.answer.json { Format::Json } else { args.format };
    let text = match format {
        Format::Dot => report::graph::dot(&printed),
        Format::Mermaid => report::graph::mermaid(&printed),
        Format::Svg => report::svg::svg(&printed),
        Format::Json => report::graph::json(&printed),
    };
    printer.data(text.trim_end());
    Ok(Exit::Good)
}

/// Sources first, then steps, in the order in which they can run.
pub(super) fn picture(opened: &Opened) -> Picture {
    // Programs' own files are sources too, and no data: they are left out.
    let inputs = || opened.graph.instances.iter().flat_map(|it| it.inputs.values().flatten());
    let mut read: Vec<usize> = inputs()
        .filter_map(|it| if let plan::Input::Source(n) = it { Some(*n) } else { None })
        .collect();
    read.sort_unstable();
    read.dedup();
    let n_sources = read.len();
    let mut picture = Picture { title: opened.workflow.name().to_owned(), ..Picture::default() };
    for n in &read {
        let label = engine::facts::source_name(&opened.graph.sources[*n]);
        picture.nodes.push(Node { label, class: Class::Source });
    }
    for (i, instance) in opened.graph.instances.iter().enumerate() {
        let class = match &opened.planned.standings[i] {
            Standing::Cached => Class::Cached,
            Standing::NotNeeded => Class::Step,
            Standing::Stale(_) | Standing::MaybeCutOff => Class::Stale,
        };
        picture.nodes.push(Node { label: instance.address.to_string(), class });
        let mut from: Vec<usize> = instance
            .inputs
            .values()
            .flatten()
            .map(|input| match input {
                plan::Input::Output { instance, .. } => n_sources + instance.0,
                plan::Input::Source(n) => read.partition_point(|it| it < n),
            })
            .collect();
        from.sort_unstable();
        from.dedup();
        picture.edges.extend(from.into_iter().map(|it| (it, n_sources + i)));
    }
    picture
}
