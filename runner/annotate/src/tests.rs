//! A study from records to votes, without a browser: what is kept, what is shown, what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};
use serve::{Listener, Request};

use crate::*;

mod blind;
mod changed;
mod votes;

struct Ground {
    folder: tempfile::TempDir,
}

const MODELS: [&str; 3] = ["kun-52k", "belle", "ol-cc"];

impl Ground {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn source(&self, name: &str, records: &[Value]) -> Source {
        let text: String = records.iter().map(|it| format!("{it}\n")).collect();
        std::fs::write(self.path(name), text).unwrap();
        Source { name: name.to_owned(), path: self.path(name) }
    }

    fn rating(&self, n: usize) -> Draft {
        let record = |i| json!({ "instruction": format!("do {i}"), "output": format!("did {i}") });
        let records: Vec<Value> = (0..n).map(record).collect();
        let people = ["ana", "bo", "chen"].map(str::to_owned).to_vec();
        let form = Form::built_in("quality").unwrap();
        Draft::new(form, vec![self.source("wudao-corpus", &records)], people)
    }

    fn comparing(&self, n: usize) -> Draft {
        let of = |model: &str| {
            let mark = model.len();
            let record = |i| json!({ "instruction": format!("ask {i}"), "output": format!("say {i} {mark}") });
            self.source(model, &(0..n).map(record).collect::<Vec<_>>())
        };
        let people = ["ana", "bo", "chen"].map(str::to_owned).to_vec();
        Draft::new(Form::built_in("pairwise").unwrap(), MODELS.map(of).to_vec(), people)
    }

    fn open(&self, draft: &Draft) -> Journal {
        create(&self.path("study.jsonl"), draft).unwrap();
        self.again()
    }

    fn again(&self) -> Journal {
        Journal::open(&self.path("study.jsonl")).unwrap()
    }

    fn server(&self, journal: Journal) -> Server {
        serve(Listener::bind(([127, 0, 0, 1], 0).into()).unwrap(), journal, self.key())
    }

    fn key(&self) -> Key {
        let study = self.path("study.jsonl");
        Key::kept(&study).unwrap().unwrap_or_else(|| Key::make(&study).unwrap())
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path("study.jsonl")).unwrap()
    }
}

fn answers(of: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
    Some(of.iter().map(|it| (it.0.to_owned(), it.1.to_owned())).collect())
}

fn rated(output: &str) -> Option<BTreeMap<String, String>> {
    let yes = [("clarity", "yes"), ("feasibility", "yes"), ("practicality", "yes")];
    answers(&[&yes[..], &[("output", output)]].concat())
}

/// Sides as good as any, where a test asks for no others.
fn sides() -> Sides {
    Sides::of([7; 32])
}

/// Answers what somebody is asked next.
fn say(journal: &mut Journal, name: &str, answers: Option<BTreeMap<String, String>>) -> String {
    let seats = journal.seats();
    let place = seats.next(seats.seat(name).unwrap()).unwrap();
    let given = crate::server::Given { answers, note: "n".to_owned(), ms: 5 };
    let (sides, seat) = (sides(), seats.seat(name).unwrap());
    let said = crate::server::said(seats, &sides, seat, &place, given);
    let unit = said.unit.clone();
    journal.record(Did::Said(said)).unwrap().unwrap();
    unit
}

fn finish(journal: &mut Journal, name: &str, output: impl Fn(usize) -> &'static str) {
    let mut n = 0;
    while journal.seats().next(journal.seats().seat(name).unwrap()).is_some() {
        say(journal, name, rated(output(n)));
        n += 1;
    }
}

#[test]
fn a_study_that_is_opened_again_goes_on_where_it_was() {
    let place = Ground::new();
    let mut draft = place.rating(12);
    draft.head.repeats = 0.2;
    let mut journal = place.open(&draft);
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        assert!(seen.insert(say(&mut journal, "bo", rated("pass"))));
    }
    say(&mut journal, "bo", None);
    let next = |it: &Journal| it.seats().next(it.seats().seat("bo").unwrap()).unwrap();
    let want = next(&journal);
    let before = place.text();
    drop(journal);
    let again = place.again();
    assert_eq!(next(&again), want);
    assert_eq!(again.seats().seat("bo").unwrap().n_done(), 6);
    assert_eq!(again.seats().n_asked(again.seats().seat("bo").unwrap()), 14);
    assert_eq!(place.text(), before, "opening changes nothing");
    assert!(matches!(Journal::open(&place.path("study.jsonl")), Err(AnnotateError::Busy(_))));
}

#[test]
fn a_vote_that_was_cut_off_does_not_count_and_the_next_one_stands_alone() {
    let place = Ground::new();
    let mut journal = place.open(&place.rating(3));
    say(&mut journal, "ana", rated("pass"));
    let whole = place.text();
    say(&mut journal, "ana", rated("fail"));
    drop(journal);
    let all = place.text();
    for cut in [whole.len() + 1, all.len() - 2] {
        std::fs::write(place.path("study.jsonl"), &all[..cut]).unwrap();
        let mut journal = place.again();
        assert_eq!(journal.seats().seat("ana").unwrap().n_done(), 1);
        say(&mut journal, "ana", rated("excellent"));
        drop(journal);
        assert_eq!(place.again().seats().seat("ana").unwrap().n_done(), 2);
        assert!(place.text().starts_with(&whole) && place.text().contains("excellent"));
    }
}

#[test]
fn what_is_taken_back_is_shown_again_as_it_was() {
    let place = Ground::new();
    let mut journal = place.open(&place.rating(4));
    say(&mut journal, "ana", rated("pass"));
    let unit = say(&mut journal, "ana", rated("fail"));
    let undo = || Did::Undo { annotator: "ana".to_owned() };
    journal.record(undo()).unwrap().unwrap();
    let seats = journal.seats();
    let state =
        serde_json::to_value(view::state(seats, &sides(), seats.seat("ana").unwrap())).unwrap();
    assert_eq!(state["task"]["before"]["output"], "fail");
    assert_eq!(
        (&state["task"]["note"], &state["done"], &state["seq"]),
        (&json!("n"), &json!(1), &json!(3))
    );
    assert_eq!(say(&mut journal, "ana", rated("pass")), unit);
    for _ in 0..2 {
        journal.record(undo()).unwrap().unwrap();
    }
    let error = journal.record(undo()).unwrap().unwrap_err();
    assert_eq!(error, "`ana` has nothing to take back");
    drop(journal);
    assert_eq!(place.again().seats().seat("ana").unwrap().seq, 6);
}

#[test]
fn an_adjudicator_is_asked_about_what_the_others_do_not_agree_on() {
    let place = Ground::new();
    let mut draft = place.rating(6);
    draft.head.adjudicator = Some("eve".to_owned());
    let mut journal = place.open(&draft);
    let asked = |it: &Journal| it.seats().n_asked(it.seats().seat("eve").unwrap());
    finish(&mut journal, "ana", |_| "pass");
    finish(&mut journal, "bo", |_| "pass");
    assert_eq!(asked(&journal), 0, "nobody knows yet");
    let unit = say(&mut journal, "chen", rated("fail"));
    assert_eq!(asked(&journal), 1);
    say(&mut journal, "chen", None);
    finish(&mut journal, "chen", |_| "pass");
    assert_eq!(asked(&journal), 2, "what was skipped counts as well");
    let mut settled = BTreeSet::new();
    while journal.seats().next(journal.seats().seat("eve").unwrap()).is_some() {
        settled.insert(say(&mut journal, "eve", rated("fail")));
    }
    assert!(settled.len() == 2 && settled.contains(&unit));
}

#[test]
fn no_name_of_a_model_or_a_source_reaches_the_browser() {
    for compares in [true, false] {
        let place = Ground::new();
        let mut draft = if compares { place.comparing(5) } else { place.rating(9) };
        draft.head.repeats = 0.2;
        let mut journal = place.open(&draft);
        let mut told = vec![bundle(journal.seats(), &place.key(), "bo").unwrap()];
        for i in 0.. {
            let seats = journal.seats();
            let seat = seats.seat("bo").unwrap();
            told.push(serde_json::to_string(&view::sheet(seats)).unwrap());
            told.push(serde_json::to_string(&view::state(seats, &sides(), seat)).unwrap());
            if seats.next(seat).is_none() {
                break;
            }
            let side = ["left", "right"][i % 2];
            let given = if compares { answers(&[("better", side)]) } else { rated("pass") };
            say(&mut journal, "bo", given);
        }
        let ids: Vec<&str> = journal.seats().study.items.iter().map(|it| it.id.as_str()).collect();
        for word in MODELS.iter().chain(&["wudao", "\"round\""]).chain(&ids) {
            assert!(!told.iter().any(|it| it.contains(*word)), "{word}");
        }
        assert_eq!(place.text().contains("kun-52k"), compares, "the study itself knows");
    }
}

#[test]
fn a_side_is_written_down_with_the_model_that_stood_there() {
    let place = Ground::new();
    let mut journal = place.open(&place.comparing(8));
    assert_eq!(journal.seats().study.units.len(), 8 * 3);
    let mut lefts = BTreeSet::new();
    while journal.seats().next(journal.seats().seat("ana").unwrap()).is_some() {
        let seats = journal.seats();
        let state =
            serde_json::to_value(view::state(seats, &sides(), seats.seat("ana").unwrap())).unwrap();
        let left = state["task"]["sides"][0].as_str().unwrap().to_owned();
        say(&mut journal, "ana", answers(&[("better", "left")]));
        let seats = journal.seats();
        let said = seats.seat("ana").unwrap().said().last().unwrap().clone();
        let said = seats.seat("ana").unwrap().said().find(|it| it.unit == said.unit).unwrap();
        let model = &seats.resolved(said).unwrap()["better"];
        assert_eq!(Some(model), said.left.as_ref());
        lefts.insert(model.clone());
        assert!(left.starts_with("say "));
    }
    assert_eq!(lefts.len(), 3, "every model stands on the left now and then");
}

fn get(server: &Server, path: &str) -> (u16, Value) {
    send(server, "GET", path, &Value::Null)
}

fn send(server: &Server, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let (method, path) = (method.to_owned(), path.to_owned());
    let body = body.to_string().into_bytes();
    let it = server.pages.handle(&Request { method, path, json: true, body });
    (it.status, serde_json::from_slice(&it.body).unwrap_or(Value::Null))
}

#[test]
fn two_windows_and_a_request_sent_twice_neither_lose_nor_repeat_anything() {
    let place = Ground::new();
    let server = place.server(place.open(&place.rating(5)));
    let path = server.paths().into_iter().find(|it| it.0 == "bo").unwrap().1;
    let (status, it) = get(&server, &format!("{path}/state"));
    assert_eq!((status, &it["state"]["seq"]), (200, &json!(0)));
    let at = it["state"]["task"]["place"].clone();
    let given = json!({ "answers": rated("pass"), "note": "", "ms": 7 });
    let body = json!({ "seq": 0, "place": at, "given": given });
    let did = format!("{path}/did");
    assert_eq!(send(&server, "POST", &did, &body).0, 200);
    // Again, and from a window that has not seen it: nothing is taken, and both are told the same.
    let (status, it) = send(&server, "POST", &did, &body);
    assert_eq!((status, &it["state"]["done"]), (409, &json!(1)));
    assert_ne!(it["state"]["task"]["place"], at);
    let other = json!({ "seq": 1, "place": 999, "given": given });
    assert_eq!(send(&server, "POST", &did, &other).0, 409);
    assert_eq!(send(&server, "POST", &did, &json!({ "seq": 0, "undo": true })).0, 409);
    let next = it["state"]["task"]["place"].clone();
    let half = json!({ "seq": 1, "place": next, "given": { "answers": { "clarity": "yes" } } });
    assert_eq!(send(&server, "POST", &did, &half).0, 422);
    assert_eq!(send(&server, "POST", &did, &json!({ "seq": 1, "undo": true })).0, 200);
    assert_eq!(place.text().matches("\"line\":\"did\"").count(), 2);
}

#[test]
fn without_a_link_there_is_nothing() {
    let place = Ground::new();
    let server = place.server(place.open(&place.rating(2)));
    let path = server.paths()[0].1.clone();
    assert_eq!(get(&server, &path).0, 200);
    for wrong in
        ["/", "/a/", "/a/x/state", "/a/../page.js", &path[..path.len() - 1], "/study.jsonl"]
    {
        assert_eq!(get(&server, wrong).0, 404, "{wrong}");
    }
    assert_eq!(send(&server, "PUT", &format!("{path}/did"), &json!({})).0, 405);
    assert_eq!(get(&server, &format!("{path}/did")).0, 405);
    let text = Request { method: "POST".into(), path: format!("{path}/did"), ..Request::default() };
    assert_eq!(server.pages.handle(&text).status, 415);
    assert_eq!(send(&server, "POST", &format!("{path}/did"), &json!({ "seq": -1 })).0, 400);
}

#[test]
fn what_comes_back_from_far_away_is_taken_once() {
    let place = Ground::new();
    let mut journal = place.open(&place.rating(4));
    say(&mut journal, "ana", rated("pass"));
    let page = bundle(journal.seats(), &place.key(), "ana").unwrap();
    let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let tasks = data["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 3);
    let one = |it: &Value| json!({ "place": it["place"], "given": { "answers": rated("fail"), "note": "x", "ms": 3 } });
    let said: Vec<Value> = tasks.iter().take(2).map(one).collect();
    let secret = &data["secret"];
    let back = json!({ "study": data["study"], "name": "ana", "secret": secret, "said": said });
    let (back, key) = (back.to_string(), place.key());
    let mut take =
        |text: &str| take(&mut journal, &key, text.as_bytes()).map_err(|it| it.to_string());
    assert_eq!(take(&back), Ok(Taken { new: 2, known: 0, other: 0 }));
    assert_eq!(take(&back), Ok(Taken { new: 0, known: 2, other: 0 }));
    assert_eq!(take(&back.replace("fail", "pass")), Ok(Taken { new: 0, known: 0, other: 2 }));
    let study = data["study"].as_str().unwrap();
    for (from, to, reason) in [
        (study, "0", "these are answers to another study"),
        ("\"ana\"", "\"mallory\"", "nobody is called `mallory`"),
        ("\"place\":", "\"place\":9", "it answers what was not asked"),
    ] {
        assert_eq!(take(&back.replace(from, to)), Err(reason.to_owned()));
    }
    assert!(take("{").is_err());
    let last = json!({ "place": tasks[2]["place"], "given": { "answers": rated("pass") } });
    let twice = json!({ "study": study, "name": "ana", "secret": secret, "said": [last, last] });
    let twice = twice.to_string();
    assert!(take(&twice).unwrap_err().ends_with(" twice"));
    let wrong = back.replace("fail", "great").replace("said\":[", &format!("said\":[{last},"));
    assert_eq!(take(&wrong).unwrap().new, 1, "only what is not there is looked at");
}

#[test]
fn texts_cannot_leave_their_place_in_the_page() {
    let place = Ground::new();
    let mut draft = place.rating(1);
    let evil = "</script><script>alert(1)</script><!--";
    draft.sources = vec![place.source("s", &[json!({ "instruction": evil, "output": "o" })])];
    let journal = place.open(&draft);
    let page = bundle(journal.seats(), &place.key(), "ana").unwrap();
    assert!(!page.contains("<script>alert") && !page.contains("<!--"));
    assert!(page.contains("\\u003c/script>"));
    assert!(!crate::page::SCRIPT.contains("innerHTML") && !crate::page::SCRIPT.contains("http"));
}

#[test]
fn what_makes_no_study_is_refused_with_the_reason() {
    let place = Ground::new();
    let error = |draft: &Draft| create(&place.path("s.jsonl"), draft).unwrap_err().to_string();
    let good = || place.comparing(2);
    let mut one = good();
    one.sources.truncate(1);
    assert_eq!(error(&one), "a comparison needs two models or more");
    let mut many = good();
    many.head.raters = 4;
    assert_eq!(error(&many), "each item needs 4 people, and there are 3");
    let mut twice = good();
    twice.head.annotators.push("ana".to_owned());
    assert_eq!(error(&twice), "annotator `ana` comes twice");
    let mut tie = good();
    tie.sources[0].name = "tie".to_owned();
    assert_eq!(error(&tie), "no model can be called `tie`, as an answer is");
    let mut name = good();
    name.head.annotators[0] = "a/b".to_owned();
    assert_eq!(error(&name), "annotator `a/b` must be letters, digits, `-`, `_` and `.`");
    let mut less = good();
    less.sources[0] = place.source("less", &[json!({ "instruction": "ask 0", "output": "x" })]);
    assert_eq!(error(&less), "`less` has no answer to `ask 1`, which others have");
    let mut none = place.rating(0);
    assert_eq!(error(&none), "the records hold nothing to ask about");
    none.sources = vec![place.source("bad", &[json!({ "instruction": 3 })])];
    assert!(error(&none).ends_with("bad:1: field `instruction`: is no text"));
    assert!(!place.path("s.jsonl").exists());
}

#[test]
fn a_file_that_is_no_study_is_refused_with_the_line() {
    let place = Ground::new();
    let mut journal = place.open(&place.rating(2));
    say(&mut journal, "ana", rated("pass"));
    drop(journal);
    let good = place.text();
    let last = good.lines().last().unwrap().to_owned();
    let file = |text: &str| {
        let mut it = std::fs::File::create(place.path("study.jsonl")).unwrap();
        it.write_all(text.as_bytes()).unwrap();
        let error = Journal::open(&place.path("study.jsonl")).unwrap_err().to_string();
        error.rsplit_once('/').unwrap().1.to_owned()
    };
    assert_eq!(file(""), "study.jsonl:1: is no study");
    assert_eq!(file(&format!("{good}{last}\n")).split('`').next(), Some("study.jsonl:5: "));
    assert_eq!(
        file(&good.replace("\"study\":1", "\"study\":2")),
        "study.jsonl:1: a study of format 2, this program reads 1"
    );
    assert!(
        file(&good.replace("\"ana\",\"unit\"", "\"zoe\",\"unit\""))
            .contains("nobody is called `zoe`")
    );
    assert!(file(&format!("{good}{{}}\n")).starts_with("study.jsonl:5: missing field"));
}

#[test]
fn a_study_with_a_wrong_byte_is_read_or_refused_and_never_breaks_anything() {
    let place = Ground::new();
    let mut journal = place.open(&place.comparing(2));
    say(&mut journal, "ana", answers(&[("better", "left")]));
    say(&mut journal, "ana", None);
    let undo = Did::Undo { annotator: "ana".to_owned() };
    journal.record(undo).unwrap().unwrap();
    drop(journal);
    let (good, path) = (place.text().into_bytes(), place.path("other.jsonl"));
    let mut read = 0;
    for at in (0..good.len()).step_by(7) {
        for change in [0x55, 0x01, 0x80] {
            let mut other = good.clone();
            other[at] ^= change;
            std::fs::write(&path, &other).unwrap();
            if let Ok(seats) = Journal::seen(&path) {
                read += 1;
                for seat in seats.all() {
                    let _ = serde_json::to_string(&view::state(&seats, &sides(), seat)).unwrap();
                }
            }
        }
        std::fs::write(&path, &good[..at]).unwrap();
        let _ = Journal::seen(&path);
    }
    assert!(read > 10, "a letter of a text may be another");
}

#[test]
fn a_server_outlives_strangers_and_answers_over_a_socket() {
    use std::io::Read;
    let place = Ground::new();
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.address().unwrap();
    let server = serve(listener, place.open(&place.rating(2)), place.key());
    let path = server.paths()[0].1.clone();
    std::thread::spawn(|| server.run(|_| ()));
    let ask = |text: &[u8]| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let _ = stream.write_all(text);
        let mut answer = String::new();
        // One who is refused may find the line cut before all was said or read.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    assert!(ask(b"\0\xff\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert_eq!(ask(b"GET / HTT"), "");
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(20 << 10));
    assert!(!ask(long.as_bytes()).contains("200 OK"));
    let page = ask(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("default-src 'none'"));
    assert!(page.ends_with("</html>\n") && !page.contains("http:") && !page.contains("https:"));
}
