//! `kun annotate`: people judge data or models on a page that this machine serves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ::annotate::{AnnotateError, Draft, Form, Journal, Key, Role, Source, bundle, serve, take};
use serde_json::json;

use crate::args::Answer;
use crate::exit::Exit;
use crate::printer::{GOOD, NAME, Printer};
use crate::trouble::Trouble;

/// Let people judge data or compare models, on a page that is served here
///
/// With `--from` a study is made: one file that holds what is asked, of whom, and from then on all that
/// they say. Every annotator has a link of their own. A vote is on the disk before the next item
/// shows; start the command again at any time and it goes on. No name of a model or a source reaches
/// the page. The kind `annotations` makes tables of the file.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The study: a file of JSON lines
    study: PathBuf,
    /// Make the study from these records: a source or a model, and its file (may be repeated)
    #[arg(long, value_name = "NAME=FILE")]
    from: Vec<String>,
    /// `quality`, `pairwise`, `pairwise-ties`, or a file in TOML
    #[arg(long, value_name = "FORM", default_value = "quality", requires = "from")]
    form: String,
    /// Who is asked, with commas between
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "from")]
    annotators: Vec<String>,
    /// How many people are asked about each item (default: 3, or all where there are fewer)
    #[arg(long, value_name = "N", requires = "from")]
    raters: Option<usize>,
    /// The share of items that each is shown a second time, unannounced
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, requires = "from")]
    repeats: f64,
    /// Who is asked about what the others do not agree on
    #[arg(long, value_name = "NAME", requires = "from")]
    adjudicator: Option<String>,
    /// The seed of orders and sides
    #[arg(long, default_value_t = 0, requires = "from")]
    seed: u64,
    /// Where to listen; anything but this machine lets others reach the page
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// Serve nothing; write a page for each annotator that needs no server into this folder
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["take", "status"])]
    bundle: Option<PathBuf>,
    /// Serve nothing; take a file of answers that such a page gave back (may be repeated)
    #[arg(long, value_name = "FILE", conflicts_with = "status")]
    take: Vec<PathBuf>,
    /// Serve nothing; say how far everybody is
    #[arg(long)]
    status: bool,
    #[command(flatten)]
    answer: Answer,
}

pub(crate) fn run(args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    if !args.from.is_empty() {
        make(&args, printer)?;
    } else if !args.study.exists() {
        let what = format!("there is no study `{}`", args.study.display());
        return Err(Trouble::helped(what, "`--from NAME=FILE` makes one from records"));
    }
    if args.status {
        return status(&args, printer);
    }
    let mut journal = Journal::open(&args.study).map_err(trouble)?;
    if !args.take.is_empty() {
        return taken(&args, &mut journal, printer);
    }
    match &args.bundle {
        Some(folder) => bundled(&args, folder, &journal, printer),
        None => served(&args, journal, printer),
    }
}

fn trouble(error: AnnotateError) -> Trouble {
    match error {
        AnnotateError::Io { path, source } if source.kind() != std::io::ErrorKind::NotFound => {
            Trouble::io(&path, source)
        }
        it => Trouble::user(engine::error::chain(&it)),
    }
}

fn make(args: &Args, printer: &Printer) -> Result<(), Trouble> {
    if args.study.exists() {
        let what = format!("there is a study `{}` already", args.study.display());
        return Err(Trouble::helped(what, "leave out `--from`, and it goes on"));
    }
    let source = |it: &String| match it.split_once('=') {
        Some((name, path)) if !name.is_empty() => {
            Ok(Source { name: name.to_owned(), path: PathBuf::from(path) })
        }
        _ => Err(Trouble::user(format!("`--from {it}`: expected NAME=FILE"))),
    };
    let sources = args.from.iter().map(source).collect::<Result<Vec<_>, _>>()?;
    if args.annotators.is_empty() {
        return Err(Trouble::helped("nobody is asked", "`--annotators ana,bo,chen` says who"));
    }
    let mut draft = Draft::new(form(&args.form)?, sources, args.annotators.clone());
    draft.head.raters = args.raters.unwrap_or(draft.head.raters);
    (draft.head.repeats, draft.head.seed) = (args.repeats, args.seed);
    draft.head.adjudicator = args.adjudicator.clone();
    let study = ::annotate::create(&args.study, &draft).map_err(trouble)?;
    let (n, k) = (study.units.len(), study.head.raters);
    let path = args.study.display();
    printer.act(GOOD, "Made", format_args!("{path}: {n} to be asked, each of {k}"));
    Ok(())
}

fn form(name: &str) -> Result<Form, Trouble> {
    if let Some(it) = Form::built_in(name) {
        return Ok(it);
    }
    let path = Path::new(name);
    if !path.exists() {
        let names: Vec<&str> = Form::names().collect();
        let help = format!("the forms are {}, or a file", names.join(", "));
        return Err(Trouble::helped(format!("no form `{name}`"), help));
    }
    let text = std::fs::read_to_string(path).map_err(|it| Trouble::io(path, it))?;
    Form::parse(name, &text).map_err(trouble)
}

fn status(args: &Args, printer: &Printer) -> Result<Exit, Trouble> {
    let seats = Journal::seen(&args.study).map_err(trouble)?;
    let disputed = (0..seats.study.units.len()).filter(|it| seats.is_disputed(*it)).count();
    let each = || seats.all().iter().map(|it| (it, it.n_done(), seats.n_asked(it)));
    if args.answer.json {
        let one = |(it, done, asked): (&::annotate::Seat, usize, usize)| {
            let adjudicator = it.role == Role::Adjudicator;
            json!({ "name": it.name, "done": done, "asked": asked, "adjudicator": adjudicator })
        };
        let all: Vec<_> = each().map(one).collect();
        printer.json(&json!({ "annotators": all, "disputed": disputed }));
        return Ok(Exit::Good);
    }
    let width = seats.all().iter().map(|it| it.name.chars().count()).max().unwrap_or(0);
    for (it, done, asked) in each() {
        printer.data(format_args!("{:width$}  {done} of {asked}", it.name));
    }
    printer.say(format_args!("{disputed} disputed"));
    Ok(Exit::Good)
}

fn taken(args: &Args, journal: &mut Journal, printer: &Printer) -> Result<Exit, Trouble> {
    for path in &args.take {
        let text = std::fs::read(path).map_err(|it| Trouble::io(path, it))?;
        let wrong = |it: AnnotateError| match trouble(it) {
            Trouble::User { what, help } => {
                Trouble::User { what: format!("`{}`: {what}", path.display()), help }
            }
            it => it,
        };
        let it = take(journal, &text).map_err(wrong)?;
        let (new, known, other) = (it.new, it.known, it.other);
        let file = path.display();
        printer.act(GOOD, "Took", format_args!("{file}: {new} new, {known} known"));
        if other > 0 {
            printer.warn(format_args!("{file}: {other} answered otherwise before, which stays"));
        }
    }
    Ok(Exit::Good)
}

fn bundled(
    args: &Args,
    folder: &Path,
    journal: &Journal,
    printer: &Printer,
) -> Result<Exit, Trouble> {
    std::fs::create_dir_all(folder).map_err(|it| Trouble::io(folder, it))?;
    let mut files = Vec::new();
    for seat in journal.seats().all() {
        let path = folder.join(format!("{}.html", seat.name));
        let page = bundle(journal.seats(), &seat.name).unwrap_or_default();
        std::fs::write(&path, page).map_err(|it| Trouble::io(&path, it))?;
        files.push(path);
    }
    match args.answer.json {
        true => printer.json(&json!({ "pages": files })),
        false => files.iter().for_each(|it| printer.data(it.display())),
    }
    Ok(Exit::Good)
}

fn served(args: &Args, journal: Journal, printer: &Printer) -> Result<Exit, Trouble> {
    let key = Key::of(&args.study).map_err(trouble)?;
    let at = |it| Trouble::Io { path: args.bind.to_string(), source: it };
    let server = serve(args.bind, journal, key).map_err(at)?;
    let address = server.address().map_err(at)?;
    if !address.ip().is_loopback() {
        printer.warn("others can reach this page; whoever has a link can answer with it");
    }
    let link = |(name, path): &(String, String)| (name.clone(), format!("http://{address}{path}"));
    let links: Vec<(String, String)> = server.paths().iter().map(link).collect();
    match args.answer.json {
        true => {
            let all: serde_json::Map<_, _> =
                links.into_iter().map(|(name, it)| (name, it.into())).collect();
            printer.json(&json!({ "links": all }));
        }
        false => links.iter().for_each(|it| printer.data(format_args!("{}  {}", it.0, it.1))),
    }
    printer.act(NAME, "Serving", "until Ctrl-C; every vote is kept at once");
    server.run();
    Ok(Exit::Good)
}
