//! Locks tell who has them and outlive the engine.

use std::io::Read;
use std::process::{Command, Stdio};

use store::{Holder, Lock, Locking, Store};

use super::{key, new_store};

fn held(store: &Store) -> Lock {
    match store.try_lock(&key("a")).unwrap() {
        Locking::Held(lock) => lock,
        Locking::Busy(holder) => panic!("{holder:?}"),
    }
}

fn busy(store: &Store) -> Holder {
    match store.try_lock(&key("a")).unwrap() {
        Locking::Held(_) => panic!("it was free"),
        Locking::Busy(holder) => holder,
    }
}

#[test]
fn a_lock_tells_who_has_it() {
    let (_dir, store) = new_store();
    let lock = held(&store);
    assert!(lock.is_current());
    lock.note("worker 1").unwrap();
    lock.note("worker\n2").unwrap();
    let holder = busy(&store);
    assert_eq!(holder.pid, Some(std::process::id()));
    assert_eq!(holder.holding, [std::process::id()]);
    assert_eq!(holder.notes, ["worker 1", "worker 2"]);
    assert!(!holder.host.is_empty() && holder.since > 0 && !holder.command.is_empty());
    let mut text = String::new();
    lock.as_stdin().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "", "a child reads nothing");
}

#[test]
fn a_lock_lives_as_long_as_a_child_that_has_it_as_its_input() {
    let (_dir, store) = new_store();
    let lock = held(&store);
    let mut child = Command::new("sleep")
        .arg("600")
        .stdin(Stdio::from(lock.as_stdin().unwrap()))
        .spawn()
        .unwrap();
    drop(lock);
    let holder = busy(&store);
    assert_eq!(holder.pid, Some(std::process::id()));
    assert_eq!(holder.holding, [child.id()]);
    child.kill().unwrap();
    child.wait().unwrap();
    let lock = held(&store);
    assert!(lock.is_current());
}

#[test]
fn a_child_that_reads_its_input_reads_nothing() {
    let (_dir, store) = new_store();
    let lock = held(&store);
    let output = Command::new("cat").stdin(Stdio::from(lock.as_stdin().unwrap())).output().unwrap();
    assert_eq!(output.stdout, b"");
}

#[test]
fn a_lock_whose_file_was_removed_is_no_longer_current() {
    let (dir, store) = new_store();
    let lock = held(&store);
    std::fs::remove_file(dir.path().join("store/lock").join(key("a").hex())).unwrap();
    assert!(!lock.is_current());
    assert!(held(&store).is_current());
}

#[test]
fn looking_who_holds_locks_takes_none() {
    let (_dir, store) = new_store();
    let keys = ["a", "b", "never"].map(key);
    assert!(store.locked(&keys).is_empty());
    let lock = held(&store);
    drop(store.try_lock(&key("b")).unwrap());
    let looking = store.clone();
    let looker = std::thread::spawn(move || {
        // The other one may be held at that moment, by the loop below.
        (0..200).for_each(|_| assert!(looking.locked(&keys).contains(&key("a"))));
    });
    for _ in 0..200 {
        assert!(matches!(store.try_lock(&key("b")).unwrap(), Locking::Held(_)));
    }
    looker.join().unwrap();
    let locks = std::fs::read_dir(store.root().join("lock")).unwrap();
    assert_eq!(locks.count(), 2, "nothing is made for a key that nobody ever locked");
    let mut child = Command::new("sleep")
        .arg("600")
        .stdin(Stdio::from(lock.as_stdin().unwrap()))
        .spawn()
        .unwrap();
    drop(lock);
    assert_eq!(store.locked(&[key("a")]), [key("a")].into(), "an orphan holds it");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(store.locked(&[key("a")]).is_empty());
}
