//! A study whose file somebody replaces while people vote: what was acknowledged is there afterwards.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::place::{Place, until};

/// Asks the server that a link leads to.
fn ask(link: &str, what: &str, body: Option<&Value>) -> (u16, Value) {
    let (address, path) = link.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let body = body.map(Value::to_string);
    let (method, text) = body.as_ref().map_or(("GET", ""), |it| ("POST", it));
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{method} /{path}{what} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let json = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(json).unwrap_or(Value::Null))
}

/// Votes on what is asked next, and says whether it was acknowledged.
fn vote(link: &str, output: &str) -> bool {
    let state = ask(link, "/state", None).1["state"].clone();
    let answers =
        json!({ "clarity": "yes", "feasibility": "yes", "practicality": "yes", "output": output });
    let given = json!({ "answers": answers, "note": "", "ms": 1 });
    let body = json!({ "seq": state["seq"], "place": state["task"]["place"], "given": given });
    ask(link, "/did", Some(&body)).0 == 200
}

#[test]
fn a_study_that_is_replaced_while_it_is_served_loses_no_acknowledged_vote() {
    let place = Place::new();
    let record = |n| format!("{{\"instruction\":\"do {n}\",\"output\":\"did {n}\"}}\n");
    place.write("a.jsonl", (0..40).map(record).collect::<String>());
    let make = "annotate s.jsonl --from a=a.jsonl --annotators ana --repeats 0 --status -q";
    place.good(make);
    let study = place.root().join("s.jsonl");
    let started = place.start("annotate s.jsonl");
    until("the link", || started.said().contains("Serving"));
    let said = started.said();
    let link = said.lines().find_map(|it| it.strip_prefix("ana  ")).unwrap();
    let mut acknowledged = 0;
    for _ in 0..5 {
        assert!(vote(link, "pass"));
        acknowledged += 1;
    }
    // As `sed -i` does it: a copy of what was there a moment ago gets the name, while votes come in.
    let replacing = {
        let (study, copy) = (study.clone(), place.root().join("copy"));
        let text = std::fs::read(&study).unwrap();
        std::thread::spawn(move || {
            std::fs::write(&copy, text).unwrap();
            std::fs::rename(&copy, &study).unwrap();
        })
    };
    while vote(link, "pass") {
        acknowledged += 1;
        assert!(acknowledged < 40, "the change is never noticed");
    }
    replacing.join().unwrap();
    until("that it is said", || started.said().contains("votes do not count any more"));
    let said = started.said();
    assert!(said.contains("replaced by another file") && said.contains("--recover"), "{said}");
    let (code, busy) = place.end("annotate s.jsonl --recover");
    assert!(code == 2 && busy.contains("is open in another"), "{busy}");
    drop(started);

    let (code, refused) = place.end("annotate s.jsonl");
    assert!(code == 2 && refused.contains("s.jsonl.recovery"), "{refused}");
    let (code, refused) = place.end("annotate s.jsonl --export all.csv");
    assert!(code == 2 && refused.contains("s.jsonl.recovery"), "{refused}");
    let recovered = place.good("annotate s.jsonl --recover");
    assert!(recovered.contains("Recovered s.jsonl: "), "{recovered}");
    // What was sent last and did not count is there too.
    let status = place.good("annotate s.jsonl --status");
    assert!(status.contains(&format!("ana  {} of 40", acknowledged + 1)), "{status}");
    let started = place.start("annotate s.jsonl");
    until("the link", || started.said().contains("Serving"));
    let said = started.said();
    assert!(vote(said.lines().find_map(|it| it.strip_prefix("ana  ")).unwrap(), "pass"));
}
