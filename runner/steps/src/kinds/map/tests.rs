//! What `map` promises, with `sh`, `sed` and `tee` as programs.

use crate::kit::Kit;
use crate::{Say, Shard, StepError};

const UPPER: &str = r#"run = ["sed", "-u", "s/r/R/"]"#;

fn records(n: u64) -> String {
    (0..n).map(|it| format!("r{it}\n")).collect()
}

/// A program that notes each question in `log`.
fn noting(kit: &Kit) -> String {
    let log = kit.folder.path().join("log");
    format!("run = ['sh', '-c', 'tee -a {} | sed -u s/r/R/']", log.display())
}

fn n_asked(kit: &Kit) -> usize {
    std::fs::read_to_string(kit.folder.path().join("log")).unwrap_or_default().lines().count()
}

#[test]
fn ten_new_records_among_a_thousand_are_asked_about() {
    let mut kit = Kit::new("map");
    let with = noting(&kit);
    kit.data(&with, &records(1000));
    assert_eq!(n_asked(&kit), 1000);
    // In front, so that every record stands on another line.
    let input: String =
        (1000..1010).map(|it| format!("r{it}\n")).collect::<String>() + &records(1000);
    let output = kit.data(&with, &input);
    assert_eq!(n_asked(&kit), 1010);
    assert_eq!(output, input.to_uppercase());
    assert_eq!(kit.count("records"), Some(1010));
    assert!(kit.said.contains(&Say::Note("asked about 10 of 1010 records".to_owned())));
}

#[test]
fn a_step_that_is_stopped_goes_on_where_it_was() {
    let mut kit = Kit::new("map");
    let with = noting(&kit) + "\nwindow = 8";
    kit.stop_after = 631;
    let stopped = kit.run(&with, &[records(1000).as_bytes()]);
    assert!(matches!(stopped, Err(StepError::Stopped)));
    let n_kept = kit.memo.0.len();
    assert!((600..=631).contains(&n_kept), "{n_kept}");
    std::fs::remove_file(kit.folder.path().join("log")).unwrap();
    kit.stop_after = usize::MAX;
    assert_eq!(kit.data(&with, &records(1000)), records(1000).to_uppercase());
    assert_eq!(n_asked(&kit), 1000 - n_kept);
}

#[test]
fn window_copies_and_shards_change_nothing() {
    let input = records(100) + &records(50);
    let whole = Kit::new("map").data(UPPER, &input);
    assert_eq!(whole, input.to_uppercase());
    for (window, copies) in [(1, 1), (1, 3), (7, 2), (1000, 5)] {
        let with = format!("{UPPER}\nwindow = {window}\ncopies = {copies}");
        assert_eq!(Kit::new("map").data(&with, &input), whole);
    }
    let shard = |index| {
        let mut kit = Kit::new("map");
        kit.shard = Some(Shard { index, count: 4 });
        kit.data(UPPER, &input)
    };
    assert_eq!((0..4).map(shard).collect::<String>(), whole);
}

#[test]
fn equal_records_are_asked_about_once() {
    let mut kit = Kit::new("map");
    let with = noting(&kit);
    assert_eq!(kit.data(&with, &"r1\nr2\n".repeat(500)), "R1\nR2\n".repeat(500));
    assert_eq!(n_asked(&kit), 2);
}

#[test]
fn a_program_that_reads_everything_before_it_answers_is_fed_within_its_window() {
    // Large lines fill both pipes; neither side may wait for the other.
    let line = "x".repeat(100_000) + "\n";
    let input: String = (0..60).map(|it| format!("{it}{line}")).collect();
    let output = Kit::new("map").data("run = ['cat']\nwindow = 64", &input);
    assert_eq!(output, input);
}

#[test]
fn nothing_to_ask_starts_nothing() {
    let mut kit = Kit::new("map");
    assert_eq!(kit.data("run = ['no-such-program']", ""), "");
    let error = kit.error("run = ['no-such-program']", "a\n");
    assert!(error.starts_with("`no-such-program` cannot be started: No such file"), "{error}");
    assert_eq!(kit.error("run = []", "a\n"), "parameters of `map`: `run` is empty");
}

#[test]
fn a_program_that_ends_early_is_named_with_the_record() {
    let mut kit = Kit::new("map");
    let error = kit.error("run = ['sed', '-u', '3q7']\nwindow = 1", &records(10));
    assert_eq!(error, "`sed` ended before it answered, with exit status: 7, at record 4");
    assert_eq!(kit.memo.0.len(), 3);
}

#[test]
fn a_line_too_many_withdraws_what_was_answered() {
    let mut kit = Kit::new("map");
    let program = "run = ['sed', '-u', '5p']";
    let error = kit.error(program, &records(10));
    assert!(error.starts_with("`sed` answered with more lines than it was asked"), "{error}");
    let stands = kit.memo.0.values().filter(|it| it[0] == 1).count();
    assert_eq!(stands, 0);
}

#[test]
fn a_shift_is_noticed_by_the_fields_that_must_be_the_same() {
    let input: String = (0..20).map(|it| format!("{{\"id\":{it}}}\n")).collect();
    let good = "run = ['cat']\nsame = ['id']";
    assert_eq!(Kit::new("map").data(good, &input), input);
    let program = "run = ['sed', '-u', '5p']\nsame = ['id']";
    let error = Kit::new("map").error(program, &input);
    assert_eq!(error, "`sed` answered with `id` 4, asked with 5, at record 6");
}

#[test]
fn a_bad_end_is_a_failure_that_the_memo_does_not_hide() {
    let mut kit = Kit::new("map");
    let program = "run = ['sh', '-c', 'cat; exit 3']";
    for _ in 0..2 {
        let error = kit.error(program, &records(3));
        assert_eq!(error, "`sh` ended with exit status: 3 after its last answer");
    }
}

#[test]
fn answers_that_are_no_text_or_too_long_are_named() {
    let mut kit = Kit::new("map");
    let error = kit.error(r#"run = ["sh", "-c", "printf '\\377\\n'; cat"]"#, "a\nb\n");
    assert_eq!(error, "`sh` answered with bytes that are not UTF-8, at record 1");
    let error = kit.error("run = ['cat']\nmax_line_bytes = 3", "abc\nabcd\n");
    assert_eq!(error, "`cat` answered with a line over `max_line_bytes`, at record 2");
    let error = kit.run("run = ['cat']", &[b"a\n\xff\n"]).unwrap_err().to_string();
    assert!(error.ends_with("in0:2: the record is not UTF-8"), "{error}");
}

#[test]
fn a_program_that_never_answers_can_be_stopped() {
    let mut kit = Kit::new("map");
    kit.stop_after = 20;
    let stopped = kit.run("run = ['sleep', '1000']", &[b"a\n"]);
    assert!(matches!(stopped, Err(StepError::Stopped)));
}

#[test]
fn answers_become_durable_on_the_way_and_not_only_at_the_end() {
    let mut kit = Kit::new("map");
    let every = std::time::Duration::ZERO;
    kit.checkpoint = Some(plan::graph::Checkpoint { every, keep: 1 });
    kit.data(UPPER, &records(10));
    assert_eq!(kit.memo.1, 11);
}
