//! What the secret of a study holds: nobody reads sides who knows all but that, and nobody answers for
//! somebody else.

use super::*;

/// The models that stand on the left, for each who is asked, in their order.
fn lefts(journal: &Journal, sides: &Sides) -> Vec<String> {
    let seats = journal.seats();
    let of = |seat: &Seat| {
        let place = |n| sides.left(seats, seat, &seats.place(seat, n).unwrap()).unwrap();
        (0..seat.n_places()).map(place).collect::<Vec<String>>()
    };
    seats.all().iter().flat_map(of).collect()
}

#[test]
fn who_knows_the_prompts_the_models_and_the_seed_cannot_compute_the_sides() {
    let (place, twin) = (Ground::new(), Ground::new());
    let journal = place.open(&place.comparing(20));
    let twin_journal = twin.open(&twin.comparing(20));
    assert_eq!(place.text(), twin.text(), "all that is known is the same");
    let own = lefts(&journal, place.key().sides());
    let guessed = lefts(&twin_journal, twin.key().sides());
    let right = own.iter().zip(&guessed).filter(|it| it.0 == it.1).count();
    // 180 sides: fewer than 45 or more than 135 right are drawn once in 10^11 times.
    assert!(own.len() == 180 && (45..135).contains(&right), "{right} of {}", own.len());
    // Each model stands on each side, and a second showing has a side of its own.
    let first = own.iter().zip(&own[1..]).filter(|it| it.0 == it.1).count();
    assert!(first < own.len() - 1);
    drop(journal);
    assert_eq!(lefts(&place.again(), place.key().sides()), own, "opened again, the same sides");
}

#[test]
fn the_order_rests_on_the_seed_and_the_study_alone() {
    let (place, twin) = (Ground::new(), Ground::new());
    let order = |journal: &Journal| {
        let seats = journal.seats();
        let seat = seats.seat("ana").unwrap();
        (0..seat.n_places()).map(|it| seats.place(seat, it).unwrap().unit).collect::<Vec<_>>()
    };
    let (first, other) = (place.open(&place.comparing(9)), twin.open(&twin.comparing(9)));
    assert_eq!(order(&first), order(&other));
}

/// The data inside of a page that needs no server.
fn data(page: &str) -> Value {
    let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    serde_json::from_str(data).unwrap()
}

#[test]
fn answers_are_taken_from_the_page_of_whom_they_name_and_from_no_other() {
    let place = Ground::new();
    let mut journal = place.open(&place.rating(4));
    let key = place.key();
    let page = |journal: &Journal, name| data(&bundle(journal.seats(), &key, name).unwrap());
    let back = |page: &Value, name: &str| {
        let one =
            json!({ "place": page["tasks"][0]["place"], "given": { "answers": rated("fail") } });
        json!({ "study": page["study"], "name": name, "secret": page["secret"], "said": [one] })
    };
    let (bo, chen) = (page(&journal, "bo"), page(&journal, "chen"));
    let mut taken = |back: &Value| {
        take(&mut journal, &key, back.to_string().as_bytes()).map_err(|it| it.to_string())
    };
    let renamed = "it says `chen` and carries the secret of the page of `bo`";
    assert_eq!(taken(&back(&bo, "chen")), Err(renamed.to_owned()));
    let none = "it says `chen` and does not carry the secret of that page";
    for wrong in ["", "0", &"0".repeat(64), key.token("chen").as_str()] {
        let mut it = back(&chen, "chen");
        it["secret"] = wrong.into();
        assert_eq!(taken(&it), Err(none.to_owned()), "{wrong}");
    }
    let mut without = back(&chen, "chen");
    without.as_object_mut().unwrap().remove("secret");
    assert!(taken(&without).unwrap_err().starts_with("missing field `secret`"));
    assert_eq!(taken(&back(&bo, "bo")), Ok(Taken { new: 1, known: 0, other: 0 }));
    assert_eq!(taken(&back(&chen, "chen")), Ok(Taken { new: 1, known: 0, other: 0 }));
    // A page of a twin study, whose key is another, is no page of this one.
    let twin = Ground::new();
    let other = twin.open(&twin.rating(4));
    let foreign = data(&bundle(other.seats(), &twin.key(), "chen").unwrap());
    assert_eq!(foreign["study"], chen["study"]);
    assert_eq!(taken(&back(&foreign, "chen")), Err(none.to_owned()));
}

#[test]
fn nothing_that_leaves_the_program_says_what_the_secret_is() {
    let place = Ground::new();
    let journal = place.open(&place.comparing(3));
    let page = bundle(journal.seats(), &place.key(), "ana").unwrap();
    let secret = std::fs::read(place.path("study.jsonl.key")).unwrap();
    let hex: String = secret.iter().map(|it| format!("{it:02x}")).collect();
    for text in [&page, &place.text()] {
        assert!(!text.contains(&hex) && !text.contains(&place.key().token("ana")));
    }
}
