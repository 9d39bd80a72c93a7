//! `kun run`.

use insta::assert_snapshot;

use crate::project::Project;

const FAILING: &str = r#"[workflow]
name = "failing"
format = 1

[steps.bad]
run = ["sh", "-c", "for i in 1 2 3; do echo line $i; done; echo oh no >&2; exit 3"]
out = { x = "file" }

[steps.after]
op = "concat"
in = { parts = "${steps.bad.x}" }

[steps.good]
run = ["sh", "-c", 'echo good > "$1"', "sh", "${out.x}"]
out = { x = "file" }

[steps.silent]
run = ["true"]
out = { x = "file" }

[steps.absent]
run = ["no-such-program"]
out = { x = "file" }
"#;

#[test]
fn cold_then_nothing_then_an_edit() {
    let project = Project::hello();
    assert_snapshot!(project.sorted("run"), @"
    exit 0
    --- stdout
    out/all/data
    out/numbers/metrics.json
    out/sample/data.jsonl
    out/sample/ledger.jsonl
    --- stderr
            Plan 10 steps: 0 cached, 10 run
         Running all: it never ran
            Done all in [TIME], bytes 986
         Running lines[rain]: it never ran
            Done lines[rain] in [TIME]
         Running lines[river]: it never ran
            Done lines[river] in [TIME]
         Running lines[sea]: it never ran
            Done lines[sea] in [TIME]
         Running numbers: it never ran
            Done numbers in [TIME], lines 6
         Running records: it never ran
            Done records in [TIME], bytes 873
         Running sample: it never ran
            Done sample in [TIME], dropped 6, kept 6
         Running words[rain]: it never ran
            Done words[rain] in [TIME]
         Running words[river]: it never ran
            Done words[river] in [TIME]
         Running words[sea]: it never ran
            Done words[sea] in [TIME]
        Finished 10 ran in [TIME]
    ");
    assert_snapshot!(project.run("run"), @"
    exit 0
    --- stdout
    out/all/data
    out/numbers/metrics.json
    out/sample/data.jsonl
    out/sample/ledger.jsonl
    --- stderr
        Finished nothing to run, 10 reused in [TIME]
    ");
    project.append("texts/rain.txt", "and more rain\n");
    assert_snapshot!(project.sorted("run"), @"
    exit 0
    --- stdout
    out/all/data
    out/numbers/metrics.json
    out/sample/data.jsonl
    out/sample/ledger.jsonl
    --- stderr
            Plan 10 steps: 4 cached, 2 run, 4 may run
         Running all: `words[rain].words` changed: `in.parts.00000` was b3:717e4cacb8, is b3:54e0a9cd6d
            Done all in [TIME], bytes 999
         Running lines[rain]: `texts/rain.txt` changed: `in.text` was b3:f1e1f7cbd7, is b3:a6ae5abb88
            Done lines[rain] in [TIME]
            Same numbers: what it reads came out as it was
         Running records: `lines[rain].data` changed: `in.parts.00000` was b3:fcd0a5024f, is b3:3ad6d0d44c
            Done records in [TIME], bytes 917
         Running sample: `records.data` changed: `in.data` was b3:a374c4fe07, is b3:2b8d1c0171
            Done sample in [TIME], dropped 7, kept 6
         Running words[rain]: `texts/rain.txt` changed: `in.text` was b3:f1e1f7cbd7, is b3:a6ae5abb88
            Done words[rain] in [TIME]
        Finished 5 ran, 5 reused in [TIME]
    ");
}

#[test]
fn a_variant_shares_what_it_does_not_change() {
    let project = Project::hello();
    project.good("run");
    assert_snapshot!(project.sorted("run --variant small"), @"
    exit 0
    --- stdout
    out/all@small/data
    out/numbers@small/metrics.json
    out/sample@small/data.jsonl
    out/sample@small/ledger.jsonl
    --- stderr
            Plan 10 steps: 8 cached, 1 runs, 1 may run
         Running numbers@small: `sample@small.data` changed: `in.data` was b3:d219a3e021, is b3:a4d1938153
            Done numbers@small in [TIME], lines 2
         Running sample@small: `with.n` was 6, is 2 (workflow.toml:56)
            Done sample@small in [TIME], dropped 10, kept 2
        Finished 2 ran, 8 reused in [TIME]
    ");
}

#[test]
fn a_failing_step_shows_the_end_of_its_log() {
    let project = Project::with(&[("workflow.toml", FAILING)]);
    assert_snapshot!(project.run("run after"), @"
    exit 1
    --- stderr
            Plan 2 steps: 0 cached, 2 run
         Running bad: it never ran
          Failed bad: exit status 3
                 | line 1
                 | line 2
                 | line 3
                 | oh no
             log .kun/runs/[RUN]/logs/bad.log
         Skipped after: `bad` has no result
        Finished 1 failed, 1 not run in [TIME]
    ");
}

#[test]
fn other_branches_go_on_if_asked_to() {
    let project = Project::with(&[("workflow.toml", FAILING)]);
    assert_snapshot!(project.run("run --keep-going --jobs 1 after good"), @"
    exit 1
    --- stdout
    out/good/x
    --- stderr
            Plan 3 steps: 0 cached, 3 run
         Running bad: it never ran
          Failed bad: exit status 3
                 | line 1
                 | line 2
                 | line 3
                 | oh no
             log .kun/runs/[RUN]/logs/bad.log
         Skipped after: `bad` has no result
         Running good: it never ran
            Done good in [TIME]
        Finished 1 failed, 1 not run, 1 ran in [TIME]
    ");
    assert_eq!(project.read("out/good/x"), "good\n");
}

#[test]
fn a_program_that_writes_nothing_or_is_not_there_is_told() {
    let project = Project::with(&[("workflow.toml", FAILING)]);
    assert_snapshot!(project.run("run silent"), @"
    exit 1
    --- stderr
            Plan 1 step: 0 cached, 1 runs
         Running silent: it never ran
          Failed silent: it ended well but did not write output `x` (`out/x`)
        Finished 1 failed in [TIME]
    ");
    assert_snapshot!(project.run("run absent"), @"
    exit 1
    --- stderr
            Plan 1 step: 0 cached, 1 runs
         Running absent: it never ran
          Failed absent: no program `no-such-program` on the search path
        Finished 1 failed in [TIME]
    ");
}

#[test]
fn events_are_lines_of_json() {
    let project = Project::with(&[("workflow.toml", FAILING)]);
    assert_snapshot!(project.run("run good --json"), @r#"
    exit 0
    --- stdout
    {"event":"run_started","run":"[RUN]","n_steps":1,"n_cached":0,"n_stale":1,"n_maybe":0,"machine":"[MACHINE]"}
    {"event":"step_started","step":"good","key":"b3:45fee8a85d94717d614ea2ab218af622016429bc3c48844080ac3b9a9576137b","why":"it never ran","shards":1,"shards_done":0,"log":"[DIR]/.kun/runs/[RUN]/logs/good.log"}
    {"event":"step_done","step":"good","key":"b3:45fee8a85d94717d614ea2ab218af622016429bc3c48844080ac3b9a9576137b","took_ms":[TIME],"counts":{},"outputs":{"x":"b3:9f8f7ea9be3367359543c8214a18f9228ad60cb860b90cb5d0873a22788d6fae"}}
    {"event":"exported","what":"good.x","path":"out/good/x","kept":null}
    {"event":"run_ended","end":"good","n_ran":1,"n_reused":0,"n_failed":0,"n_skipped":0,"n_stopped":0,"took_ms":[TIME]}
    "#);
    assert_snapshot!(project.run("run good --json"), @r#"
    exit 0
    --- stdout
    {"event":"run_started","run":null,"n_steps":1,"n_cached":1,"n_stale":0,"n_maybe":0,"machine":"[MACHINE]"}
    {"event":"run_ended","end":"good","n_ran":0,"n_reused":1,"n_failed":0,"n_skipped":0,"n_stopped":0,"took_ms":[TIME]}
    "#);
}

#[test]
fn quiet_says_only_where_results_are_and_what_went_wrong() {
    let project = Project::new();
    let failing = Project::with(&[("workflow.toml", FAILING)]);
    assert_snapshot!(failing.run("run -q after"), @"
    exit 1
    --- stderr
          Failed bad: exit status 3
                 | line 1
                 | line 2
                 | line 3
                 | oh no
             log .kun/runs/[RUN]/logs/bad.log
        Finished 1 failed, 1 not run in [TIME]
    ");
    assert_snapshot!(project.run("run -q"), @"
    exit 0
    --- stdout
    out/all/data
    out/numbers/metrics.json
    ");
}

#[test]
fn locked_runs_refuse_other_sources() {
    let project = Project::new();
    assert_snapshot!(project.run("run --locked"), @"
    exit 2
    --- stderr
    error: there is no `kun.lock`

    help: `kun lock` writes it
    ");
    project.good("run");
    project.good("lock");
    assert_snapshot!(project.run("run --locked"), @"
    exit 0
    --- stdout
    out/all/data
    out/numbers/metrics.json
    --- stderr
        Finished nothing to run, 4 reused in [TIME]
    ");
    project.append("texts/one.txt", "more\n");
    assert_snapshot!(project.run("run --locked"), @"
    exit 2
    --- stderr
    error: sources are not the locked ones
       source texts/one.txt: locked b3:ddae417662609906d020dee6b3c6e688bacc0bb3f26ee344c8d19c90cbf899a1, is b3:f1b90d18eef9e1de6df378aa66dd59022a9bb58f486752b9f7cd6155f75038b3

    help: bring the sources back, or `kun lock` the new ones
    ");
}

#[test]
fn a_missing_source_is_a_mistake_with_its_place() {
    let project = Project::new();
    std::fs::remove_file(project.path("texts/one.txt")).unwrap();
    std::fs::remove_file(project.path("texts/two.txt")).unwrap();
    assert_snapshot!(project.run("run"), @"
    exit 2
    --- stderr
    error: workflow.toml:11: source `one` is not at `texts/one.txt`, and step `marked[one]` reads it
       workflow.toml:12: source `two` is not at `texts/two.txt`, and step `marked[two]` reads it

    help: put the files there, or point the manifest to where they are
    ");
}

#[test]
fn what_a_person_edited_below_out_is_put_aside() {
    let project = Project::new();
    project.good("run");
    std::fs::remove_file(project.path("out/all/data")).unwrap();
    project.write("out/all/data", "edited by hand\n");
    assert_snapshot!(project.run("run"), @"
    exit 0
    --- stdout
    out/all/data
    out/numbers/metrics.json
    --- stderr
            Kept `out/all/data` had been edited: it is kept as `out/all/data.edited-1`
        Finished nothing to run, 4 reused in [TIME]
    ");
    assert_eq!(project.read("out/all/data.edited-1"), "edited by hand\n");
}

#[test]
fn a_run_that_cannot_put_its_results_anywhere_ends_as_failed_and_names_the_path() {
    let project = Project::with(&[("workflow.toml", FAILING), ("out", "a file\n")]);
    assert_snapshot!(project.run("run good"), @"
    exit 70
    --- stderr
            Plan 1 step: 0 cached, 1 runs
         Running good: it never ran
            Done good in [TIME]
        Finished 1 ran in [TIME]
    error: cannot make folder `[DIR]/out/good`: Not a directory (os error 20)
    ");
    assert_snapshot!(project.run("run good --json"), @r#"
    exit 70
    --- stdout
    {"event":"run_started","run":null,"n_steps":1,"n_cached":1,"n_stale":0,"n_maybe":0,"machine":"[MACHINE]"}
    {"event":"run_ended","end":"failed","n_ran":0,"n_reused":1,"n_failed":0,"n_skipped":0,"n_stopped":0,"took_ms":[TIME]}
    --- stderr
    error: cannot make folder `[DIR]/out/good`: Not a directory (os error 20)
    "#);
}
