//! `kun annotate`: people judge data or models on a page that this machine serves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ::annotate::{
    AnnotateError, Did, Draft, Form, Format, Journal, Key, Recovered, Role, Source, Taken, bundle,
    key_of, recover, recovery_of, serve, take,
};
use serde_json::json;

use crate::args::Answer;
use crate::exit::Exit;
use crate::printer::{GOOD, NAME, Printer, Talk};
use crate::reach::{Reach, Served};
use crate::trouble::Trouble;

/// Let people judge data or compare models, on a page that is served here
///
/// With `--from` a study is made: one file that holds what is asked, of whom, and from then on all that
/// they say. Every annotator has a link of their own. A vote is on the disk before the next item
/// shows; start the command again at any time and it goes on. No name of a model or a source reaches
/// the page. The kind `annotations` makes tables of the file.
///
/// Where somebody else changes the file while it is served, as an editor or `git checkout` does, votes stop
/// to count, the page and the terminal say so, and all that was voted is kept in `STUDY.recovery`. End the
/// command, put the file in order, and `--recover` brings the votes back in.
///
/// Votes of people who were asked elsewhere, or of a model, are JSON lines: `annotator`; `by`, `person`,
/// `simulated` or `model`; `unit`, its name in the study, or `shown`, the texts that were shown, with
/// `source` or the two `models`; `answers` by question, where answers are compared a model's name, `tie` or
/// `both_bad`, or a side with `left`, the model that stood there; and, where they are known, `note`, `ms`, `at`.
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
    /// The seed of who is asked what, and in which order; sides rest on a secret beside the study
    #[arg(long, default_value_t = 0, requires = "from")]
    seed: u64,
    /// Where to listen; anything but this machine lets others reach the page, over TLS
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    #[command(flatten)]
    reach: Reach,
    /// Serve nothing; write a page for each annotator that needs no server into this folder
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["take", "import", "export", "away", "status"])]
    bundle: Option<PathBuf>,
    /// Serve nothing; take a file of answers that such a page gave back (may be repeated)
    #[arg(long, value_name = "FILE", conflicts_with = "status")]
    take: Vec<PathBuf>,
    /// Serve nothing; take votes of people asked elsewhere, or of a model: JSON lines (may be repeated)
    #[arg(long, value_name = "FILE", conflicts_with = "status")]
    import: Vec<PathBuf>,
    /// Serve nothing; write all votes: `.jsonl` as `--import` takes them, `.csv`, or `.json` for Label Studio
    #[arg(long, value_name = "FILE", conflicts_with = "status")]
    export: Option<PathBuf>,
    /// Serve nothing; somebody went away: others are asked what they were still to be asked
    #[arg(long, value_name = "NAME", conflicts_with = "status")]
    away: Option<String>,
    /// Serve nothing; bring the votes back in that were kept aside when the study's file was changed
    #[arg(long, conflicts_with_all = ["from", "take", "import", "export", "away", "status", "bundle"])]
    recover: bool,
    /// Serve nothing; say how far everybody is
    #[arg(long)]
    status: bool,
    #[command(flatten)]
    answer: Answer,
}

pub(crate) fn run(args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    if args.recover {
        return recovered(&args.study, printer);
    }
    let recovery = recovery_of(&args.study);
    if recovery.exists() && !args.status {
        let error = AnnotateError::Unrecovered { study: args.study.clone(), recovery };
        return Err(trouble(error));
    }
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
    if let Some((n, path)) = journal.torn() {
        let (study, path) = (args.study.display(), path.display());
        printer.warn(format_args!(
            "`{study}` ends with {n} bytes of a line that was cut off; they count for nothing, and go to \
             `{path}` when something is written"
        ));
    }
    if !args.take.is_empty() || !args.import.is_empty() {
        return taken(&args, &mut journal, printer);
    }
    if let Some(name) = &args.away {
        return away(name, &mut journal, printer);
    }
    if let Some(path) = &args.export {
        return exported(path, &journal, printer);
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
        it => {
            let help = match &it {
                AnnotateError::Unrecovered { study, .. } => Some(recovering(study)),
                AnnotateError::Stopped { study, .. } => Some(recovering(study)),
                _ => None,
            };
            Trouble::User { what: engine::error::chain(&it), help }
        }
    }
}

fn recovering(study: &Path) -> String {
    format!("`kun annotate {} --recover` brings them in", study.display())
}

fn recovered(study: &Path, printer: &Printer) -> Result<Exit, Trouble> {
    let Recovered { restored, new, known, other, file } = recover(study).map_err(|error| {
        let away = matches!(error, AnnotateError::Line { .. } | AnnotateError::OtherStudy { .. });
        match trouble(error) {
            Trouble::User { what, .. } if away => {
                let (study, recovery) = (study.display(), recovery_of(study));
                let recovery = recovery.display();
                let help = format!(
                    "put back the `{study}` that was served; or move it away, and `--recover` makes it anew from `{recovery}`"
                );
                Trouble::helped(what, help)
            }
            it => it,
        }
    })?;
    let (study, file) = (study.display(), file.display());
    let made = if restored { ", which was made whole" } else { "" };
    printer.act(GOOD, "Recovered", format_args!("{study}{made}: {new} new, {known} known"));
    for reason in &other {
        printer.warn(format_args!("not taken: {reason}"));
    }
    printer.say(format_args!("the votes that were kept aside lie in {file} now"));
    Ok(Exit::Good)
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
    let recovery = recovery_of(&args.study);
    if recovery.exists() {
        let (kept, how) = (recovery.display(), recovering(&args.study));
        printer.warn(format_args!("`{kept}` holds votes that may not be counted here; {how}"));
    }
    let seats = Journal::seen(&args.study).map_err(trouble)?;
    let disputed = (0..seats.study.units.len()).filter(|it| seats.is_disputed(*it)).count();
    let each = || seats.all().iter().map(|it| (it, it.n_done(), seats.n_asked(it)));
    if args.answer.json {
        let one = |(it, done, asked): (&::annotate::Seat, usize, usize)| {
            let adjudicator = it.role == Role::Adjudicator;
            json!({
                "name": it.name, "done": done, "asked": asked, "adjudicator": adjudicator,
                "away": it.is_away(),
            })
        };
        let all: Vec<_> = each().map(one).collect();
        printer.json(&json!({ "annotators": all, "disputed": disputed }));
        return Ok(Exit::Good);
    }
    let width = seats.all().iter().map(|it| it.name.chars().count()).max().unwrap_or(0);
    for (it, done, asked) in each() {
        let away = if it.is_away() { ", away" } else { "" };
        printer.data(format_args!("{:width$}  {done} of {asked}{away}", it.name));
    }
    let outside = seats.outside().len();
    if outside > 0 {
        printer.say(format_args!("{outside} votes from elsewhere"));
    }
    printer.say(format_args!("{disputed} disputed"));
    Ok(Exit::Good)
}

fn taken(args: &Args, journal: &mut Journal, printer: &Printer) -> Result<Exit, Trouble> {
    let key = match args.take.is_empty() {
        true => None,
        false => Some(kept_key(&args.study)?),
    };
    for (path, key) in args.take.iter().zip(key.iter().cycle()) {
        let text = std::fs::read(path).map_err(|it| Trouble::io(path, it))?;
        let wrong = |it: AnnotateError| match trouble(it) {
            Trouble::User { what, help } => {
                Trouble::User { what: format!("`{}`: {what}", path.display()), help }
            }
            it => it,
        };
        say_taken(path, take(journal, key, &text).map_err(wrong)?, printer);
    }
    for path in &args.import {
        say_taken(path, journal.import(path).map_err(trouble)?, printer);
    }
    Ok(Exit::Good)
}

/// The secret of a study that must have one.
fn kept_key(study: &Path) -> Result<Key, Trouble> {
    Key::kept(study).map_err(trouble)?.ok_or_else(|| {
        let what =
            format!("without `{}` nobody knows whose answers these are", key_of(study).display());
        Trouble::helped(
            what,
            "it is made with the first pages or links; bring it back beside the study",
        )
    })
}

/// The secret of a study, drawn where there is none.
fn key(study: &Path, printer: &Printer) -> Result<Key, Trouble> {
    if let Some(key) = Key::kept(study).map_err(trouble)? {
        return Ok(key);
    }
    let key = Key::make(study).map_err(trouble)?;
    let path = key_of(study);
    let what =
        "the secret behind links, sides and pages; keep it beside the study, and to yourself";
    printer.act(GOOD, "Made", format_args!("{}: {what}", path.display()));
    Ok(key)
}

fn say_taken(path: &Path, it: Taken, printer: &Printer) {
    let (new, known, other) = (it.new, it.known, it.other);
    let file = path.display();
    printer.act(GOOD, "Took", format_args!("{file}: {new} new, {known} known"));
    if other > 0 {
        printer.warn(format_args!("{file}: {other} answered otherwise before, which stays"));
    }
}

fn away(name: &str, journal: &mut Journal, printer: &Printer) -> Result<Exit, Trouble> {
    let did = Did::Left { annotator: name.to_owned() };
    journal.record(did).map_err(trouble)?.map_err(Trouble::user)?;
    printer.act(GOOD, "Handed on", format_args!("what `{name}` was still to be asked"));
    let short = journal.seats().n_short();
    if short > 0 {
        printer.warn(format_args!(
            "{short} have fewer people than was settled: all others are asked already"
        ));
    }
    Ok(Exit::Good)
}

fn exported(path: &Path, journal: &Journal, printer: &Printer) -> Result<Exit, Trouble> {
    let ending = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
    let format = Format::of(ending).ok_or_else(|| {
        let what = format!("`{}`: no format of votes ends so", path.display());
        Trouble::helped(what, "there are `.jsonl`, `.csv`, and `.json` for Label Studio")
    })?;
    let text = ::annotate::export(journal.seats(), format);
    std::fs::write(path, text).map_err(|it| Trouble::io(path, it))?;
    printer.act(GOOD, "Wrote", path.display());
    Ok(Exit::Good)
}

fn bundled(
    args: &Args,
    folder: &Path,
    journal: &Journal,
    printer: &Printer,
) -> Result<Exit, Trouble> {
    std::fs::create_dir_all(folder).map_err(|it| Trouble::io(folder, it))?;
    let key = key(&args.study, printer)?;
    let mut files = Vec::new();
    for seat in journal.seats().all() {
        let path = folder.join(format!("{}.html", seat.name));
        let page = bundle(journal.seats(), &key, &seat.name).unwrap_or_default();
        std::fs::write(&path, page).map_err(|it| Trouble::io(&path, it))?;
        files.push(path);
    }
    match args.answer.json {
        true => printer.json(&json!({ "pages": files })),
        false => files.iter().for_each(|it| printer.data(it.display())),
    }
    Ok(Exit::Good)
}

fn tls_name(study: &Path) -> std::ffi::OsString {
    let mut name = study.file_name().unwrap_or_default().to_owned();
    name.push(".tls");
    name
}

/// Why votes do not count any more, said while the page is served.
fn stopped(error: &AnnotateError, study: &Path) {
    let printer = Printer { talk: Talk::Normal };
    printer.warn(format_args!("votes do not count any more: {}", engine::error::chain(error)));
    if let AnnotateError::Stopped { .. } = error {
        let study = study.display();
        printer.complain(format_args!(
            "  what people still send is kept there too. End this command, put `{study}` in order if it was\n  \
             damaged, run `kun annotate {study} --recover`, and start it again"
        ));
    }
}

fn served(args: &Args, journal: Journal, printer: &Printer) -> Result<Exit, Trouble> {
    let key = key(&args.study, printer)?;
    let kept = args.study.with_file_name(tls_name(&args.study));
    let Served { listener, origin, fingerprint } =
        args.reach.listen(args.bind, Some(&kept), printer)?;
    let server = serve(listener, journal, key);
    if !args.bind.ip().is_loopback() {
        printer.warn("others can reach this page; whoever has a link can answer with it");
    }
    let link = |(name, path): &(String, String)| (name.clone(), format!("{origin}{path}"));
    let links: Vec<(String, String)> = server.paths().iter().map(link).collect();
    match args.answer.json {
        true => {
            let all: serde_json::Map<_, _> =
                links.into_iter().map(|(name, it)| (name, it.into())).collect();
            let mut told = json!({ "links": all });
            if let Some(it) = fingerprint {
                told["sha256"] = it.into();
            }
            printer.json(&told);
        }
        false => links.iter().for_each(|it| printer.data(format_args!("{}  {}", it.0, it.1))),
    }
    printer.act(NAME, "Serving", "until Ctrl-C; every vote is kept at once");
    let study = args.study.clone();
    let at = |source| Trouble::Io { path: args.bind.to_string(), source };
    server.run(move |error| stopped(error, &study)).map_err(at)?;
    Ok(Exit::Good)
}
