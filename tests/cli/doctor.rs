//! `kun doctor`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn it_says_what_is_here() {
    let project = Project::with(&[]);
    let text = project.run("doctor");
    let about = |text: &str| -> Vec<String> {
        text.lines().filter_map(|it| it.split_whitespace().nth(1).map(str::to_owned)).collect()
    };
    let said = about(&text);
    for it in ["kun", "machine", "processor", "memory", "driver", "project"] {
        assert!(said.contains(&it.to_owned()), "nothing of {it}: {text}");
    }
    assert!(text.starts_with("exit 0") && text.contains("no manifest here"), "{text}");
}

#[test]
fn in_a_project_the_store_is_tried() {
    let project = Project::new();
    let text = project.run("doctor");
    let line = |about: &str| text.lines().find(|it| it.contains(about)).unwrap_or_default();
    assert_snapshot!(line(" project "), @"   ok project    [DIR]");
    assert_snapshot!(line(" store "), @"   ok store      [DIR]/.kun/store");
    assert_snapshot!(line(" locks "), @"   ok locks      work");
}

#[test]
fn it_says_how_steps_get_their_inputs_and_what_that_costs() {
    let project = Project::new();
    let line = |way: &str| {
        let output = project.command("doctor").env("KUN_INPUTS", way).output().unwrap();
        let text = project.screen(&output);
        let found = text.lines().find(|it| it.contains(" inputs ")).map(str::to_owned);
        found.unwrap_or(text)
    };
    for (way, what) in [
        ("copy", "   ok inputs     copies up to 64 MiB, verified links above, "),
        ("link", "   ok inputs     verified links, "),
    ] {
        let said = line(way);
        assert!(said.starts_with(what) && said.ends_with(" us for a small one"), "{said}");
    }
    let said = line("");
    assert!(said.starts_with("   ok inputs     "), "{said}");
    let said = line("hope");
    assert!(said.contains("`KUN_INPUTS` is `hope`"), "{said}");
}
