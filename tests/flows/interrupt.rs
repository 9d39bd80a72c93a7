//! What a person does with Ctrl-C: once to stop, twice to stop at once.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::place::{Place, pause, until};

const N: usize = 60;

/// A `map` that takes its time over each record.
fn project() -> Place {
    let place = Place::new();
    let text = format!(
        "[workflow]\nname = 'interrupt'\nformat = 1\n[sources]\na = {{ path = 'a.jsonl' }}\n\
         [steps.mapped]\nop = 'map'\nin = {{ data = '${{sources.a}}' }}\n\
         with = {{ run = ['sh', '-c', 'while read -r it; do echo \"$it\" >> \"$0\"; \
         [ -e {} ] || sleep 0.05; echo \"$it\"; done', '{}'], same = ['id'], window = 2 }}\n",
        place.beside("fast").display(),
        place.log().display()
    );
    place.write("workflow.toml", text);
    let record = |n| format!("{{\"id\":{n}}}\n");
    place.write("a.jsonl", (0..N).map(record).collect::<String>());
    place
}

#[test]
fn one_interrupt_stops_the_steps_says_how_to_go_on_and_keeps_what_was_done() {
    let place = project();
    let mut run = place.start("run");
    until("ten records", || place.lines().len() >= 10);
    run.signal(Signal::INT);
    let code = run.wait();
    let said = run.said();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("Interrupted 1 stopped in "), "{said}");
    assert!(said.contains("the same command goes on from here"), "{said}");
    let n_asked = place.lines().len();
    assert!(n_asked < N, "it was not stopped");
    std::fs::write(place.beside("fast"), "").unwrap();
    place.good("run");
    let again = place.lines().len() - N;
    assert!(again <= 3, "{again} records were asked about again of {n_asked}");
    assert_eq!(place.results().len(), 1);
    place.verify("after an interrupt");
}

#[test]
fn a_request_to_terminate_is_an_interrupt() {
    let place = project();
    let mut run = place.start("run -q");
    until("three records", || place.lines().len() >= 3);
    run.signal(Signal::TERM);
    assert_eq!(run.wait(), Some(130), "{}", run.said());
}

#[test]
fn two_interrupts_end_a_step_that_will_not_stop_within_a_second() {
    let place = Place::new();
    let text = format!(
        "[workflow]\nname = 'stubborn'\nformat = 1\n[steps.a]\n\
         run = ['sh', '-c', 'trap \"\" TERM INT; echo begins >> $1; while :; do sleep 0.1; done', \
         'sh', '{}', '${{out.o}}']\nout = {{ o = 'file' }}\n",
        place.log().display()
    );
    place.write("workflow.toml", text);
    let mut run = place.start("run");
    until("the step's beginning", || place.times().contains_key("begins"));
    run.signal(Signal::INT);
    until("word of stopping", || run.said().contains("topping") || run.has_ended());
    assert!(!run.has_ended(), "it did not wait for its step: {}", run.said());
    let (before, below) = (Instant::now(), run.children());
    run.signal(Signal::INT);
    let code = run.wait();
    assert_eq!(code, Some(130), "{}", run.said());
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    for it in below {
        until("the end of the step", || !std::path::Path::new(&format!("/proc/{it}")).exists());
    }
    pause(Duration::from_millis(1));
    place.verify("after two interrupts");
}
