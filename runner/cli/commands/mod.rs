//! The commands: one file each. A command computes nothing itself; it calls a library and says
//! what came of it.

mod annotate;
mod chat;
mod check;
mod compare;
mod completions;
mod diff;
mod doctor;
mod fmt;
mod gc;
mod generate;
mod graph;
mod kinds;
mod lineage;
mod lock;
mod log;
mod man;
mod model;
mod new;
mod out;
mod plan;
mod render;
mod report;
mod run;
mod schema;
mod show;
mod status;
mod verify;
mod watch;
mod why;
mod why_rows;
mod worker;

use clap::{Parser, Subcommand};

use crate::exit::Exit;
use crate::printer::{Printer, Talk};

/// Runs LLM data experiments declared in TOML: steps in a graph, each cached by the hash of its
/// content
#[derive(Debug, Parser)]
#[command(name = "kun", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say only what went wrong
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::Args),
    Check(check::Args),
    Plan(plan::Args),
    Run(run::Args),
    Why(why::Args),
    WhyRows(why_rows::Args),
    Lineage(lineage::Args),
    Status(status::Args),
    Watch(watch::Args),
    Show(show::Args),
    Out(out::Args),
    Log(log::Args),
    Graph(graph::Args),
    Report(report::Args),
    Compare(compare::Args),
    Diff(diff::Args),
    Annotate(annotate::Args),
    Gc(gc::Args),
    Verify(verify::Args),
    Lock(lock::Args),
    Fmt(fmt::Args),
    Kinds(kinds::Args),
    Schema(schema::Args),
    Model(model::Args),
    Generate(generate::Args),
    Chat(chat::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    Man(man::Args),
    #[command(hide = true)]
    Worker(worker::Args),
    #[command(hide = true)]
    Render(render::Args),
}

/// Parses the command line and does what it says.
pub(crate) fn main() -> Exit {
    let args = match crate::inside::arguments() {
        Ok(args) => args,
        Err(trouble) => {
            Printer { talk: Talk::Normal }.trouble(&trouble);
            return trouble.exit();
        }
    };
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are data and end well; anything else is a mistake.
            let exit = if error.use_stderr() { Exit::Mistake } else { Exit::Good };
            let _ = error.print();
            return exit;
        }
    };
    let printer = Printer { talk: if cli.quiet { Talk::Quiet } else { Talk::Normal } };
    if let Err(error) = render::apart() {
        printer.trouble(&error);
        return error.exit();
    }
    let result = match cli.command {
        Command::New(args) => new::run(args, &printer),
        Command::Check(args) => check::run(args, &printer),
        Command::Plan(args) => plan::run(args, &printer),
        Command::Run(args) => run::run(args, &printer),
        Command::Why(args) => why::run(args, &printer),
        Command::WhyRows(args) => why_rows::run(args, &printer),
        Command::Lineage(args) => lineage::run(args, &printer),
        Command::Status(args) => status::run(args, &printer),
        Command::Watch(args) => watch::run(args, &printer),
        Command::Show(args) => show::run(args, &printer),
        Command::Out(args) => out::run(args, &printer),
        Command::Log(args) => log::run(args, &printer),
        Command::Graph(args) => graph::run(args, &printer),
        Command::Report(args) => report::run(args, &printer),
        Command::Compare(args) => compare::run(args, &printer),
        Command::Diff(args) => diff::run(args, &printer),
        Command::Annotate(args) => annotate::run(args, &printer),
        Command::Gc(args) => gc::run(args, &printer),
        Command::Verify(args) => verify::run(args, &printer),
        Command::Lock(args) => lock::run(args, &printer),
        Command::Fmt(args) => fmt::run(args, &printer),
        Command::Kinds(args) => kinds::run(args, &printer),
        Command::Schema(args) => schema::run(args, &printer),
        Command::Model(args) => model::run(args, &printer),
        Command::Generate(args) => generate::run(args, &printer),
        Command::Chat(args) => chat::run(args, &printer),
        Command::Doctor(args) => doctor::run(args, &printer),
        Command::Completions(args) => completions::run(args, &printer),
        Command::Man(args) => man::run(args, &printer),
        Command::Worker(args) => return worker::run(&args),
        Command::Render(args) => render::run(args, &printer),
    };
    result.unwrap_or_else(|trouble| {
        printer.trouble(&trouble);
        trouble.exit()
    })
}
