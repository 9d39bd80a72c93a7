//! A disk that fails at any call leaves a store that goes on.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use plan::Digest;
use store::testing::{Fault, FaultyDisk, Lasting, Torn};
use store::{
    Committed, Durability, Error, Place, Presence, Quarantine, Result, Rows, Settings, Store,
};

use super::{key, record};

/// Take a file and a tree, commit two records, add rows, place, all through one disk.
fn scenario(dir: &Path, settings: Settings) -> Result<Vec<store::Warning>> {
    let source = dir.join("source");
    fs::create_dir_all(source.join("tree/sub")).unwrap();
    fs::write(source.join("file"), "file").unwrap();
    fs::write(source.join("tree/a"), "a").unwrap();
    fs::write(source.join("tree/sub/b"), "b").unwrap();
    let store = Store::open_with(&dir.join("store"), settings)?;
    let file = store.ingest(&source.join("file"))?;
    let tree = store.ingest(&source.join("tree"))?;
    store.commit(&[record("one", file), record("two", tree)])?;
    let rows = Rows::open(&store, &Digest::of(b"space"))?;
    for n in 0..4_u8 {
        rows.put(&Digest::of(&[n]), &[n; 100])?;
    }
    rows.sync()?;
    store.materialize(&tree, &dir.join("out"), Place::Export)?;
    Ok(store.warnings())
}

fn disk(number: u64, errno: i32, lasting: Lasting, write: Torn) -> Arc<FaultyDisk> {
    Arc::new(FaultyDisk::new(Fault { call: None, number, errno, lasting, write }))
}

fn settings(disk: &Arc<FaultyDisk>) -> Settings {
    Settings { disk: Arc::<FaultyDisk>::clone(disk), ..Settings::default() }
}

fn names_a_file(error: &Error) -> bool {
    error.path().is_some() && matches!(error, Error::Io { .. })
}

#[test]
fn whatever_call_fails_the_store_stays_whole_and_the_work_can_be_done_again() {
    let enospc = rustix::io::Errno::NOSPC.raw_os_error();
    let eio = rustix::io::Errno::IO.raw_os_error();
    let counter = disk(0, eio, Lasting::Once, Torn::Nothing);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(scenario(dir.path(), settings(&counter)).unwrap(), []);
    let calls = counter.calls();
    assert!(calls > 40, "{calls}");
    // Most of the time is spent waiting for the disk.
    std::thread::scope(|scope| {
        for first in 1..=8 {
            scope.spawn(move || {
                for n in (first..=calls).step_by(8) {
                    fail_at(n, enospc, Lasting::FromThenOn, Torn::Half);
                    fail_at(n, eio, Lasting::Once, Torn::Nothing);
                }
            });
        }
    });
}

fn fail_at(n: u64, errno: i32, lasting: Lasting, torn: Torn) {
    let what = format!("call {n}, {errno}, {lasting:?}, {torn:?}");
    let dir = tempfile::tempdir().unwrap();
    let faulty = disk(n, errno, lasting, torn);
    if let Err(error) = scenario(dir.path(), settings(&faulty)) {
        assert!(names_a_file(&error), "{what}: {error}");
        let is_full = errno == rustix::io::Errno::NOSPC.raw_os_error();
        assert_eq!(error.is_full(), is_full, "{what}: {error}");
    }
    let _ = fs::remove_dir_all(dir.path().join("source"));
    check(dir.path(), &what);
    let fast = Settings { durability: Durability::Fast, ..Settings::default() };
    assert_eq!(scenario(dir.path(), fast).expect(&what), [], "{what}");
    check(dir.path(), &what);
    finished(dir.path(), &what);
}

fn check(dir: &Path, what: &str) {
    let store = Store::open(&dir.join("store")).expect(what);
    let mut found = Vec::new();
    store.verify(Quarantine::Leave, &mut |it| found.push(it)).expect(what);
    // A torn object or row that no record stands on is harmless, and the next attempt replaces it.
    found.retain(|it| !matches!(it, store::Finding::DamagedRows { .. }));
    assert_eq!(found, [], "{what}");
    for record in store.records().unwrap() {
        for output in record.outputs.values() {
            assert_eq!(store.present(&output.object), Presence::Present, "{what}");
        }
    }
}

fn finished(dir: &Path, what: &str) {
    let fast = Settings { durability: Durability::Fast, ..Settings::default() };
    let store = Store::open_with(&dir.join("store"), fast).expect(what);
    for name in ["one", "two"] {
        let record = store.record(&key(name)).expect(what).expect(what);
        assert_eq!(store.commit(&[record]).expect(what), [Committed::Same], "{what}");
    }
    assert_eq!(store.index().unwrap().len(), 2, "{what}");
    let rows = Rows::open(&store, &Digest::of(b"space")).unwrap();
    for n in 0..4_u8 {
        assert_eq!(rows.get(&Digest::of(&[n])).unwrap(), Some(vec![n; 100]), "{what}");
    }
    assert_eq!(fs::read_to_string(dir.join("out/sub/b")).unwrap(), "b");
    store.sweep().unwrap();
    drop((rows, store));
    let left = fs::read_dir(dir.join("store/tmp")).unwrap().count();
    assert_eq!(left, 1, "{what}");
}
