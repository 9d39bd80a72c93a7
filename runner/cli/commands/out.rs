//! `kun out`: where an output is.

use plan::Input;

use crate::args::Common;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::project;
use crate::trouble::Trouble;
use crate::words;

/// Print where an output is: `kun out step.slot`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The output: `step.slot`, `step[each]@variant.slot`; a step alone means all its outputs
    #[arg(required = true, value_name = "STEP.SLOT")]
    words: Vec<String>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(mut args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    args.common.manifest.take_from(&mut args.words);
    for word in args.words.clone() {
        let (step, slot) = split(&word);
        let opened = project::open(&args.common, vec![step.to_owned()])?;
        let mut n = 0;
        for target in &opened.graph.targets {
            for (name, inputs) in &target.slots {
                if slot.is_some_and(|it| it != name) {
                    continue;
                }
                for input in inputs {
                    n += 1;
                    let path = match input {
                        Input::Source(i) => opened.home.root.join(&opened.graph.sources[*i].path),
                        Input::Output { instance, slot } => {
                            let object = opened.planned.keys[instance.0]
                                .and_then(|key| opened.index.output(&key, slot))
                                .ok_or_else(|| no_result(&target.address.to_string()))?;
                            opened.readable(&object)?
                        }
                    };
                    if args.common.answer.json {
                        let output = format!("{}.{name}", target.address);
                        printer.json(&serde_json::json!({"output": output, "path": path}));
                    } else {
                        printer.data(path.display());
                    }
                }
            }
        }
        if n == 0 {
            let slots = opened.graph.targets.iter().flat_map(|it| it.slots.keys());
            let slots: std::collections::BTreeSet<&String> = slots.collect();
            let slots: Vec<String> = slots.iter().map(|it| format!("`{step}.{it}`")).collect();
            let help = format!("its outputs are {}", slots.join(", "));
            return Err(Trouble::helped(format!("no output `{word}`"), help));
        }
    }
    Ok(Exit::Good)
}

fn no_result(step: &str) -> Trouble {
    Trouble::helped(
        format!("`{step}` has no result yet"),
        format!("`kun run {}` makes it", words::argument(step)),
    )
}

/// The step and the slot of `step.slot`; points inside brackets belong to the step.
fn split(word: &str) -> (&str, Option<&str>) {
    let after = word.rfind(']').map_or(0, |it| it + 1);
    match word[after..].rfind('.') {
        Some(at) => (&word[..after + at], Some(&word[after + at + 1..])),
        None => (word, None),
    }
}
