//! Rot: one bit of an object flips and every time stamp stays. For every object of a small store the
//! next run is right or refuses, and after a repair and another run everything is right.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::place::{Place, files};

/// A chain, a folder, a fork, rows of single records, a kind: whatever is made from something else.
const MANIFEST: &str = r#"
[workflow]
name = "rot"
format = 1
targets = ["joined", "number", "mapped"]

[params]
head = "1"

[sources]
a = { path = "a.jsonl" }

[steps.first]
in   = { i = "${sources.a}" }
run  = ["sh", "-euc", "cat $1 > $2", "sh", "${in.i}", "${out.data}"]
out  = { data = "records" }

[steps.second]
in   = { i = "${steps.first.data}" }
run  = ["sh", "-euc", "tr a-f A-F < $1 > $2", "sh", "${in.i}", "${out.data}"]
out  = { data = "file" }

[steps.folder]
in   = { i = "${steps.first.data}" }
run  = ["sh", "-euc", "mkdir $2; head -n 1 $1 > $2/one; tail -n 1 $1 > $2/last", "sh", "${in.i}", "${out.all}"]
out  = { all = "dir" }

[steps.mapped]
op   = "map"
in   = { data = "${steps.first.data}" }
with = { run = ["sed", "-u", "s/abc/xyz/"], same = ["id"] }

[steps.joined]
in   = { i = "${steps.second.data}", j = "${steps.folder.all}", k = "${steps.mapped.data}" }
run  = ["sh", "-euc", "{ head -n ${params.head} $1; cat $2/one $2/last $3; } > $4", "sh", "${in.i}", "${in.j}", "${in.k}", "${out.data}"]
out  = { data = "file" }

[steps.number]
op   = "count"
in   = { data = "${steps.first.data}" }
"#;

/// What is done about rot without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// What a run does by itself.
    Default,
    /// All that steps read is re-read, and nothing else.
    Paranoid,
    /// Nothing: only a repair helps.
    None,
}

impl Care {
    fn run(self) -> &'static str {
        match self {
            Care::Default => "run -q",
            Care::Paranoid => "run -q --paranoid --scrub 0",
            Care::None => "run -q --scrub 0",
        }
    }
}

fn project() -> Place {
    let place = Place::new();
    place.write("workflow.toml", MANIFEST);
    let line = |n: u32| format!("{{\"id\":\"{n}\",\"text\":\"abcdef {n}\"}}\n");
    place.write("a.jsonl", (0..8).map(line).collect::<String>());
    place
}

/// Another parameter, so that the last step is stale.
fn edit(place: &Place) {
    place.write("workflow.toml", MANIFEST.replace("head = \"1\"", "head = \"2\""));
}

fn copy_of(place: &Place) -> Place {
    let copy = Place::new();
    // Times and modes too: they are what a run goes by.
    let copied = Command::new("cp").arg("-a").arg(place.root().join(".")).arg(copy.root()).status();
    assert!(copied.unwrap().success());
    copy
}

/// Flips a bit and puts the time stamp and the mode back.
pub(crate) fn flip(path: &Path, bit: usize) {
    let before = fs::metadata(path).unwrap();
    let modified =
        SystemTime::UNIX_EPOCH + Duration::new(before.mtime() as u64, before.mtime_nsec() as u32);
    let mut bytes = fs::read(path).unwrap();
    let at = bit % (bytes.len() * 8);
    bytes[at / 8] ^= 1 << (at % 8);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
    fs::set_permissions(path, before.permissions()).unwrap();
}

fn objects(place: &Place) -> Vec<PathBuf> {
    files(&place.root().join(".kun/store/obj"))
}

#[test]
fn whichever_object_rots_the_next_run_is_right_or_refuses_and_a_repair_mends_all() {
    let calm = project();
    calm.good("run -q");
    let fresh = copy_of(&calm);
    edit(&calm);
    calm.good("run -q");
    let right = calm.results();
    let all = objects(&fresh);
    assert!(all.len() >= 8, "{all:?}");
    let mut believed = 0;
    for (n, object) in all.iter().enumerate() {
        let object = object.strip_prefix(fresh.root()).unwrap();
        for care in [Care::Default, Care::Paranoid, Care::None] {
            let what = format!("{care:?}, {}", object.display());
            let place = copy_of(&fresh);
            flip(&place.root().join(object), n * 41 + 5);
            edit(&place);
            if n % 2 == 0 {
                // What is put there again comes from the store.
                fs::remove_dir_all(place.root().join("out")).unwrap();
            }
            let (code, said) = place.end(care.run());
            match code {
                0 if care == Care::None => believed += usize::from(place.results() != right),
                0 => assert_eq!(place.results(), right, "{what}: {said}"),
                1 => assert!(said.contains("the same command makes it again"), "{what}: {said}"),
                _ => panic!("{what}: exit {code}: {said}"),
            }
            let said = place.good("verify --repair");
            place.good(care.run());
            assert_eq!(place.results(), right, "{what} after a repair: {said}");
            place.verify(&what);
        }
    }
    // Otherwise nothing here shows what the two others are for.
    assert!(believed > 0, "no rot was believed where nobody looked");
}
