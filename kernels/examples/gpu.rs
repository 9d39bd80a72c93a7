//! Times the CUDA kernels at the sizes of Yi-6B, as lines of JSON: `gpu [PART…]`, all parts where none is
//! named. Of a device that is emulated the times mean nothing; with `KUN_BENCH=tiny` the sizes are tiny, for
//! seeing that it runs. A part that panics is a line too, and the others go on.
#![expect(clippy::unwrap_used, reason = "a measurement that fails may panic")]
#![expect(clippy::print_stdout, reason = "what is measured is told")]

#[path = "gpu/generation.rs"]
mod generation;
#[path = "gpu/training.rs"]
mod training;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use half::bf16;
use kernels::cuda::{Numerics, Settings};
use kernels::ops::adamw::{AdamW, Moments, State};
use kernels::ops::attention::{Backward, Forward, Heads};
use kernels::ops::cross_entropy::{Gradients, LinearCrossEntropy};
use kernels::ops::decode::{Attending, Parts, Places};
use kernels::ops::matmul::{Form, Product, Start};
use kernels::ops::paged::{CacheShape, CudaCache, Run, Tokens};
use kernels::ops::rms_norm;
use kernels::ops::rope::{Direction, RopeTable};
use kernels::random::Random;
use kernels::{Cuda, CudaBuffer, Decode, Device, Dtype, View, ViewMut, machine};

/// The sizes of a model and a batch.
#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
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
    /// How often each is done.
    repeats: u32,
}

const YI: Sizes = Sizes {
    tokens: 8192,
    span: 2048,
    hidden: 4096,
    wide: 11_008,
    vocabulary: 64_000,
    heads: Heads { query: 32, kv: 4, dim: 128 },
    layers: 32,
    texts: 16,
    text_tokens: 512,
    steps: 5,
    repeats: 10,
};

/// Heads and rows are those that the kernels for whole models take.
const TINY: Sizes = Sizes {
    tokens: 128,
    span: 64,
    hidden: 128,
    wide: 96,
    vocabulary: 128,
    heads: Heads { query: 2, kv: 1, dim: 128 },
    layers: 2,
    texts: 2,
    text_tokens: 40,
    steps: 1,
    repeats: 1,
};

/// Keys of a split of decoding's attention; ops/decode/mod.rs: SPLIT.
const SPLIT: usize = 256;

/// What is measured on a device that was just opened.
type Part = fn(Bench);

/// What can be measured, the most wanted first.
const PARTS: [(&str, Part); 9] = [
    ("probe", |it| it.cuda.probe().unwrap()),
    ("products", |it| it.products()),
    ("attention", |it| it.attention()),
    ("training", |it| training::measure(it.cuda, &it.sizes)),
    ("generation", |it| generation::measure(it.cuda, &it.sizes)),
    ("rows", |it| it.rows()),
    ("loss", |it| it.loss()),
    ("optimizer", |it| it.optimizer()),
    ("decoding", |it| it.decoding()),
];

fn main() {
    let tiny = std::env::var("KUN_BENCH").is_ok_and(|it| it == "tiny");
    let sizes = if tiny { TINY } else { YI };
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let unknown = wanted.iter().find(|it| !PARTS.iter().any(|part| part.0 == it.as_str()));
    assert!(unknown.is_none(), "there is no part {unknown:?}");
    let facts = machine::Cuda::here();
    let device = facts.devices.unwrap().first().unwrap().to_string();
    say(&serde_json::json!({"device": device, "driver": facts.driver}));
    for (name, part) in PARTS {
        if !wanted.is_empty() && !wanted.iter().any(|it| it == name) {
            continue;
        }
        let start = Instant::now();
        let measured = || {
            let cuda = Cuda::open(Settings::new(Numerics::Bf16)).unwrap();
            part(Bench { cuda, sizes });
        };
        let ended = catch_unwind(AssertUnwindSafe(measured)).is_ok();
        let seconds = start.elapsed().as_secs_f64();
        say(&serde_json::json!({"part": name, "ended_well": ended, "took_seconds": seconds}));
    }
}

/// A line of JSON; it is out before the next is measured.
fn say(line: &serde_json::Value) {
    println!("{line}");
}

struct Bench {
    cuda: Cuda,
    sizes: Sizes,
}

/// What is compared with a floor: operations, or bytes that have to be moved.
enum Work {
    Flop(f64),
    Bytes(f64),
}

impl Bench {
    /// Random numbers: on zeros, devices are faster.
    fn bf16(&self, n: usize, seed: u64) -> CudaBuffer {
        let random = kernels::random::Random::new(seed, 1);
        let some: Vec<bf16> = (0..n.min(1 << 20) as u64)
            .map(|it| bf16::from_f64(random.unit_at(it) * 0.2 - 0.1))
            .collect();
        let mut buffer = self.cuda.zeros(Dtype::Bf16, n).unwrap();
        for start in (0..n).step_by(some.len().max(1)) {
            let part = &some[..some.len().min(n - start)];
            let to = ViewMut::all(&mut buffer).part(start..start + part.len());
            self.cuda.write(to, part).unwrap();
        }
        buffer
    }

    fn f32(&self, n: usize) -> CudaBuffer {
        self.cuda.zeros(Dtype::F32, n).unwrap()
    }

    /// The mean time of a call, after two that compile and warm up.
    fn time(&self, name: &str, work: Work, mut call: impl FnMut(&Cuda)) {
        call(&self.cuda);
        call(&self.cuda);
        self.cuda.wait().unwrap();
        let start = Instant::now();
        (0..self.sizes.repeats).for_each(|_| call(&self.cuda));
        self.cuda.wait().unwrap();
        let seconds = start.elapsed().as_secs_f64() / f64::from(self.sizes.repeats);
        let (kind, amount) = match work {
            Work::Flop(it) => ("flop", it),
            Work::Bytes(it) => ("bytes", it),
        };
        say(&serde_json::json!({"name": name, "seconds": seconds, kind: amount}));
    }

    fn products(&self) {
        let Sizes { tokens, hidden, wide, vocabulary, heads, .. } = self.sizes;
        let shapes = [
            ("qkv", heads.row(), hidden),
            ("o", hidden, heads.out()),
            ("gate_up", 2 * wide, hidden),
            ("down", hidden, wide),
            ("head", vocabulary, hidden),
        ];
        for (name, n, k) in shapes {
            let (x, w, dy) =
                (self.bf16(tokens * k, 1), self.bf16(n * k, 2), self.bf16(tokens * n, 3));
            let (mut y, mut dx, mut dw) =
                (self.bf16(tokens * n, 4), self.bf16(tokens * k, 5), self.f32(n * k));
            let flop = || Work::Flop(2.0 * tokens as f64 * n as f64 * k as f64);
            let (x, w, dy) = (View::all(&x).rows(k), View::all(&w).rows(k), View::all(&dy).rows(n));
            self.time(&format!("gemm {name} forward"), flop(), |it| {
                let product = Product { form: Form::Xwt, a: x, b: w, start: Start::Zero };
                it.matmul(product, ViewMut::all(&mut y).rows(n)).unwrap();
            });
            self.time(&format!("gemm {name} input gradient"), flop(), |it| {
                let product = Product { form: Form::Dyw, a: dy, b: w, start: Start::Zero };
                it.matmul(product, ViewMut::all(&mut dx).rows(k)).unwrap();
            });
            self.time(&format!("gemm {name} weight gradient"), flop(), |it| {
                let product = Product { form: Form::Dytx, a: dy, b: x, start: Start::Add };
                it.matmul(product, ViewMut::all(&mut dw).rows(k)).unwrap();
            });
        }
        self.fused();
    }

    /// Products with what comes right after them: the same operations, and no more bytes than it writes.
    fn fused(&self) {
        let Sizes { tokens, hidden, wide, heads, .. } = self.sizes;
        let (x, from) = (self.bf16(tokens * hidden, 1), self.bf16(tokens * hidden, 2));
        let x = View::all(&x).rows(hidden);
        let flop = |n: usize| Work::Flop(2.0 * tokens as f64 * n as f64 * hidden as f64);
        let (w, mut out) = (self.bf16(hidden * hidden, 3), self.bf16(tokens * hidden, 4));
        self.time("gemm o with residual", flop(hidden), |it| {
            let pair = (x, View::all(&w).rows(hidden));
            it.matmul_onto(View::all(&from), pair, ViewMut::all(&mut out)).unwrap();
        });
        let table = RopeTable::new(&self.cuda, 5e6, heads.dim, self.sizes.span).unwrap();
        let positions: Vec<u32> = (0..tokens).map(|it| (it % self.sizes.span) as u32).collect();
        let positions = self.cuda.upload(&positions).unwrap();
        let (w, mut qkv) = (self.bf16(heads.row() * hidden, 3), self.bf16(tokens * heads.row(), 4));
        self.time("gemm qkv with turn", flop(heads.row()), |it| {
            let turn = (View::all(&positions), table.turn(heads, Direction::Forward));
            let pair = (x, View::all(&w).rows(hidden));
            it.matmul_turned(pair, ViewMut::all(&mut qkv), turn).unwrap();
        });
        let (w, mut gates) = (self.bf16(2 * wide * hidden, 3), self.bf16(tokens * 2 * wide, 4));
        let mut product = self.bf16(tokens * wide, 5);
        self.time("gemm gate_up with swiglu", flop(2 * wide), |it| {
            let pair = (x, View::all(&w).rows(hidden));
            let to = (ViewMut::all(&mut gates), ViewMut::all(&mut product));
            it.matmul_gated(pair, to.0, to.1).unwrap();
        });
    }

    fn attention(&self) {
        let Sizes { tokens, span, heads, .. } = self.sizes;
        let spans: Vec<u32> = (0..=tokens / span).map(|it| (it * span) as u32).collect();
        let qkv = self.bf16(tokens * heads.row(), 1);
        let (mut out, mut lse) =
            (self.bf16(tokens * heads.out(), 2), self.f32(tokens * heads.query));
        let (d_out, mut d_qkv) =
            (self.bf16(tokens * heads.out(), 3), self.bf16(tokens * heads.row(), 4));
        let flop = 2.0 * tokens as f64 * span as f64 * heads.out() as f64;
        self.time("attention forward", Work::Flop(flop), |it| {
            let given = Forward { qkv: View::all(&qkv), spans: &spans, heads };
            it.attention(given, ViewMut::all(&mut out), ViewMut::all(&mut lse)).unwrap();
        });
        self.time("attention backward", Work::Flop(2.5 * flop), |it| {
            let given = Backward {
                d_out: View::all(&d_out),
                out: View::all(&out),
                qkv: View::all(&qkv),
                lse: View::all(&lse),
                spans: &spans,
                heads,
            };
            it.attention_backward(given, ViewMut::all(&mut d_qkv)).unwrap();
        });
        // The same texts as prompts, whose keys and values lie in a cache.
        let each = span.div_ceil(Cuda::BLOCK);
        let run = |it: usize| Run {
            first_row: it * span,
            rows: span,
            past: 0,
            blocks: (it * each..(it + 1) * each).map(|it| it as u32).collect(),
        };
        let runs: Vec<Run> = (0..tokens / span).map(run).collect();
        let mut cache = self.cache(each * runs.len());
        let given = || Tokens { qkv: View::all(&qkv), heads, runs: &runs };
        self.cuda.cache_append(&mut cache, 0, given()).unwrap();
        self.time("attention of prompts", Work::Flop(flop), |it| {
            it.attention_paged(&cache, 0, given(), ViewMut::all(&mut out)).unwrap();
        });
    }

    /// A cache of one layer.
    fn cache(&self, blocks: usize) -> CudaCache {
        let Heads { kv, dim, .. } = self.sizes.heads;
        self.cuda.cache(CacheShape { layers: 1, blocks, kv_heads: kv, head_dim: dim }).unwrap()
    }

    fn rows(&self) {
        let Sizes { tokens, hidden, wide, .. } = self.sizes;
        let (x, gain) = (self.bf16(tokens * hidden, 1), self.f32(hidden));
        let (mut out, mut scale) = (self.bf16(tokens * hidden, 2), self.f32(tokens));
        let bytes = (tokens * hidden * 2) as f64;
        self.time("rms_norm forward", Work::Bytes(2.0 * bytes), |it| {
            let given = rms_norm::Forward { x: View::all(&x), gain: View::all(&gain), eps: 1e-5 };
            it.rms_norm(given, ViewMut::all(&mut out), ViewMut::all(&mut scale)).unwrap();
        });
        let (d_out, mut d_x) = (self.bf16(tokens * hidden, 3), self.bf16(tokens * hidden, 4));
        self.time("rms_norm backward", Work::Bytes(4.0 * bytes), |it| {
            let given = rms_norm::Backward {
                d_out: View::all(&d_out),
                x: View::all(&x),
                gain: View::all(&gain),
                scale: View::all(&scale),
            };
            it.rms_norm_backward(given, ViewMut::all(&mut d_x), None).unwrap();
        });
        let mut d_gain = self.f32(hidden);
        self.time("rms_norm backward with gain", Work::Bytes(4.0 * bytes), |it| {
            let given = rms_norm::Backward {
                d_out: View::all(&d_out),
                x: View::all(&x),
                gain: View::all(&gain),
                scale: View::all(&scale),
            };
            let to = Some(ViewMut::all(&mut d_gain));
            it.rms_norm_backward(given, ViewMut::all(&mut d_x), to).unwrap();
        });
        let (gate_up, mut product) = (self.bf16(tokens * 2 * wide, 1), self.bf16(tokens * wide, 2));
        self.time("swiglu forward", Work::Bytes((tokens * wide * 6) as f64), |it| {
            it.swiglu(View::all(&gate_up), wide, ViewMut::all(&mut product)).unwrap();
        });
        let mut d_gate_up = self.bf16(tokens * 2 * wide, 3);
        self.time("swiglu backward", Work::Bytes((tokens * wide * 10) as f64), |it| {
            let (d_out, to) = (View::all(&product), ViewMut::all(&mut d_gate_up));
            it.swiglu_backward(d_out, View::all(&gate_up), wide, to).unwrap();
        });
        self.embedding();
    }

    fn embedding(&self) {
        let Sizes { tokens, hidden, vocabulary, .. } = self.sizes;
        let d_out = self.bf16(tokens * hidden, 1);
        // A tenth of the tokens are one and the same, as in texts.
        let id = |it: usize| if it.is_multiple_of(10) { 3 } else { it * 7919 % vocabulary };
        let ids: Vec<u32> = (0..tokens).map(|it| id(it) as u32).collect();
        let ids = self.cuda.upload(&ids).unwrap();
        let mut d_table = self.f32(vocabulary * hidden);
        self.time("embedding backward", Work::Bytes((tokens * hidden * 10) as f64), |it| {
            let to = ViewMut::all(&mut d_table).rows(hidden);
            it.embed_backward(View::all(&d_out), View::all(&ids), to).unwrap();
        });
        let gradients = self.f32(hidden * self.sizes.wide);
        let bytes = (hidden * self.sizes.wide * 4) as f64;
        self.time("square sum", Work::Bytes(bytes), |it| {
            it.square_sum(View::all(&gradients)).unwrap();
        });
    }

    fn loss(&self) {
        let Sizes { tokens, hidden, vocabulary, .. } = self.sizes;
        let tokens = tokens.min(2048);
        let (hidden_states, head) =
            (self.bf16(tokens * hidden, 1), self.bf16(vocabulary * hidden, 2));
        let targets: Vec<u32> = (0..tokens).map(|it| (it * 7 % vocabulary) as u32).collect();
        let targets = self.cuda.upload(&targets).unwrap();
        let (mut nll, mut d_hidden) = (self.f32(tokens), self.bf16(tokens * hidden, 3));
        let mut d_head = self.f32(vocabulary * hidden);
        let flop = 6.0 * tokens as f64 * hidden as f64 * vocabulary as f64;
        self.time("cross_entropy", Work::Flop(flop), |it| {
            let given = LinearCrossEntropy {
                hidden: View::all(&hidden_states),
                head: View::all(&head).rows(hidden),
                targets: View::all(&targets),
                scale: 1.0,
            };
            let gradients = Gradients {
                d_hidden: ViewMut::all(&mut d_hidden),
                d_head: Some(ViewMut::all(&mut d_head).rows(hidden)),
            };
            it.cross_entropy(given, ViewMut::all(&mut nll), Some(gradients)).unwrap();
        });
    }

    fn optimizer(&self) {
        self.adamw("adamw", Dtype::F32, Moments::Whole);
        self.adamw("adamw, low", Dtype::Bf16, Moments::Whole);
        self.adamw("adamw, low, moments in halves", Dtype::Bf16, Moments::Halves);
        self.adamw("adamw, low, moments in bytes", Dtype::Bf16, Moments::Bytes);
    }

    fn adamw(&self, name: &str, masters: Dtype, moments: Moments) {
        let n = self.sizes.hidden * self.sizes.wide;
        let (mut weight, gradient) = (self.bf16(n, 1), self.f32(n));
        let mut master = self.cuda.zeros(masters, n).unwrap();
        let new = || self.cuda.zeros(moments.dtype(), moments.len(n)).unwrap();
        let (mut m, mut v) = (new(), new());
        // Masters and moments are read and written, and weights written; where masters lack their upper half,
        // weights are read as well.
        let kept = 2 * (masters.bytes() + 2 * moments.dtype().bytes());
        let rounded = if masters == Dtype::F32 { 2 } else { 4 };
        let bytes = n as f64 * (kept + rounded + Dtype::F32.bytes()) as f64;
        self.time(name, Work::Bytes(bytes), |it| {
            let step = AdamW {
                learning_rate: 1e-4,
                beta1: 0.9,
                beta2: 0.95,
                eps: 1e-8,
                weight_decay: 0.1,
                step: 3,
                factor: 1.0,
                random: Random::new(1, 2),
                first: 0,
            };
            let state = State {
                weight: ViewMut::all(&mut weight),
                master: Some(ViewMut::all(&mut master)),
                m: ViewMut::all(&mut m),
                v: ViewMut::all(&mut v),
                gradient: View::all(&gradient),
            };
            it.adamw(step, state).unwrap();
        });
    }

    /// One new token of each sequence, each with `span / 4` before it.
    fn decoding(&self) {
        let Sizes { span, hidden, wide, heads, .. } = self.sizes;
        let past = span / 4;
        let w = self.bf16(2 * wide * hidden, 1);
        let w = self.cuda.pack(View::all(&w).rows(hidden)).unwrap();
        let parts = self.cuda.decode_parts(&w);
        for batch in [1, 16, 64, 256] {
            let (x, mut out) = (self.bf16(batch * hidden, 2), self.bf16(batch * wide, 3));
            let mut sums = self.f32(parts * batch * 2 * wide);
            let bytes = (2 * wide * hidden * 2) as f64;
            // With the gates, which add the parts of the sums.
            self.time(&format!("decode gate_up, batch {batch}"), Work::Bytes(bytes), |it| {
                it.decode_product(View::all(&x).rows(hidden), &w, ViewMut::all(&mut sums)).unwrap();
                let given = Parts { numbers: View::all(&sums), parts };
                it.decode_gate(given, wide, ViewMut::all(&mut out)).unwrap();
            });
            let each = (past + 1).div_ceil(Cuda::BLOCK);
            let cache = self.cache(each * batch);
            let positions = self.cuda.upload(&vec![past as u32; batch]).unwrap();
            let blocks: Vec<u32> = (0..(each * batch) as u32).collect();
            let blocks = self.cuda.upload(&blocks).unwrap();
            let splits = (past + 1).div_ceil(SPLIT);
            let places =
                Places { positions: View::all(&positions), blocks: View::all(&blocks), splits };
            let mut room = self.f32(batch * heads.query * splits * (heads.dim + 2));
            let (queries, mut out) =
                (self.bf16(batch * heads.out(), 4), self.bf16(batch * heads.out(), 5));
            let bytes = (batch * past * heads.kv * heads.dim * 2 * 2) as f64;
            self.time(&format!("decode attention, batch {batch}"), Work::Bytes(bytes), |it| {
                let (queries, room) = (View::all(&queries), ViewMut::all(&mut room));
                let given = Attending { queries, heads, places, room };
                it.decode_attention((&cache, 0), given, ViewMut::all(&mut out)).unwrap();
            });
        }
    }
}
