//! Votes from elsewhere, votes given away, and what becomes of the work of who goes away.

use super::*;

impl Ground {
    fn file(&self, votes: &[Value]) -> PathBuf {
        let text: String = votes.iter().map(|it| format!("{it}\n")).collect();
        std::fs::write(self.path("votes.jsonl"), text).unwrap();
        self.path("votes.jsonl")
    }
}

#[test]
fn votes_from_elsewhere_are_taken_once_and_are_there_after_a_restart() {
    let ground = Ground::new();
    let mut journal = ground.open(&ground.comparing(2));
    let unit = journal.seats().study.units[0].clone();
    let shown = journal.seats().study.items[1].shown.clone();
    let file = ground.file(&[
        json!({ "annotator": "judge", "by": "model", "unit": unit.id, "answers": { "better": "belle" } }),
        // The same models in the other order, and a side.
        json!({ "annotator": "far", "shown": shown, "models": ["ol-cc", "kun-52k"], "left": "ol-cc",
                "answers": { "better": "right" }, "ms": 900 }),
    ]);
    let taken = |new, known, other| Taken { new, known, other };
    assert_eq!(journal.import(&file).unwrap(), taken(2, 0, 0));
    assert_eq!(journal.import(&file).unwrap(), taken(0, 2, 0));
    let other = json!({ "annotator": "judge", "by": "model", "unit": unit.id, "answers": null });
    assert_eq!(journal.import(&ground.file(&[other])).unwrap(), taken(0, 0, 1));
    drop(journal);
    let journal = ground.again();
    let [judge, far] = journal.seats().outside() else { panic!() };
    assert_eq!((judge.by, far.by), (By::Model, By::Person));
    assert_eq!(far.said.answers, answers(&[("better", "kun-52k")]));
    // Nobody who has a seat has less to do.
    assert_eq!(journal.seats().all()[0].n_done(), 0);
}

#[test]
fn a_vote_that_does_not_fit_is_refused_with_its_line() {
    let ground = Ground::new();
    let journal = ground.open(&ground.comparing(1));
    let unit = journal.seats().study.units[0].id.clone();
    let refused = |vote: Value| {
        let error =
            crate::votes::read(&ground.file(&[vote]), journal.seats()).unwrap_err().to_string();
        error.rsplit_once("votes.jsonl:").unwrap().1.replace(&unit, "UNIT")
    };
    let of = |annotator: &str, answer: &str| json!({ "annotator": annotator, "unit": unit, "answers": { "better": answer } });
    assert_eq!(refused(of("ana", "belle")), "1: `ana` has a seat in this study");
    assert_eq!(refused(of("", "belle")), "1: `annotator` is empty");
    assert_eq!(refused(of("x", "ol-cc")), "1: `ol-cc` is no answer to `better`");
    assert_eq!(refused(of("x", "left")), "1: `left` is no answer to `better`");
    assert_eq!(
        refused(json!({ "annotator": "x", "answers": null })),
        "1: neither `unit` nor `shown` says what it is about"
    );
    assert_eq!(
        refused(json!({ "annotator": "x", "unit": "?", "answers": null })),
        "1: the study does not ask about `?`"
    );
    let mut left = of("x", "belle");
    left["left"] = "ol-cc".into();
    assert_eq!(refused(left), "1: `left` is `ol-cc`, none of the two models");
    let file = ground.file(&[of("x", "belle"), of("x", "belle")]);
    let error = crate::votes::read(&file, journal.seats()).unwrap_err().to_string();
    assert!(error.contains("votes.jsonl:2: `x` votes twice about `"), "{error}");
}

#[test]
fn what_is_exported_is_taken_again_and_is_the_same() {
    let ground = Ground::new();
    let mut journal = ground.open(&ground.comparing(1));
    for name in ["ana", "bo"] {
        for _ in 0..3 {
            say(&mut journal, name, answers(&[("better", "left")]));
        }
    }
    let judged = |it: &Unit| json!({ "annotator": "judge", "by": "model", "unit": it.id, "answers": { "better": it.pair.clone().unwrap()[1] } });
    let file = ground.file(&journal.seats().study.units.iter().map(judged).collect::<Vec<Value>>());
    journal.import(&file).unwrap();
    let lines = export(journal.seats(), Format::Lines);
    let elsewhere = lines.replace("\"ana\"", "\"ana-2\"").replace("\"bo\"", "\"bo-2\"");
    std::fs::write(ground.path("again.jsonl"), elsewhere).unwrap();
    let taken = journal.import(&ground.path("again.jsonl")).unwrap();
    assert_eq!((taken.new, taken.known), (6, 3));

    let csv = export(journal.seats(), Format::Csv);
    assert_eq!(csv.lines().count(), 1 + 6 + 3 + 6);
    assert!(csv.contains("\njudge,model,"), "{csv}");
    let studio: Value =
        serde_json::from_str(&export(journal.seats(), Format::LabelStudio)).unwrap();
    let task = &studio[0];
    assert_eq!(task["annotations"].as_array().unwrap().len(), 4);
    // A model's vote is a prediction, and the first of the pair is the left one.
    assert_eq!(task["predictions"][0]["model_version"], "judge");
    assert_eq!(task["predictions"][0]["result"][0]["value"]["choices"][0], "right");
    let right = task["data"]["right_model"].as_str().unwrap();
    assert_eq!(journal.seats().study.units[0].pair.as_ref().unwrap()[1], right);
    assert_eq!(task["data"]["annotators"][3], "bo-2");
}

#[test]
fn who_goes_away_leaves_the_rest_to_others_evenly() {
    let ground = Ground::new();
    let mut draft = ground.rating(30);
    draft.head.annotators = ["ana", "bo", "chen", "di"].map(str::to_owned).to_vec();
    draft.head.raters = 2;
    let mut journal = ground.open(&draft);
    for _ in 0..5 {
        say(&mut journal, "ana", rated("pass"));
    }
    journal.record(Did::Left { annotator: "ana".to_owned() }).unwrap().unwrap();
    let again = journal.record(Did::Left { annotator: "ana".to_owned() }).unwrap();
    assert_eq!(again.unwrap_err(), "`ana` has nothing that others could take over");
    let all = |journal: &Journal| {
        let seats = journal.seats();
        seats.all().iter().map(|it| (seats.n_asked(it), it.is_away())).collect::<Vec<_>>()
    };
    // 15 each at first; the ten that `ana` has left go to three people.
    let now = all(&journal);
    assert_eq!(now[0], (5, true));
    assert!(now[1..].iter().all(|it| (18..=19).contains(&it.0)), "{now:?}");
    assert_eq!(now.iter().map(|it| it.0).sum::<usize>(), 60);
    assert_eq!(journal.seats().n_short(), 0);
    drop(journal);
    let mut journal = ground.again();
    assert_eq!(all(&journal), now);
    let seats = journal.seats();
    assert!(seats.next(seats.seat("ana").unwrap()).is_none());
    for name in ["bo", "chen", "di"] {
        while journal.seats().next(journal.seats().seat(name).unwrap()).is_some() {
            say(&mut journal, name, rated("pass"));
        }
    }
    let seats = journal.seats();
    let mut votes = vec![0; 30];
    for said in seats.all().iter().flat_map(|it| it.said()) {
        votes[seats.study.units.iter().position(|it| it.id == said.unit).unwrap()] += 1;
    }
    assert_eq!(votes, [2; 30]);
}

#[test]
fn where_nobody_can_take_over_fewer_are_enough() {
    let ground = Ground::new();
    let mut journal = ground.open(&ground.rating(4));
    journal.record(Did::Left { annotator: "bo".to_owned() }).unwrap().unwrap();
    assert_eq!(journal.seats().n_short(), 4);
    for (name, said) in [("ana", "pass"), ("chen", "fail")] {
        for _ in 0..4 {
            say(&mut journal, name, rated(said));
        }
    }
    assert!((0..4).all(|it| journal.seats().is_disputed(it)));
}
