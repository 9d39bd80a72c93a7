//! The engine with program steps: what runs, what is reused, what is said.

use std::fs;
use std::time::Duration;

use engine::Home;
use engine::events::{End, Event, Reuse};
use engine::why::Verdict;
use plan::Input;
use store::Store;

use crate::stage::{Bench, diamond, graph, made, ran, step};

#[test]
fn runs_once_and_then_nothing() {
    let bench = Bench::new("a\n#x\nb\n");
    let (summary, events) = bench.run(&diamond());
    assert_eq!(summary.end, End::Good, "{events:#?}");
    assert_eq!(ran(&events), ["clean", "join", "lines", "upper"]);
    let out = fs::read_to_string(bench.root().join("out/join/o")).unwrap();
    assert_eq!(out, "A\nB\n2\n");
    let (summary, events) = bench.run(&diamond());
    assert_eq!((summary.n_ran, ran(&events)), (0, vec![]));
}

#[test]
fn a_comment_stops_where_the_bytes_are_the_same() {
    let bench = Bench::new("a\n#x\nb\n");
    bench.run(&diamond());
    bench.write("a\n#yyy\nb\n");
    let (verdict, causes) = bench.why(&diamond(), 3);
    assert_eq!(verdict, Verdict::MayBeCutOff);
    assert_eq!(causes, ["`in.i0`: `upper` runs first", "`in.i1`: `lines` runs first"]);
    let (verdict, causes) = bench.why(&diamond(), 0);
    assert_eq!(verdict, Verdict::Runs);
    assert!(causes[0].starts_with("`source` changed: `in.i0` was b3:"), "{causes:?}");
    let (_, events) = bench.run(&diamond());
    assert_eq!(ran(&events), ["clean"]);
    let cut_off: Vec<&Event> = events
        .iter()
        .filter(|it| matches!(it, Event::StepReused { how: Reuse::CutOff, .. }))
        .collect();
    assert_eq!(cut_off.len(), 3, "{events:#?}");
    let (summary, _) = bench.run(&diamond());
    assert_eq!(summary.n_ran, 0);
}

#[test]
fn a_failure_names_the_log_and_skips_what_is_below() {
    let bench = Bench::new("a\n");
    let mut graph = diamond();
    graph.instances[1] = step("upper", "echo some words >&2; exit 3", &[made(0)]);
    let (summary, events) = bench.run_with(&graph, true);
    assert_eq!(summary.end, End::Failed);
    let failed = events.iter().find_map(|it| match it {
        Event::StepFailed { step, reason, tail, .. } => Some((step, reason, tail)),
        _ => None,
    });
    let (step, reason, tail) = failed.unwrap();
    assert_eq!((step.as_str(), reason.as_str()), ("upper", "exit status 3"));
    assert_eq!(tail, &["some words"]);
    assert!(
        events.iter().any(|it| matches!(it, Event::StepSkipped { step, .. } if step == "join"))
    );
    assert_eq!(ran(&events), ["clean", "lines"]);
    let (_, events) = bench.run(&diamond());
    assert_eq!(ran(&events), ["join", "upper"]);
}

#[test]
fn a_step_is_tried_again_as_often_as_it_may() {
    let bench = Bench::new("a\n");
    // Outside of its own folder only a fixed place is the same for each attempt.
    let mark = bench.root().join("mark");
    let script = format!("echo x >> {0}; test $(wc -l < {0}) -ge 3; cp $1 $2", mark.display());
    let mut instance = step("flaky", &script, &[Input::Source(0)]);
    let how = std::sync::Arc::make_mut(&mut instance.how);
    how.retries.max = 2;
    how.retries.first_wait = Duration::from_millis(1);
    let (summary, events) = bench.run(&graph(vec![instance]));
    assert_eq!(summary.end, End::Good, "{events:#?}");
    let retries = events.iter().filter(|it| matches!(it, Event::StepRetried { .. })).count();
    assert_eq!(retries, 2);
}

#[test]
fn a_step_that_takes_too_long_is_ended() {
    let bench = Bench::new("a\n");
    let mut instance = step("slow", "sleep 60; cp $1 $2", &[Input::Source(0)]);
    std::sync::Arc::make_mut(&mut instance.how).timeout = Some(Duration::from_millis(200));
    let (summary, events) = bench.run(&graph(vec![instance]));
    assert_eq!(summary.end, End::Failed);
    assert!(
        events.iter().any(
            |it| matches!(it, Event::StepFailed { reason, .. } if reason == "took longer than 200 ms")
        ),
        "{events:#?}"
    );
}

#[test]
fn outputs_are_held_to_what_was_declared() {
    let cases = [
        ("true", "it ended well but did not write output `o` (`out/o`)"),
        ("cp $1 $2; touch out/more", "it wrote `out/more`, which is no declared output"),
        ("mkdir $2", "output `o` is declared as file, and it is a folder"),
        ("ln -s /etc/passwd $2", "output `o` is declared as file, and it is not a plain file"),
    ];
    for (script, said) in cases {
        let bench = Bench::new("a\n");
        let (_, events) = bench.run(&graph(vec![step("x", script, &[Input::Source(0)])]));
        let reason = events.iter().find_map(|it| match it {
            Event::StepFailed { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        assert_eq!(reason.as_deref(), Some(said), "{script}");
    }
}

#[test]
fn writing_to_an_input_or_a_changing_source_is_noticed() {
    let bench = Bench::new("a\n");
    let spoils = "chmod u+w $1; echo more >> $1; cp $1 $2";
    let (summary, events) = bench.run(&graph(vec![
        step("first", "cp $1 $2", &[Input::Source(0)]),
        step("spoils", spoils, &[made(0)]),
    ]));
    assert_eq!(summary.end, End::Failed, "{events:#?}");
    // What was spoilt is not taken for good: the first step makes it again.
    let (summary, events) = bench.run(&graph(vec![
        step("first", "cp $1 $2", &[Input::Source(0)]),
        step("reads", "cp $1 $2; echo", &[made(0)]),
    ]));
    assert_eq!(summary.end, End::Good, "{events:#?}");
    assert_eq!(fs::read_to_string(bench.root().join("out/reads/o")).unwrap(), "a\n");

    let source = bench.root().join("source");
    let edits = format!("echo late >> {}; cp $1 $2", source.display());
    let (summary, events) = bench.run(&graph(vec![step("edits", &edits, &[Input::Source(0)])]));
    assert_eq!(summary.end, End::Failed, "{events:#?}");
}

#[test]
fn what_a_person_edited_is_put_aside() {
    let bench = Bench::new("a\n");
    bench.run(&diamond());
    let out = bench.root().join("out/join/o");
    fs::remove_file(&out).unwrap();
    fs::write(&out, "mine").unwrap();
    let (_, events) = bench.run(&diamond());
    let kept = events.iter().find_map(|it| match it {
        Event::Exported { kept: Some(kept), .. } => Some(kept.clone()),
        _ => None,
    });
    assert_eq!(kept.as_deref(), Some("out/join/o.edited-1"));
    assert_eq!(fs::read_to_string(bench.root().join("out/join/o.edited-1")).unwrap(), "mine");
    assert_eq!(fs::read_to_string(out).unwrap(), "A\n1\n");
}

#[test]
fn a_lost_object_is_made_again_only_when_it_is_needed() {
    let bench = Bench::new("a\n");
    bench.run(&diamond());
    let store = Store::open(&Home::of(bench.root()).store()).unwrap();
    let clean = store.records().unwrap().find(|it| it.address == "clean").unwrap();
    let lost = store.object_path(&clean.outputs["o"].object.digest);
    fs::remove_file(&lost).unwrap();
    let (summary, _) = bench.run(&diamond());
    assert_eq!(summary.n_ran, 0, "nothing needs it");
    let mut changed = diamond();
    changed.instances[2] = step("lines", "wc -c < $1 > $2", &[made(0)]);
    let (_, events) = bench.run(&changed);
    assert_eq!(ran(&events), ["clean", "join", "lines"], "{events:#?}");
}

#[test]
fn a_cut_off_at_the_head_of_a_long_chain_settles_all_of_it() {
    let bench = Bench::new("a\n#x\n");
    let chain = |n: usize| {
        let mut instances = vec![step("clean", "grep -v '^#' $1 > $2", &[Input::Source(0)])];
        for i in 1..n {
            // All ask one question, so that only one of them runs.
            instances.push(step(&format!("s{i}"), "cat $1 > $2", &[made(i - 1)]));
        }
        graph(instances)
    };
    bench.run(&chain(5_000));
    bench.write("a\n#y\n");
    let (summary, _) = bench.run(&chain(5_000));
    assert_eq!(summary.n_ran, 1);
}
