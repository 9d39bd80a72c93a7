//! Verification finds what is not as it was written.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use plan::Digest;
use store::remote::{Folder, Objects};
use store::{Error, Finding, Presence, Quarantine, Rows};

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
