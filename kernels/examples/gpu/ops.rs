//! One operation after another, each at the sizes of a model of Yi-6B's shape.

use kernels::ops::adamw::{AdamW, OptimStates, State};
use kernels::ops::attention::{Backward, Forward};
use kernels::ops::cross_entropy::{Gradients, LinearCrossEntropy};
use kernels::ops::decode::{Attending, Parts, Places};
use kernels::ops::matmul::{Form, Product, Start};
use kernels::ops::paged::{CacheShape, CudaCache, Run, Tokens};
use kernels::ops::rms_norm;
use kernels::ops::rope::{Direction, RopeTable};
use kernels::random::Random;
use kernels::{Cuda, Decode, Device, Dtype, View, ViewMut};

use super::{Bench, By, Sizes, Work};

/// Keys of a split of decoding's attention; ops/decode/mod.rs: SPLIT.
const SPLIT: usize = 256;

/// What a profiler looks at by itself.
#[derive(Clone, Copy)]
pub(super) enum One {
    Forward,
    Gated,
    WeightGradient,
    Attention,
    AttentionBackward,
    Decode,
}

/// One operation, for a profiler: nothing but it launches a kernel of its name.
pub(super) fn one(bench: &Bench, which: One) {
    let Sizes { rows: [rows, ..], hidden, wide, .. } = bench.sizes;
    match which {
        One::Forward => product(bench, Form::Xwt, "down", (rows, hidden, wide)),
        One::Gated => gated(bench),
        One::WeightGradient => product(bench, Form::Dytx, "down", (rows, hidden, wide)),
        One::Attention => attention_forward(bench, "attention forward", bench.sizes.span),
        One::AttentionBackward => {
            attention_backward(bench, "attention backward", bench.sizes.span);
        }
        One::Decode => decode_product(bench, bench.sizes.batches[2]),
    }
}

/// Products of the matrices of a layer, and of the head: all three forms for the largest number of rows, the
/// forward one for the others.
pub(super) fn products(bench: &Bench) {
    let Sizes { rows, hidden, wide, vocabulary, heads, .. } = bench.sizes;
    let shapes = [
        ("qkv", heads.row(), hidden),
        ("o", hidden, heads.out()),
        ("gate_up", 2 * wide, hidden),
        ("down", hidden, wide),
        ("head", vocabulary, hidden),
    ];
    for (name, n, k) in shapes {
        for form in [Form::Xwt, Form::Dyw, Form::Dytx] {
            product(bench, form, name, (rows[0], n, k));
        }
    }
    fused(bench);
    for rows in &rows[1..] {
        for (name, n, k) in &shapes[..4] {
            product(bench, Form::Xwt, name, (*rows, *n, *k));
        }
    }
}

fn product(bench: &Bench, form: Form, name: &str, (rows, n, k): (usize, usize, usize)) {
    let of_rows =
        if rows == bench.sizes.rows[0] { String::new() } else { format!(", {rows} rows") };
    let work = Work::Flop(2.0 * rows as f64 * n as f64 * k as f64);
    let [a, b, out] = match form {
        Form::Xwt => [(rows, k), (n, k), (rows, n)],
        Form::Dyw => [(rows, n), (n, k), (rows, k)],
        Form::Dytx => [(rows, n), (rows, k), (n, k)],
    };
    let what = match form {
        Form::Xwt => "forward",
        Form::Dyw => "input gradient",
        Form::Dytx => "weight gradient",
    };
    // Gradients of weights are added up over a step, in f32.
    let (dtype, start) =
        if form == Form::Dytx { (Dtype::F32, Start::Add) } else { (Dtype::Bf16, Start::Zero) };
    let (left, right) = (bench.bf16(a.0 * a.1, 1), bench.bf16(b.0 * b.1, 2));
    let mut to = bench.random(dtype, out.0 * out.1, 3);
    let (left, right) = (View::all(&left).rows(a.1), View::all(&right).rows(b.1));
    bench.time(&format!("gemm {name} {what}{of_rows}"), work, |cuda| {
        let product = Product { form, a: left, b: right, start };
        cuda.matmul(product, ViewMut::all(&mut to).rows(out.1)).unwrap();
    });
}

/// Products with what comes right after them: the same operations, and no more bytes than it writes.
fn fused(bench: &Bench) {
    let Sizes { rows: [rows, ..], span, hidden, heads, .. } = bench.sizes;
    let (x, from) = (bench.bf16(rows * hidden, 1), bench.bf16(rows * hidden, 2));
    let x = View::all(&x).rows(hidden);
    let flop = |n: usize| Work::Flop(2.0 * rows as f64 * n as f64 * hidden as f64);
    let (w, mut out) = (bench.bf16(hidden * hidden, 3), bench.bf16(rows * hidden, 4));
    bench.time("gemm o with residual", flop(hidden), |cuda| {
        let pair = (x, View::all(&w).rows(hidden));
        cuda.matmul_residual(View::all(&from), pair, ViewMut::all(&mut out)).unwrap();
    });
    let table = RopeTable::new(&bench.cuda, 5e6, heads.dim, span).unwrap();
    let positions: Vec<u32> = (0..rows).map(|it| (it % span) as u32).collect();
    let positions = bench.cuda.upload(&positions).unwrap();
    let (w, mut qkv) = (bench.bf16(heads.row() * hidden, 3), bench.bf16(rows * heads.row(), 4));
    bench.time("gemm qkv with rope", flop(heads.row()), |cuda| {
        let rope = (View::all(&positions), table.with_heads(heads, Direction::Forward));
        let pair = (x, View::all(&w).rows(hidden));
        cuda.matmul_rope(pair, ViewMut::all(&mut qkv), rope).unwrap();
    });
    gated(bench);
}

fn gated(bench: &Bench) {
    let Sizes { rows: [rows, ..], hidden, wide, .. } = bench.sizes;
    let (x, w) = (bench.bf16(rows * hidden, 1), bench.bf16(2 * wide * hidden, 3));
    let (mut gates, mut out) = (bench.bf16(rows * 2 * wide, 4), bench.bf16(rows * wide, 5));
    let flop = 2.0 * rows as f64 * (2 * wide) as f64 * hidden as f64;
    bench.time("gemm gate_up with swiglu", Work::Flop(flop), |cuda| {
        let pair = (View::all(&x).rows(hidden), View::all(&w).rows(hidden));
        cuda.matmul_swiglu(pair, ViewMut::all(&mut gates), ViewMut::all(&mut out)).unwrap();
    });
}

/// Both ways, over sequences of two thousand tokens and one of eight thousand; and prompts in a cache.
pub(super) fn attention(bench: &Bench) {
    let Sizes { rows: [rows, ..], span, .. } = bench.sizes;
    for (span, of_span) in [(span, ""), (rows, ", one sequence")] {
        attention_forward(bench, &format!("attention forward{of_span}"), span);
        attention_backward(bench, &format!("attention backward{of_span}"), span);
    }
    attention_of_prompts(bench);
}

/// Where the sequences begin, and the last one ends.
fn spans(rows: usize, span: usize) -> Vec<u32> {
    (0..=rows / span).map(|it| (it * span) as u32).collect()
}

/// Operations of causal attention over sequences of that length.
fn attention_flop(bench: &Bench, span: usize) -> f64 {
    2.0 * bench.sizes.rows[0] as f64 * span as f64 * bench.sizes.heads.out() as f64
}

fn attention_forward(bench: &Bench, name: &str, span: usize) {
    let Sizes { rows: [rows, ..], heads, .. } = bench.sizes;
    let spans = spans(rows, span);
    let qkv = bench.bf16(rows * heads.row(), 1);
    let (mut out, mut lse) = (bench.bf16(rows * heads.out(), 2), bench.zeros(rows * heads.query));
    bench.time(name, Work::Flop(attention_flop(bench, span)), |cuda| {
        let given = Forward { qkv: View::all(&qkv), spans: &spans, heads };
        cuda.attention(given, ViewMut::all(&mut out), ViewMut::all(&mut lse)).unwrap();
    });
}

fn attention_backward(bench: &Bench, name: &str, span: usize) {
    let Sizes { rows: [rows, ..], heads, .. } = bench.sizes;
    let spans = spans(rows, span);
    let qkv = bench.bf16(rows * heads.row(), 1);
    let (mut out, mut lse) = (bench.bf16(rows * heads.out(), 2), bench.zeros(rows * heads.query));
    let given = Forward { qkv: View::all(&qkv), spans: &spans, heads };
    bench.cuda.attention(given, ViewMut::all(&mut out), ViewMut::all(&mut lse)).unwrap();
    let (d_out, mut d_qkv) = (bench.bf16(rows * heads.out(), 3), bench.bf16(rows * heads.row(), 4));
    bench.time(name, Work::Flop(2.5 * attention_flop(bench, span)), |cuda| {
        let given = Backward {
            d_out: View::all(&d_out),
            out: View::all(&out),
            qkv: View::all(&qkv),
            lse: View::all(&lse),
            spans: &spans,
            heads,
        };
        cuda.attention_backward(given, ViewMut::all(&mut d_qkv)).unwrap();
    });
}

/// The same texts as prompts, whose keys and values lie in a cache.
fn attention_of_prompts(bench: &Bench) {
    let Sizes { rows: [rows, ..], span, heads, .. } = bench.sizes;
    let each = span.div_ceil(Cuda::BLOCK);
    let run = |n: usize| Run {
        first_row: n * span,
        rows: span,
        past: 0,
        blocks: (n * each..(n + 1) * each).map(|it| it as u32).collect(),
    };
    let runs: Vec<Run> = (0..rows / span).map(run).collect();
    let mut cache = cache(bench, each * runs.len());
    let qkv = bench.bf16(rows * heads.row(), 1);
    let mut out = bench.bf16(rows * heads.out(), 2);
    let given = || Tokens { qkv: View::all(&qkv), heads, runs: &runs };
    bench.cuda.cache_append(&mut cache, 0, given()).unwrap();
    bench.time("attention of prompts", Work::Flop(attention_flop(bench, span)), |cuda| {
        cuda.attention_paged(&cache, 0, given(), ViewMut::all(&mut out)).unwrap();
    });
}

/// A cache of one layer.
fn cache(bench: &Bench, blocks: usize) -> CudaCache {
    let heads = bench.sizes.heads;
    let shape = CacheShape { layers: 1, blocks, kv_heads: heads.kv, head_dim: heads.dim };
    bench.cuda.cache(shape).unwrap()
}

/// What is done row by row, and bound by memory.
pub(super) fn rows(bench: &Bench) {
    let Sizes { rows: [rows, ..], hidden, wide, .. } = bench.sizes;
    let (x, gain) = (bench.bf16(rows * hidden, 1), bench.random(Dtype::F32, hidden, 6));
    let (mut out, mut scale) = (bench.bf16(rows * hidden, 2), bench.zeros(rows));
    let bytes = (rows * hidden * 2) as f64;
    bench.time("rms_norm forward", Work::Bytes(2.0 * bytes), |cuda| {
        let given = rms_norm::Forward { x: View::all(&x), gain: View::all(&gain), eps: 1e-5 };
        cuda.rms_norm(given, ViewMut::all(&mut out), ViewMut::all(&mut scale)).unwrap();
    });
    let (d_out, mut d_x) = (bench.bf16(rows * hidden, 3), bench.bf16(rows * hidden, 4));
    let given = || rms_norm::Backward {
        d_out: View::all(&d_out),
        x: View::all(&x),
        gain: View::all(&gain),
        scale: View::all(&scale),
    };
    bench.time("rms_norm backward", Work::Bytes(4.0 * bytes), |cuda| {
        cuda.rms_norm_backward(given(), ViewMut::all(&mut d_x), None).unwrap();
    });
    let mut d_gain = bench.zeros(hidden);
    bench.time("rms_norm backward with gain", Work::Bytes(4.0 * bytes), |cuda| {
        let to = Some(ViewMut::all(&mut d_gain));
        cuda.rms_norm_backward(given(), ViewMut::all(&mut d_x), to).unwrap();
    });
    let (gate_up, mut product) = (bench.bf16(rows * 2 * wide, 1), bench.bf16(rows * wide, 2));
    bench.time("swiglu forward", Work::Bytes((rows * wide * 6) as f64), |cuda| {
        cuda.swiglu(View::all(&gate_up), wide, ViewMut::all(&mut product)).unwrap();
    });
    let mut d_gate_up = bench.bf16(rows * 2 * wide, 3);
    bench.time("swiglu backward", Work::Bytes((rows * wide * 10) as f64), |cuda| {
        let (d_out, to) = (View::all(&product), ViewMut::all(&mut d_gate_up));
        cuda.swiglu_backward(d_out, View::all(&gate_up), wide, to).unwrap();
    });
    embedding(bench);
    let n = hidden * wide;
    let mut numbers = bench.cuda.zeros(Dtype::Bf16, n).unwrap();
    bench.time("uniform random numbers", Work::Bytes((2 * n) as f64), |cuda| {
        let given =
            kernels::ops::uniform::Uniform { random: Random::new(7, 1), first: 0, bound: 0.1 };
        cuda.uniform(given, ViewMut::all(&mut numbers)).unwrap();
    });
}

fn embedding(bench: &Bench) {
    let Sizes { rows: [rows, ..], hidden, wide, vocabulary, .. } = bench.sizes;
    let d_out = bench.bf16(rows * hidden, 1);
    // A tenth of the tokens are one and the same, as in texts.
    let id = |n: usize| if n.is_multiple_of(10) { 3 } else { n * 7919 % vocabulary };
    let ids: Vec<u32> = (0..rows).map(|it| id(it) as u32).collect();
    let ids = bench.cuda.upload(&ids).unwrap();
    let mut d_table = bench.zeros(vocabulary * hidden);
    bench.time("embedding backward", Work::Bytes((rows * hidden * 10) as f64), |cuda| {
        let to = ViewMut::all(&mut d_table).rows(hidden);
        cuda.embed_backward(View::all(&d_out), View::all(&ids), to).unwrap();
    });
    let gradients = bench.random(Dtype::F32, hidden * wide, 2);
    bench.time("square sum", Work::Bytes((hidden * wide * 4) as f64), |cuda| {
        cuda.square_sum(View::all(&gradients)).unwrap();
    });
}

/// The head's loss with its gradients, of two thousand rows.
pub(super) fn loss(bench: &Bench) {
    let Sizes { rows: [_, rows, _], hidden, vocabulary, .. } = bench.sizes;
    let (hidden_states, head) = (bench.bf16(rows * hidden, 1), bench.bf16(vocabulary * hidden, 2));
    let targets: Vec<u32> = (0..rows).map(|it| (it * 7 % vocabulary) as u32).collect();
    let targets = bench.cuda.upload(&targets).unwrap();
    let (mut nll, mut d_hidden) = (bench.zeros(rows), bench.bf16(rows * hidden, 3));
    let mut d_head = bench.zeros(vocabulary * hidden);
    let flop = 6.0 * rows as f64 * hidden as f64 * vocabulary as f64;
    bench.time("cross_entropy", Work::Flop(flop), |cuda| {
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
        cuda.cross_entropy(given, ViewMut::all(&mut nll), Some(gradients)).unwrap();
    });
}

/// AdamW with master weights and moments in each of their forms.
pub(super) fn optimizer(bench: &Bench) {
    adamw(bench, "adamw", Dtype::F32, OptimStates::F32);
    adamw(bench, "adamw, split master weights", Dtype::Bf16, OptimStates::F32);
    adamw(bench, "adamw, split master weights, bf16 moments", Dtype::Bf16, OptimStates::Bf16);
    adamw(bench, "adamw, split master weights, 8-bit moments", Dtype::Bf16, OptimStates::EightBit);
}

fn adamw(bench: &Bench, name: &str, masters: Dtype, moments: OptimStates) {
    let n = bench.sizes.hidden * bench.sizes.wide;
    // All of it random: on zeros the coding of 8-bit moments takes a shorter way.
    let (mut weight, gradient) = (bench.bf16(n, 1), bench.random(Dtype::F32, n, 2));
    let mut master = bench.random(masters, n, 1);
    let (dtype, len) = (moments.dtype(), moments.len(n));
    let (mut m, mut v) = if moments == OptimStates::EightBit {
        // Their form is their own: the first steps fill them.
        (bench.cuda.zeros(dtype, len).unwrap(), bench.cuda.zeros(dtype, len).unwrap())
    } else {
        (bench.random(dtype, len, 3), bench.cuda.zeros(dtype, len).unwrap())
    };
    // Masters and moments are read and written, and weights written; where masters lack their upper half,
    // weights are read as well.
    let kept = 2 * (masters.bytes() + 2 * moments.dtype().bytes());
    let rounded = if masters == Dtype::F32 { 2 } else { 4 };
    let bytes = n as f64 * (kept + rounded + Dtype::F32.bytes()) as f64;
    let mut step = 0;
    bench.time(name, Work::Bytes(bytes), |cuda| {
        step += 1;
        let numbers = AdamW {
            learning_rate: 1e-4,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
            step,
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
        cuda.adamw(numbers, state).unwrap();
    });
}

/// One new token of each sequence, each with `span / 4` before it; from graphs, as generation does it.
pub(super) fn decoding(bench: &Bench) {
    for batch in [1, 16, 64, 256] {
        decode_product(bench, batch);
        decode_attention(bench, batch);
    }
}

fn decode_product(bench: &Bench, batch: usize) {
    let Sizes { hidden, wide, .. } = bench.sizes;
    let w = bench.bf16(2 * wide * hidden, 1);
    let w = bench.cuda.pack(View::all(&w).rows(hidden)).unwrap();
    let parts = bench.cuda.decode_parts(&w);
    let (x, mut out) = (bench.bf16(batch * hidden, 2), bench.bf16(batch * wide, 3));
    let mut sums = bench.zeros(parts * batch * 2 * wide);
    let bytes = (2 * wide * hidden * 2) as f64;
    // With the gates, which add the parts of the sums.
    let name = format!("decode gate_up, batch {batch}");
    bench.time_by(By::Graph, &name, Work::Bytes(bytes), |cuda| {
        cuda.decode_product(View::all(&x).rows(hidden), &w, ViewMut::all(&mut sums)).unwrap();
        let given = Parts { numbers: View::all(&sums), parts };
        cuda.decode_gate(given, wide, ViewMut::all(&mut out)).unwrap();
    });
}

fn decode_attention(bench: &Bench, batch: usize) {
    let Sizes { span, heads, .. } = bench.sizes;
    let past = span / 4;
    let each = (past + 1).div_ceil(Cuda::BLOCK);
    let cache = cache(bench, each * batch);
    let positions = bench.cuda.upload(&vec![past as u32; batch]).unwrap();
    let blocks: Vec<u32> = (0..(each * batch) as u32).collect();
    let blocks = bench.cuda.upload(&blocks).unwrap();
    let splits = (past + 1).div_ceil(SPLIT);
    let places = Places { positions: View::all(&positions), blocks: View::all(&blocks), splits };
    let mut workspace = bench.zeros(batch * heads.query * splits * (heads.dim + 2));
    let (queries, mut out) =
        (bench.bf16(batch * heads.out(), 4), bench.bf16(batch * heads.out(), 5));
    let bytes = (batch * past * heads.kv * heads.dim * 2 * 2) as f64;
    let name = format!("decode attention, batch {batch}");
    bench.time_by(By::Graph, &name, Work::Bytes(bytes), |cuda| {
        let (queries, workspace) = (View::all(&queries), ViewMut::all(&mut workspace));
        let given = Attending { queries, heads, places, workspace };
        cuda.decode_attention((&cache, 0), given, ViewMut::all(&mut out)).unwrap();
    });
}
