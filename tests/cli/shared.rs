//! `kun run` of two projects with one store, of one user and of two.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;

use crate::project::Project;

fn run(project: &Project, store: &std::path::Path) -> String {
    let output = project.command("run").env("KUN_STORE", store).output().unwrap();
    project.screen(&output)
}

#[test]
fn the_second_project_has_the_results_of_the_first() {
    let store = tempfile::tempdir().unwrap();
    let (first, second) = (Project::new(), Project::new());
    let screen = run(&first, store.path());
    assert!(screen.contains("4 ran"), "{screen}");
    assert_snapshot!(run(&second, store.path()), @"
    exit 0
    --- stdout
    out/all/data
    out/numbers/metrics.json
    --- stderr
        Finished nothing to run, 4 reused in [TIME]
    ");
    assert_eq!(first.read("out/all/data"), second.read("out/all/data"));
    assert!(!second.path(".kun/store").exists());
}

/// Nobody's numbers, and a group that both are in.
const USERS: [u32; 2] = [64_801, 64_802];
const GROUP: u32 = 64_810;

fn give(path: &Path, user: u32) {
    chown(path, Some(user), Some(GROUP)).unwrap();
    for entry in path.is_dir().then(|| fs::read_dir(path).unwrap()).into_iter().flatten() {
        give(&entry.unwrap().path(), user);
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn two_users_of_a_group_share_a_store_whatever_their_umask() {
    let folder = tempfile::tempdir().unwrap();
    if fs::metadata(folder.path()).unwrap().uid() != 0 {
        let said = b"skipped: only root can be two users\n";
        return std::io::Write::write_all(&mut std::io::stderr(), said).unwrap();
    }
    mode(folder.path(), 0o755);
    let store = folder.path().join("store");
    fs::create_dir(&store).unwrap();
    chown(&store, Some(USERS[0]), Some(GROUP)).unwrap();
    mode(&store, 0o2770);
    let binary = folder.path().join("kun");
    fs::copy(env!("CARGO_BIN_EXE_kun"), &binary).unwrap();
    let projects = [Project::new(), Project::new()];
    // The second has results of its own beside those of the first.
    projects[1].append("texts/one.txt", "more\n");
    let as_user = |i: usize, args: &str| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("umask 077; exec {} {args}", binary.display()));
        command.current_dir(projects[i].path("")).env_clear().env("PATH", "/usr/bin:/bin");
        command.env("KUN_STORE", &store).uid(USERS[i]).gid(GROUP);
        let output = command.output().unwrap();
        (output.status.code(), projects[i].screen(&output))
    };
    let run = |i: usize, args: &str| {
        let (code, screen) = as_user(i, args);
        assert_eq!(code, Some(0), "{args} of user {i}: {screen}");
        screen
    };
    for (project, user) in projects.iter().zip(USERS) {
        give(&project.path(""), user);
    }
    assert!(run(0, "run").contains("4 ran"));
    assert!(run(1, "run").contains("3 ran, 1 reused"));
    // Everything once more, over what the other has left.
    projects[0].append("texts/one.txt", "more\n");
    give(&projects[0].path("texts"), USERS[0]);
    assert!(run(0, "run").contains("nothing to run, 4 reused"));
    assert_eq!(projects[0].read("out/all/data"), projects[1].read("out/all/data"));
    for i in [1, 0] {
        run(i, "verify --repair");
        assert!(run(i, "gc --yes --older 0 --keep 1").contains("stay"));
    }
    assert!(run(1, "run").contains("nothing to run"));
    // Without the group's bit it is the first one's alone, and says so.
    mode(&store, 0o755);
    fs::remove_dir_all(&store).unwrap();
    fs::create_dir(&store).unwrap();
    chown(&store, Some(USERS[0]), Some(GROUP)).unwrap();
    run(0, "run");
    projects[1].append("texts/one.txt", "and more\n");
    let (code, screen) = as_user(1, "run");
    assert!(code == Some(70) && screen.contains("made `chmod g+ws`"), "{screen}");
}
