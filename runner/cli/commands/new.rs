//! `kun new`: makes a small project that runs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::exit::Exit;
use crate::printer::{GOOD, Printer};
use crate::trouble::Trouble;

/// Make a small project that runs
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

const MANIFEST: &str = r#"# What this workflow makes: the number of lines of each text, and all texts in one.
[workflow]
name = "first"
format = 1
targets = ["all", "numbers"]

[params]
mark = "----"

[sources]
one = { path = "texts/one.txt" }
two = { path = "texts/two.txt" }

# One instance for each value of `each`.
[steps.marked]
each = { text = ["one", "two"] }
run = ["sh", "-c", 'cat "$1" > "$2"; echo "$3" >> "$2"', "sh", "${in.text}", "${out.text}", "${params.mark}"]
in = { text = "${sources[each.text]}" }
out = { text = "file" }

[steps.all]
op = "concat"
in = { parts = "${steps.marked[*].text}" }

[steps.numbers]
op = "count"
in = { data = "${steps.all.data}" }
"#;

pub(crate) fn run(args: Args, printer: &Printer) -> Result<Exit, Trouble> {
    let files = [
        ("workflow.toml", MANIFEST),
        ("texts/one.txt", "the first text\nhas two lines\n"),
        ("texts/two.txt", "the second has one\n"),
        (".gitignore", "/.kun/\n/out/\n"),
    ];
    for (name, _) in files {
        let path = args.folder.join(name);
        let path = path.strip_prefix("./").unwrap_or(&path);
        if fs::symlink_metadata(path).is_ok() {
            let text = format!("`{}` is there already", path.display());
            return Err(Trouble::helped(text, "name another folder: `kun new FOLDER`"));
        }
    }
    for (name, text) in files {
        let path = args.folder.join(name);
        let parent = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(|it| Trouble::io(parent, it))?;
        fs::write(&path, text).map_err(|it| Trouble::io(&path, it))?;
    }
    let manifest = args.folder.join("workflow.toml").display().to_string();
    let manifest = manifest.strip_prefix("./").unwrap_or(&manifest).to_owned();
    printer.data(&manifest);
    printer.act(GOOD, "Made", format!("a project; `kun run {manifest}` runs it"));
    Ok(Exit::Good)
}
