//! `kun model`: what a model's folder is, before anything is loaded.

use std::path::PathBuf;

use clap::Subcommand;
use report::table::{Side, Table};
use steps::model::{Inspection, ModelFolder, TokenView};

use crate::args::Answer;
use crate::exit::Exit;
use crate::printer::{FAINT, GOOD, NAME, Printer, for_stdout};
use crate::trouble::Trouble;
use crate::words;

/// Look at a model's folder
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show sizes, memory, tokenizer and template of a model's folder
    Inspect(Inspect),
}

#[derive(Debug, clap::Args)]
struct Inspect {
    /// The model's folder
    model: PathBuf,
    /// Show records of this file as tokens: trained ones stand between ⟦ and ⟧
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// How many records
    #[arg(short, default_value_t = 3, requires = "tokens")]
    n: usize,
    /// The chat template: `yi-chatml`, `plain` (default: the model's own)
    #[arg(long, value_name = "NAME", requires = "tokens")]
    template: Option<String>,
    #[command(flatten)]
    answer: Answer,
}

pub(crate) fn run(args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    let Command::Inspect(args) = args.command;
    let folder = ModelFolder::open(&args.model).map_err(|it| Trouble::model(&it))?;
    if let Some(file) = &args.tokens {
        let template = args.template.as_deref();
        let all = steps::model::tokens_of_records(&folder, template, file, args.n);
        let all = all.map_err(|it| Trouble::model(&it))?;
        for (i, tokens) in all.iter().enumerate() {
            if args.answer.json {
                printer.json(tokens);
            } else {
                show_tokens(i, tokens, printer);
            }
        }
        return Ok(Exit::Good);
    }
    let it = steps::model::inspect(&folder).map_err(|it| Trouble::model(&it))?;
    if args.answer.json {
        printer.json(&it);
    } else {
        show(&it, printer);
    }
    Ok(Exit::Good)
}

fn show(it: &Inspection, printer: &Printer) {
    let mut table = Table::new(&[(Side::Left, ""); 2]);
    table.row(["architecture".to_owned(), it.architecture.to_owned()]);
    let millions = it.parameters as f64 / 1e6;
    table.row(["parameters".to_owned(), format!("{} ({millions:.1} M)", it.parameters)]);
    table.row(["weights".to_owned(), format!("{}, {}", it.dtype, words::size(it.weight_bytes))]);
    for (name, value) in &it.sizes {
        table.row([name.clone(), value.to_string()]);
    }
    let tied = if it.tied { "the output layer too" } else { "and an output layer of its own" };
    table.row(["embedding".to_owned(), format!("{} rows, {tied}", it.rows)]);
    table.row([
        "tokenizer".to_owned(),
        format!("{} tokens, ids up to {}", it.tokens, it.ids.saturating_sub(1)),
    ]);
    for (name, text, id) in &it.named {
        let id = id.map_or("no id".to_owned(), |it| it.to_string());
        table.row([name.clone(), format!("{id} {text}")]);
    }
    let bos = if it.adds_bos { "bos_token" } else { "nothing" };
    table.row(["before a text".to_owned(), bos.to_owned()]);
    let stop: Vec<String> = it.stop.iter().map(|(id, text)| format!("{id} {text}")).collect();
    table.row(["ends an answer".to_owned(), stop.join(", ")]);
    table.row(["template".to_owned(), it.template.clone().unwrap_or("none".to_owned())]);
    table.row([
        "to generate".to_owned(),
        format!(
            "{} of weights, {} bytes a token",
            words::size(it.weight_bytes),
            it.cache_bytes_per_token
        ),
    ]);
    table.row([
        "to train".to_owned(),
        format!("{} with AdamW in f32, and activations", words::size(it.training_bytes)),
    ]);
    table.text().lines().for_each(|it| printer.data(it.trim_end()));
    it.warnings.iter().for_each(|it| printer.warn(it));
}

fn show_tokens(i: usize, tokens: &[TokenView], printer: &Printer) {
    let n_trained = tokens.iter().filter(|it| it.trained).count();
    let head = format!(
        "{NAME}record {}{NAME:#}  {n_trained} of {} tokens are trained",
        i + 1,
        tokens.len()
    );
    printer.data(for_stdout(head));
    show_marked(tokens, "", printer);
}

/// Tokens on one line, those that are trained between ⟦ and ⟧.
pub(crate) fn show_marked(tokens: &[TokenView], between: &str, printer: &Printer) {
    let mut line = String::new();
    let mut trained = false;
    for (i, it) in tokens.iter().enumerate() {
        if it.trained != trained {
            line.push_str(if it.trained { "⟦" } else { "⟧" });
            trained = it.trained;
        } else if i > 0 {
            line.push_str(&format!("{FAINT}{between}{FAINT:#}"));
        }
        let style = if it.trained { GOOD } else { FAINT };
        let text = steps::model::visible(&it.text);
        line.push_str(&format!("{style}{text}{style:#}"));
    }
    if trained {
        line.push('⟧');
    }
    printer.data(for_stdout(line));
}
