//! Hashes a file and prints how fast: `hash_speed FILE`.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args_os().nth(1).ok_or("the name of a file is missing")?;
    let begin = Instant::now();
    let (digest, size) = store::hash_file(Path::new(&file))?;
    let wall = begin.elapsed().as_secs_f64();
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu = clock.tv_sec as f64 + clock.tv_nsec as f64 / 1e9;
    let gib = size as f64 / f64::from(1 << 30);
    println!("{digest}");
    println!("{wall:.3} s wall, {:.2} GiB/s; {cpu:.3} s cpu, {:.2} GiB/s", gib / wall, gib / cpu);
    Ok(())
}
