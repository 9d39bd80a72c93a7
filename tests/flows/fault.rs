//! A disk that fails at the n-th change, for every n of a small run: the error is clear, the store
//! stays whole, and the next run does what is left.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::place::Place;

/// A program, a step in shards, a kind.
fn project() -> Place {
    let place = Place::new();
    place.write(
        "workflow.toml",
        "[workflow]\nname = 'fault'\nformat = 1\n[sources]\na = { path = 'a.jsonl' }\n\
         [steps.copy]\nrun = ['cp', '${in.i}', '${out.data}']\nin = { i = '${sources.a}' }\n\
         out = { data = 'records' }\ncode = ['note.txt']\n\
         [steps.mapped]\nop = 'map'\nin = { data = '${steps.copy.data}' }\nshards = 2\n\
         with = { run = ['cat'] }\n\
         [steps.tree]\nrun = ['sh', '-c', 'mkdir $1; cp $0 $1/a', '${in.i}', '${out.t}']\n\
         in = { i = '${steps.mapped.data}' }\nout = { t = 'dir' }\n",
    );
    place.write("note.txt", "a file of code");
    place.write("a.jsonl", "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
    place
}

const RIGHT: &[u8] = b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n";

#[test]
fn whatever_change_to_the_disk_fails_the_error_is_clear_and_the_next_run_completes() {
    every("EIO", "");
}

#[test]
fn from_whatever_change_on_the_disk_is_full_the_error_is_clear_and_the_next_run_completes() {
    every("ENOSPC:half", "+");
}

/// Tries every n until a run no longer notices.
fn every(errno: &str, lasting: &str) {
    let (next, last) = (AtomicU64::new(1), AtomicU64::new(u64::MAX));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    if n > last.load(Ordering::SeqCst) {
                        return;
                    }
                    if !fails_at(n, lasting, errno) {
                        last.fetch_min(n, Ordering::SeqCst);
                    }
                    assert!(n < 2000, "a run has no end of changes");
                }
            });
        }
    });
    let last = last.load(Ordering::SeqCst);
    assert!(last > 100, "only {last} changes were counted");
}

/// One run with the fault, one without; false: the first did not notice.
fn fails_at(n: u64, lasting: &str, errno: &str) -> bool {
    let fault = &format!("any:{n}{lasting}:{errno}");
    let place = project();
    let mut command = place.command("run --jobs 2");
    command.env("KUN_FAULT", fault);
    let (code, said) = place.start_command(command).end();
    assert!(!said.contains("panicked"), "{fault}: {said}");
    let is_named =
        said.lines().any(|it| it.contains("os error") && it.contains("`/") || it.contains("`./"));
    match code {
        // A warning, if anything: nothing was lost.
        0 => right(&place, fault),
        1 | 70 => assert!(is_named, "{fault}: exit {code}: {said}"),
        _ => panic!("{fault}: exit {code}: {said}"),
    }
    let notices = code != 0 || said.contains("warning");
    if place.root().join(".kun/store/VERSION").exists() {
        place.verify(fault);
    }
    let (again, said_again) = place.end("run");
    assert_eq!(again, 0, "{fault}, again: {said_again}\nat first: {said}");
    right(&place, fault);
    place.verify(fault);
    // Some failures are nobody's loss, such as that of removing something, and not said.
    notices || is_before_the_end(n)
}

/// Whether anything is left to fail from the n-th change on.
fn is_before_the_end(n: u64) -> bool {
    let place = project();
    let mut command = place.command("run --jobs 2");
    command.env("KUN_FAULT", format!("any:{n}+:EIO"));
    let (code, said) = place.start_command(command).end();
    code != 0 || said.contains("warning")
}

fn right(place: &Place, what: &str) {
    let results = place.results();
    assert_eq!(results.get("tree/t/a").map(Vec::as_slice), Some(RIGHT), "{what}: {results:?}");
    assert_eq!(results.len(), 1, "{what}: {:?}", results.keys());
}
