//! Collection keeps what is kept, pinned or young.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use plan::Digest;
use store::{GcAsk, GcMode, Presence, Rows, Store};

use super::{key, new_store, record, recursive};

fn now(mode: GcMode) -> GcAsk {
    GcAsk { keep: BTreeSet::new(), grace: Duration::ZERO, unused: Duration::ZERO, mode }
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
