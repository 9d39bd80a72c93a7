//! Measures the CUDA kernels at the sizes of Yi-6B, as lines of JSON: `gpu PART…`.
//!
//! Each part opens the device anew and may be run by itself, in a process of its own: what fails takes nothing
//! else along. Times are the device's own, of events between calls, the median of many after 300 ms that warm
//! up its clocks. `KUN_BENCH=tiny` makes all sizes tiny, to see that it runs: of a device that is emulated the
//! times mean nothing. `KUN_BENCH=once` makes every call once, for a profiler that looks at it.
//!
//! `gpu compile FOLDER ARCHITECTURE…` needs NVRTC and no device: it puts the images of all kernels into a cache.
#![expect(clippy::unwrap_used, reason = "a measurement that fails may panic")]
#![expect(clippy::print_stdout, reason = "what is measured is told")]

#[path = "gpu/compile.rs"]
mod compile;
#[path = "gpu/generation.rs"]
mod generation;
#[path = "gpu/ops.rs"]
mod ops;
#[path = "gpu/saving.rs"]
mod saving;
#[path = "gpu/training.rs"]
mod training;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::{Duration, Instant};

use kernels::cuda::{Event, Graph, KernelTime, Numerics, Settings, Waits};
use kernels::ops::attention::Heads;
use kernels::ops::uniform::Uniform;
use kernels::random::Random;
use kernels::{Cuda, CudaBuffer, Decode, Device, Dtype, ViewMut, machine};
use serde_json::json;

/// The sizes of a model and a batch.
#[derive(Clone, Copy)]
struct Sizes {
    /// Rows of products, the largest number first.
    rows: [usize; 3],
    /// Tokens of attention's sequences: short ones, and one that is as long as all.
    span: usize,
    hidden: usize,
    wide: usize,
    vocabulary: usize,
    heads: Heads,
    /// Of a whole model.
    layers: usize,
    /// Texts of a step of training, and tokens of each.
    texts: usize,
    text_tokens: usize,
    /// Steps of training that are timed.
    steps: u64,
    /// Rows that decode together.
    batches: [usize; 3],
    /// Tokens that each of them is timed for.
    new_tokens: usize,
}

const YI: Sizes = Sizes {
    rows: [8192, 2048, 512],
    span: 2048,
    hidden: 4096,
    wide: 11_008,
    vocabulary: 64_000,
    heads: Heads { query: 32, kv: 4, dim: 128 },
    layers: 32,
    texts: 16,
    text_tokens: 512,
    steps: 5,
    batches: [1, 64, 256],
    new_tokens: 64,
};

/// Heads and rows are those that the kernels for whole models take.
const TINY: Sizes = Sizes {
    rows: [128, 64, 24],
    span: 64,
    hidden: 128,
    wide: 96,
    vocabulary: 128,
    heads: Heads { query: 2, kv: 1, dim: 128 },
    layers: 2,
    texts: 2,
    text_tokens: 40,
    steps: 1,
    batches: [1, 2, 4],
    new_tokens: 3,
};

/// How long a call is repeated: to warm up, then to be timed, and at least how often.
#[derive(Clone, Copy)]
struct Pace {
    warm_up: Duration,
    timed: Duration,
    least: usize,
}

const FULL: Pace =
    Pace { warm_up: Duration::from_millis(300), timed: Duration::from_millis(200), least: 20 };
const SHORT: Pace = Pace { warm_up: Duration::ZERO, timed: Duration::ZERO, least: 1 };

/// What is measured on a device that was just opened.
type Part = fn(Bench);

/// What can be measured.
const PARTS: [(&str, Part); 22] = [
    ("probe", probe),
    ("products", |bench| ops::products(&bench)),
    ("attention", |bench| ops::attention(&bench)),
    ("rows", |bench| ops::rows(&bench)),
    ("loss", |bench| ops::loss(&bench)),
    ("optimizer", |bench| ops::optimizer(&bench)),
    ("decoding", |bench| ops::decoding(&bench)),
    ("train-8bit", |bench| training::smallest(bench.cuda, &bench.sizes)),
    ("train-f32", |bench| training::largest(bench.cuda, &bench.sizes)),
    ("train-lora", |bench| training::adapters(bench.cuda, &bench.sizes)),
    ("generate-1", |bench| generation::decode(bench, 0)),
    ("generate-64", |bench| generation::decode(bench, 1)),
    ("generate-256", |bench| generation::decode(bench, 2)),
    ("label", generation::label),
    ("first-token", generation::first_token),
    ("save", |bench| saving::measure(&bench.sizes)),
    ("one-forward", |bench| ops::one(&bench, ops::One::Forward)),
    ("one-gated", |bench| ops::one(&bench, ops::One::Gated)),
    ("one-weight-gradient", |bench| ops::one(&bench, ops::One::WeightGradient)),
    ("one-attention", |bench| ops::one(&bench, ops::One::Attention)),
    ("one-attention-backward", |bench| ops::one(&bench, ops::One::AttentionBackward)),
    ("one-decode", |bench| ops::one(&bench, ops::One::Decode)),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.first().is_some_and(|it| it == "compile") {
        return compile::compile(&wanted[1..]);
    }
    if let Some(name) = wanted.first().and_then(|it| it.strip_prefix("probe=")) {
        return probe_one(name);
    }
    let bench = std::env::var("KUN_BENCH").unwrap_or_default();
    let (sizes, pace) = match bench.as_str() {
        "tiny" => (TINY, SHORT),
        "once" => (YI, SHORT),
        _ => (YI, FULL),
    };
    let unknown = wanted.iter().find(|it| !PARTS.iter().any(|part| part.0 == it.as_str()));
    assert!(unknown.is_none(), "there is no part {unknown:?}");
    let facts = machine::Cuda::here();
    let device = facts.devices.unwrap().first().unwrap().to_string();
    say(&json!({"device": device, "driver": facts.driver}));
    let mut ended_well = true;
    for (name, part) in
        PARTS.iter().filter(|it| wanted.is_empty() || wanted.iter().any(|name| name == it.0))
    {
        let start = Instant::now();
        let measured = || part(Bench { cuda: Cuda::open(settings()).unwrap(), sizes, pace });
        let well = catch_unwind(AssertUnwindSafe(measured)).is_ok();
        ended_well &= well;
        let seconds = start.elapsed().as_secs_f64();
        say(&json!({"part": name, "ended_well": well, "took_seconds": seconds}));
    }
    if !ended_well {
        std::process::exit(1);
    }
}

/// As the tests open it: `KUN_PORTABLE`, `KUN_BOUNDED_WAITS`.
fn settings() -> Settings {
    let is_set = |name| std::env::var_os(name).is_some();
    let waits = if is_set("KUN_BOUNDED_WAITS") { Waits::Bounded } else { Waits::Unbounded };
    Settings { portable: is_set("KUN_PORTABLE"), waits, ..Settings::new(Numerics::Bf16) }
}

/// A line of JSON; it is out before the next is measured.
fn say(line: &serde_json::Value) {
    println!("{line}");
}

/// Every primitive that kernels are made of, a line each, in a process of its own: an error of a launch takes all
/// of a process's memory on the device along, and what comes after it is tried all the same.
fn probe(bench: Bench) {
    let program = std::env::current_exe().unwrap();
    let mut failed = 0;
    for (name, _) in bench.cuda.probes() {
        let ended = Command::new(&program).arg(format!("probe={name}")).status().unwrap();
        if !ended.success() {
            failed += 1;
            say(&json!({"probe": name, "ok": false, "ended": ended.to_string()}));
        }
    }
    assert!(failed == 0, "{failed} primitives are not what kernels believe");
}

/// One of them.
fn probe_one(name: &str) {
    let cuda = Cuda::open(settings()).unwrap();
    let (name, probe) = cuda.probes().into_iter().find(|it| it.0 == name).unwrap();
    match probe(&cuda) {
        Ok(()) => say(&json!({"probe": name, "ok": true})),
        Err(failed) => {
            say(&json!({"probe": name, "ok": false, "reason": failed.to_string()}));
            std::process::exit(1);
        }
    }
}

struct Bench {
    cuda: Cuda,
    sizes: Sizes,
    pace: Pace,
}

/// What is compared with a floor: operations, or bytes that have to be moved.
enum Work {
    Flop(f64),
    Bytes(f64),
}

/// How a call is timed.
enum By {
    /// Its launches, one by one.
    Launches,
    /// As a graph, so that the host is never waited for.
    Graph,
}

impl Bench {
    /// Random numbers, as bf16: on zeros, devices are faster.
    fn bf16(&self, n: usize, seed: u64) -> CudaBuffer {
        self.random(Dtype::Bf16, n, seed)
    }

    /// Random numbers between -0.1 and 0.1.
    fn random(&self, dtype: Dtype, n: usize, seed: u64) -> CudaBuffer {
        let mut buffer = self.cuda.zeros(dtype, n).unwrap();
        let given = Uniform { random: Random::new(seed, 1), first: 0, bound: 0.1 };
        self.cuda.uniform(given, ViewMut::all(&mut buffer)).unwrap();
        buffer
    }

    fn zeros(&self, n: usize) -> CudaBuffer {
        self.cuda.zeros(Dtype::F32, n).unwrap()
    }

    /// The median time of a call between two events.
    fn time(&self, name: &str, work: Work, call: impl FnMut(&Cuda)) {
        self.time_by(By::Launches, name, work, call);
    }

    fn time_by(&self, by: By, name: &str, work: Work, mut call: impl FnMut(&Cuda)) {
        let cuda = &self.cuda;
        let mut graph = Graph::default();
        let mut once = || match by {
            By::Launches => call(cuda),
            // SAFETY: whoever times by a graph keeps the buffers of its call until this function ends.
            By::Graph => unsafe {
                cuda.repeat(&mut graph, || {
                    call(cuda);
                    Ok(())
                })
                .unwrap();
            },
        };
        // The first call compiles and loads, the second captures.
        once();
        cuda.wait().unwrap();
        let start = Instant::now();
        let mut warm = 1;
        while start.elapsed() < self.pace.warm_up || warm < 2.min(self.pace.least) {
            once();
            warm += 1;
            // The host is not far ahead, so that its clock says how long the device has been busy.
            if warm % 16 == 0 {
                cuda.wait().unwrap();
            }
        }
        cuda.wait().unwrap();
        let each = start.elapsed().as_secs_f64() / warm as f64;
        let n = (self.pace.timed.as_secs_f64() / each.max(1e-6)) as usize;
        let mut moments: Vec<Event> = vec![cuda.event().unwrap()];
        for _ in 0..n.clamp(self.pace.least, 1000) {
            once();
            moments.push(cuda.event().unwrap());
        }
        let between = |pair: &[Event]| cuda.seconds_between(&pair[0], &pair[1]).unwrap();
        let mut seconds: Vec<f64> = moments.windows(2).map(between).collect();
        seconds.sort_by(f64::total_cmp);
        let (kind, amount) = match work {
            Work::Flop(flop) => ("flop", flop),
            Work::Bytes(bytes) => ("bytes", bytes),
        };
        say(&json!({"name": name, "seconds": seconds[seconds.len() / 2], "fastest": seconds[0],
            "slowest": seconds[seconds.len() - 1], "repeats": seconds.len(), kind: amount}));
    }
}

/// The time of each kernel in some work, a line each.
fn say_profile(name: &str, kernels: &[KernelTime]) {
    let all: f64 = kernels.iter().map(|it| it.seconds).sum();
    for it in kernels {
        say(&json!({"profile": name, "kernel": it.kernel, "launches": it.launches,
            "seconds": it.seconds, "share": it.seconds / all}));
    }
}
