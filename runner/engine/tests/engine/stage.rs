//! A project in a temporary folder and graphs made by hand: the stage of these tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use engine::events::Event;
use engine::execute::Local;
use engine::heads::Heads;
use engine::planning::Planned;
use engine::runs::Manifest;
use engine::scrub::{Inputs, Scrub};
use engine::why::{Effort, Reasons, Verdict};
use engine::{Home, Options, Setup, Summary, facts, planning, run};
use plan::graph::{
    Address, Argument, Input, Instance, InstanceId, Output, Piece, Program, Source, Target, Work,
};
use plan::kind::Form;
use plan::{Graph, Place, Ports};
use store::{Stats, Store};

/// A step `name` that runs a shell script; `$1`… are its inputs in order, the last is its output.
pub(crate) fn step(name: &str, script: &str, inputs: &[Input]) -> Instance {
    let text = |it: &str| Argument(vec![Piece::Text(it.to_owned())]);
    let mut argv = vec![text("sh"), text("-euc"), text(script), text("sh")];
    let mut ports = Ports::default();
    for (i, input) in inputs.iter().enumerate() {
        argv.push(Argument(vec![Piece::Input(format!("i{i}"))]));
        ports.insert(format!("i{i}"), vec![input.clone()]);
    }
    argv.push(Argument(vec![Piece::Output("o".to_owned())]));
    Instance {
        address: Address { step: name.to_owned(), each: vec![], variant: None },
        aliases: vec![],
        work: Work::Program(Program { argv, shell: false }),
        around: Default::default(),
        with: BTreeMap::new(),
        inputs: ports,
        outputs: std::sync::Arc::new(BTreeMap::from([(
            "o".to_owned(),
            Output { form: Form::File, file: "o".to_owned() },
        )])),
        seed: None,
        how: Default::default(),
        place: Place::default(),
        origins: Default::default(),
    }
}

pub(crate) fn made(i: usize) -> Input {
    Input::Output { instance: InstanceId(i), slot: "o".to_owned() }
}

/// A graph whose target is its last instance, with one source file `source`.
pub(crate) fn graph(instances: Vec<Instance>) -> Graph {
    let last = instances.len() - 1;
    let target = Target {
        address: instances[last].address.clone(),
        instance: Some(InstanceId(last)),
        slots: BTreeMap::from([("o".to_owned(), vec![made(last)])]),
    };
    let source = Source {
        name: None,
        path: "source".into(),
        pinned: None,
        place: Place::default(),
        endpoint: None,
    };
    Graph { instances, targets: vec![target], sources: vec![source] }
}

/// The source without its comments, twice, joined.
pub(crate) fn diamond() -> Graph {
    graph(vec![
        step("clean", "grep -v '^#' $1 > $2", &[Input::Source(0)]),
        step("upper", "tr a-z A-Z < $1 > $2", &[made(0)]),
        step("lines", "wc -l < $1 > $2", &[made(0)]),
        step("join", "cat $1 $2 > $3", &[made(1), made(2)]),
    ])
}

pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(source: &str) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        bench.write(source);
        fs::create_dir_all(bench.folder.path().join(".kun")).unwrap();
        bench
    }

    pub(crate) fn write(&self, source: &str) {
        fs::write(self.folder.path().join("source"), source).unwrap();
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn run(&self, graph: &Graph) -> (Summary, Vec<Event>) {
        self.run_with(graph, false)
    }

    pub(crate) fn run_with(&self, graph: &Graph, keep_going: bool) -> (Summary, Vec<Event>) {
        let home = Home::of(self.root());
        let gathered = facts::gather(graph, self.root(), &Stats::open(&home.stats()));
        assert!(gathered.troubles.is_empty());
        let store = Store::open(&home.store()).unwrap();
        let index = store.index().unwrap();
        let planned = planning::plan(graph, &gathered.facts, &store, &index);
        let options = Options {
            scrub: Scrub { budget: 0, inputs: Inputs::Budget },
            warnings: vec![],
            budget: plan::Budget::default(),
            jobs: 2,
            pools: BTreeMap::new(),
            keep_going,
            grace: Duration::from_secs(5),
            break_orphans: false,
            isolation: None,
            manifest: Manifest {
                fingerprint: Box::new(|| plan::Digest([0; 32])),
                text: Box::new(String::new),
            },
            machine: String::new(),
        };
        let setup = Setup {
            graph,
            gathered: &gathered,
            planned: &planned,
            index: &index,
            store,
            executor: Rc::new(Local),
            home,
            options,
        };
        let mut events: Vec<Event> = vec![];
        let summary = run(setup, &mut [&mut events]).unwrap();
        (summary, events)
    }

    pub(crate) fn plan(&self, graph: &Graph) -> Planned {
        let home = Home::of(self.root());
        let gathered = facts::gather(graph, self.root(), &Stats::open(&home.stats()));
        let store = Store::open(&home.store()).unwrap();
        planning::plan(graph, &gathered.facts, &store, &store.index().unwrap())
    }

    pub(crate) fn why(&self, graph: &Graph, i: usize) -> (Verdict, Vec<String>) {
        let home = Home::of(self.root());
        let gathered = facts::gather(graph, self.root(), &Stats::open(&home.stats()));
        let store = Store::open(&home.store()).unwrap();
        let index = store.index().unwrap();
        let planned = planning::plan(graph, &gathered.facts, &store, &index);
        let heads = Heads::open(&home.heads()).unwrap();
        let facts = &gathered.facts;
        let reasons = Reasons {
            graph,
            facts,
            planned: &planned,
            store: &store,
            index: &index,
            heads: &heads,
            effort: Effort::Nearest,
        };
        let why = reasons.why(InstanceId(i));
        (why.verdict, why.causes.iter().map(ToString::to_string).collect())
    }
}

pub(crate) fn ran(events: &[Event]) -> Vec<&str> {
    let mut names: Vec<&str> = events
        .iter()
        .filter_map(|it| match it {
            Event::StepDone { step, .. } => Some(step.as_str()),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names
}
