//! Steps that write to their inputs. Whatever way inputs are given in, whoever runs the steps: no
//! result is computed from damaged bytes and kept, and the next run makes everything right.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::place::{Place, files, until};

/// All of them.
const WAYS: [Way; 4] = [
    Way { name: "reflink", reach: Reach::Copy },
    Way { name: "mount", reach: Reach::Nothing },
    Way { name: "copy", reach: Reach::Copy },
    Way { name: "link", reach: Reach::Object },
];

/// A way of giving inputs.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    reach: Reach,
}

/// What a step that writes to its input changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Nothing,
    Copy,
    Object,
}

/// Who runs it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Root,
    Nobody,
}

/// Whether the culprit hides what it did behind the old time stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    New,
    Old,
}

/// When others read what the culprit writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// After it was written to, and before the culprit ends.
    Beside,
    /// One step after another.
    Serial,
}

const RIGHT: &str = "{\"id\":1}\n{\"id\":2}\n";
/// As long as what is right.
const WRONG: &str = "{\"id\":1}\n{\"id\":7}\n";

/// `x` is read by a program that writes to it, and by a kind and a program, both of which begin
/// after it was written to and end before the culprit does.
fn project(stamp: Stamp) -> Place {
    let place = Place::new();
    let marks = place.beside("marks").display().to_string();
    let hide = match stamp {
        Stamp::New => "",
        Stamp::Old => "touch -r $0/time in/x 2>/dev/null || true; ",
    };
    let text = format!(
        "[workflow]\nname = 'inputs'\nformat = 1\ntargets = ['kind', 'program', 'culprit']\n\
         [sources]\na = {{ path = 'a.jsonl' }}\n\
         [steps.x]\nrun = ['sh', '-c', 'cat in/a > out/o']\nin = {{ a = '${{sources.a}}' }}\n\
         out = {{ o = {{ form = 'records', name = 'o' }} }}\n\
         [steps.culprit]\nin = {{ x = '${{steps.x.o}}' }}\nout = {{ o = 'file' }}\nrun = ['sh', '-c', \
         'if [ -e $0/evil ]; then touch -r in/x $0/time; chmod u+w in/x 2>/dev/null; \
         (cat $0/wrong > in/x) 2>/dev/null || true; {hide}\
         echo > $0/poisoned; while [ ! -e $0/read ]; do sleep 0.01; done; fi; echo done > out/o', '{marks}']\n\
         [steps.gate]\nout = {{ o = 'file' }}\nrun = ['sh', '-c', \
         'while [ -e $0/evil ] && [ ! -e $0/poisoned ] && [ ! -e $0/read ]; do sleep 0.01; done; : > out/o', '{marks}']\n\
         [steps.kind]\nop = 'concat'\nin = {{ parts = ['${{steps.gate.o}}', '${{steps.x.o}}'] }}\n\
         [steps.program]\nin = {{ g = '${{steps.gate.o}}', x = '${{steps.x.o}}' }}\n\
         run = ['sh', '-c', 'cat in/g in/x > out/o']\nout = {{ o = 'file' }}\n"
    );
    place.write("workflow.toml", text);
    place.write("a.jsonl", RIGHT);
    fs::write(place.beside("marks/wrong"), WRONG).unwrap();
    place
}

fn reflinks(place: &Place) -> bool {
    let store = store::Store::open(&place.root().join(".kun/store")).unwrap();
    store.can_clone()
}

/// `kun` as somebody; none: this cannot be had here.
fn command(place: &Place, user: User, way: &str, args: &str) -> Option<Command> {
    let is_root = rustix::process::geteuid().is_root();
    let mut command = match (user, is_root) {
        (User::Root, true) | (User::Nobody, false) => place.command(args),
        (User::Root, false) => return None,
        (User::Nobody, true) => {
            give_to_nobody(place);
            let mut dropped = Command::new("setpriv");
            dropped.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
            dropped.arg(place.beside("kun")).args(args.split_whitespace());
            dropped.current_dir(place.root()).env_clear();
            dropped.env("PATH", "/usr/bin:/bin").env("NO_COLOR", "1");
            dropped
        }
    };
    command.env("KUN_INPUTS", way);
    Some(command)
}

/// Gives the project to somebody else, with the binary, which may lie where they cannot go.
fn give_to_nobody(place: &Place) {
    let binary = place.beside("kun");
    if !binary.exists() && fs::hard_link(env!("CARGO_BIN_EXE_kun"), &binary).is_err() {
        fs::copy(env!("CARGO_BIN_EXE_kun"), &binary).unwrap();
    }
    let top = place.root().parent().unwrap().to_owned();
    let mut open = vec![top];
    while let Some(path) = open.pop() {
        if path == binary {
            continue;
        }
        std::os::unix::fs::lchown(&path, Some(65534), Some(65534)).unwrap();
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()));
        }
    }
}

fn can_drop() -> bool {
    let asked = Command::new("setpriv").args(["--reuid=65534", "--clear-groups", "true"]).status();
    asked.is_ok_and(|it| it.success())
}

/// What a run said of the readers, until both have ended or cannot.
fn poisoned(way: Way, user: User, stamp: Stamp, order: Order) {
    let Way { name: way, reach } = way;
    let what = format!("{way}, {user:?}, {order:?}, time stamp {stamp:?}");
    let place = project(stamp);
    if way == "reflink" && !reflinks(&place) {
        return skip(&what, "the file system cannot share blocks");
    }
    place.good("run x");
    fs::write(place.beside("marks/evil"), "").unwrap();
    let jobs = if order == Order::Beside { 4 } else { 1 };
    if order == Order::Serial {
        fs::write(place.beside("marks/read"), "").unwrap();
    }
    let Some(run) = command(&place, user, way, &format!("run -k -j {jobs} --json")) else {
        return skip(&what, "this is not root");
    };
    let mut run = place.start_command(run);
    let ended = |said: &str, step: &str| {
        said.lines().any(|it| {
            let of = it.contains(&format!("\"step\":\"{step}\""));
            of && (it.contains("\"step_done\"") || it.contains("\"step_failed\""))
        })
    };
    until("the readers' end", || {
        let said = run.said();
        let both = ended(&said, "kind") && ended(&said, "program");
        both || run.has_ended()
    });
    fs::write(place.beside("marks/read"), "").unwrap();
    let (code, said) = run.end();
    if way == "mount" && code == 2 && said.contains("inputs cannot be given by `mount`") {
        return skip(&what, "this user may not mount");
    }
    assert!(place.beside("marks/poisoned").exists(), "{what}: {said}");
    let good: BTreeSet<String> = place.recorded();
    let has = |step: &str| good.contains(step);
    match reach {
        Reach::Nothing => assert_eq!(code, 0, "{what}: {said}"),
        Reach::Copy => {
            assert!(
                code == 1 && !has("culprit") && has("kind") && has("program"),
                "{what}: {said}"
            );
            assert!(said.contains("it wrote to its input `x`"), "{what}: {said}");
        }
        Reach::Object => {
            let none = !has("culprit") && !has("kind") && !has("program");
            assert!(code == 1 && (none || order == Order::Serial), "{what}: {said}");
            assert!(!has("culprit"), "{what}: {said}");
            assert!(said.contains("its input `x` changed while it ran: object"), "{what}: {said}");
            let bad = files(&place.root().join(".kun/store/bad"));
            // What a step that read it had unfinished lies there too, in a folder.
            let is_object = |it: &&PathBuf| it.file_name().is_some_and(|name| name.len() == 64);
            assert_eq!(bad.iter().filter(is_object).count(), 1, "{what}: {bad:?} {said}");
        }
    }
    fs::remove_file(place.beside("marks/evil")).unwrap();
    let again = place.start_command(command(&place, user, way, "run").unwrap());
    let (code, said) = again.end();
    assert_eq!(code, 0, "{what}, again: {said}");
    let results = place.results();
    for reader in ["kind/data", "program/o"] {
        let text = results.get(reader).map(|it| String::from_utf8_lossy(it));
        assert_eq!(text.as_deref(), Some(RIGHT), "{what}: {reader} of {:?}", results.keys());
    }
    place.verify(&what);
}

#[expect(clippy::print_stderr, reason = "what is skipped is skipped aloud")]
fn skip(what: &str, why: &str) {
    eprintln!("skipped: {what}: {why}");
}

fn every_way(user: User) {
    for way in WAYS {
        for stamp in [Stamp::New, Stamp::Old] {
            for order in [Order::Beside, Order::Serial] {
                poisoned(way, user, stamp, order);
            }
        }
    }
}

#[test]
fn a_poisoned_input_never_reaches_a_result_of_root() {
    every_way(User::Root);
}

#[test]
fn a_poisoned_input_never_reaches_a_result_of_another_user() {
    if rustix::process::geteuid().is_root() && !can_drop() {
        return skip("as another user", "`setpriv` cannot drop privileges");
    }
    every_way(User::Nobody);
}

#[test]
fn a_folder_that_is_used_again_shows_a_step_nothing_of_the_one_before() {
    let place = Place::new();
    let mut text = "[workflow]\nname = 'again'\nformat = 1\n[sources]\na = { path = 'a.jsonl' }\n\
                    [steps.s0]\nrun = ['sh', '-c', 'cat in/a > out/o']\nin = { a = '${sources.a}' }\n\
                    out = { o = 'file' }\n"
        .to_owned();
    for i in 1..6 {
        // Each under a name of its own, beside files that nobody declared.
        text += &format!(
            "[steps.s{i}]\nin = {{ p{i} = '${{steps.s{}.o}}' }}\nout = {{ o = 'file' }}\nrun = ['sh', '-c', \
             'ls -A . in | sort | tr \"\\n\" \" \" >> in/p{i} || true; ls -A . in | sort | tr \"\\n\" \" \" > out/o; \
             mkdir -p scratch/x; echo > scratch/x/y']\n",
            i - 1
        );
    }
    place.write("workflow.toml", text);
    place.write("a.jsonl", RIGHT);
    let mut run = place.command("run s5 -j 1");
    run.env("KUN_INPUTS", "mount");
    let (code, said) = place.start_command(run).end();
    if code == 2 && said.contains("inputs cannot be given by `mount`") {
        return skip("mount", "this user may not mount");
    }
    assert_eq!(code, 0, "{said}");
    let seen = String::from_utf8(place.results()["s5/o"].clone()).unwrap();
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), [".:", "in", "in:", "out", "p5"]);
    place.verify("after folders were used again");
}
