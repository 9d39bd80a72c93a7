//! `kun report`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn event_files_are_written_where_they_are_asked_for() {
    let manifest = "[steps.final]\nrun = [\"cp\", \"${in.log}\", \"${out.log}\"]\n\
                    in = { log = \"log.jsonl\" }\nout = { log = \"records\" }\n";
    let log = "{\"step\":1,\"loss\":3.5,\"learning_rate\":0.1}\n";
    let project = Project::with(&[("workflow.toml", manifest), ("log.jsonl", log)]);
    project.good("run");
    project.good("report");
    let file = project.path("report/tensorboard/final/events.out.tfevents.0.kun");
    assert!(project.path("report/index.html").is_file() && !file.exists());
    project.good("report --tensorboard");
    let bytes = std::fs::read(file).unwrap();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|it| it == text);
    assert!(has(b"brain.Event:2") && has(b"\x0a\x04loss\x15\x00\x00\x60\x40"), "{bytes:?}");
}

const EXAM: &str = r#"[workflow]
name = "exam"
desc = "Does it help?"
format = 1

[sources]
questions = { path = "questions.json", license = "CC-BY-4.0", from = "a friend" }
other = { path = "other.json" }

[steps.exam]
run = ["cp", "${in.questions}", "${out.metrics}"]
in = { questions = "${sources.questions}", other = "${sources.other}" }
out = { metrics = "metrics" }
"#;

/// A project with two runs, whose exam came out differently.
fn two_runs() -> Project {
    let project = Project::with(&[("workflow.toml", EXAM), ("other.json", "{}")]);
    for right in [0.25, 0.5] {
        project.write("questions.json", format!("{{\"accuracy\":{right}}}"));
        project.good("run");
    }
    project
}

#[test]
fn runs_are_told_side_by_side_with_what_changed() {
    let project = two_runs();
    let page = |args: &str| {
        project.good(args);
        project.read("report/report.md").replace('\u{202f}', " ")
    };
    let both = page("report last~1 last");
    assert!(both.contains("| accuracy | 0.2500 | 0.5000 |"), "{both}");
    assert!(
        both.contains("## What changed since") && both.contains("accuracy\\` was 0.25, is 0.5 |")
    );
    assert!(both.contains("Does it help?") && both.contains("| a friend | CC-BY-4.0 |"), "{both}");
    assert!(both.contains("of these sources: other"), "{both}");
    assert!(both.contains("kun run --locked workflow.toml"), "{both}");
    let now = page("report --since last~1");
    assert!(now.contains("| accuracy | 0.5000 |") && now.contains("accuracy\\` was 0.25, is 0.5"));
    assert!(page("report --since last").contains("Nothing changed."));
    assert!(!page("report").contains("What changed"));
    assert_snapshot!(project.run("report last exam"), @"
    exit 2
    --- stderr
    error: expected targets or runs, not both
    ");
    assert_snapshot!(project.run("report --since last~7"), @"
    exit 2
    --- stderr
    error: no run `last~7`

    help: the newest runs are [RUN], [RUN]; `last~1` is the one before
    ");
}

/// Asks for a page that is served.
fn get(link: &str, path: &str) -> String {
    let (host, token) = link.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{token}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_page_that_is_served_follows_what_happens_and_changes_nothing() {
    let project = two_runs();
    let mut command = project.command("report --serve");
    let mut server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut link = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut link).unwrap();
    let link = link.trim();
    let page = get(link, "");
    assert!(page.contains("Does it help?") && page.contains("0.5000"), "{page}");
    assert!(page.contains("script-src 'self'") && page.contains("done; 1 / 1 steps"), "{page}");
    assert!(get(link, "live.js").contains("text/javascript"));
    assert!(get(link, "../nothing").contains("404"));
    assert_snapshot!(project.run("report --plain-http"), @"
    exit 2
    --- stderr
    error: nothing is served

    help: `--serve` does, and follows the newest run
    ");
    let version = |text: &str| {
        let at = text.find("data-version=").unwrap();
        text[at..at + 60].split('"').nth(1).unwrap().to_owned()
    };
    let before = version(&get(link, "now"));
    assert_eq!(before, version(&page));
    project.write("questions.json", "{\"accuracy\":0.75}");
    project.good("run");
    assert_ne!(version(&get(link, "now")), before);
    assert!(get(link, "").contains("0.7500"));
    // A manifest that cannot be read takes nothing away.
    project.write("workflow.toml", "[");
    project.write("questions.json", "{}");
    assert!(get(link, "").contains("0.7500"));
    assert!(!project.path("report").exists());
    server.kill().unwrap();
    server.wait().unwrap();
}
