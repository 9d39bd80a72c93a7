//! `kun completions`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn every_shell_knows_every_command() {
    let project = Project::with(&[]);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let text = project.good(&format!("completions {shell}"));
        assert!(["verify", "keep-going"].iter().all(|it| text.contains(it)), "{shell}: {text}");
    }
    assert_snapshot!(project.run("completions tcsh"), @"
    exit 2
    --- stderr
    error: invalid value 'tcsh' for '<SHELL>'
      [possible values: bash, elvish, fish, powershell, zsh]

      tip: a similar value exists: 'zsh'

    For more information, try '--help'.
    ");
}
