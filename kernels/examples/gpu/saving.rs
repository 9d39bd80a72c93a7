//! How fast a model is saved, beside a plain write of as many bytes to the same disk.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::time::Instant;

use kernels::decoder::{Result, Save, Tensor, WeightDtype, Weights};
use serde_json::json;

use super::training::config;
use super::{Sizes, say};

/// Numbers that cost next to nothing to make: the rest of the time is the saving's own.
struct Constant;

impl Weights for Constant {
    fn read(&self, _: usize, tensor: &Tensor, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        out.fill((rows.start + tensor.start) as f32 * 1e-9);
        Ok(())
    }
}

/// `KUN_BENCH_LAYERS` says how many layers there are, where a whole model would not fit on the disk.
pub(super) fn measure(sizes: &Sizes) {
    let layers = std::env::var("KUN_BENCH_LAYERS").map_or(sizes.layers, |it| it.parse().unwrap());
    let config = config(sizes, layers);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let start = Instant::now();
    Save::new(WeightDtype::Bf16).write(&path, &config, &Constant).unwrap();
    let saved = start.elapsed().as_secs_f64();
    let sizes = std::fs::read_dir(&path).unwrap().map(|it| it.unwrap().metadata().unwrap().len());
    let bytes: u64 = sizes.sum();
    std::fs::remove_dir_all(&path).unwrap();
    let start = Instant::now();
    let mut file = File::create(folder.path().join("plain")).unwrap();
    let block: Vec<u8> = (0..1u32 << 22).map(|it| it as u8).collect();
    let mut left = bytes;
    while left > 0 {
        let n = left.min(block.len() as u64);
        file.write_all(&block[..n as usize]).unwrap();
        left -= n;
    }
    file.sync_all().unwrap();
    let plain = start.elapsed().as_secs_f64();
    say(&json!({"name": "save", "seconds": saved, "bytes": bytes, "plain_seconds": plain,
        "of_the_disk": plain / saved}));
}
