//! Collection keeps what is kept, pinned or young.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use plan::Digest;
use store::{GcAsk, GcMode, Presence, Rows, Store};

use super::{key, new_store, record, recursive};

fn now(mode: GcMode) -> GcAsk {
    GcAsk { grace: Duration::ZERO, unused: Duration::ZERO, mode, ..GcAsk::default() }
}

#[test]
fn what_is_kept_pinned_or_young_stays_and_the_rest_goes() {
    let (dir, store) = new_store();
    let top = dir.path().join("t");
    fs::create_dir(&top).unwrap();
    fs::write(top.join("a"), "in a kept tree").unwrap();
    let tree = store.take_tree(&top).unwrap();
    let shared = store.put_bytes(b"shared").unwrap();
    let lost = store.put_bytes(b"lost").unwrap();
    let mut both = record("kept", tree);
    both.outputs.insert("more".to_owned(), record("x", shared).outputs["data"].clone());
    store.commit(&[both, record("pinned", shared), record("gone", lost)]).unwrap();
    store.commit(&[record("gone too", shared)]).unwrap();
    store.pin("release", &[key("pinned")]).unwrap();
    let young = GcAsk { unused: Duration::ZERO, mode: GcMode::Remove, ..GcAsk::default() };
    let report = store.gc(&young).unwrap();
    assert_eq!((report.records.len(), report.objects, report.kept_records), (0, 0, 4));
    let keep = BTreeSet::from([key("kept")]);
    let dry = store.gc(&GcAsk { keep: keep.clone(), ..now(GcMode::DryRun) }).unwrap();
    assert!(store.record(&key("gone")).unwrap().is_some());
    let report = store.gc(&GcAsk { keep, ..now(GcMode::Remove) }).unwrap();
    assert_eq!(dry, report);
    let names: Vec<&str> = report.records.iter().map(|it| it.address.as_str()).collect();
    assert_eq!(names, ["steps.gone too", "steps.gone"], "the cheapest for its bytes first");
    assert_eq!((report.objects, report.object_bytes, report.kept_records), (1, 4, 2));
    assert_eq!(report.records[0].took_ms, 1234);
    assert_eq!(store.present(&tree), Presence::Present);
    assert_eq!(store.present(&shared), Presence::Present);
    assert_eq!(store.present(&lost), Presence::Missing);
    let index = store.index().unwrap();
    assert_eq!((index.len(), index.key(&recursive("gone"))), (2, None));
    assert!(store.unpin("release").unwrap() && !store.unpin("release").unwrap());
    assert!(store.pin("../x", &[]).is_err());
}

#[test]
fn state_and_rows_in_use_stay() {
    let (_dir, store) = new_store();
    for name in ["a", "b"] {
        fs::write(store.make_part(&key(name)).unwrap().join("shard"), "12345").unwrap();
    }
    let _lock = store.try_lock(&key("a")).unwrap();
    let rows = Rows::open(&store, &Digest::of(b"used")).unwrap();
    rows.put(&Digest::of(b"k"), b"v").unwrap();
    Rows::open(&store, &Digest::of(b"unused")).unwrap();
    let other = Store::open(store.root()).unwrap();
    let kept = other.attempt().unwrap().keep();
    drop(other);
    let report = store.gc(&now(GcMode::Remove)).unwrap();
    assert_eq!((report.parts, report.part_bytes, report.row_spaces), (1, 5, 1));
    assert_eq!(report.attempts.attempts, 1);
    assert!(!kept.exists() && !store.part(&key("b")).exists() && store.part(&key("a")).exists());
    store.drop_part(&key("a")).unwrap();
    assert!(!store.part(&key("a")).exists());
    rows.put(&Digest::of(b"l"), b"w").unwrap();
    assert_eq!(Rows::open(&store, &Digest::of(b"used")).unwrap().len(), 2);
}

#[test]
fn what_dead_writers_left_is_put_together_beside_a_live_one() {
    let (_dir, store) = new_store();
    let space = Digest::of(b"space");
    for n in 0..5_u8 {
        let rows = Rows::open(&store, &space).unwrap();
        rows.put(&Digest::of(&[n]), &[n; 100]).unwrap();
    }
    let live = Rows::open(&store, &space).unwrap();
    live.put(&Digest::of(b"live"), b"before").unwrap();
    let folder = store.root().join("rows").join(space.hex());
    let n_files = || fs::read_dir(&folder).unwrap().count();
    let before = n_files();
    let dry = store.gc(&GcAsk::default()).unwrap();
    assert_eq!((dry.compacted_bytes, n_files()), (0, before));
    let report = store.gc(&GcAsk { mode: GcMode::Remove, ..GcAsk::default() }).unwrap();
    assert_eq!((report.row_spaces, n_files()), (0, before - 4), "five segments became one");
    assert_eq!(report.compacted_bytes, 4 * "kun-rows 1\n".len() as u64);
    live.put(&Digest::of(b"more"), b"after").unwrap();
    live.refresh().unwrap();
    let others = Rows::open(&store, &space).unwrap();
    for rows in [&live, &others] {
        assert_eq!((rows.len(), rows.notes().len()), (7, 0));
        assert_eq!(rows.get(&Digest::of(&[3])).unwrap(), Some(vec![3; 100]));
        assert_eq!(rows.get(&Digest::of(b"live")).unwrap(), Some(b"before".to_vec()));
        assert_eq!(rows.get(&Digest::of(b"more")).unwrap(), Some(b"after".to_vec()));
    }
}

/// Whatever is in a store and no run stands on.
fn all() -> GcAsk {
    GcAsk { runs: 0, ..now(GcMode::Remove) }
}

#[test]
fn what_a_run_that_goes_on_stands_on_stays_and_so_does_what_it_has_not_committed_yet() {
    let (dir, store) = new_store();
    let old = store.put_bytes(b"old").unwrap();
    let garbage = store.put_bytes(b"made again").unwrap();
    let names = ["planned", "met later", "nobody's"];
    store.commit(&names.map(|it| record(it, old))).unwrap();
    let running = Store::open(store.root()).unwrap();
    running.lease(dir.path()).unwrap();
    let asking = store.clone();
    let planning = std::thread::spawn(move || asking.gc(&all()).unwrap());
    running.hold(&mut [key("planned")].into_iter()).unwrap();
    // It waited for the plan, and takes what the plan does not stand on.
    let report = planning.join().unwrap();
    assert_eq!((report.records.len(), report.kept_records), (2, 1));
    assert!(running.claim(&key("met later")).unwrap().is_none(), "it is gone, and found gone");
    store.commit(&[record("met later", old)]).unwrap();
    assert!(running.claim(&key("met later")).unwrap().is_some());
    let fresh = running.put_bytes(b"not committed yet").unwrap();
    assert_eq!(running.put_bytes(b"made again").unwrap(), garbage);
    assert_eq!(store.gc(&all()).unwrap().objects, 0);
    running.commit(&[record("fresh", fresh), record("again", garbage)]).unwrap();
    let report = store.gc(&all()).unwrap();
    assert_eq!((report.records.len(), report.kept_records), (0, 4));
    running.end_lease().unwrap();
    assert_eq!(store.gc(&all()).unwrap().kept_records, 4, "now they are those of a run");
    let asks = GcAsk { project: Some(dir.path().to_owned()), ..all() };
    assert_eq!(store.gc(&asks).unwrap().records.len(), 4, "which its own project lets go");
    assert_eq!(store.projects().unwrap()[0].runs, 0);
}

#[test]
fn a_run_that_was_killed_leaves_its_roots() {
    let (dir, store) = new_store();
    let object = store.put_bytes(b"x").unwrap();
    let running = Store::open(store.root()).unwrap();
    running.lease(dir.path()).unwrap();
    running.hold(&mut std::iter::empty()).unwrap();
    running.commit(&[record("made", object)]).unwrap();
    drop(running);
    let report = store.gc(&all()).unwrap();
    assert_eq!((report.kept_records, report.objects), (1, 0));
    assert_eq!(store.projects().unwrap()[0].runs, 1);
    assert_eq!(store.projects().unwrap()[0].state, dir.path().canonicalize().unwrap());
}
