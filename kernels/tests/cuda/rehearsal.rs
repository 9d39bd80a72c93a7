//! What a lent device is used by, `kernels/bench/gpu.sh`, rehearsed on the emulated one at tiny sizes: all of it ends
//! well, and whenever it is killed, nothing that it printed is lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::emulator::{Emulator, emulator};

/// A pack, as `gpu.sh pack` makes it.
struct Pack {
    folder: tempfile::TempDir,
    emulator: &'static Emulator,
}

impl Pack {
    /// None where this machine lacks something for it, which is said aloud.
    fn new() -> Option<Self> {
        let emulator = emulator()?;
        let tests = std::env::current_exe().unwrap();
        // Cargo builds examples for whole packages alone, beside the folder of the tests.
        let measure = tests.parent().unwrap().with_file_name("examples").join("gpu");
        let python = Command::new("python3").arg("--version").output();
        if !measure.exists() || python.is_err() {
            #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
            {
                eprintln!(
                    "skipped: `cargo build -p kernels --example gpu` was not done, or there is no python3"
                );
            }
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench");
        for name in ["gpu.sh", "gpu.py", "table.py", "peers.py", "RESULTS.md"] {
            fs::copy(bench.join(name), folder.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink(tests, folder.path().join("checks")).unwrap();
        std::os::unix::fs::symlink(measure, folder.path().join("measure")).unwrap();
        Some(Self { folder, emulator })
    }

    fn start(&self, mode: &str, out: &str) -> Child {
        let mut command = Command::new("bash");
        command.arg(self.folder.path().join("gpu.sh")).args([mode, "--budget", "300", "--out"]);
        command.arg(self.out(out)).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("KUN_BENCH", "tiny").env("KUN_EMULATOR", "1");
        command
            .env("KUN_EMULATOR_CAPABILITY", "90")
            .env("KUN_CHECK_ONLY", "matrices timing watchdog");
        command.env("KUN_CUDA_LIBRARIES", self.emulator.folder());
        command.env("KUN_CUDA_CACHE", self.emulator.kernels());
        command.spawn().unwrap()
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, out: &str, name: &str) -> String {
        fs::read_to_string(self.out(out).join(name)).unwrap_or_default()
    }
}

/// The lines of a text that end.
fn lines(text: &str) -> BTreeSet<&str> {
    let whole = text.rfind('\n').map_or("", |it| &text[..it]);
    whole.lines().collect()
}

/// Everything that was printed is in the folder.
#[track_caller]
fn assert_nothing_is_lost(pack: &Pack, out: &str, output: &Output) {
    let printed = String::from_utf8_lossy(&output.stdout);
    let (log, results) = (pack.read(out, "log.txt"), pack.read(out, "results.jsonl"));
    let kept = lines(&log);
    for line in lines(&printed) {
        assert!(kept.contains(line), "{out}: printed, and not in log.txt: {line}");
    }
    let kept = lines(&results);
    for line in lines(&printed).into_iter().filter(|it| it.starts_with('{')) {
        assert!(kept.contains(line), "{out}: printed, and not in results.jsonl: {line}");
        serde_json::from_str::<Value>(line).unwrap();
    }
    assert!(fs::read_dir(pack.out(out)).unwrap().count() <= 8, "more files than come back");
}

fn values(pack: &Pack, out: &str) -> Vec<Value> {
    pack.read(out, "results.jsonl").lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

#[test]
fn a_check_runs_each_test_by_itself_in_both_ways() {
    let Some(pack) = Pack::new() else { return };
    let output = pack.start("check", "check").wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_nothing_is_lost(&pack, "check", &output);
    let all = values(&pack, "check");
    assert_eq!(all.iter().filter(|it| it.get("probe").is_some() && it["ok"] == true).count(), 8);
    for way in ["tests", "tests of portable kernels"] {
        let ok = all.iter().filter(|it| it["way"] == way && it["ok"] == true).count();
        assert!(ok >= 6, "{way}: {ok} passed");
        assert!(all.iter().all(|it| it["way"] != way || it["ok"] == true), "{said}");
    }
    let table = pack.read("check", "table.md");
    assert!(table.contains("Primitives: 8 of 8 are what kernels believe."), "{table}");
}

#[test]
fn measurements_that_are_killed_at_any_moment_lose_nothing_that_was_printed() {
    let Some(pack) = Pack::new() else { return };
    let start = Instant::now();
    let output = pack.start("speed", "whole").wait_with_output().unwrap();
    let whole = start.elapsed();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_nothing_is_lost(&pack, "whole", &output);
    let all = values(&pack, "whole");
    let parts = all.iter().filter(|it| it["by"] == "ours" && it["ended_well"] == true).count();
    assert_eq!(parts, 15, "{said}");
    for name in [
        "gemm qkv forward",
        "gemm down forward, 24 rows",
        "attention backward, one sequence",
        "train step, 8-bit states 2x40",
        "train step 2x40",
        "generate, batch 4",
        "label throughput",
        "save",
    ] {
        let line = all.iter().find(|it| it["name"] == name);
        assert!(line.is_some_and(|it| it["seconds"].as_f64() > Some(0.0)), "{name}: {said}");
    }
    for name in ["train step 2x40", "generate, batch 1"] {
        assert!(all.iter().any(|it| it["profile"] == name), "{name} has no profile");
    }
    for tenth in 1..10 {
        let out = format!("killed-{tenth}");
        let mut child = pack.start("speed", &out);
        std::thread::sleep(whole * tenth / 10);
        let signal = if tenth % 2 == 0 { "-TERM" } else { "-KILL" };
        // It has ended already where this machine is faster now.
        let running = child.try_wait().unwrap().is_none();
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().is_ok());
        let killed = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(killed.elapsed() < Duration::from_secs(30), "{out}: it took long to end");
        assert_nothing_is_lost(&pack, &out, &output);
        let (all, table) = (values(&pack, &out), pack.read(&out, "table.md"));
        let printed = String::from_utf8_lossy(&output.stdout);
        if running && signal == "-TERM" {
            assert_eq!(all.last().unwrap()["stopped"], "SIGTERM", "{printed}");
            assert!(printed.contains(table.trim_end()), "the table is printed at last: {printed}");
        }
        // What parts that have ended have measured is in the table.
        let ended =
            all.iter().rposition(|it| it.get("took_seconds").is_some() && it["by"] == "parts");
        let measured = all[..ended.unwrap_or(0)].iter().filter(|it| it.get("flop").is_some());
        for line in measured {
            let name = line["name"].as_str().unwrap();
            let shown = table.contains(&format!("| {name} |"));
            assert!(
                shown || signal == "-KILL" && !printed.contains(&format!("| {name} |")),
                "{name}: {table}"
            );
        }
    }
}
