//! `kun diff`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn two_runs_are_compared() {
    let project = Project::new();
    project.good("run");
    project.append("texts/one.txt", "more\n");
    project.good("run");
    assert_snapshot!(project.run("diff last~1 last"), @"
    exit 0
    --- stdout
    all
      `in.parts.00000` was b3:c133dd8343, is b3:3bc88d9ca3
      output `data` had 58 B, has 63 B
      `bytes` was 58, is 63
    marked[one]
      `in.text` was b3:ddae417662, is b3:f1b90d18ee
      output `text` had 34 B, has 39 B
    numbers
      `in.data` was b3:3e4f9109ab, is b3:3bcf3784b7
      `bytes` was 58, is 63
      `characters` was 53, is 57
      `distinct_lines` was 4, is 5
      `lines` was 5, is 6
    --- stderr
    3 of 4 steps differ
    ");
}

#[test]
fn two_variants_are_compared_before_they_ran() {
    let project = Project::hello();
    project.write(
        "workflow.toml",
        project
            .read("workflow.toml")
            .replace("[variants]\n", "[variants]\nlarge = { sample.n = 9 }\n"),
    );
    project.good("run --variant *");
    assert_snapshot!(project.run("diff small large"), @"
    exit 0
    --- stdout
    numbers
      `in.data` was b3:a4d1938153, is b3:90790bbf37
      `bytes` was 145, is 654
      `characters` was 143, is 645
      `distinct_lines` was 2, is 9
      `lines` was 2, is 9
    sample
      `with.n` was 2, is 9
      output `data` had 145 B, has 654 B
      output `ledger` differs, with 1.1 KiB in both
      `dropped` was 10, is 3
      `kept` was 2, is 9
    --- stderr
    2 of 10 steps differ
    ");
}

#[test]
fn a_run_of_a_variant_is_compared_with_a_run_without() {
    let project = Project::hello();
    project.good("run");
    project.good("run --variant small");
    assert_snapshot!(project.run("diff last~1 last"), @"
    exit 0
    --- stdout
    numbers
      `in.data` was b3:d219a3e021, is b3:a4d1938153
      `bytes` was 435, is 145
      `characters` was 429, is 143
      `distinct_lines` was 6, is 2
      `lines` was 6, is 2
    sample
      `with.n` was 6, is 2
      output `data` had 435 B, has 145 B
      output `ledger` differs, with 1.1 KiB in both
      `dropped` was 6, is 10
      `kept` was 6, is 2
    --- stderr
    2 of 10 steps differ
    ");
}

#[test]
fn names_that_are_none_are_mistakes() {
    let project = Project::hello();
    assert_snapshot!(project.run("diff last last~1"), @"
    exit 2
    --- stderr
    error: there are no runs yet

    help: `kun run` makes one
    ");
    assert_snapshot!(project.run("diff small large"), @"
    exit 2
    --- stderr
    error: no variant `large`

    help: the variants are small
    ");
}

#[test]
fn what_only_variants_can_be_asked_with_is_refused_for_runs() {
    let project = Project::new();
    project.good("run");
    assert_snapshot!(project.run("diff last last --set mark=x"), @"
    exit 2
    --- stderr
    error: `--set` and `--paranoid` are for two variants, not for two runs
    ");
}

#[test]
fn metrics_are_told_with_their_intervals() {
    let manifest = |n: u32| {
        format!(
            "[steps.exam]\nrun = [\"cp\", \"${{in.numbers}}\", \"${{out.metrics}}\"]\n\
             in = {{ numbers = \"{n}.json\" }}\nout = {{ metrics = \"metrics\" }}\n"
        )
    };
    let project = Project::with(&[
        ("1.json", "{\"right\":0.5,\"right_low\":0.2,\"right_high\":0.8,\"n\":9,\"gone\":1}\n"),
        ("2.json", "{\"right\":0.75,\"right_low\":0.4,\"right_high\":0.9,\"n\":9}\n"),
    ]);
    for n in [1, 2] {
        project.write("workflow.toml", manifest(n));
        project.good("run");
    }
    let screen = project.run("diff last~1 last");
    assert!(screen.contains("  `right` was 0.5 [0.2, 0.8], is 0.75 [0.4, 0.9]\n"), "{screen}");
    assert!(screen.contains("  `gone` was 1, is nothing\n"), "{screen}");
    assert!(!screen.contains("right_low") && !screen.contains("`n`"), "{screen}");
}
