//! Several runs at once on one project, and work that a killed engine left behind.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::place::{Place, Started, until};

/// Three slow steps side by side, one that joins them, one for each of two variants below it.
fn project() -> Place {
    let place = Place::new();
    let log = place.log().display().to_string();
    let slow = |name: &str, inputs: &str| {
        format!(
            "run = ['sh', '-euc', 'log=$1; name=$2; out=$3; shift 3; echo begins $name >> \"$log\"; \
             sleep 0.2; cat \"$@\" > \"$out\"; echo ends $name >> \"$log\"', 'sh', '{log}', '{name}', \
             '${{out.o}}', {inputs}]\nout = {{ o = 'file' }}\n"
        )
    };
    let text = format!(
        "[workflow]\nname = 'company'\nformat = 1\ntargets = ['leaf']\n[params]\nx = 1\n\
         [variants]\none = {{ x = 1 }}\ntwo = {{ x = 2 }}\n[sources]\na = {{ path = 'a' }}\n\
         [steps.up]\neach = {{ i = ['1', '2', '3'] }}\nin = {{ a = '${{sources.a}}' }}\n{}\
         [steps.join]\nin = {{ i = '${{steps.up[*].o}}' }}\n{}\
         [steps.leaf]\nin = {{ i = '${{steps.join.o}}' }}\n{}",
        slow("up[${each.i}]", "'${in.a}'"),
        slow("join", "'${in.i}'"),
        slow("leaf${params.x}", "'${in.i}'"),
    );
    place.write("workflow.toml", text);
    place.write("a", "source\n");
    place
}

fn each_ran_once(place: &Place, steps: &[&str]) {
    let times = place.times();
    for step in steps {
        assert_eq!(times.get(&format!("begins {step}")), Some(&1), "{times:?}");
    }
    assert_eq!(times.len(), 2 * steps.len(), "{times:?}");
}

fn together(place: &Place, commands: &[&str]) {
    let runs: Vec<Started> = commands.iter().map(|it| place.start(it)).collect();
    for (command, run) in commands.iter().zip(runs) {
        let (code, said) = run.end();
        assert_eq!(code, 0, "{command}\n{said}");
    }
    place.verify("after runs at once");
}

#[test]
fn two_runs_at_once_do_each_step_once() {
    let place = project();
    together(&place, &["run", "run"]);
    each_ran_once(&place, &["up[1]", "up[2]", "up[3]", "join", "leaf1"]);
    assert_eq!(place.results()["leaf/o"], b"source\nsource\nsource\n");
}

#[test]
fn four_runs_at_once_do_each_step_once() {
    let place = project();
    together(&place, &["run --jobs 1", "run --jobs 2", "run --jobs 3", "run --json"]);
    each_ran_once(&place, &["up[1]", "up[2]", "up[3]", "join", "leaf1"]);
    assert_eq!(place.results()["leaf/o"], b"source\nsource\nsource\n");
}

#[test]
fn runs_of_different_targets_and_variants_share_what_is_above_them() {
    let place = project();
    let commands =
        ["run leaf --variant one", "run leaf --variant two", "run join", "run --variant *"];
    together(&place, &commands);
    each_ran_once(&place, &["up[1]", "up[2]", "up[3]", "join", "leaf1", "leaf2"]);
    let results = place.results();
    assert!(results.values().all(|it| it == b"source\nsource\nsource\n"), "{results:?}");
}

/// A step that sleeps until a file beside the project is there.
fn waiting_project() -> Place {
    let place = Place::new();
    let (log, gate) = (place.log(), place.beside("gate"));
    let text = format!(
        "[workflow]\nname = 'orphan'\nformat = 1\n\
         [steps.a]\nrun = ['sh', '-euc', 'echo begins >> $1; echo half > $3; \
         while ! [ -e $2 ]; do sleep 0.02; done; echo whole > $3; echo ends >> $1', 'sh', '{}', '{}', \
         '${{out.o}}']\nout = {{ o = 'file' }}\n",
        log.display(),
        gate.display()
    );
    place.write("workflow.toml", text);
    place
}

/// Starts the step, and kills the engine and nothing else; gives the step's process.
fn left_behind(place: &Place) -> u32 {
    let mut engine = place.start("run");
    until("the step's beginning", || place.times().contains_key("begins"));
    let below = engine.children();
    assert_eq!(below.len(), 1);
    engine.signal(Signal::KILL);
    engine.wait();
    below[0]
}

#[test]
fn a_step_that_outlives_its_engine_is_waited_for_and_its_output_is_nobodys() {
    let place = waiting_project();
    left_behind(&place);
    let run = place.start("run --json");
    until("word of the orphan", || run.said().contains("step_waiting"));
    let said = run.said();
    assert!(said.contains("\"orphan\":true"), "{said}");
    assert_eq!(place.times()["begins"], 1, "it ran beside the orphan");
    std::fs::write(place.beside("gate"), "").unwrap();
    let (code, said) = run.end();
    assert_eq!(code, 0, "{said}");
    assert_eq!(place.times()["begins"], 2);
    assert_eq!(place.results()["a/o"], b"whole\n");
    place.verify("after an orphan");
}

#[test]
fn a_step_that_outlives_its_engine_is_ended_at_once_where_asked_for() {
    let place = waiting_project();
    let orphan = left_behind(&place);
    let before = Instant::now();
    let mut run = place.start("run --break-orphans");
    until("the second beginning", || place.times()["begins"] == 2);
    assert!(before.elapsed() < Duration::from_secs(20));
    let path = format!("/proc/{orphan}/cmdline");
    assert!(!std::fs::read(path).is_ok_and(|it| it.ends_with(b"out/o\0")), "the orphan lives");
    std::fs::write(place.beside("gate"), "").unwrap();
    assert_eq!(run.wait(), Some(0), "{}", run.said());
    assert_eq!(place.results()["a/o"], b"whole\n");
}
