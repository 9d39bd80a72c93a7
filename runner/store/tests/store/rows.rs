//! The row memo: segments, torn tails, compaction.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use plan::Digest;
use proptest::prelude::*;
use store::{Durability, Error, Rows, Settings, Store};

const SPACE: Digest = Digest([7; 32]);

fn fast() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { durability: Durability::Fast, ..Settings::default() };
    let store = Store::open_with(dir.path(), settings).unwrap();
    (dir, store)
}

fn open(store: &Store) -> Rows {
    Rows::open(store, &SPACE).unwrap()
}

fn row(n: u8) -> Digest {
    Digest::of(&[n])
}

fn segments(store: &Store) -> Vec<PathBuf> {
    let folder = store.root().join("rows").join(SPACE.hex());
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    paths.retain(|it| it.file_name().unwrap().to_string_lossy().starts_with("seg-"));
    paths.sort();
    paths
}

#[test]
fn rows_cut_at_any_byte_keep_all_that_is_whole() {
    let (_dir, store) = fast();
    let rows = open(&store);
    for n in 0..6 {
        rows.put(&row(n), &vec![n; usize::from(n) * 3]).unwrap();
    }
    drop(rows);
    let path = segments(&store).remove(0);
    let whole = fs::read(&path).unwrap();
    let frame = |n: usize| 8 + 32 + n * 3;
    for at in 0..=whole.len() {
        fs::write(&path, &whole[..at]).unwrap();
        let rows = open(&store);
        let mut end = b"kun-rows 1\n".len();
        let mut expected = 0;
        while expected < 6 && end + frame(expected) <= at {
            end += frame(expected);
            expected += 1;
        }
        assert_eq!(rows.len(), expected, "cut at {at}");
        for n in 0..expected as u8 {
            assert_eq!(rows.get(&row(n)).unwrap(), Some(vec![n; usize::from(n) * 3]));
        }
        let is_torn = at >= b"kun-rows 1\n".len() && at != end;
        assert_eq!(rows.notes().len(), usize::from(is_torn), "cut at {at}");
    }
}

#[test]
fn a_flipped_byte_costs_one_row() {
    let (_dir, store) = fast();
    let rows = open(&store);
    for n in 0..3 {
        rows.put(&row(n), &[n; 50]).unwrap();
    }
    drop(rows);
    let path = segments(&store).remove(0);
    let whole = fs::read(&path).unwrap();
    let second = b"kun-rows 1\n".len() + 90;
    for at in second..second + 90 {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let rows = open(&store);
        assert!(rows.get(&row(0)).unwrap().is_some(), "flipped at {at}");
        assert!(rows.get(&row(1)).unwrap().is_none(), "flipped at {at}");
        assert!(at < second + 4 || rows.get(&row(2)).unwrap().is_some(), "flipped at {at}");
        assert_eq!(rows.notes().len(), 1, "flipped at {at}");
        rows.put(&row(1), b"again").unwrap();
        drop(rows);
        assert_eq!(open(&store).get(&row(1)).unwrap(), Some(b"again".to_vec()));
        segments(&store)
            .iter()
            .filter(|it| **it != path)
            .for_each(|it| fs::remove_file(it).unwrap());
    }
}

#[test]
fn a_row_that_is_damaged_after_opening_is_said_to_be_missing() {
    let (_dir, store) = fast();
    let rows = open(&store);
    rows.put(&row(1), b"value").unwrap();
    let path = segments(&store).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(rows.get(&row(1)).unwrap(), None);
    assert_eq!(rows.notes()[0].path, path);
    rows.put(&row(1), b"value").unwrap();
    assert_eq!(rows.get(&row(1)).unwrap(), Some(b"value".to_vec()));
}

#[test]
fn living_writers_see_one_another_and_only_the_dead_are_merged() {
    let (_dir, store) = fast();
    for n in 0..3 {
        open(&store).put(&row(n), &[n]).unwrap();
    }
    let (one, other) = (open(&store), open(&store));
    one.put(&row(10), b"one").unwrap();
    other.put(&row(11), b"other").unwrap();
    assert!(!one.has(&row(11)));
    one.refresh().unwrap();
    assert_eq!(one.get(&row(11)).unwrap(), Some(b"other".to_vec()));
    other.put(&row(12), b"more").unwrap();
    one.refresh().unwrap();
    assert!(one.has(&row(12)));
    assert_eq!((one.compact().unwrap(), segments(&store).len()), (3, 3));
    assert_eq!(one.get(&row(0)).unwrap(), Some(vec![0]), "who has them open reads on");
    drop((one, other));
    assert_eq!(open(&store).len(), 6);
    assert_eq!((open(&store).compact().unwrap(), segments(&store).len()), (3, 1));
    let rows = open(&store);
    assert_eq!((rows.len(), rows.notes().len()), (6, 0));
    assert_eq!(rows.get(&row(12)).unwrap(), Some(b"more".to_vec()));
    assert_eq!(rows.compact().unwrap(), 0);
}

#[test]
fn a_big_segment_is_read_by_the_file_beside_it_and_a_wrong_one_is_ignored() {
    let (_dir, store) = fast();
    let rows = open(&store);
    for n in 0..100 {
        rows.put(&row(n), &vec![n; 50_000]).unwrap();
    }
    drop(rows);
    let side = |path: &PathBuf| PathBuf::from(path.to_string_lossy().replace("seg-", "at-"));
    let path = segments(&store).remove(0);
    assert_eq!(open(&store).len(), 100);
    let whole = fs::read(side(&path)).unwrap();
    for at in 0..whole.len().min(200) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(side(&path), &bytes).unwrap();
        if at % 40 == 0 {
            assert_eq!(open(&store).len(), 100);
        }
    }
    fs::write(side(&path), &whole).unwrap();
    assert_eq!(open(&store).get(&row(99)).unwrap(), Some(vec![99; 50_000]));
}

#[test]
fn a_row_that_is_too_long_is_refused() {
    let (_dir, store) = fast();
    let error = open(&store).put(&row(0), &vec![0; 256 * 1024 * 1024]).unwrap_err();
    assert!(matches!(error, Error::LongRow { .. }));
}

#[derive(Debug, Clone)]
enum Act {
    Put(u8, Vec<u8>),
    Reopen,
    Refresh,
    Compact,
    Cut(u8),
}

fn act() -> impl Strategy<Value = Act> {
    let payload = prop::collection::vec(any::<u8>(), 0..60);
    prop_oneof![
        8 => (0..20_u8, payload).prop_map(|(n, payload)| Act::Put(n, payload)),
        2 => Just(Act::Reopen),
        1 => Just(Act::Refresh),
        1 => Just(Act::Compact),
        1 => any::<u8>().prop_map(Act::Cut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn rows_are_a_map_in_which_the_first_value_stays(acts in prop::collection::vec(act(), 1..40)) {
        let (_dir, store) = fast();
        let mut rows = open(&store);
        let mut model: HashMap<u8, Vec<u8>> = HashMap::new();
        for act in acts {
            match act {
                Act::Put(n, payload) => {
                    rows.put(&row(n), &payload).unwrap();
                    model.entry(n).or_insert(payload);
                }
                Act::Reopen => {
                    drop(rows);
                    rows = open(&store);
                }
                Act::Refresh => rows.refresh().unwrap(),
                Act::Compact => {
                    rows.compact().unwrap();
                }
                Act::Cut(bytes) => {
                    drop(rows);
                    // Rows may be lost, never changed.
                    if let Some(path) = segments(&store).last() {
                        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                        let length = file.metadata().unwrap().len();
                        file.set_len(length.saturating_sub(u64::from(bytes))).unwrap();
                    }
                    rows = open(&store);
                    model.retain(|n, _| rows.has(&row(*n)));
                }
            }
            prop_assert_eq!(rows.len(), model.len());
            for (n, payload) in &model {
                prop_assert_eq!(rows.get(&row(*n)).unwrap(), Some(payload.clone()));
            }
        }
    }
}
