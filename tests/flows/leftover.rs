//! What steps leave running, and runs whose terminal is closed.

use std::fs;

use rustix::process::Signal;

use crate::place::{Place, until};

/// A step with a daemon of its own session that writes to the step's output when it may.
fn daemon(end: &str) -> Place {
    let place = Place::new();
    let marks = place.beside("marks").display().to_string();
    let text = format!(
        "[workflow]\nname = 'leftover'\nformat = 1\n[steps.a]\nout = {{ o = 'file' }}\n\
         run = ['sh', '-c', 'echo right > out/o; \
         (setsid sh -c \"exec 3>>out/o; (cd / && echo \\$\\$ > $0/pid && \
         while [ ! -e $0/go ]; do sleep 0.01; done; echo wrong >&3; echo > $0/wrote) &\" \
         </dev/null >/dev/null 2>&1 &); while [ ! -s $0/pid ]; do sleep 0.01; done; {end}', '{marks}']\n"
    );
    place.write("workflow.toml", text);
    place
}

fn daemon_is_gone(place: &Place) {
    let pid = fs::read_to_string(place.beside("marks/pid")).unwrap();
    let gone = !std::path::Path::new(&format!("/proc/{}", pid.trim())).exists();
    assert!(gone, "process {pid} lives");
    fs::write(place.beside("marks/go"), "").unwrap();
    assert!(!place.beside("marks/wrote").exists());
}

#[test]
fn a_daemon_that_a_step_leaves_behind_ends_before_its_result_counts() {
    let place = daemon("true");
    place.good("run");
    daemon_is_gone(&place);
    assert_eq!(place.results()["a/o"], b"right\n");
    place.verify("after a daemon");
}

#[test]
fn a_daemon_ends_when_its_step_fails_or_takes_too_long() {
    let place = daemon("exit 3");
    let (code, said) = place.end("run");
    assert_eq!(code, 1, "{said}");
    daemon_is_gone(&place);
    let place = daemon("sleep 100");
    let path = place.root().join("workflow.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + "timeout = '1s'\n").unwrap();
    let (code, said) = place.end("run");
    assert!(code == 1 && said.contains("took longer"), "{code} {said}");
    daemon_is_gone(&place);
}

#[test]
fn a_daemon_ends_with_its_own_step_and_leaves_the_helpers_of_others_alone() {
    let place = daemon("true");
    let marks = place.beside("marks").display().to_string();
    let path = place.root().join("workflow.toml");
    let other = format!(
        "[steps.b]\nout = {{ o = 'file' }}\nrun = ['sh', '-c', '(setsid sh -c \"echo > $0/helper; \
         while [ ! -e $0/over ]; do sleep 0.01; done; echo > $0/helped\" >/dev/null 2>&1 &); \
         while [ ! -e $0/helped ]; do sleep 0.01; done; echo b > out/o', '{marks}']\n"
    );
    fs::write(&path, fs::read_to_string(&path).unwrap() + &other).unwrap();
    let mut run = place.start("run -j 2 --json");
    until("the end of the first step", || {
        run.has_ended() || run.said().lines().any(|it| it.contains("step_done"))
    });
    daemon_is_gone(&place);
    fs::write(place.beside("marks/over"), "").unwrap();
    let (code, said) = run.end();
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_closed_terminal_stops_a_run_and_all_that_it_started() {
    for signal in [Signal::HUP, Signal::QUIT] {
        let place = daemon("sleep 100");
        let mut run = place.start("run");
        until("the daemon", || place.beside("marks/pid").exists());
        until("its number", || fs::read(place.beside("marks/pid")).is_ok_and(|it| !it.is_empty()));
        let steps = run.children();
        assert!(!steps.is_empty());
        run.signal(signal);
        assert_eq!(run.wait(), Some(130), "{}", run.said());
        for it in steps {
            assert!(!std::path::Path::new(&format!("/proc/{it}")).exists(), "process {it} lives");
        }
        daemon_is_gone(&place);
    }
}

#[test]
fn a_run_that_was_told_to_ignore_closed_terminals_goes_on() {
    let place = daemon("while [ ! -e $0/go ]; do sleep 0.01; done");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" run", env!("CARGO_BIN_EXE_kun")]);
    command.current_dir(place.root()).env_clear().env("PATH", "/usr/bin:/bin");
    let mut run = place.start_command(command);
    until("the daemon", || place.beside("marks/pid").exists());
    run.signal(Signal::HUP);
    run.signal(Signal::HUP);
    fs::write(place.beside("marks/go"), "").unwrap();
    assert_eq!(run.wait(), Some(0), "{}", run.said());
}
