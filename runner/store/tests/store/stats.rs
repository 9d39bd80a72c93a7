//! Remembered digests of files are right or forgotten.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use plan::Digest;
use store::{Error, Rehash, Stats};

/// Files are trusted only when they had been left alone; a file made now never is.
fn age(path: &Path) {
    let past = SystemTime::now() - Duration::from_secs(100);
    File::open(path).unwrap().set_modified(past).unwrap();
}

#[test]
fn a_file_that_changed_is_seen_even_with_its_old_time_and_length() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let stats = Stats::open(&dir.path().join("stat.cache"));
    for text in ["one", "two", "six"] {
        fs::write(&path, text).unwrap();
        age(&path);
        let hashed = stats.digest_file(&path).unwrap();
        assert_eq!(hashed.digest, Digest::of(text.as_bytes()));
        assert!(Stats::unchanged(&hashed, &path));
        fs::write(&path, "new").unwrap();
        age(&path);
        assert!(!Stats::unchanged(&hashed, &path));
    }
}

#[test]
fn a_touched_file_is_unchanged_and_a_removed_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("t");
    fs::create_dir(&top).unwrap();
    let path = top.join("a");
    fs::write(&path, "one").unwrap();
    let stats = Stats::open(&dir.path().join("stat.cache"));
    let file = stats.digest_path(&path).unwrap();
    let tree = stats.digest_path(&top).unwrap();
    age(&path);
    assert!(Stats::unchanged(&file, &path) && Stats::unchanged(&tree, &top));
    fs::write(top.join("b"), "").unwrap();
    assert!(Stats::unchanged(&file, &path) && !Stats::unchanged(&tree, &top));
    fs::remove_file(&path).unwrap();
    assert!(!Stats::unchanged(&file, &path) && !Stats::unchanged(&tree, &top));
}

#[test]
fn a_memory_that_is_damaged_anywhere_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("stat.cache");
    let path = dir.path().join("a");
    fs::write(&path, "one").unwrap();
    let stats = Stats::open(&cache);
    stats.digest_file(&path).unwrap();
    stats.save().unwrap();
    let whole = fs::read(&cache).unwrap();
    for at in 0..whole.len() {
        fs::write(&cache, &whole[..at]).unwrap();
        assert_eq!(Stats::open(&cache).digest_file(&path).unwrap().digest, Digest::of(b"one"));
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&cache, &bytes).unwrap();
        let stats = Stats::open_with(&cache, Rehash::Paranoid);
        assert_eq!(stats.digest_file(&path).unwrap().digest, Digest::of(b"one"));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn links_out_of_a_source_count_as_what_they_lead_to_and_loops_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("1"), dir.path().join("2"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&other).unwrap();
    fs::write(dir.path().join("blob"), "blob").unwrap();
    symlink("../blob", one.join("weights")).unwrap();
    fs::write(other.join("weights"), "blob").unwrap();
    let stats = Stats::open(&dir.path().join("stat.cache"));
    let digest = |path: &Path| stats.digest_path(path).unwrap().object();
    assert_eq!(digest(&one), digest(&other));
    symlink("..", one.join("up")).unwrap();
    assert!(matches!(stats.digest_path(&one), Err(Error::Loops { .. })));
}
