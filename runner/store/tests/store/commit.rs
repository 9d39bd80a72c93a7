//! Records and their objects: written once, found again, never half.

use std::fs;
use std::sync::Barrier;

use plan::Digest;
use store::{Committed, Durability, Error, Place, Record, Settings, Shape, Store};

use super::{key, new_store, record, recursive};

#[test]
fn a_record_comes_back_as_it_was_and_the_index_knows_it() {
    let (_dir, store) = new_store();
    let object = store.put_bytes(b"out").unwrap();
    let record = record("a", object);
    assert_eq!(store.commit(std::slice::from_ref(&record)).unwrap(), [Committed::New]);
    assert_eq!(store.record(&key("a")).unwrap(), Some(record.clone()));
    assert_eq!(store.record(&key("b")).unwrap(), None);
    assert_eq!(store.records().unwrap().collect::<Vec<_>>(), [record]);
    let index = store.index().unwrap();
    assert_eq!(index.key(&recursive("a")), Some(key("a")));
    assert_eq!(index.output(&key("a"), "data"), Some(object));
    assert_eq!(index.output(&key("a"), "other"), None);
    assert!(index.has_family(&Digest::of(b"family")));
    assert_eq!(index.newest("steps.a"), Some(key("a")));
    let entry = index.entry(&key("a")).unwrap();
    assert_eq!((entry.outputs[0].object, entry.outputs[0].file.as_str()), (object, "a.txt"));
    assert_eq!(store.warnings(), []);
}

#[test]
fn a_record_needs_its_objects() {
    let (_dir, store) = new_store();
    let mut object = store.put_bytes(b"out").unwrap();
    object.digest = Digest::of(b"never put");
    let error = store.commit(&[record("a", object)]).unwrap_err();
    assert!(matches!(error, Error::Unbacked { digest, .. } if digest == object.digest));
    assert_eq!(store.record(&key("a")).unwrap(), None);
}

#[test]
fn the_first_record_of_a_key_stays_while_its_objects_do() {
    let (_dir, store) = new_store();
    let first = record("a", store.put_bytes(b"one").unwrap());
    let second = record("a", store.put_bytes(b"two").unwrap());
    store.commit(std::slice::from_ref(&first)).unwrap();
    assert_eq!(store.commit(std::slice::from_ref(&first)).unwrap(), [Committed::Same]);
    let kept = Box::new(first.clone());
    assert_eq!(
        store.commit(std::slice::from_ref(&second)).unwrap(),
        [Committed::Diverged { kept }]
    );
    fs::remove_file(store.object_path(&first.outputs["data"].object.digest)).unwrap();
    let was = Box::new(first);
    assert_eq!(store.commit(std::slice::from_ref(&second)).unwrap(), [Committed::Healed { was }]);
    assert_eq!(store.record(&key("a")).unwrap(), Some(second.clone()));
    let output = store.index().unwrap().output(&key("a"), "data");
    assert_eq!(output, Some(second.outputs["data"].object));
}

#[test]
fn a_record_of_which_any_byte_is_wrong_is_no_record_and_is_replaced() {
    let (dir, store) = new_store();
    let record = record("a", store.put_bytes(b"one").unwrap());
    let whole = record.encode();
    assert_eq!(Record::decode(&whole), Ok(record.clone()));
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        assert!(Record::decode(&bytes).is_err(), "byte {at}");
        assert!(Record::decode(&whole[..at]).is_err(), "cut at {at}");
    }
    store.commit(std::slice::from_ref(&record)).unwrap();
    let hex = record.key.hex();
    let path = store.root().join("act").join(&hex[..2]).join(format!("{}.json", &hex[2..]));
    fs::remove_file(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(store.record(&record.key).unwrap(), None);
    assert_eq!(store.warnings()[0].path, path);
    assert_eq!(store.commit(std::slice::from_ref(&record)).unwrap(), [Committed::New]);
    assert_eq!(store.record(&record.key).unwrap(), Some(record));
    drop(dir);
}

#[test]
fn of_many_that_commit_one_key_exactly_one_is_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let barrier = Barrier::new(4);
    let committed: Vec<Committed> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let (dir, barrier) = (dir.path(), &barrier);
                scope.spawn(move || {
                    let store = Store::open(dir).unwrap();
                    let object = store.put_bytes(format!("{}", n % 2).as_bytes()).unwrap();
                    barrier.wait();
                    store.commit(&[record("a", object)]).unwrap().remove(0)
                })
            })
            .collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let count = |which: fn(&Committed) -> bool| committed.iter().filter(|it| which(it)).count();
    assert_eq!(count(|it| matches!(it, Committed::New)), 1);
    assert_eq!(count(|it| matches!(it, Committed::Same)), 1);
    assert_eq!(count(|it| matches!(it, Committed::Diverged { .. })), 2);
    let store = Store::open(dir.path()).unwrap();
    let standing = store.record(&key("a")).unwrap().unwrap();
    assert_eq!(
        store.index().unwrap().output(&key("a"), "data"),
        Some(standing.outputs["data"].object)
    );
}

#[test]
fn many_records_and_a_tree_are_committed_together() {
    let (dir, store) = new_store();
    let top = dir.path().join("t");
    fs::create_dir(&top).unwrap();
    for n in 0..20 {
        fs::write(top.join(n.to_string()), n.to_string()).unwrap();
    }
    let tree = store.take_tree(&top).unwrap();
    let records: Vec<Record> = (0..30).map(|n| record(&n.to_string(), tree)).collect();
    assert_eq!(store.commit(&records).unwrap(), vec![Committed::New; 30]);
    assert_eq!(store.index().unwrap().len(), 30);
    assert_eq!(tree.shape, Shape::Tree { files: 20 });
    fs::remove_file(store.object_path(&Digest::of(b"7"))).unwrap();
    assert!(matches!(store.commit(&records[..1]), Err(Error::Unbacked { .. })));
}

#[test]
fn an_index_cut_at_any_byte_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { durability: Durability::Fast, ..Settings::default() };
    let store = Store::open_with(dir.path(), settings).unwrap();
    let object = store.put_bytes(b"out").unwrap();
    store.commit(&[record("a", object)]).unwrap();
    store.commit(&[record("b", object)]).unwrap();
    let log = dir.path().join("idx/log");
    let whole = fs::read(&log).unwrap();
    for at in 0..whole.len() {
        fs::write(&log, &whole[..at]).unwrap();
        let n = store.index().unwrap().len();
        // A cut between two frames looks whole: the record behind it is found by its key.
        assert!(n == 2 || (n < 2 && fs::read(&log).unwrap() == whole[..at]), "cut at {at}");
        store.remember(&[(recursive("a"), key("a")), (recursive("b"), key("b"))]).unwrap();
        let index = store.index().unwrap();
        assert_eq!((index.key(&recursive("a")), index.len()), (Some(key("a")), 2), "cut at {at}");
    }
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(&log, &bytes).unwrap();
        assert_eq!(store.index().unwrap().len(), 2, "flipped at {at}");
    }
}

#[test]
fn an_index_reads_on_from_where_it_was() {
    let (_dir, store) = new_store();
    let object = store.put_bytes(b"out").unwrap();
    let mut index = store.index().unwrap();
    assert!(index.is_empty());
    for (n, name) in ["a", "b", "c"].iter().enumerate() {
        store.commit(&[record(name, object)]).unwrap();
        index.refresh().unwrap();
        assert_eq!(index.len(), n + 1);
    }
    // An early cut-off: another question that led to the same key.
    store.remember(&[(recursive("new"), key("a")), (recursive("x"), key("never"))]).unwrap();
    index.refresh().unwrap();
    assert_eq!(index.key(&recursive("new")), Some(key("a")));
    assert_eq!(index.key(&recursive("x")), None);
}

#[test]
fn a_store_that_is_dropped_leaves_nothing_in_its_temporary_folder() {
    let (dir, store) = new_store();
    let object = store.put_bytes(b"out").unwrap();
    store.commit(&[record("a", object)]).unwrap();
    store.materialize(&object, &dir.path().join("x"), Place::Export).unwrap();
    let tmp = store.root().join("tmp");
    drop(store);
    let names: Vec<_> = fs::read_dir(tmp).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["gate"]);
}
