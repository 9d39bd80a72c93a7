//! Input that means harm, or might: names, links, things that are no files, sizes, depths. Whatever
//! comes, the answer is a result or a clear error, in bounded memory and time, and never a panic.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::place::{Place, peak_kib};

/// The exit code must be one of these, and the screen must name all of the words.
fn refused(place: &Place, args: &str, codes: &[i32], words: &[&str]) -> String {
    let (code, said) = place.end(args);
    assert!(codes.contains(&code), "kun {args}: exit {code}\n{said}");
    assert!(!said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "kun {args}: no word of `{word}`\n{said}");
    }
    said
}

fn with(text: &str) -> Place {
    let place = Place::new();
    place.write("workflow.toml", format!("[workflow]\nname = 'hostile'\nformat = 1\n{text}"));
    place
}

/// A step that runs a line of shell with its output as `$1`.
fn step(form: &str, script: &str) -> Place {
    with(&format!(
        "[steps.a]\nrun = ['sh', '-euc', '''{script}''', 'sh', '${{out.o}}']\n\
         out = {{ o = '{form}' }}\n"
    ))
}

/// A step that copies the source `a`.
fn copy_of(path: &str) -> Place {
    let path = path.replace('\\', "\\\\").replace('\n', "\\n");
    with(&format!(
        "[sources]\na = {{ path = \"{path}\" }}\n\
         [steps.a]\nrun = ['cp', '-RL', '${{in.a}}', '${{out.o}}']\nin = {{ a = '${{sources.a}}' }}\n\
         out = {{ o = {{ form = 'file', name = 'o' }} }}\n"
    ))
}

#[test]
fn a_source_whose_name_holds_quotes_and_blanks_is_a_source() {
    refused(&copy_of("new\nline"), "run", &[2], &["cannot be a path"]);
    for name in ["-rf", "a b$(touch x)", "ü \u{202e}x"] {
        let place = copy_of(name);
        place.write(name, "content");
        place.good("run");
        assert_eq!(place.results()["a/o"], b"content");
        place.write(name, "content, edited");
        place.good("why a");
        place.good("run");
        assert_eq!(place.results()["a/o"], b"content, edited");
    }
}

#[test]
fn a_value_with_a_newline_makes_no_second_line_in_heads_and_records() {
    let place = with(
        "[steps.a]\neach = { x = [\"1\\n2\", \"../../3\", \"\\u001b[31m\"] }\n\
         run = ['sh', '-c', 'printf %s \"$0\" > $1', '${each.x}', '${out.o}']\nout = { o = 'file' }\n",
    );
    place.good("run");
    let mut values: Vec<Vec<u8>> = place.results().into_values().collect();
    values.sort();
    assert_eq!(values, [b"\x1b[31m".to_vec(), b"../../3".to_vec(), b"1\n2".to_vec()]);
    let before = fs::read(place.root().join(".kun/heads")).unwrap();
    assert_eq!(before.iter().filter(|it| **it == b'\n').count(), 3);
    place.good("run");
    place.verify("after odd values");
}

#[test]
fn links_that_leave_the_project_are_followed_for_sources_and_refused_inside_trees() {
    // A source may lie anywhere: what counts is what it holds.
    let place = copy_of("link");
    fs::write(place.beside("outside"), "outside").unwrap();
    symlink(place.beside("outside"), place.root().join("link")).unwrap();
    place.good("run");
    assert_eq!(place.results()["a/o"], b"outside");
    // A folder is its content; a link out of it is not.
    let place = copy_of("tree");
    place.write("tree/file", "x");
    symlink("../../outside", place.root().join("tree/link")).unwrap();
    refused(&place, "run", &[2], &["tree/link", "not inside its tree"]);
    let place = copy_of("tree");
    place.write("tree/file", "x");
    symlink("nowhere", place.root().join("tree/link")).unwrap();
    refused(&place, "run", &[2], &["tree/link"]);
    let place = copy_of("loop");
    symlink("loop", place.root().join("loop")).unwrap();
    refused(&place, "run", &[2], &["loop"]);
}

#[test]
fn code_must_lie_in_the_project() {
    let text = "run = ['true']\nout = { o = 'file' }\n";
    let place = with(&format!("[steps.a]\n{text}code = ['../outside.sh']\n"));
    fs::write(place.beside("outside.sh"), "").unwrap();
    refused(&place, "check", &[2], &["../outside.sh"]);
    let place = with(&format!("[steps.a]\n{text}code = ['code/**']\n"));
    fs::create_dir_all(place.beside("elsewhere")).unwrap();
    fs::write(place.beside("elsewhere/x.sh"), "").unwrap();
    fs::create_dir(place.root().join("code")).unwrap();
    place.write("code/y.sh", "");
    symlink(place.beside("elsewhere"), place.root().join("code/away")).unwrap();
    let (code, said) = place.end("plan");
    assert!(code == 0 || code == 2, "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn outputs_stay_in_their_folder() {
    for name in ["../x", "/tmp/x", "a/../../x", "..", ".", ""] {
        let place = with(&format!(
            "[steps.a]\nrun = ['true']\nout = {{ o = {{ form = 'file', name = '{name}' }} }}\n"
        ));
        refused(&place, "run", &[2], &["name"]);
    }
    let place = step("file", "echo x > $1; echo y > out/other");
    refused(&place, "run", &[1], &["out/other"]);
    let place = step("file", "echo x > $1; ln -s /etc/passwd out/other");
    refused(&place, "run", &[1], &["out/other"]);
    // What a link leads to may change later: it is no result.
    let place = step("file", "ln -s /etc/passwd $1");
    refused(&place, "run", &[1], &["not a plain file"]);
    let place = step("dir", "ln -s /etc $1");
    refused(&place, "run", &[1], &["not a folder"]);
    let place = step("dir", "mkdir $1; ln -s /etc/passwd $1/link");
    refused(&place, "run", &[1], &["link", "not inside its tree"]);
    let place = step("dir", "mkdir $1; ln -s . $1/loop; ln -s self $1/self");
    refused(&place, "run", &[1], &["`"]);
}

#[test]
fn things_that_are_no_files_are_refused_and_not_waited_for() {
    let place = copy_of("pipe");
    fifo(&place.root().join("pipe"));
    refused(&place, "run", &[2], &["pipe"]);
    let place = copy_of("socket");
    let _socket = UnixListener::bind(place.root().join("socket")).unwrap();
    refused(&place, "run", &[2], &["socket"]);
    let place = copy_of("tree");
    place.write("tree/file", "x");
    fifo(&place.root().join("tree/pipe"));
    refused(&place, "run", &[2], &["tree/pipe"]);
    let place = step("file", "mkfifo $1");
    refused(&place, "run", &[1], &["not a plain file"]);
    let place = step("dir", "mkdir $1; mkfifo $1/pipe");
    refused(&place, "run", &[1], &["pipe"]);
    let place = with("[include]\n");
    fs::remove_file(place.root().join("workflow.toml")).unwrap();
    fifo(&place.root().join("workflow.toml"));
    refused(&place, "check -f workflow.toml", &[2], &["workflow.toml"]);
}

fn fifo(path: &std::path::Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn file_names_that_are_no_text_are_kept_in_trees_or_refused() {
    let place = step("dir", r#"mkdir $1; : > $1/a; printf x > "$(printf "$1/\377\nb")""#);
    let (code, said) = place.end("run");
    assert!(!said.contains("panicked"), "{said}");
    if code == 0 {
        let tree = place.root().join("out/a/o");
        assert_eq!(fs::read(tree.join(OsStr::from_bytes(b"\xff\nb"))).unwrap(), b"x");
        place.verify("after an odd name");
    } else {
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("UTF-8"), "{said}");
    }
    let place = step("file", "printf x > $1; : > \"$(printf 'out/\\377')\"");
    refused(&place, "run", &[1], &["no declared output"]);
}

#[test]
fn answers_of_a_program_that_ended_badly_are_not_believed_later() {
    let place = Place::new();
    let text = format!(
        "[workflow]\nname = 'liar'\nformat = 1\n[sources]\na = {{ path = 'a.jsonl' }}\n\
         [steps.a]\nop = 'map'\nin = {{ data = '${{sources.a}}' }}\n\
         with = {{ run = ['sh', '-c', 'while read -r it; do if [ -e $0 ]; then echo \"$it\"; \
         else echo wrong; fi; done; if ! [ -e $0 ]; then : > $0; exit 1; fi', '{}'] }}\n",
        place.beside("mark").display()
    );
    place.write("workflow.toml", text);
    place.write("a.jsonl", "{\"a\":1}\n{\"a\":2}\n");
    refused(&place, "run", &[1], &["exit"]);
    place.good("run");
    assert_eq!(place.results()["a/data.jsonl"], b"{\"a\":1}\n{\"a\":2}\n");
}

/// A gibibyte; less where reading it takes the compiler's help.
const LINE_BYTES: u64 = if cfg!(debug_assertions) { 512 << 20 } else { 1 << 30 };
/// A line of that length takes more than this at once only if somebody holds it whole.
const PEAK_KIB: u64 = 400 << 10;

#[test]
fn a_line_of_a_gibibyte_is_never_held() {
    let text = |op: &str| {
        format!(
            "[sources]\na = {{ path = 'a.jsonl' }}\n[steps.a]\n{op}\nin = {{ data = '${{sources.a}}' }}\n"
        )
    };
    let ops =
        [("op = 'count'", ""), ("op = 'map'\nwith = { run = ['cat'] }", "longer than 64 MiB")];
    for (op, word) in ops {
        let place = with(&text(op));
        let mut file = File::create(place.root().join("a.jsonl")).unwrap();
        file.write_all(b"{\"a\":1}\n").unwrap();
        file.seek(SeekFrom::Start(LINE_BYTES)).unwrap();
        file.write_all(b"\n").unwrap();
        bounded(&place, word);
    }
    let place = step("records", "printf \"{}\\\\n\" > $1; truncate -s 1G $1");
    bounded(&place, "longer than 64 MiB");
}

/// The end is good where no word is given.
fn bounded(place: &Place, word: &str) {
    let mut run = place.start("run");
    let peak = peak_kib(&mut run);
    let said = run.said();
    if word.is_empty() {
        assert_eq!(run.wait(), Some(0), "{said}");
    } else {
        assert_eq!(run.wait(), Some(1), "{said}");
        assert!(said.contains(word) && !said.contains("panicked"), "{said}");
    }
    assert!(peak < PEAK_KIB, "{peak} KiB were held");
}

#[test]
fn what_a_step_shouts_is_not_held_either() {
    let place = step("file", "head -c 200000000 /dev/zero >&2; : > $1");
    let mut run = place.start("run");
    let peak = peak_kib(&mut run);
    assert_eq!(run.wait(), Some(0), "{}", run.said());
    assert!(peak < PEAK_KIB, "{peak} KiB were held");
    let place = step("file", "head -c 100000000 /dev/zero; exit 1");
    let said = refused(&place, "run", &[1], &["exit"]);
    assert!(said.len() < 200_000, "{} bytes were shown", said.len());
}

#[test]
fn a_manifest_of_ten_thousand_levels_is_refused() {
    let (open, close) = ("[".repeat(10_000), "]".repeat(10_000));
    let table = "a.".repeat(10_000);
    for text in [
        format!("[params]\nx = {open}{close}\n"),
        format!("[params]\nx = {}1{}\n", "{ a = ".repeat(10_000), " }".repeat(10_000)),
        format!("[params]\n{table}b = 1\n"),
        format!("[params.{table}b]\nc = 1\n"),
    ] {
        let place = with(&format!("{text}[steps.a]\nrun = ['true']\nout = {{ o = 'file' }}\n"));
        let (code, said) = place.end("check");
        assert!(code == 2, "exit {code}: {}", said.chars().take(2000).collect::<String>());
    }
}

#[test]
fn a_manifest_of_fifty_thousand_steps_is_checked_in_seconds() {
    let mut text = String::from("[steps.s0]\nrun = ['true']\nout = { o = 'file' }\n");
    for i in 1..50_000 {
        let above = i / 2;
        text.push_str(&format!(
            "[steps.s{i}]\nrun = ['true']\nin = {{ i = '${{steps.s{above}.o}}' }}\nout = {{ o = 'file' }}\n"
        ));
    }
    let place = with(&text);
    let before = Instant::now();
    let mut run = place.start("check");
    let peak = peak_kib(&mut run);
    let code = run.wait();
    assert_eq!(code, Some(0), "{}", run.said().chars().take(2000).collect::<String>());
    assert!(before.elapsed() < Duration::from_secs(30), "{:?}", before.elapsed());
    assert!(peak < 4 * PEAK_KIB, "{peak} KiB were held");
}

#[test]
fn a_cycle_is_named_whole() {
    let chain = |i: usize, above: usize| {
        format!(
            "[steps.s{i}]\nrun = ['true']\nin = {{ i = '${{steps.s{above}.o}}' }}\nout = {{ o = 'file' }}\n"
        )
    };
    let place = with(&(chain(0, 2) + &chain(1, 0) + &chain(2, 1)));
    refused(&place, "run", &[2], &["cycle", "s0", "s1", "s2"]);
    let place = with(&chain(0, 0));
    refused(&place, "run", &[2], &["cycle", "s0"]);
    let large: String = (0..20_000).map(|i| chain(i, (i + 1) % 20_000)).collect();
    let before = Instant::now();
    let said = refused(&with(&large), "check", &[2], &["cycle", "19980"]);
    assert!(before.elapsed() < Duration::from_secs(30), "{:?}", before.elapsed());
    assert!(said.len() < 100_000, "{} bytes", said.len());
}

#[test]
fn two_hundred_thousand_mistakes_are_counted_and_the_first_are_shown() {
    let n = 200_000;
    let lines = |line: &dyn Fn(usize) -> String| (0..n).map(line).collect::<String>();
    let params = lines(&|i| format!("p{i} = 1\n"));
    let step = "[steps.a]\nrun = ['true']\nout = { o = 'file' }\n";
    for text in [
        // Unknown keys; parameters that are not there, among as many that are; one line with all of it.
        format!("[workflow2]\n{step}{}", lines(&|i| format!("key{i} = 1\n"))),
        format!("[params]\n{params}[variants.v]\n{}{step}", lines(&|i| format!("q{i} = 1\n"))),
        format!("{step}args = [{}]\n", lines(&|_| "{ a = 1 }, ".to_owned())),
    ] {
        let place = with(&text);
        let before = Instant::now();
        let said = refused(&place, "check", &[2], &["mistake"]);
        assert!(before.elapsed() < Duration::from_secs(60), "{:?}", before.elapsed());
        assert!(said.len() < 2_000_000, "{} bytes", said.len());
    }
}
