//! The store from outside: trees, commits, faults, locks, rows, remembered digests, collection.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod commit;
mod fault;
mod gc;
mod lock;
mod rows;
mod stats;
mod tree;
mod verify;

use std::collections::BTreeMap;
use std::path::Path;

use plan::kind::Form;
use plan::{Digest, Key, RecursiveKey};
use store::{Object, RECORD_FORMAT, Record, RecordOutput, Store};

/// A store in a folder that goes with the test.
fn new_store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    (dir, store)
}

fn key(name: &str) -> Key {
    Key(Digest::of(name.as_bytes()).0)
}

fn recursive(name: &str) -> RecursiveKey {
    RecursiveKey(Digest::of(format!("recursive {name}").as_bytes()).0)
}

/// A record of one output.
fn record(name: &str, object: Object) -> Record {
    let output = RecordOutput { object, form: Form::File, file: format!("{name}.txt") };
    Record {
        format: RECORD_FORMAT,
        key: key(name),
        recursive: recursive(name),
        family: Digest::of(b"family"),
        address: format!("steps.{name}"),
        parts: BTreeMap::from([("kind".to_owned(), "run".to_owned())]),
        outputs: BTreeMap::from([("data".to_owned(), output)]),
        counts: BTreeMap::from([("rows".to_owned(), 3)]),
        started: 1_700_000_000_000,
        took_ms: 1234,
        cpu_ms: 1000,
        peak_bytes: 1 << 20,
        host: "host".to_owned(),
        kun: "0.1.0".to_owned(),
        attempts: 1,
        read: BTreeMap::new(),
        work: None,
    }
}

/// All files below a folder, with their content; links as what they say.
fn snapshot(dir: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_owned();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                files.insert(name.join(""), Vec::new());
                waiting.push(path);
            } else if metadata.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                files.insert(name, target.into_os_string().into_encoded_bytes());
            } else {
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}
