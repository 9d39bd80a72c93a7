//! `kun` with words that it does not know.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn words_that_are_no_command_are_a_mistake() {
    let project = Project::with(&[]);
    assert_snapshot!(project.run("rnu"), @"
    exit 2
    --- stderr
    error: unrecognized subcommand 'rnu'

    Usage: kun [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    assert_snapshot!(project.run("run --jobs 0"), @"
    exit 2
    --- stderr
    error: invalid value '0' for '--jobs <N>': 0 is not in 1..=65536

    For more information, try '--help'.
    ");
    assert_snapshot!(project.run("check one two"), @"
    exit 2
    --- stderr
    error: unexpected argument 'two' found

    Usage: kun check [OPTIONS] [MANIFEST]

    For more information, try '--help'.
    ");
    assert_snapshot!(project.run("run --set x"), @"
    exit 2
    --- stderr
    error: invalid value 'x' for '--set <NAME=VALUE>': expected NAME=VALUE

    For more information, try '--help'.
    ");
}

#[test]
fn without_a_manifest_there_is_advice() {
    let project = Project::with(&[]);
    assert_snapshot!(project.run("run"), @"
    exit 2
    --- stderr
    error: no `workflow.toml` or `kun.toml` here or in a folder above

    help: `kun new` makes one, and `-f MANIFEST` names another
    ");
    assert_snapshot!(project.run("plan -f other.toml"), @"
    exit 2
    --- stderr
    manifest::unreadable

      × cannot read `other.toml`: No such file or directory (os error 2)

    1 mistake
    ");
    assert_snapshot!(project.run("status ."), @"
    exit 2
    --- stderr
    error: no `workflow.toml` or `kun.toml` in `.`

    help: `kun new .` makes one
    ");
}

#[test]
fn the_manifest_is_found_from_below() {
    let project = Project::new();
    let output = project.command("plan").current_dir(project.path("texts")).output().unwrap();
    assert_snapshot!(project.screen(&output), @"
    exit 0
    --- stdout
            runs marked[one]  it never ran
            runs marked[two]  it never ran
            runs all          it never ran
            runs numbers      it never ran
    --- stderr
            Plan 4 steps: 0 cached, 4 run
        Forecast no history: nothing like these steps has run yet
    ");
}

#[test]
fn what_is_asked_of_a_workflow_and_is_not_there_is_a_mistake() {
    let project = Project::hello();
    assert_snapshot!(project.run("run sampel"), @"
    exit 2
    --- stderr
    manifest::unknown-step

      × no step `sampel`
      help: did you mean `sample`?

    1 mistake
    ");
    assert_snapshot!(project.run("run --variant smal"), @"
    exit 2
    --- stderr
    manifest::unknown-variant

      × no variant `smal`
      help: did you mean `small`?

    1 mistake
    ");
    assert_snapshot!(project.run("run --set sample.m=3 --set sample.n=x"), @"
    exit 2
    --- stderr
    manifest::unknown-param

      × --set sample.m=3: no parameter `sample.m`
      help: did you mean `sample.n`?

    manifest::param-type

      × --set sample.n=x: `sample.n` is an integer and cannot become a string

    2 mistakes
    ");
}

#[test]
fn no_command_takes_a_flag_that_it_has_no_use_for() {
    let project = Project::new();
    for words in [
        "gc --paranoid",
        "gc --set mark=x",
        "verify --variant x",
        "fmt --json",
        "fmt -f workflow.toml workflow.toml",
        "check --store x",
        "log all --paranoid",
        "log all --path --json",
        "doctor --set mark=x",
        "diff last last --variant x",
        "graph --format svg --json",
        "plan --variants --all",
    ] {
        let said = project.run(words);
        assert!(said.starts_with("exit 2\n"), "{words}: {said}");
        assert!(said.contains("unexpected argument") || said.contains("cannot be used with"));
    }
}
