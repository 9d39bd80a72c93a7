//! Every kernel in every way in which it is compiled, by the real NVRTC: no spills, no local memory, no
//! static shared memory, no warnings of the assembler; and a table of registers that is kept fresh.
//!
//! NVRTC is found by the system's loader or in `KUN_CUDA_LIBRARIES`. Without one the test says so and
//! passes, unless `KUN_REQUIRE_NVRTC` is set. `KUN_BLESS=1` writes the table anew.
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use kernels::cuda::{Arch, Compiled, compile, nvrtc_version, variants};
use rayon::prelude::*;

/// The version that the table is of: others use other registers.
const VERSION: (u32, u32) = (13, 0);

/// What a function of a kernel uses.
#[derive(Debug, Default, PartialEq)]
struct Use {
    registers: u32,
    static_shared: u32,
    stack: u32,
    spills: u32,
}

/// The number before a word, such as 32 in `Used 32 registers`.
fn before(line: &str, word: &str) -> u32 {
    let Some((front, _)) = line.split_once(word) else { return 0 };
    let digits =
        front.trim_end().rsplit(|it: char| !it.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

/// What `ptxas -v` says of each function.
fn uses(log: &str) -> BTreeMap<String, Use> {
    let mut all = BTreeMap::new();
    let mut name = String::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            name = rest.split('\'').next().unwrap_or_default().to_owned();
        }
        let it: &mut Use = all.entry(name.clone()).or_default();
        if line.contains("stack frame") {
            it.stack = before(line, " bytes stack frame");
            it.spills = before(line, " bytes spill stores") + before(line, " bytes spill loads");
        }
        if line.contains("Used ") {
            it.registers = before(line, " registers");
            it.static_shared = before(line, " bytes smem");
        }
    }
    all.remove("");
    all
}

/// The assembler's warnings that an instruction is not what was asked for: C7508, C7510, …
fn warnings(log: &str) -> Vec<&str> {
    let is_one = |it: &&str| it.contains("(C75") || it.contains("warning");
    log.lines().filter(is_one).collect()
}

#[test]
fn every_kernel_compiles_for_every_architecture_without_spills() {
    let Some(version) = nvrtc_version() else {
        assert!(std::env::var_os("KUN_REQUIRE_NVRTC").is_none(), "there is no NVRTC");
        eprintln!("skipped: there is no NVRTC on this machine");
        return;
    };
    let mut table = String::from(HEAD);
    let mut mistakes = Vec::new();
    let mut all = variants();
    let bounded: Vec<_> =
        all.iter().filter(|it| it.hopper).map(|it| it.clone().bounded()).collect();
    all.extend(bounded);
    let all: Vec<_> =
        all.iter().flat_map(|it| Arch::all(it).iter().map(move |arch| (it, *arch))).collect();
    let made: Vec<Compiled> = all.par_iter().map(|it| compile(it.0, it.1).unwrap()).collect();
    for ((variant, arch), Compiled { image, log }) in all.into_iter().zip(made) {
        let title = format!("`{}`, {}", variant.title(), arch.name());
        assert_eq!(&image[..4], b"\x7fELF", "{title}");
        mistakes.extend(warnings(&log).iter().map(|it| format!("{title}: {it}")));
        let uses = uses(&log);
        assert!(!uses.is_empty(), "{title}: {log}");
        for (function, it) in uses {
            assert!(it.registers > 0, "{title}: {log}");
            if (it.stack, it.spills, it.static_shared) != (0, 0, 0) {
                mistakes.push(format!("{title}: {function}: {it:?}"));
            }
            writeln!(table, "| {title} | {function} | {} |", it.registers).unwrap();
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    if version != VERSION {
        eprintln!("the table is of NVRTC {VERSION:?}, this is {version:?}: not compared");
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/registers.md");
    if std::env::var_os("KUN_BLESS").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let want = fs::read_to_string(&path).unwrap();
    assert!(table == want, "bench/registers.md is stale: KUN_BLESS=1 writes it");
}

const HEAD: &str = "\
# Registers of the kernels

What NVRTC 13.0 says of each function: made by `kernels/tests/nvrtc.rs` and compared by it. There are no
spills, no stack and no static shared memory, or the test fails. Nothing here ran on a device.

| file and defines, architecture | function | registers |
|---|---|---|
";

#[test]
fn a_report_is_read() {
    let log = "ptxas info    : 0 bytes gmem\n\
        ptxas info    : Compiling entry function 'add' for 'sm_80'\n\
        ptxas info    : Function properties for add\n\
        \x20   8 bytes stack frame, 4 bytes spill stores, 16 bytes spill loads\n\
        ptxas info    : Used 32 registers, used 1 barriers, 64 bytes smem, 400 bytes cmem[0]\n";
    let want = Use { registers: 32, static_shared: 64, stack: 8, spills: 20 };
    assert_eq!(uses(log), BTreeMap::from([("add".to_owned(), want)]));
    assert_eq!(warnings("x\n(C7508) setmaxnreg ignored"), ["(C7508) setmaxnreg ignored"]);
}
