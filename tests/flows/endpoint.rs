//! A model behind an address, by the real binary: what is asked, when it is asked again, and that its
//! key is nowhere.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::place::{Place, files, until};
use crate::server::{Asked, Does, Server, chat};

const KEY: &str = "sk-this-stands-nowhere";
const RECORDS: usize = 24;

fn place(url: &str, more: &str) -> Place {
    let place = Place::new();
    place.write(
        "workflow.toml",
        format!(
            "[params]\nurl = '{url}'\nname = 'yi'\n\
             [models]\nchat = {{ endpoint = '${{params.url}}', model = '${{params.name}}', \
             key_env = 'LAB_KEY', concurrency = 2, retries = 1{more} }}\n\
             [steps.answers]\nop = 'answer'\n\
             in = {{ model = '${{models.chat}}', data = 'records.jsonl' }}\n\
             [steps.good]\nop = 'judge'\n\
             in = {{ model = {{ endpoint = '${{params.url}}', model = 'j' }}, data = 'records.jsonl' }}\n\
             with = {{ choices = ['good', 'bad'], keep = ['good'], mode = 'text' }}\n"
        ),
    );
    let record = |it| format!("{{\"prompt\":\"question {it}\"}}\n");
    place.write("records.jsonl", (0..RECORDS).map(record).collect::<String>());
    place
}

fn kun(place: &Place, args: &str) -> Command {
    let mut command = place.command(args);
    command.env("LAB_KEY", KEY);
    command
}

fn end(place: &Place, args: &str) -> (i32, String) {
    place.start_command(kun(place, args)).end()
}

/// Every file of the project, and what was said, is free of the key.
fn nowhere(place: &Place, said: &str) {
    assert!(!said.contains(KEY), "{said}");
    for path in files(&place.root()) {
        let bytes = fs::read(&path).unwrap();
        let found = bytes.windows(KEY.len()).any(|it| it == KEY.as_bytes());
        assert!(!found, "{}", path.display());
    }
}

fn answer(_: usize, asked: &Asked) -> Does {
    Does::Answers(chat(&format!("good: {}", asked.said())))
}

#[test]
fn a_key_is_sent_to_its_server_and_written_nowhere() {
    let server = Server::start(answer);
    let place = place(&server.url, "");
    let (code, said) = end(&place, "run");
    assert_eq!(code, 0, "{said}");
    nowhere(&place, &said);
    let asked = server.asked.lock().unwrap().clone();
    let with = Some(format!("Bearer {KEY}"));
    assert_eq!(asked.iter().filter(|it| it.authorization == with).count(), RECORDS);
    let of = |it: &&Asked| it.body["model"] == "j" && it.authorization.is_none();
    assert_eq!(asked.iter().filter(of).count(), RECORDS);
    for args in ["show answers", "why answers", "status", "log", "plan", "run --json", "diff @1 @2"]
    {
        nowhere(&place, &end(&place, args).1);
    }
    // The address and the model are a question; key, rate and retries are not.
    assert_eq!(server.n_asked(), 2 * RECORDS);
    let (_, said) = end(&place, "show answers");
    assert!(said.contains(&format!("endpoint \"{}\", model \"yi\"", server.url)), "{said}");
    let (code, said) = end(&place, "show answers --prompt 1");
    assert!(code == 2 && said.contains("which renders its own prompts"), "{said}");
    let text = fs::read_to_string(place.root().join("workflow.toml")).unwrap();
    place.write("workflow.toml", text.replace("retries = 1", "retries = 3"));
    assert_eq!(place.end("run").0, 0, "without the key, since nothing is asked");
    assert_eq!(server.n_asked(), 2 * RECORDS);
    let (code, said) = end(&place, "run answers --set name=other");
    assert_eq!((code, server.n_asked()), (0, 3 * RECORDS), "{said}");
}

#[test]
fn a_server_that_shows_the_key_shows_it_to_nobody() {
    let server = Server::start(|_, asked| {
        let said =
            format!("{{\"error\":\"no {}\"}}", asked.authorization.clone().unwrap_or_default());
        Does::Says(403, "", said)
    });
    let place = place(&server.url, "");
    let (code, said) = end(&place, "run answers");
    assert_eq!(code, 1);
    assert!(
        said.contains("answered with status 403: no Bearer … (its key is `LAB_KEY`)"),
        "{said}"
    );
    nowhere(&place, &said);
    let (code, said) = place.end("run answers");
    assert_eq!(code, 1);
    assert!(said.contains("`LAB_KEY`, which holds the key of"), "{said}");
}

#[test]
fn a_step_that_is_killed_asks_only_what_is_missing() {
    let server = Server::start(|n, asked| match n {
        // The rest is not answered while the run lives.
        12.. if asked.said() != "question 0" && n < 14 => Does::Hangs,
        _ => answer(n, asked),
    });
    let place = place(&server.url, ", timeout = '1h'");
    let mut run = place.start_command(kun(&place, "run answers"));
    until("two questions that hang", || server.n_asked() == 14);
    // What was answered is made durable once a second; the kill comes later.
    let rows = || files(&place.root().join(".kun/store/rows")).len();
    until("kept rows", || rows() > 0);
    run.signal(Signal::TERM);
    run.wait();
    let (code, said) = end(&place, "run answers");
    assert_eq!(code, 0, "{said}");
    assert_eq!(server.n_asked(), 14 + RECORDS - 12, "two were asked and not answered");
    let out = place.results();
    let text = String::from_utf8(out["answers/data.jsonl"].clone()).unwrap();
    assert_eq!(text.lines().count(), RECORDS);
}

#[test]
fn another_threshold_asks_nothing_again() {
    let server = Server::start(answer);
    let place = place(&server.url, "");
    place.good("run good");
    assert_eq!(server.n_asked(), RECORDS);
    let text = fs::read_to_string(place.root().join("workflow.toml")).unwrap();
    place.write("workflow.toml", text.replace("keep = ['good']", "keep = ['bad']"));
    place.good("run good");
    assert_eq!((server.n_asked(), place.results()["good/data.jsonl"].len()), (RECORDS, 0));
}
