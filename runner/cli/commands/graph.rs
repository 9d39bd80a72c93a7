//! `kun graph`: the steps as a picture, for Graphviz, for Mermaid, or as it stands in SVG.

use engine::planning::Standing;
use report::graph::{Class, Node, Picture};

use crate::args::Common;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::project;
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
    #[arg(long, value_enum, default_value_t = Format::Dot)]
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
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.common.take_manifest(&mut args.words);
    let opened = project::open(&args.common, args.words.clone())?;
    let mut picture = Picture::new(opened.workflow.name());
    for (i, instance) in opened.graph.instances.iter().enumerate() {
        let class = match &opened.planned.standings[i] {
            Standing::Cached => Class::Cached,
            Standing::NotNeeded => Class::NotNeeded,
            Standing::Stale(_) => Class::Stale,
            Standing::MaybeCutOff => Class::Maybe,
        };
        picture.node(Node { id: format!("s{i}"), label: instance.address.to_string(), class });
        for input in instance.inputs.values().flatten() {
            match input {
                plan::Input::Output { instance, .. } => picture.edge(format!("s{}", instance.0), format!("s{i}")),
                plan::Input::Source(n) => picture.edge(format!("f{n}"), format!("s{i}")),
            }
        }
    }
    for (n, source) in opened.graph.sources.iter().enumerate() {
        let label = engine::facts::source_name(source);
        picture.node(Node { id: format!("f{n}"), label, class: Class::Source });
    }
    let text = match args.format {
        Format::Dot => picture.dot(),
        Format::Mermaid => picture.mermaid(),
        Format::Svg => picture.svg(),
    };
    printer.data(text.trim_end());
    Ok(Exit::Good)
}
