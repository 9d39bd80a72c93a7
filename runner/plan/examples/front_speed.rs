//! Times the front of the planner on a manifest of many program steps: `front_speed [STEPS]`.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use plan::{Ask, Entry, Files};

struct Memory(BTreeMap<PathBuf, Vec<u8>>);

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, _dir: &Path) -> io::Result<Vec<Entry>> {
        Ok(Vec::new())
    }
}

fn main() {
    let n_steps = std::env::args().nth(1).and_then(|it| it.parse().ok()).unwrap_or(10_000);
    let text = manifest(n_steps);
    println!("{n_steps} steps, {} bytes", text.len());
    let entry = PathBuf::from("workflow.toml");
    let files = Memory(BTreeMap::from([(entry.clone(), text.into_bytes())]));
    for _ in 0..5 {
        let start = Instant::now();
        let manifest = plan::load(&entry, &files).expect("the manifest is well-formed");
        let loaded = start.elapsed();
        let workflow = manifest.check(&[]).expect("the manifest is right");
        let checked = start.elapsed() - loaded;
        let graph = workflow.expand(&Ask::default(), &files).expect("the manifest is right");
        let expanded = start.elapsed() - loaded - checked;
        println!(
            "load {loaded:.1?} + check {checked:.1?} + expand {expanded:.1?} = {:.1?}, {} instances",
            start.elapsed(),
            graph.instances.len()
        );
    }
}

/// Chains of ten steps, each copying the output of the one before.
fn manifest(n_steps: usize) -> String {
    let mut text = "[workflow]\nname = \"speed\"\nformat = 1\n\n".to_owned();
    for i in 0..n_steps {
        let input = match i % 10 {
            0 => format!("data/input-{i}.txt"),
            _ => format!("${{steps.s{}.data}}", i - 1),
        };
        writeln!(
            text,
            "[steps.s{i}]\nrun = [\"cp\", \"--reflink=auto\", \"${{in.data}}\", \"${{out.data}}\"]\n\
             in = {{ data = \"{input}\" }}\nout = {{ data = \"file\" }}\n"
        )
        .expect("writing to a string cannot fail");
    }
    text
}
