//! The study's file is replaced, truncated, removed and appended to while it is open: nothing that was
//! acknowledged is lost, and nothing that somebody else wrote.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::*;

/// A generator that needs no crate: SplitMix64.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((it ^ (it >> 31)) % n as u64) as usize
    }
}

/// What happens to the file.
const HARM: [&str; 8] = [
    "replaced",
    "as it was",
    "an old copy",
    "truncated",
    "emptied",
    "removed",
    "appended",
    "edited",
];

/// Does it, and says whether the file's bytes are still those that it had.
fn harm(path: &Path, what: &str, draws: &mut Draws, foreign: &str) {
    let text = std::fs::read(path).unwrap();
    let other = path.with_extension("other");
    let place = |bytes: &[u8]| {
        std::fs::write(&other, bytes).unwrap();
        std::fs::rename(&other, path).unwrap();
    };
    let lines: Vec<usize> = (0..text.len()).filter(|it| text[*it] == b'\n').collect();
    match what {
        // As `sed -i` and editors do: another file, with what was there when they read it.
        "replaced" | "as it was" => place(&text),
        "an old copy" => place(&text[..=lines[6 + draws.below(lines.len() - 6)]]),
        // As `truncate` and `>` do: the same file.
        "truncated" => OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(draws.below(text.len()) as u64)
            .unwrap(),
        "emptied" => drop(std::fs::File::create(path).unwrap()),
        "removed" => std::fs::remove_file(path).unwrap(),
        "appended" => {
            let mut file = OpenOptions::new().append(true).open(path).unwrap();
            file.write_all(foreign.as_bytes()).unwrap();
        }
        // In place and as long as before, which the time alone betrays: a later time than any of ours.
        "edited" => {
            let at = text.windows(6).rposition(|it| it == b"\"pass\"").unwrap() + 1;
            let mut file = OpenOptions::new().write(true).open(path).unwrap();
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(at as u64)).unwrap();
            file.write_all(b"fail").unwrap();
            let later = SystemTime::now() + std::time::Duration::from_secs(2);
            file.set_modified(later).unwrap();
        }
        other => unreachable!("{other}"),
    }
}

/// What stands in a study, by annotator, unit and round.
fn said(journal: &Journal) -> BTreeMap<(String, String), String> {
    let one = |it: &Said| {
        let answer = it.answers.as_ref().map_or("", |it| it["output"].as_str());
        ((it.annotator.clone(), it.unit.clone()), answer.to_owned())
    };
    journal.seats().all().iter().flat_map(|it| it.said()).map(one).collect()
}

/// Sends a vote as a page does, and says how that went.
fn vote(server: &Server, path: &str, output: &str) -> (u16, Option<String>) {
    let (_, it) = get(server, &format!("{path}/state"));
    let text = it["state"]["task"]["shown"][1].as_str().unwrap().to_owned();
    let given = json!({ "answers": rated(output), "note": "", "ms": 7 });
    let body =
        json!({ "seq": it["state"]["seq"], "place": it["state"]["task"]["place"], "given": given });
    (send(server, "POST", &format!("{path}/did"), &body).0, Some(text))
}

#[test]
fn whatever_happens_to_the_file_nothing_acknowledged_is_lost() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400;
    // The seed is the day, so that every day tries others; what fails says which it was.
    for case in 0..64 {
        let mut draws = Draws(seed << 12 | case);
        let what = HARM[case as usize % HARM.len()];
        let label = format!("seed {seed}, case {case}, {what}");
        one_case(what, &mut draws, &label);
    }
}

fn one_case(what: &str, draws: &mut Draws, label: &str) {
    let place = Ground::new();
    let (file, recovery) = (place.path("study.jsonl"), place.path("study.jsonl.recovery"));
    let server = place.server(place.open(&place.rating(12)));
    let paths: Vec<String> = server.paths().into_iter().map(|it| it.1).collect();
    let outputs = ["pass", "excellent", "fail"];
    for n in 0..3 + draws.below(6) {
        assert_eq!(
            vote(&server, &paths[n % 3], if n == 0 { "pass" } else { outputs[draws.below(3)] }).0,
            200
        );
    }
    let acknowledged = said(&server.pages.journal());
    let foreign = json!({ "line": "vote", "annotator": "far", "answers": rated("fail"),
        "unit": server.pages.journal().seats().study.units[0].id })
    .to_string()
        + "\n";
    let foreign = &foreign[..foreign.len() - draws.below(2) * (1 + draws.below(20))];
    harm(&file, what, draws, foreign);
    let harmed = std::fs::read(&file).ok();

    // Nothing counts any more; what is sent is kept, the last of it where it is sent again.
    assert_eq!(vote(&server, &paths[0], "excellent").0, 503, "{label}");
    assert_eq!(vote(&server, &paths[0], "fail").0, 503, "{label}");
    let (status, state) = get(&server, &format!("{}/state", paths[0]));
    let done = json!(acknowledged_of(&acknowledged, "ana"));
    assert_eq!((status, &state["state"]["done"]), (503, &done), "{label}");
    assert_eq!(std::fs::read(&file).ok(), harmed, "{label}: not a byte is written there");
    assert!(recovery.exists(), "{label}");
    // As long as a server keeps votes there, they cannot be fetched.
    assert!(matches!(recover(&file), Err(AnnotateError::Busy(_))), "{label}");
    drop(server);
    let opened = Journal::open(&file);
    assert!(matches!(opened, Err(AnnotateError::Unrecovered { .. })), "{label}: {opened:?}");

    if recover(&file).is_err() {
        // What is no study any more, somebody puts away.
        std::fs::rename(&file, place.path("damaged")).unwrap();
        recover(&file).unwrap();
    }
    assert!(!recovery.exists() && place.path("study.jsonl.recovered").exists());
    let journal = place.again();
    let now = said(&journal);
    for (who, answer) in &acknowledged {
        let edited = what == "edited" && now[who] == "fail" && answer == "pass";
        assert!(edited || now.get(who) == Some(answer), "{label}: {who:?}");
    }
    // The last of what did not count is there as well.
    assert_eq!(now.len(), acknowledged.len() + 1, "{label}");
    assert!(now.iter().any(|(who, it)| !acknowledged.contains_key(who) && it == "fail"), "{label}");
    assert!(!place.text().contains('\0'), "{label}");
    if what == "appended" {
        let kept = place.text()
            + &std::fs::read_to_string(place.path("study.jsonl.torn")).unwrap_or_default();
        assert!(kept.contains(foreign.trim_end()), "{label}: {foreign}");
    }
}

fn acknowledged_of(all: &BTreeMap<(String, String), String>, name: &str) -> usize {
    all.keys().filter(|it| it.0 == name).count()
}

#[test]
fn what_touches_the_file_and_leaves_its_bytes_stops_nobody() {
    let place = Ground::new();
    let server = place.server(place.open(&place.rating(4)));
    let path = server.paths()[0].1.clone();
    assert_eq!(vote(&server, &path, "pass").0, 200);
    let file = std::fs::File::options().write(true).open(place.path("study.jsonl")).unwrap();
    file.set_modified(UNIX_EPOCH).unwrap();
    assert_eq!(vote(&server, &path, "fail").0, 200);
    assert_eq!(said(&server.pages.journal()).len(), 2);
}

#[test]
fn the_change_is_noticed_and_said_without_a_vote() {
    let place = Ground::new();
    let server = place.server(place.open(&place.rating(4)));
    let path = server.paths()[0].1.clone();
    assert_eq!(vote(&server, &path, "pass").0, 200);
    let (said, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || server.run(move |error| said.send(error.to_string()).unwrap()));
    std::fs::remove_file(place.path("study.jsonl")).unwrap();
    let text = heard.recv().unwrap();
    assert!(
        text.contains("study.jsonl` was removed while it was open; all votes are kept in"),
        "{text}"
    );
    let kept = std::fs::read_to_string(place.path("study.jsonl.recovery")).unwrap();
    assert_eq!(kept.matches("\"did\":\"said\"").count(), 1);
}

#[test]
fn where_people_went_on_with_the_file_as_it_was_restored_no_answer_stands_against_another() {
    let place = Ground::new();
    let mut journal = place.open(&place.rating(6));
    say(&mut journal, "ana", rated("pass"));
    let backup = place.text();
    let undo = || Did::Undo { annotator: "ana".to_owned() };
    let unit = say(&mut journal, "ana", rated("fail"));
    say(&mut journal, "ana", rated("fail"));
    journal.record(undo()).unwrap().unwrap();
    say(&mut journal, "bo", rated("pass"));
    std::fs::write(place.path("other"), &backup).unwrap();
    std::fs::rename(place.path("other"), place.path("study.jsonl")).unwrap();
    assert!(matches!(journal.look(), Err(AnnotateError::Stopped { .. })));
    drop(journal);
    // Somebody goes on with what was restored, before the votes are fetched: other answers come to be.
    std::fs::rename(place.path("study.jsonl.recovery"), place.path("away")).unwrap();
    let mut journal = place.again();
    assert_eq!(say(&mut journal, "ana", rated("excellent")), unit);
    drop(journal);
    std::fs::rename(place.path("away"), place.path("study.jsonl.recovery")).unwrap();
    let it = recover(&place.path("study.jsonl")).unwrap();
    assert_eq!((it.restored, it.new, it.known), (false, 1, 1));
    assert_eq!(it.other, [format!("`ana` has answered `{unit}` otherwise since")]);
    let now = said(&place.again());
    assert_eq!(now[&("ana".to_owned(), unit)], "excellent");
    assert_eq!(now.len(), 3, "what was taken back does not come again");
    let again = recover(&place.path("study.jsonl")).unwrap_err().to_string();
    assert!(again.starts_with("there is nothing to recover"), "{again}");
}

#[test]
fn the_votes_of_another_study_are_not_recovered_into_this_one() {
    let place = Ground::new();
    let mut journal = place.open(&place.rating(3));
    std::fs::remove_file(place.path("study.jsonl")).unwrap();
    assert!(journal.look().is_err());
    drop(journal);
    create(&place.path("study.jsonl"), &place.rating(4)).unwrap();
    let error = recover(&place.path("study.jsonl")).unwrap_err();
    assert!(matches!(error, AnnotateError::OtherStudy { .. }), "{error}");
}

#[test]
fn the_start_of_a_line_goes_aside_and_a_line_without_its_line_feed_counts() {
    let place = Ground::new();
    let mut journal = place.open(&place.rating(3));
    say(&mut journal, "ana", rated("pass"));
    drop(journal);
    let text = place.text();
    std::fs::write(place.path("study.jsonl"), text.trim_end()).unwrap();
    let mut journal = place.again();
    assert_eq!((journal.torn(), said(&journal).len()), (None, 1));
    say(&mut journal, "ana", rated("fail"));
    drop(journal);
    let text = place.text();
    std::fs::write(place.path("study.jsonl"), format!("{text}{{\"line\":\"vote\"")).unwrap();
    let mut journal = place.again();
    assert_eq!(journal.torn(), Some((14, place.path("study.jsonl.torn"))));
    say(&mut journal, "ana", rated("pass"));
    assert_eq!(journal.torn(), None);
    drop(journal);
    assert!(place.text().starts_with(&text));
    let torn = std::fs::read_to_string(place.path("study.jsonl.torn")).unwrap();
    assert_eq!(torn, "{\"line\":\"vote\"\n");
    assert_eq!(said(&place.again()).len(), 3);
}
