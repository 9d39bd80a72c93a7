//! `kun chat`: a conversation with a model, line by line.

use std::io::BufRead as _;
use std::path::PathBuf;

use steps::model::Conversation;

use super::generate::Sampled;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::trouble::Trouble;

/// Talk with a model; each line is a message, `/reset` begins anew, `/exit` ends
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model's folder
    model: PathBuf,
    #[command(flatten)]
    how: Sampled,
}

pub(crate) fn run(args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    let system = args.how.system.clone();
    args.how.with(&args.model, |mut ready| {
        let mut said: Vec<(String, String)> = Vec::new();
        let mut lines = std::io::stdin().lock().lines();
        loop {
            printer.ask("> ");
            let Some(line) = lines.next() else { break };
            let line =
                line.map_err(|it| Trouble::io(std::path::Path::new("standard input"), it))?;
            match line.trim() {
                "" => continue,
                "/exit" | "/quit" => break,
                "/reset" => {
                    said.clear();
                    continue;
                }
                _ => {}
            }
            let conversation = conversation(system.as_deref(), &said, &line);
            let answer = ready.tell(&conversation, &mut |text| printer.piece(text));
            match answer {
                Ok(answer) => {
                    printer.piece("\n");
                    said.push((line, answer.text));
                }
                // A message that is too long is no reason to forget the others.
                Err(trouble) => printer.trouble(&trouble),
            }
        }
        Ok(Exit::Good)
    })
}

/// All that was said, and one message more.
fn conversation(system: Option<&str>, said: &[(String, String)], line: &str) -> Conversation {
    let Some(((first, answer), rest)) = said.split_first() else {
        return Conversation::pair(system, line, None);
    };
    let mut all = Conversation::pair(system, first, Some(answer));
    for (message, answer) in rest {
        all.push("user", message);
        all.push("assistant", answer);
    }
    all.push("user", line);
    all
}
