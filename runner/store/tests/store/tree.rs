//! Files and folders become objects and come back as they were.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use store::{Error, Object, Place, Presence, Shape, Stats, Store};

use super::{new_store, snapshot};

fn take(store: &Store, dir: &Path, files: &[(&[u8], &str)]) -> Object {
    for (name, text) in files {
        let path = dir.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    store.take_tree(dir).unwrap()
}

fn attempt_dir(dir: &tempfile::TempDir, name: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::create_dir(&path).unwrap();
    path
}

#[test]
fn digests_of_known_content_never_change() {
    let (dir, store) = new_store();
    let empty = store.put_bytes(b"").unwrap();
    assert_digest(&empty, "b3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    let tree = store.take_tree(&attempt_dir(&dir, "a")).unwrap();
    assert_digest(&tree, EMPTY_TREE);
    let path = attempt_dir(&dir, "b");
    fs::create_dir(path.join("empty dir")).unwrap();
    symlink("x", path.join("link")).unwrap();
    fs::write(path.join("y"), "y").unwrap();
    fs::write(path.join("x"), "x").unwrap();
    fs::set_permissions(path.join("x"), fs::Permissions::from_mode(0o755)).unwrap();
    let tree = store.take_tree(&path).unwrap();
    let listing = fs::read_to_string(store.object_path(&tree.digest)).unwrap();
    assert_eq!(listing, LISTING);
    assert_eq!((tree.size, tree.shape), (2, Shape::Tree { files: 3 }));
    assert_digest(&tree, SMALL_TREE);
}

const EMPTY_TREE: &str = "b3:077da67c86629bdf18d2193af5a67cc03988efd7f6f983f3852428cd9f3a8c74";
const SMALL_TREE: &str = "b3:6e3b68f8061004f6eb5de938b58b132bb066f2d0932c2c98e7f2f0f440bd4a99";
const LISTING: &str = "kun-tree 1
d empty%20dir
l x link
x 3ae7d805f6789a6402acb70ad4096a85a56bf6804eaf25c0493ac697548d30b5 1 x
f 08112a9e334ce73042b531c25668cf5cb12a1ee040a4326afeac065461079a06 1 y
";

fn assert_digest(object: &Object, digest: &str) {
    assert_eq!(object.digest.to_string(), digest);
}

#[test]
fn hostile_names_come_back_byte_by_byte() {
    let (dir, store) = new_store();
    let files: &[(&[u8], &str)] = &[
        (b"new\nline", "1"),
        (b"not \xff\xfe utf-8", "2"),
        (b"% 20%20", "3"),
        ("\u{4e2d}\u{6587}/\u{85}".as_bytes(), "4"),
        (b"tab\tback\\slash", "5"),
        (b"-rf", "6"),
    ];
    let source = attempt_dir(&dir, "a");
    let object = take(&store, &source, files);
    assert!(!source.exists());
    let to = dir.path().join("b");
    store.materialize(&object, &to, Place::Input).unwrap();
    for (name, text) in files {
        assert_eq!(fs::read_to_string(to.join(OsStr::from_bytes(name))).unwrap(), *text);
    }
    assert_eq!(snapshot(&to).values().filter(|it| !it.is_empty()).count(), files.len());
}

#[test]
fn links_out_of_a_tree_are_refused_and_nothing_is_lost() {
    for target in
        ["/etc/passwd", "../outside", "sub/../../outside", "nowhere", "sub/up/../store", "."]
    {
        let (dir, store) = new_store();
        let path = attempt_dir(&dir, "a");
        fs::write(dir.path().join("outside"), "").unwrap();
        fs::create_dir(path.join("sub")).unwrap();
        symlink("..", path.join("sub/up")).unwrap();
        symlink(target, path.join("link")).unwrap();
        let result = store.take_tree(&path);
        if target == "." {
            assert!(result.is_ok());
            continue;
        }
        let Err(Error::Escapes { path: link, target: told }) = result else {
            panic!("{target} was taken")
        };
        assert_eq!((link, told), (path.join("link"), PathBuf::from(target)));
        assert!(path.join("sub").exists());
    }
}

#[test]
fn pipes_are_refused_without_waiting_for_them() {
    let (dir, store) = new_store();
    let path = attempt_dir(&dir, "a");
    let pipe = path.join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    for result in [store.take_tree(&path), store.take_file(&pipe)] {
        let Err(Error::Special { path, what: "pipe" }) = result else { panic!("it was taken") };
        assert_eq!(path, pipe);
    }
}

#[test]
fn a_deep_tree_is_taken_and_placed() {
    let (dir, store) = new_store();
    let path = attempt_dir(&dir, "a");
    let deep: PathBuf = std::iter::repeat_n("d", 500).collect();
    fs::create_dir_all(path.join(&deep)).unwrap();
    fs::write(path.join(&deep).join("f"), "deep").unwrap();
    let object = store.take_tree(&path).unwrap();
    let to = dir.path().join("b");
    store.materialize(&object, &to, Place::Export).unwrap();
    assert_eq!(fs::read_to_string(to.join(&deep).join("f")).unwrap(), "deep");
}

#[test]
fn a_listing_that_climbs_or_writes_through_a_link_is_damaged() {
    let (dir, store) = new_store();
    let file = store.put_bytes(b"x").unwrap().digest.hex();
    for lines in [
        format!("f {file} 1 ../x\n"),
        format!("f {file} 1 /x\n"),
        format!("f {file} 1 a//x\n"),
        format!("f {file} 1 a/./x\n"),
        format!("l .. a\nf {file} 1 a/x\n"),
        "l ../x a\n".to_owned(),
        format!("f {file} 1 b\nf {file} 1 a\n"),
        format!("f {file} 1 a%41\n"),
        format!("f {file} 01 a\n"),
        format!("f {file} 1 a%00\n"),
        format!("f {file} 1 a%f\n"),
        "q\n".to_owned(),
        format!("f {file} 1 a"),
    ] {
        let mut object = store.put_bytes(format!("kun-tree 1\n{lines}").as_bytes()).unwrap();
        object.shape = Shape::Tree { files: 1 };
        let error = store.materialize(&object, &dir.path().join("t"), Place::Input).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{lines}");
        assert!(matches!(store.present(&object), Presence::Damaged { .. }), "{lines}");
        assert!(!dir.path().join("t").exists());
    }
}

#[test]
fn a_file_with_another_name_outside_cannot_be_changed_from_there() {
    let (dir, store) = new_store();
    let mine = dir.path().join("mine");
    let out = dir.path().join("out");
    fs::write(&mine, "one").unwrap();
    fs::hard_link(&mine, &out).unwrap();
    let object = store.take_file(&out).unwrap();
    fs::write(&mine, "two").unwrap();
    assert!(!out.exists());
    assert_eq!(fs::read_to_string(store.object_path(&object.digest)).unwrap(), "one");
    assert_eq!(store.present(&object), Presence::Present);
}

#[test]
fn an_input_that_is_moved_to_an_output_is_the_same_object() {
    let (dir, store) = new_store();
    let object = store.put_bytes(b"as it is").unwrap();
    let input = dir.path().join("in");
    store.materialize(&object, &input, Place::Input).unwrap();
    assert_eq!(store.take_file(&input).unwrap(), object);
    assert!(!input.exists());
    assert_eq!(store.present(&object), Presence::Present);
}

#[test]
fn what_is_exported_replaces_what_was_there_and_can_be_edited() {
    let (dir, store) = new_store();
    let file = store.put_bytes(b"file").unwrap();
    let tree = take(&store, &attempt_dir(&dir, "a"), &[(b"x", "x"), (b"sub/y", "y")]);
    let to = dir.path().join("out/it");
    for object in [&file, &tree, &tree, &file, &file] {
        store.materialize(object, &to, Place::Export).unwrap();
        assert_eq!(to.is_dir(), matches!(object.shape, Shape::Tree { .. }));
        assert_eq!(fs::read_dir(dir.path().join("out")).unwrap().count(), 1);
    }
    fs::write(&to, "edited").unwrap();
    assert_eq!(store.present(&file), Presence::Present);
    assert_eq!(fs::read(store.object_path(&file.digest)).unwrap(), b"file");
}

#[test]
fn an_executable_file_stays_one_wherever_it_is_placed() {
    let (dir, store) = new_store();
    let path = dir.path().join("run.sh");
    fs::write(&path, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let object = store.take_file(&path).unwrap();
    assert_eq!(object.shape, Shape::File { executable: true });
    store.materialize(&object, &path, Place::Input).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o555);
    let sealed = fs::metadata(store.object_path(&object.digest)).unwrap();
    assert_eq!(sealed.mode() & 0o777, 0o444);
}

#[test]
fn an_object_that_was_written_into_is_noticed_without_its_length_changing() {
    let (dir, store) = new_store();
    let object = store.put_bytes(b"right").unwrap();
    let input = dir.path().join("in");
    store.materialize(&object, &input, Place::Input).unwrap();
    let path = store.object_path(&object.digest);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(store.present(&object), Presence::Present);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o444);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, "wrong").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    assert!(matches!(store.present(&object), Presence::Damaged { .. }));
    store.put_bytes(b"right").unwrap();
    assert_eq!(store.present(&object), Presence::Present);
    fs::remove_file(&path).unwrap();
    assert_eq!(store.present(&object), Presence::Missing);
}

#[test]
fn a_tree_of_which_a_file_is_gone_is_missing() {
    let (dir, store) = new_store();
    let tree = take(&store, &attempt_dir(&dir, "a"), &[(b"x", "x"), (b"y", "y")]);
    assert_eq!(store.present(&tree), Presence::Present);
    fs::remove_file(store.object_path(&plan::Digest::of(b"x"))).unwrap();
    assert_eq!(store.present(&tree), Presence::Missing);
    let error = store.materialize(&tree, &dir.path().join("t"), Place::Export).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }));
    assert!(!dir.path().join("t").exists());
}

/// A tree as a map: path to content and executable bit; none: an empty folder.
type Model = BTreeMap<PathBuf, Option<(Vec<u8>, bool)>>;

fn model() -> impl Strategy<Value = Model> {
    let name = prop::collection::vec(
        prop_oneof![prop::num::u8::ANY.prop_filter("a name", |it| *it != 0 && *it != b'/')],
        1..6,
    )
    .prop_filter("no dots", |it| it != b"." && it != b"..");
    let folder = prop::sample::select(vec!["", "p", "p/q", "r"]);
    let content = prop::option::weighted(
        0.85,
        (prop::collection::vec(prop::num::u8::ANY, 0..40), any::<bool>()),
    );
    prop::collection::vec((folder, name, content), 0..8).prop_map(|entries| {
        let mut model = Model::new();
        for (folder, name, content) in entries {
            let path = Path::new(folder).join(OsStr::from_bytes(&name));
            let clashes = |it: &PathBuf| it.starts_with(&path) || path.starts_with(it);
            if !["p", "p/q", "r"].iter().any(|it| path == Path::new(it))
                && !model.keys().any(clashes)
            {
                model.insert(path, content);
            }
        }
        model
    })
}

fn build<'a>(model: impl Iterator<Item = (&'a PathBuf, &'a Option<(Vec<u8>, bool)>)>, dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for (path, content) in model {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content {
            None => fs::create_dir(&path).unwrap(),
            Some((bytes, executable)) => {
                fs::write(&path, bytes).unwrap();
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_tree_comes_back_whole_and_its_digest_knows_no_order(model in model()) {
        let (dir, store) = new_store();
        let (one, other, to) = (dir.path().join("1"), dir.path().join("2"), dir.path().join("3"));
        build(model.iter(), &one);
        build(model.iter().rev(), &other);
        let before = snapshot(&one);
        let stats = Stats::open(&dir.path().join("stats"));
        let hashed = stats.digest_path(&other).unwrap();
        let object = store.take_tree(&one).unwrap();
        prop_assert_eq!(hashed.object(), object);
        prop_assert_eq!(store.take_tree(&other).unwrap(), object);
        store.materialize(&object, &to, Place::Export).unwrap();
        prop_assert_eq!(snapshot(&to), before);
        let again = stats.digest_path(&to).unwrap();
        prop_assert_eq!(again.object(), object);
    }

    #[test]
    fn every_change_of_a_tree_changes_its_digest(model in model(), which in any::<prop::sample::Index>()) {
        let (dir, store) = new_store();
        prop_assume!(!model.is_empty());
        let at = which.index(model.len());
        let path = model.keys().nth(at).unwrap().clone();
        let mut digests = Vec::new();
        let mut variants = vec![model.clone(); 4];
        let content = variants[1].remove(&path).unwrap();
        let mut longer = path.clone().into_os_string();
        longer.push("+");
        variants[1].insert(longer.into(), content.clone());
        variants[2].insert(path.clone(), content.clone().map(|(bytes, it)| (bytes, !it)).or(Some((vec![], true))));
        variants[3].insert(path, content.map(|(bytes, it)| ([&bytes[..], b"!"].concat(), it)).or(Some((vec![], false))));
        for (n, variant) in variants.iter().enumerate() {
            let top = dir.path().join(n.to_string());
            build(variant.iter(), &top);
            digests.push(store.take_tree(&top).unwrap().digest);
        }
        digests.sort();
        digests.dedup();
        prop_assert_eq!(digests.len(), 4);
    }
}
