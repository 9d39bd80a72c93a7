//! Verification finds what is not as it was written.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use plan::Digest;
use store::remote::{Folder, Objects};
use store::{Error, Finding, Object, Presence, Quarantine, Record, Rows, Store};

use super::{key, new_store, record};

#[test]
fn a_flipped_bit_names_the_object_and_the_step_that_can_make_it_again() {
    let (dir, store) = new_store();
    let top = dir.path().join("t");
    fs::create_dir(&top).unwrap();
    fs::write(top.join("a"), "weights").unwrap();
    let tree = store.take_tree(&top).unwrap();
    let gone = store.put_bytes(b"gone").unwrap();
    store.commit(&[record("train", tree), record("other", gone)]).unwrap();
    let mut found = Vec::new();
    let report = store.verify(Quarantine::Leave, &mut |it| found.push(it)).unwrap();
    assert_eq!((found.len(), report.objects, report.records), (0, 3, 2));
    let digest = Digest::of(b"weights");
    let path = store.object_path(&digest);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, "weighty").unwrap();
    fs::remove_file(store.object_path(&gone.digest)).unwrap();
    let report = store.verify(Quarantine::Move, &mut |it| found.push(it)).unwrap();
    assert_eq!((report.findings, report.moved, report.mended, report.forgotten), (2, 1, 2, 2));
    assert!(matches!(&found[0], Finding::DamagedObject { digest: it, makers, .. }
        if *it == digest && *makers == [("steps.train".to_owned(), key("train"))]));
    let makers = vec![("steps.other".to_owned(), key("other"))];
    assert_eq!(found[1], Finding::MissingObject { digest: gone.digest, makers });
    assert!(store.root().join("bad").join(digest.hex()).exists());
    assert_eq!(store.present(&tree), Presence::Missing);
    assert!(store.index().unwrap().is_empty(), "both records lack an object");
    let report = store.verify(Quarantine::Leave, &mut |it| found.push(it)).unwrap();
    assert_eq!((report.findings, report.records), (0, 0));
}

#[test]
fn a_record_that_has_all_its_objects_is_not_forgotten() {
    let (_dir, store) = new_store();
    let gone = store.put_bytes(b"gone").unwrap();
    let there = store.put_bytes(b"there").unwrap();
    store.commit(&[record("gone", gone), record("there", there)]).unwrap();
    fs::remove_file(store.object_path(&gone.digest)).unwrap();
    let report = store.verify(Quarantine::Leave, &mut |_| {}).unwrap();
    assert_eq!((report.findings, report.mended, report.forgotten), (1, 0, 0));
    let report = store.verify(Quarantine::Move, &mut |_| {}).unwrap();
    assert_eq!((report.findings, report.mended, report.forgotten), (1, 1, 1));
    let index = store.index().unwrap();
    assert_eq!((index.has(&key("gone")), index.has(&key("there"))), (false, true));
}

#[test]
fn strange_files_damaged_records_and_rows_are_found() {
    let (_dir, store) = new_store();
    let object = store.put_bytes(b"x").unwrap();
    store.commit(&[record("a", object)]).unwrap();
    fs::write(store.root().join("obj/stray"), "").unwrap();
    let hex = key("b").hex();
    let act = store.root().join("act").join(&hex[..2]);
    fs::create_dir_all(&act).unwrap();
    fs::write(act.join(format!("{}.json", &hex[2..])), "{}").unwrap();
    let space = Digest::of(b"space");
    let rows = Rows::open(&store, &space).unwrap();
    rows.put(&Digest::of(b"k"), b"v").unwrap();
    drop(rows);
    let folder = store.root().join("rows").join(space.hex());
    let segment = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path());
    let segment = segment.into_iter().find(|it| it.to_string_lossy().contains("seg-")).unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let head = b"kun-rows 1\n".len();
    let mut other = bytes[..head].to_vec();
    let payload = [&Digest::of(b"k").0[..], b"w"].concat();
    other.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    other.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    other.extend_from_slice(&payload);
    fs::write(folder.join("seg-zzz"), other).unwrap();
    bytes.extend_from_slice(b"torn");
    fs::write(&segment, bytes).unwrap();
    let mut found = Vec::new();
    let report = store.verify(Quarantine::Leave, &mut |it| found.push(it)).unwrap();
    assert_eq!((report.findings, report.rows), (4, 2));
    assert!(matches!(&found[0], Finding::DamagedRecord { .. }));
    assert!(matches!(&found[1], Finding::Stray { .. }));
    assert!(matches!(&found[2], Finding::DamagedRows { why, .. } if why.starts_with("4 of ")));
    assert_eq!(found[3], Finding::DifferingRow { space, row: Digest::of(b"k") });
}

#[test]
fn objects_go_to_a_folder_and_back_and_lies_get_no_name() {
    let (dir, store) = new_store();
    let object = store.put_bytes(b"shared").unwrap();
    let remote: &dyn Objects = &Folder::new(&dir.path().join("remote"));
    let local: &dyn Objects = &store;
    assert!(!remote.has(&object.digest).unwrap());
    remote.put(&object.digest, &store.object_path(&object.digest)).unwrap();
    assert!(remote.has(&object.digest).unwrap() && local.has(&object.digest).unwrap());
    let to = dir.path().join("back");
    remote.get(&object.digest, &to).unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"shared");
    let lie = Digest::of(b"a lie");
    for objects in [remote, local] {
        assert!(matches!(objects.put(&lie, &to), Err(Error::Damaged { .. })));
        assert!(!objects.has(&lie).unwrap());
        let error = objects.get(&lie, &dir.path().join("no")).unwrap_err();
        assert!(matches!(error, Error::Missing { .. }));
        assert!(!dir.path().join("no").exists());
        fs::remove_file(store.object_path(&object.digest)).ok();
        local.put(&object.digest, &to).unwrap();
        assert_eq!(store.present(&object), Presence::Present);
    }
}

/// A record of a step that read these objects.
fn reading(name: &str, read: &[&Object], made: Object) -> Record {
    let mut record = record(name, made);
    for (i, it) in read.iter().enumerate() {
        record.parts.insert(format!("in.p.{i:05}"), it.digest.to_string());
    }
    record
}

/// Another byte, of the same length, with the seal as it was.
fn rot(store: &Store, digest: &Digest) {
    let path = store.object_path(digest);
    let before = fs::metadata(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, bytes).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    fs::set_permissions(&path, before.permissions()).unwrap();
}

#[test]
fn what_was_made_from_a_damaged_object_is_forgotten_through_any_number_of_steps() {
    let (dir, store) = new_store();
    let put = |text: &str| store.put_bytes(text.as_bytes()).unwrap();
    let top = dir.path().join("t");
    fs::create_dir(&top).unwrap();
    fs::write(top.join("inside"), "inside a tree").unwrap();
    let tree = store.take_tree(&top).unwrap();
    let (one, two, three, other) = (put("one"), put("two"), put("three"), put("other"));
    let records = [
        record("makes", tree),
        reading("reads", &[&other, &tree], one),
        reading("reads what was made", &[&one], two),
        reading("reads that", &[&two], three),
        reading("reads something else", &[&other], put("fine")),
        record("other", other),
    ];
    store.commit(&records).unwrap();
    let inside = Digest::of(b"inside a tree");
    let (tainted, clean) = (BTreeSet::from([one.digest]), BTreeSet::from([other.digest]));
    store.note_part_inputs(&key("tainted part"), &tainted).unwrap();
    store.note_part_inputs(&key("clean part"), &clean).unwrap();
    store.make_part(&key("part that does not say")).unwrap();
    for (space, inputs) in [("tainted", &tainted), ("clean", &clean)] {
        let rows = Rows::open(&store, &Digest::of(space.as_bytes())).unwrap();
        rows.note_inputs(inputs).unwrap();
        rows.put(&Digest::of(b"k"), b"v").unwrap();
    }
    rot(&store, &inside);
    assert_eq!(store.present(&tree), Presence::Present, "nobody sees it from outside");
    let mut found = Vec::new();
    let named = store.verify(Quarantine::Leave, &mut |it| found.push(it)).unwrap();
    assert_eq!((named.findings, named.forgotten, named.mended), (7, 0, 0), "{found:#?}");
    let report = store.verify(Quarantine::Move, &mut |_| {}).unwrap();
    assert_eq!((report.findings, report.forgotten, report.mended), (7, 4, 7));
    let left: Vec<String> = store.records().unwrap().map(|it| it.address).collect();
    assert_eq!(
        BTreeSet::from_iter(left.iter().map(String::as_str)),
        BTreeSet::from(["steps.reads something else", "steps.other"])
    );
    let rows = |space: &str| Rows::count(&store, &Digest::of(space.as_bytes())).unwrap();
    assert_eq!((rows("tainted"), rows("clean")), (0, 1));
    let parts = ["tainted part", "part that does not say", "clean part"];
    assert_eq!(parts.map(|it| store.part(&key(it)).exists()), [false, false, true]);
    assert_eq!(store.verify(Quarantine::Leave, &mut |_| {}).unwrap().findings, 0);
}

#[test]
fn an_object_that_was_made_again_by_then_stays_and_what_was_made_from_the_damaged_one_goes() {
    let (_dir, store) = new_store();
    let object = store.put_bytes(b"right").unwrap();
    let made = store.put_bytes(b"made from it").unwrap();
    store.commit(&[record("makes", object), reading("reads", &[&object], made)]).unwrap();
    rot(&store, &object.digest);
    let later = Store::open(store.root()).unwrap();
    assert_eq!(later.put_bytes(b"right").unwrap(), object, "it is replaced by a whole one");
    let damaged = later.take_damaged();
    assert_eq!(damaged, BTreeSet::from([object.digest]));
    let quarantined = later.quarantine(&damaged).unwrap();
    assert!(quarantined.objects.is_empty() && quarantined.derived.makers.is_empty());
    let (makes, reads) = (key("makes"), key("reads"));
    let there = |key| later.record(&key).unwrap().is_some();
    assert_eq!((there(makes), there(reads)), (true, false));
    assert_eq!(later.reread(&object), Presence::Present);
}

#[test]
fn a_repair_leaves_nothing_that_the_next_check_would_find() {
    let (_dir, store) = new_store();
    let object = store.put_bytes(b"x").unwrap();
    store.commit(&[record("a", object), record("b", object)]).unwrap();
    fs::write(store.root().join("obj/stray"), "").unwrap();
    fs::create_dir(store.root().join("rows/strange")).unwrap();
    let hex = key("a").hex();
    let path = store.root().join("act").join(&hex[..2]).join(format!("{}.json", &hex[2..]));
    let text = fs::read_to_string(&path).unwrap().replace("steps.a", "steps.z");
    fs::write(&path, text).unwrap();
    let space = Digest::of(b"space");
    let rows = Rows::open(&store, &space).unwrap();
    for row in [b"k", b"l", b"m"] {
        rows.put(&Digest::of(row), b"v").unwrap();
    }
    drop(rows);
    let folder = store.root().join("rows").join(space.hex());
    let segment = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path());
    let segment = segment.into_iter().find(|it| it.to_string_lossy().contains("seg-")).unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let last = bytes.len() - 1;
    // The first row is damaged and the last is torn.
    bytes["kun-rows 1\n".len() + 8] ^= 1;
    bytes.truncate(last);
    fs::write(&segment, bytes).unwrap();
    let mut found = Vec::new();
    let report = store.verify(Quarantine::Move, &mut |it| found.push(it)).unwrap();
    assert_eq!((report.findings, report.mended), (5, 5), "{found:#?}");
    let report = store.verify(Quarantine::Leave, &mut |it| found.push(it)).unwrap();
    assert_eq!((report.findings, report.records, report.rows), (0, 1, 1), "{found:#?}");
    assert!(!store.index().unwrap().has(&key("a")));
    let rows = Rows::open(&store, &space).unwrap();
    assert_eq!((rows.len(), rows.notes().len()), (1, 0));
    assert_eq!(rows.get(&Digest::of(b"l")).unwrap(), Some(b"v".to_vec()));
    let aside = fs::read_dir(store.root().join("bad")).unwrap().count();
    assert_eq!(aside, 4, "the stray file and folder, the record, the segment");
}
