//! The images of all kernels, compiled ahead into a cache, so that a device that is lent for minutes need not
//! wait for a compiler.

use std::path::Path;

use kernels::cuda::{self, Arch, nvrtc_version, variants};
use rayon::prelude::*;
use serde_json::json;

use super::say;

/// `FOLDER ARCHITECTURE…`, such as `cache sm_90`.
pub(super) fn compile(arguments: &[String]) {
    let [folder, names @ ..] = arguments else { panic!("compile FOLDER ARCHITECTURE…") };
    let version = nvrtc_version().expect("NVRTC is wanted: KUN_CUDA_LIBRARIES names its folder");
    let mut all = variants();
    let bounded: Vec<_> =
        all.iter().filter(|it| it.hopper).map(|it| it.clone().bounded()).collect();
    all.extend(bounded);
    let wanted = |arch: &Arch| names.iter().any(|name| name == arch.name());
    let all: Vec<_> = all
        .iter()
        .flat_map(|it| {
            Arch::all(it).iter().filter(|arch| wanted(arch)).map(move |arch| (it, *arch))
        })
        .collect();
    assert!(!all.is_empty(), "no kernels are for {names:?}");
    let sizes = all.par_iter().map(|(variant, arch)| {
        cuda::compile_into(Path::new(folder), variant, *arch).unwrap().len()
    });
    say(
        &json!({"images": all.len(), "bytes": sizes.sum::<usize>(), "nvrtc": version, "for": names}),
    );
}
