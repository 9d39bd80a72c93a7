//! Collection beside runs: two projects with one store, and a collection of all that it can take at
//! any moment. Every run ends well with the right results.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::place::{Place, Started, pause};
use crate::seed::Dice;

/// How often the three meet.
const MEETINGS: u64 = 200;
/// Different sources of a project: few, so that old results are met again.
const SOURCES: u64 = 3;

/// Two steps that both projects have, and one of their own; what one leaves out of a long source is
/// the same for all of them, so that outputs are met that are there already.
fn manifest(name: &str) -> String {
    format!(
        "[workflow]\nname = '{name}'\nformat = 1\ntargets = ['upper', 'own', 'same']\n\
         [sources]\na = {{ path = 'a.txt' }}\n\
         [steps.first]\nin = {{ i = '${{sources.a}}' }}\n\
         run = ['sh', '-euc', 'cat $1 $1 > $2', 'sh', '${{in.i}}', '${{out.data}}']\nout = {{ data = 'file' }}\n\
         [steps.upper]\nin = {{ i = '${{steps.first.data}}' }}\n\
         run = ['sh', '-euc', 'tr a-z A-Z < $1 > $2', 'sh', '${{in.i}}', '${{out.data}}']\nout = {{ data = 'file' }}\n\
         [steps.own]\nin = {{ i = '${{steps.upper.data}}' }}\n\
         run = ['sh', '-euc', 'cat $1 > $2; echo {name} >> $2', 'sh', '${{in.i}}', '${{out.data}}']\nout = {{ data = 'file' }}\n\
         [steps.same]\nin = {{ i = '${{steps.first.data}}' }}\n\
         run = ['sh', '-euc', 'head -c 4 $1 > $2', 'sh', '${{in.i}}', '${{out.data}}']\nout = {{ data = 'file' }}\n"
    )
}

struct Project {
    place: Place,
    name: &'static str,
    source: String,
}

impl Project {
    fn new(name: &'static str) -> Self {
        let place = Place::new();
        place.write("workflow.toml", manifest(name));
        Self { place, name, source: String::new() }
    }

    fn edit(&mut self, n: u64) {
        self.source = format!("text number {n}\n");
        self.place.write("a.txt", &self.source);
    }

    fn command(&self, args: &str, store: &Path) -> Command {
        let mut command = self.place.command(args);
        command.env("KUN_STORE", store);
        command
    }

    fn start(&self, args: &str, store: &Path) -> Started {
        self.place.start_command(self.command(args, store))
    }

    fn assert_right(&self, what: &str) {
        let twice = self.source.repeat(2);
        let upper = twice.to_uppercase();
        let right = [
            ("own/data", format!("{upper}{}\n", self.name)),
            ("same/data", twice[..4].to_owned()),
            ("upper/data", upper),
        ];
        let results = self.place.results();
        for (file, text) in right {
            assert_eq!(String::from_utf8_lossy(&results[file]), text, "{}: {what}", self.name);
        }
    }
}

#[test]
fn two_projects_run_while_either_collects_all_that_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let mut dice = Dice::of_today();
    let (mut one, mut other) = (Project::new("one"), Project::new("other"));
    let mut removed = 0;
    for n in 0..MEETINGS {
        one.edit(dice.roll(SOURCES));
        other.edit(dice.roll(SOURCES));
        let mut started = vec![];
        if dice.roll(4) > 0 {
            started.push((one.start("run -q -j 2", &store), "one"));
        }
        pause(Duration::from_micros(dice.roll(30_000)));
        started.push((other.start("run -q -j 2", &store), "other"));
        pause(Duration::from_micros(dice.roll(60_000)));
        let collecting = if dice.roll(2) == 0 { &one } else { &other };
        let args = format!("gc --yes --older 0 --keep {}", dice.roll(2));
        let (code, said) = collecting.start(&args, &store).end();
        assert_eq!(code, 0, "meeting {n}, {args}: {said}");
        removed += u32::from(!said.contains("Removed 0 results, 0 objects"));
        let ran_one = started.len() == 2;
        for (run, name) in started {
            let (code, said) = run.end();
            assert_eq!(code, 0, "meeting {n}, {name} beside `{args}`: {said}");
        }
        if ran_one {
            one.assert_right(&format!("meeting {n}"));
        }
        other.assert_right(&format!("meeting {n}"));
    }
    assert!(removed > 20, "only {removed} collections had anything to take");
    let store = store::Store::open(&store).unwrap();
    let mut found = vec![];
    store.verify(store::Quarantine::Leave, &mut |it| found.push(it)).unwrap();
    assert_eq!(found, []);
}
