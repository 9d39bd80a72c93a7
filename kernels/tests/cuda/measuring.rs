//! The program that `kernels/bench/gpu.sh` measures with, at tiny sizes: each of its parts ends well.

use std::process::Command;

use crate::emulator::emulator;

#[test]
fn every_part_of_the_measuring_program_ends_well() {
    let Some(it) = emulator() else { return };
    // Cargo builds examples for whole packages alone, beside the folder of the tests.
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().with_file_name("examples").join("gpu");
    if !program.exists() {
        #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
        {
            eprintln!("skipped: `cargo build -p kernels --example gpu` was not done");
        }
        return;
    }
    for capability in ["80", "90"] {
        let mut command = Command::new(&program);
        command.env("KUN_BENCH", "tiny").env("KUN_EMULATOR_CAPABILITY", capability);
        command.env("KUN_CUDA_LIBRARIES", it.folder()).env("KUN_CUDA_CACHE", it.kernels());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let why = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<serde_json::Value> =
            said.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        assert!(lines.iter().all(|it| it.get("ended_well") != Some(&false.into())), "{said}{why}");
        let parts = lines.iter().filter(|it| it.get("part").is_some()).count();
        assert_eq!(parts, 9, "{said}{why}");
        for name in
            ["gemm qkv forward", "attention backward", "train step 2x40", "label throughput"]
        {
            let line = lines.iter().find(|it| it["name"] == name);
            assert!(
                line.is_some_and(|it| it["seconds"].as_f64() > Some(0.0)),
                "{name}: {said}{why}"
            );
        }
    }
}
