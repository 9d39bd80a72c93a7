//! Builds the emulated CUDA with the machine's C++ compiler; for tests, which include this file.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The libraries, and the files they are made of.
pub(crate) const LIBRARIES: [(&str, &[&str]); 2] =
    [("libcuda.so", &["driver.cpp", "fibers.cpp"]), ("libnvrtc.so", &["compiler.cpp"])];

/// What all C++ is compiled with. `KUN_EMULATOR_FLAGS` adds to it: a sanitizer.
fn compiler() -> String {
    let name = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let more = std::env::var("KUN_EMULATOR_FLAGS").unwrap_or_default();
    #[cfg(target_arch = "x86_64")]
    let machine = {
        let fused = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if fused { "-march=x86-64-v3" } else { "" }
    };
    #[cfg(not(target_arch = "x86_64"))]
    let machine = "";
    format!("{name} -std=c++17 -O2 -g1 -fPIC -ffp-contract=off {machine} {more}")
}

/// The folder of the libraries, which are built if they are not there: below `target`, by all that they are
/// made of. `source` is where this file lies.
pub(crate) fn built(source: &Path, target: &Path) -> Result<PathBuf, String> {
    let compiler = compiler();
    let mut hasher = DefaultHasher::new();
    compiler.hash(&mut hasher);
    let mut names: Vec<_> =
        fs::read_dir(source).unwrap().flatten().map(|it| it.file_name()).collect();
    names.sort();
    for name in names {
        fs::read(source.join(&name)).unwrap().hash(&mut hasher);
    }
    let target = target.join("emulator");
    let folder = target.join(format!("{:016x}", hasher.finish()));
    if !folder.exists() {
        build(source, &compiler, &target, &folder)?;
    }
    Ok(folder)
}

/// Builds under another name and renames: of several processes one is first.
fn build(source: &Path, compiler: &str, target: &Path, folder: &Path) -> Result<(), String> {
    fs::create_dir_all(target).unwrap();
    let own = tempfile::tempdir_in(target).unwrap();
    for (library, files) in LIBRARIES {
        // Under ThreadSanitizer the emulator itself is no part of what is looked at.
        let compiler_here = compiler.replace("-fsanitize=thread", "-DEMULATOR_THREADS");
        let mut words = compiler_here.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(["-Wall", "-Wextra", "-Werror", "-shared"]);
        command.arg(format!("-Wl,-soname,{library}")).arg("-o").arg(own.path().join(library));
        command.arg(format!("-DEMULATOR_FOLDER=\"{}\"", source.display()));
        command.arg(format!("-DEMULATOR_COMPILER=\"{compiler}\""));
        command.args(files.iter().map(|it| source.join(it)));
        let output =
            command.output().map_err(|it| format!("no C++ compiler: `{compiler}`: {it}"))?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let made = own.keep();
    match fs::rename(&made, folder) {
        Ok(()) => Ok(()),
        Err(_) if folder.exists() => fs::remove_dir_all(made).map_err(|it| it.to_string()),
        Err(it) => Err(it.to_string()),
    }
}
