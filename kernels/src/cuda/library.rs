//! CUDA's libraries from a folder that the system's loader does not look into.

use std::path::Path;
use std::sync::OnceLock;

use crate::{Error, Result};

/// The names that a folder may hold them under, what others need first.
const NAMES: [&str; 3] = ["libcuda.so", "libnvrtc-builtins.so", "libnvrtc.so"];

/// Where the user says that they lie.
const VARIABLE: &str = "KUN_CUDA_LIBRARIES";

/// That one folder was loaded from: another one's libraries would come too late.
static LOADED: OnceLock<()> = OnceLock::new();

/// Loads what lies in the folder that the environment names, the first time. What cannot be loaded is
/// not there, which whoever asks for it says.
pub(crate) fn from_environment() {
    LOADED.get_or_init(|| {
        if let Some(folder) = std::env::var_os(VARIABLE).filter(|it| !it.is_empty()) {
            // SAFETY: the user names the folder of CUDA's libraries in so many words.
            let _ = unsafe { load(Path::new(&folder)) };
        }
    });
}

/// Loads CUDA's libraries that lie in this folder, for instance that of the Python package
/// `nvidia-cuda-nvrtc`: later calls find them under their own names. Must come before any other call of
/// this crate that asks for CUDA, and counts once: the environment's folder is then not looked into. Says
/// how many there were.
///
/// # Safety
///
/// The libraries are what their names say: loading one runs its code.
pub unsafe fn load_libraries(folder: &Path) -> Result<usize> {
    let mut n = Ok(0);
    LOADED.get_or_init(|| {
        // SAFETY: the caller's promise.
        n = unsafe { load(folder) };
    });
    n
}

/// # Safety
///
/// As for [`load_libraries`].
unsafe fn load(folder: &Path) -> Result<usize> {
    let refused = |why: String| Error::NoDevice { reason: why };
    let entries = std::fs::read_dir(folder)
        .map_err(|it| refused(format!("the folder `{}`: {it}", folder.display())))?;
    let mut files: Vec<_> = entries.flatten().map(|it| it.path()).collect();
    files.sort();
    let mut n = 0;
    for name in NAMES {
        // A version may follow the name: `libnvrtc.so.13`.
        let is_it = |it: &&std::path::PathBuf| {
            let file = it.file_name().map(|it| it.to_string_lossy().into_owned());
            let rest = file.as_deref().and_then(|it| it.strip_prefix(name).map(str::to_owned));
            rest.is_some_and(|it| it.chars().all(|it| it.is_ascii_digit() || it == '.'))
        };
        if let Some(path) = files.iter().find(is_it) {
            // SAFETY: the caller's promise.
            let library = unsafe { libloading::Library::new(path) };
            let library = library.map_err(|it| refused(format!("`{}`: {it}", path.display())))?;
            // It stays for good: cudarc finds it by its name and keeps no handle of ours.
            std::mem::forget(library);
            n += 1;
        }
    }
    Ok(n)
}
