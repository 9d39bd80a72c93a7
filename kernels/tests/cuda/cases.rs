//! Every operation over sizes that do not fit its tiles, written once for all devices.

use half::bf16;
use kernels::ops::adamw::{AdamW, OptimStates, State};
use kernels::ops::attention::{Backward as AttentionBackward, Forward as AttentionForward, Heads};
use kernels::ops::cross_entropy::{Gradients, IGNORE, LinearCrossEntropy};
use kernels::ops::dropout::Dropout;
use kernels::ops::matmul::{Form, Pair, Product, Start};
use kernels::ops::paged::{CacheShape, Run, Tokens};
use kernels::ops::rms_norm::{Backward as NormBackward, Forward as NormForward};
use kernels::ops::rope::{Direction, RopeTable};
use kernels::ops::uniform::Uniform;
use kernels::random::Random;
use kernels::{Buffer, Device, Dtype, View, ViewMut};

/// Numbers between -1 and 1 that look random and are the same everywhere.
pub(crate) fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let random = Random::new(u64::from(seed), 1);
    (0..n as u64).map(|it| (random.unit_at(it) * 2.0 - 1.0) as f32).collect()
}

/// Some numbers in a type.
pub(crate) fn upload<D: Device>(device: &D, dtype: Dtype, n: usize, seed: u32) -> D::Buffer {
    let data = numbers(n, seed);
    match dtype {
        Dtype::Bf16 => {
            let near: Vec<bf16> = data.iter().map(|it| bf16::from_f32(*it)).collect();
            device.upload(&near).unwrap()
        }
        _ => device.upload(&data).unwrap(),
    }
}

/// What a buffer holds, as f32.
pub(crate) fn download<D: Device>(device: &D, buffer: &D::Buffer) -> Vec<f32> {
    match buffer.dtype() {
        Dtype::Bf16 => {
            let all = device.read::<bf16>(View::all(buffer)).unwrap();
            all.iter().map(|it| it.to_f32()).collect()
        }
        Dtype::U8 => {
            let all = device.read::<u8>(View::all(buffer)).unwrap();
            all.into_iter().map(f32::from).collect()
        }
        _ => device.read(View::all(buffer)).unwrap(),
    }
}

/// Results of a case: its name, and the numbers.
pub(crate) type Results = Vec<(String, Vec<f32>)>;

const BOTH: [Dtype; 2] = [Dtype::F32, Dtype::Bf16];

pub(crate) fn elementwise<D: Device>(device: &D) -> Results {
    let mut results = Results::new();
    for (a, b) in BOTH.into_iter().flat_map(|a| BOTH.map(|b| (a, b))) {
        let n = 1000;
        let (x, mut to) = (upload(device, a, n, 1), upload(device, b, n, 2));
        let (from, part) = (View::all(&x).part(3..777), 5..779);
        device.add(from, ViewMut::all(&mut to).part(part.clone())).unwrap();
        device.scale(0.3, ViewMut::all(&mut to).part(100..901)).unwrap();
        results.push((format!("add, scale {a} {b}"), download(device, &to)));
        device.copy(from, ViewMut::all(&mut to).part(part)).unwrap();
        device.clear(ViewMut::all(&mut to).part(0..17)).unwrap();
        results.push((format!("copy, clear {a} {b}"), download(device, &to)));
    }
    results
}

pub(crate) fn dropout<D: Device>(device: &D) -> Results {
    let run = |dtype, first, n| {
        let mut to = upload(device, dtype, n, 3);
        let given = Dropout { random: Random::of(5, &[6, 7]), first, p: 0.3 };
        device.dropout(given, ViewMut::all(&mut to)).unwrap();
        (format!("dropout {dtype} from {first}, {n}"), download(device, &to))
    };
    BOTH.iter()
        .flat_map(|it| [run(*it, 0, 1), run(*it, 7, 1025), run(*it, (1 << 33) + 2, 300)])
        .collect()
}

pub(crate) fn uniform<D: Device>(device: &D) -> Results {
    let run = |dtype, first, n| {
        let mut to = upload(device, dtype, n, 3);
        let given = Uniform { random: Random::of(5, &[6, 7]), first, bound: 0.02 };
        device.uniform(given, ViewMut::all(&mut to)).unwrap();
        (format!("uniform {dtype} from {first}, {n}"), download(device, &to))
    };
    BOTH.iter()
        .flat_map(|it| [run(*it, 0, 1), run(*it, 7, 1025), run(*it, (1 << 33) + 2, 300)])
        .collect()
}

pub(crate) fn embedding<D: Device>(device: &D) -> Results {
    let mut results = Results::new();
    let ids = [3u32, 0, 9, 3, 3, 7, 0];
    let ids = device.upload(&ids).unwrap();
    for (a, b) in BOTH.into_iter().flat_map(|a| BOTH.map(|b| (a, b))) {
        let table = upload(device, a, 10 * 200, 1);
        let mut out = device.zeros(b, 7 * 131).unwrap();
        let rows = View::all(&table).rows(200).columns(20..151);
        device.embed(rows, View::all(&ids), ViewMut::all(&mut out)).unwrap();
        results.push((format!("embed {a} {b}"), download(device, &out)));
    }
    for a in BOTH {
        let d_out = upload(device, a, 7 * 131, 2);
        let mut d_table = upload(device, Dtype::F32, 10 * 131, 4);
        let to = ViewMut::all(&mut d_table).rows(131);
        device.embed_backward(View::all(&d_out), View::all(&ids), to).unwrap();
        results.push((format!("embed backward {a}"), download(device, &d_table)));
    }
    results
}

pub(crate) fn rms_norm<D: Device>(device: &D) -> Results {
    let types = BOTH.into_iter().flat_map(|a| BOTH.map(|b| (a, b)));
    let sizes = [(1, 1), (3, 16), (9, 100), (17, 515), (37, 2064), (70, 40)];
    types.flat_map(|it| sizes.map(|size| rms_norm_of(device, it, size))).flatten().collect()
}

/// Of rows and gains of these types.
pub(crate) fn rms_norm_of<D: Device>(
    device: &D,
    (e, g): (Dtype, Dtype),
    (rows, width): (usize, usize),
) -> Results {
    let name = format!("rms_norm {e} {g} {rows}x{width}");
    let (x, gain) = (upload(device, e, rows * width, 1), upload(device, g, width, 2));
    let (mut out, mut scale) =
        (device.zeros(e, rows * width).unwrap(), device.zeros(Dtype::F32, rows).unwrap());
    let (x, gain) = (View::all(&x), View::all(&gain));
    let given = NormForward { x, gain, eps: 1e-5 };
    device.rms_norm(given, ViewMut::all(&mut out), ViewMut::all(&mut scale)).unwrap();
    let d_out = upload(device, e, rows * width, 3);
    let mut d_x = upload(device, e, rows * width, 4);
    let mut d_gain = upload(device, Dtype::F32, width, 5);
    let given = NormBackward { d_out: View::all(&d_out), x, gain, scale: View::all(&scale) };
    let to = Some(ViewMut::all(&mut d_gain));
    device.rms_norm_backward(given, ViewMut::all(&mut d_x), to).unwrap();
    [("out", &out), ("scale", &scale), ("d_x", &d_x), ("d_gain", &d_gain)]
        .map(|(what, it)| (format!("{name} {what}"), download(device, it)))
        .into()
}

pub(crate) fn rope<D: Device>(device: &D) -> Results {
    let mut results = Results::new();
    for (e, dim) in BOTH.into_iter().flat_map(|e| [8, 128].map(|dim| (e, dim))) {
        let heads = Heads { query: 3, kv: 1, dim };
        let table = RopeTable::new(device, 10_000.0, dim, 40).unwrap();
        let positions = device.upload(&[0u32, 39, 7, 7, 12]).unwrap();
        let mut qkv = upload(device, e, 5 * heads.row(), 1);
        for direction in [Direction::Forward, Direction::Backward] {
            let rope = table.with_heads(heads, direction);
            device.rope(ViewMut::all(&mut qkv), View::all(&positions), rope).unwrap();
            results.push((format!("rope {e} {dim} {direction:?}"), download(device, &qkv)));
            device.scale(1.5, ViewMut::all(&mut qkv)).unwrap();
        }
    }
    results
}

pub(crate) fn swiglu<D: Device>(device: &D) -> Results {
    let mut results = Results::new();
    for e in BOTH {
        let (rows, width) = (7, 45);
        let mut gate_up = upload(device, e, rows * 2 * width, 1);
        device.scale(20.0, ViewMut::all(&mut gate_up).part(0..50)).unwrap();
        let mut out = device.zeros(e, rows * width).unwrap();
        device.swiglu(View::all(&gate_up), width, ViewMut::all(&mut out)).unwrap();
        let d_out = upload(device, e, rows * width, 2);
        let mut back = device.zeros(e, rows * 2 * width).unwrap();
        let to = ViewMut::all(&mut back);
        device.swiglu_backward(View::all(&d_out), View::all(&gate_up), width, to).unwrap();
        results.push((format!("swiglu {e}"), download(device, &out)));
        results.push((format!("swiglu backward {e}"), download(device, &back)));
    }
    results
}

pub(crate) fn square_sum<D: Device>(device: &D) -> Results {
    let run = |dtype, n| {
        let x = upload(device, dtype, n, 1);
        let sum = device.square_sum(View::all(&x)).unwrap();
        // The bits in two halves, exactly.
        let halves = [(sum.to_bits() >> 32) as u32, sum.to_bits() as u32];
        (format!("square_sum {dtype} {n}"), halves.map(f32::from_bits).into())
    };
    BOTH.iter().flat_map(|it| [0, 1, 7, 4096, 4099, 40_000].map(|n| run(*it, n))).collect()
}

pub(crate) fn adamw<D: Device>(device: &D) -> Results {
    let mut results = Results::new();
    // Masters of each kind, moments of each kind; whole blocks of bytes and not, from places of whole fours and
    // not.
    let masters =
        [(Dtype::F32, None), (Dtype::Bf16, Some(Dtype::F32)), (Dtype::Bf16, Some(Dtype::Bf16))];
    let moments = [OptimStates::F32, OptimStates::Bf16, OptimStates::EightBit];
    let kinds = masters.iter().flat_map(|it| moments.map(|kept| (*it, kept)));
    let sizes = [(1003, 2), (1024, 512), (777, 1), (40, 256)];
    for (((dtype, kind), kept), (n, first)) in kinds.flat_map(|it| sizes.map(|n| (it, n))) {
        let mut weight = upload(device, dtype, n, 1);
        let mut master = upload(device, kind.unwrap_or(Dtype::F32), n, 1);
        let new = || device.zeros(kept.dtype(), kept.len(n)).unwrap();
        let (mut m, mut v, mut gradient) = (new(), new(), upload(device, Dtype::F32, n, 4));
        for step in 1..=3 {
            let numbers = AdamW {
                learning_rate: 1e-2,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 0.1,
                step,
                factor: 0.7,
                random: Random::new(5, step),
                first,
            };
            // Some are small beside the others of their block, and some are nothing.
            let some = ViewMut::all(&mut gradient).part(n / 3..n / 2);
            device.scale(if step == 2 { 0.0 } else { 1e-3 }, some).unwrap();
            let state = State {
                weight: ViewMut::all(&mut weight),
                master: kind.map(|_| ViewMut::all(&mut master)),
                m: ViewMut::all(&mut m),
                v: ViewMut::all(&mut v),
                gradient: View::all(&gradient),
            };
            device.adamw(numbers, state).unwrap();
        }
        for (what, it) in [("weight", &weight), ("master", &master), ("m", &m), ("v", &v)] {
            let name = format!("adamw {dtype} {kind:?} {kept:?} {n} {what}");
            results.push((name, download(device, it)));
        }
    }
    results
}

/// A product of operands that are columns of wider rows.
pub(crate) fn product<D: Device>(
    device: &D,
    (form, start): (Form, Start),
    (m, n, k): (usize, usize, usize),
    [a, b, c]: [Dtype; 3],
) -> Vec<f32> {
    let [a_size, b_size, c_size] = match form {
        Form::Xwt => [(m, k), (n, k), (m, n)],
        Form::Dyw => [(m, n), (n, k), (m, k)],
        Form::Dytx => [(m, n), (m, k), (n, k)],
    };
    // Wide enough to keep rows of bf16 at multiples of 16 bytes, as the weights of a model are.
    let wider = |columns: usize| (columns + 8).next_multiple_of(8);
    let new = |dtype, (rows, columns): (usize, usize), seed| {
        upload(device, dtype, rows * wider(columns), seed)
    };
    let (a, b, mut c) = (new(a, a_size, 1), new(b, b_size, 2), new(c, c_size, 3));
    let (a, b) = (View::all(&a).rows(wider(a_size.1)), View::all(&b).rows(wider(b_size.1)));
    let product = Product { form, a: a.columns(0..a_size.1), b: b.columns(0..b_size.1), start };
    let to = ViewMut::all(&mut c).rows(wider(c_size.1)).columns(0..c_size.1);
    device.matmul(product, to).unwrap();
    download(device, &c)
}

pub(crate) const FORMS: [Form; 3] = [Form::Xwt, Form::Dyw, Form::Dytx];

pub(crate) fn matmul<D: Device>(device: &D) -> Results {
    let mut results = Results::new();
    let types = [
        [Dtype::F32; 3],
        [Dtype::F32, Dtype::Bf16, Dtype::F32],
        [Dtype::Bf16, Dtype::F32, Dtype::Bf16],
    ];
    for (form, types) in FORMS.into_iter().flat_map(|form| types.map(|it| (form, it))) {
        for shape in [(1, 1, 1), (5, 67, 33), (70, 16, 129)] {
            for start in [Start::Zero, Start::Add] {
                let numbers = product(device, (form, start), shape, types);
                results.push((format!("matmul {form:?} {start:?} {shape:?} {types:?}"), numbers));
            }
        }
    }
    results
}

/// Products with what comes right after them: residuals, turns, gates.
pub(crate) fn fused<D: Device>(device: &D, e: Dtype, w: Dtype) -> Results {
    fused_or_not(device, (e, w), AtOnce::Yes)
}

/// Of bf16, with many rows: a residual, a rope, gates.
pub(crate) fn one_fused<D: Device>(device: &D, which: usize) -> Results {
    let part = [fused_residual, fused_rope, fused_swiglu][which];
    part(device, (Dtype::Bf16, Dtype::Bf16), (131, 72, 128, 136), AtOnce::Yes)
}

/// The same, one operation after another.
pub(crate) fn one_after_another<D: Device>(device: &D, e: Dtype, w: Dtype) -> Results {
    fused_or_not(device, (e, w), AtOnce::No)
}

#[derive(Clone, Copy, PartialEq)]
enum AtOnce {
    Yes,
    No,
}

/// `x wᵀ`, where it is to be a product alone.
fn alone<D: Device>(
    device: &D,
    (a, b): Pair<'_, D::Buffer>,
    to: ViewMut<'_, D::Buffer>,
    start: Start,
) {
    let product = Product { form: Form::Xwt, a, b, start };
    device.matmul(product, to.rows(b.rows)).unwrap();
}

fn fused_or_not<D: Device>(device: &D, types: (Dtype, Dtype), at_once: AtOnce) -> Results {
    let shapes = [(70, 72, 128, 136), (131, 24, 128, 8), (5, 40, 8, 24)];
    let all = shapes
        .into_iter()
        .flat_map(|it| [fused_residual, fused_rope, fused_swiglu].map(|part| (it, part)));
    all.flat_map(|(shape, part)| part(device, types, shape, at_once)).collect()
}

/// Rows, what is summed over, the width of a head, and of a result.
type Fused = (usize, usize, usize, usize);

fn fused_residual<D: Device>(
    device: &D,
    (e, w): (Dtype, Dtype),
    (rows, hidden, _, wide): Fused,
    at_once: AtOnce,
) -> Results {
    let (x, from) = (upload(device, e, rows * hidden, 1), upload(device, e, rows * wide, 2));
    let weight = upload(device, w, wide * hidden, 3);
    let mut out = device.zeros(e, rows * wide).unwrap();
    let pair = (View::all(&x).rows(hidden), View::all(&weight).rows(hidden));
    let (from, mut to) = (View::all(&from), ViewMut::all(&mut out));
    if at_once == AtOnce::Yes {
        device.matmul_residual(from, pair, to).unwrap();
    } else {
        device.copy(from, to.again()).unwrap();
        alone(device, pair, to, Start::Add);
    }
    vec![(format!("fused {e} {w} {rows} onto"), download(device, &out))]
}

fn fused_rope<D: Device>(
    device: &D,
    (e, w): (Dtype, Dtype),
    (rows, hidden, dim, _): Fused,
    at_once: AtOnce,
) -> Results {
    let heads = Heads { query: 2, kv: 1, dim };
    let table = RopeTable::new(device, 10_000.0, dim, 40).unwrap();
    let positions: Vec<u32> = (0..rows as u32).map(|it| it * 7 % 40).collect();
    let positions = device.upload(&positions).unwrap();
    let x = upload(device, e, rows * hidden, 1);
    let weight = upload(device, w, heads.row() * hidden, 4);
    let mut qkv = device.zeros(e, rows * heads.row()).unwrap();
    let rope = (View::all(&positions), table.with_heads(heads, Direction::Forward));
    let pair = (View::all(&x).rows(hidden), View::all(&weight).rows(hidden));
    let mut to = ViewMut::all(&mut qkv);
    if at_once == AtOnce::Yes {
        device.matmul_rope(pair, to, rope).unwrap();
    } else {
        alone(device, pair, to.again(), Start::Zero);
        device.rope(to, rope.0, rope.1).unwrap();
    }
    vec![(format!("fused {e} {w} {rows} turned"), download(device, &qkv))]
}

fn fused_swiglu<D: Device>(
    device: &D,
    (e, w): (Dtype, Dtype),
    (rows, hidden, _, wide): Fused,
    at_once: AtOnce,
) -> Results {
    let x = upload(device, e, rows * hidden, 1);
    let weight = upload(device, w, 2 * wide * hidden, 5);
    let mut gates = device.zeros(e, rows * 2 * wide).unwrap();
    let mut product = device.zeros(e, rows * wide).unwrap();
    let pair = (View::all(&x).rows(hidden), View::all(&weight).rows(hidden));
    let (mut to, out) = (ViewMut::all(&mut gates), ViewMut::all(&mut product));
    if at_once == AtOnce::Yes {
        device.matmul_swiglu(pair, to, out).unwrap();
    } else {
        alone(device, pair, to.again(), Start::Zero);
        device.swiglu(to.read(), wide, out).unwrap();
    }
    let name = format!("fused {e} {w} {rows}");
    vec![
        (format!("{name} gates"), download(device, &gates)),
        (format!("{name} products of gates"), download(device, &product)),
    ]
}

/// Attention forward and backward in the types of a device's activations.
pub(crate) fn attention<D: Device>(device: &D, e: Dtype, heads: Heads, spans: &[u32]) -> Results {
    let rows = *spans.last().unwrap() as usize;
    let qkv = upload(device, e, rows * heads.row(), 1);
    let (mut out, mut lse) = (
        device.zeros(e, rows * heads.out()).unwrap(),
        device.zeros(Dtype::F32, rows * heads.query).unwrap(),
    );
    let given = AttentionForward { qkv: View::all(&qkv), spans, heads };
    device.attention(given, ViewMut::all(&mut out), ViewMut::all(&mut lse)).unwrap();
    let d_out = upload(device, e, rows * heads.out(), 2);
    let mut d_qkv = device.zeros(e, rows * heads.row()).unwrap();
    let given = AttentionBackward {
        d_out: View::all(&d_out),
        out: View::all(&out),
        qkv: View::all(&qkv),
        lse: View::all(&lse),
        spans,
        heads,
    };
    device.attention_backward(given, ViewMut::all(&mut d_qkv)).unwrap();
    let name = format!("attention {e} {heads:?} {spans:?}");
    [("out", &out), ("lse", &lse), ("d_qkv", &d_qkv)]
        .map(|(what, it)| (format!("{name} {what}"), download(device, it)))
        .into()
}

/// The heads and sequences that attention is tried with.
pub(crate) fn attentions() -> Vec<(Heads, Vec<u32>)> {
    let heads = |query, kv, dim| Heads { query, kv, dim };
    vec![
        (heads(1, 1, 2), vec![0, 1]),
        (heads(4, 2, 6), vec![0, 3, 3, 36, 70]),
        (heads(6, 2, 40), vec![0, 65]),
        (heads(8, 1, 128), vec![0, 33, 40]),
    ]
}

/// Those with heads of the widths that tensor cores take.
pub(crate) fn tensor_attentions() -> Vec<(Heads, Vec<u32>)> {
    let heads = |query, kv, dim| Heads { query, kv, dim };
    vec![
        (heads(1, 1, 16), vec![0, 1]),
        (heads(6, 2, 48), vec![0, 3, 3, 36, 110]),
        (heads(8, 1, 128), vec![0, 70, 81]),
        (heads(4, 2, 80), vec![0, 129]),
    ]
}

/// Those with heads of the widths that Hopper's warpgroups take, over several of their tiles.
pub(crate) fn hopper_attentions() -> Vec<(Heads, Vec<u32>)> {
    let heads = |query, kv, dim| Heads { query, kv, dim };
    vec![
        (heads(1, 1, 64), vec![0, 1]),
        (heads(4, 2, 64), vec![0, 70, 70, 81, 345]),
        (heads(2, 1, 128), vec![0, 200]),
    ]
}

/// Prefill in parts, decoding, and a block that is copied before it is written.
pub(crate) fn paged<D: Device>(device: &D, e: Dtype, dim: usize) -> Results {
    let heads = Heads { query: 4, kv: 2, dim };
    let shape = CacheShape { layers: 2, blocks: 7, kv_heads: heads.kv, head_dim: heads.dim };
    let mut cache = device.cache(shape).unwrap();
    let run = |first_row, rows, past, blocks: &[u32]| Run {
        first_row,
        rows,
        past,
        blocks: blocks.to_vec(),
    };
    let steps = [
        vec![run(0, 40, 0, &[5, 1]), run(40, 3, 0, &[2])],
        vec![run(0, 1, 40, &[5, 1]), run(1, 31, 3, &[2, 6]), run(32, 1, 40, &[5, 3])],
    ];
    let mut results = Results::new();
    for (n, runs) in steps.iter().enumerate() {
        if n == 1 {
            device.cache_copy(&mut cache, 1, 3).unwrap();
        }
        let rows = runs.iter().map(|it| it.rows).sum::<usize>();
        for layer in 0..2 {
            let qkv = upload(device, e, rows * heads.row(), (10 * n + layer) as u32);
            let tokens = || Tokens { qkv: View::all(&qkv), heads, runs };
            device.cache_append(&mut cache, layer, tokens()).unwrap();
            let mut out = device.zeros(e, rows * heads.out()).unwrap();
            device.attention_paged(&cache, layer, tokens(), ViewMut::all(&mut out)).unwrap();
            results.push((format!("paged {e} step {n} layer {layer}"), download(device, &out)));
        }
    }
    results
}

pub(crate) fn cross_entropy<D: Device>(device: &D, e: Dtype, w: Dtype) -> Results {
    [77, 600].map(|vocabulary| cross_entropy_of(device, (e, w), vocabulary)).concat()
}

fn cross_entropy_of<D: Device>(device: &D, (e, w): (Dtype, Dtype), vocabulary: usize) -> Results {
    let (rows, width) = (9, 24);
    let (hidden, head) =
        (upload(device, e, rows * width, 1), upload(device, w, vocabulary * width, 2));
    let targets = [3, 76, IGNORE, 0, 9, IGNORE, 8, 8, 8];
    let targets = device.upload(&targets).unwrap();
    let given = || LinearCrossEntropy {
        hidden: View::all(&hidden),
        head: View::all(&head).rows(width),
        targets: View::all(&targets),
        scale: 0.25,
    };
    let mut nll = upload(device, Dtype::F32, rows, 3);
    device.cross_entropy(given(), ViewMut::all(&mut nll), None).unwrap();
    let mut results =
        vec![(format!("cross_entropy {e} {w} {vocabulary} alone"), download(device, &nll))];
    let mut d_hidden = upload(device, e, rows * width, 4);
    let mut d_head = upload(device, Dtype::F32, vocabulary * width, 5);
    let gradients = Gradients {
        d_hidden: ViewMut::all(&mut d_hidden),
        d_head: Some(ViewMut::all(&mut d_head).rows(width)),
    };
    device.cross_entropy(given(), ViewMut::all(&mut nll), Some(gradients)).unwrap();
    for (what, it) in [("nll", &nll), ("d_hidden", &d_hidden), ("d_head", &d_head)] {
        results.push((format!("cross_entropy {e} {w} {vocabulary} {what}"), download(device, it)));
    }
    results
}

/// Products of bf16, which tensor cores make.
/// How many products each number of the result is the sum of.
fn depth(form: Form, (m, n, k): (usize, usize, usize)) -> usize {
    match form {
        Form::Xwt => k,
        Form::Dyw => n,
        Form::Dytx => m,
    }
}

pub(crate) fn tensor_products<D: Device>(device: &D) -> Results {
    let mut results = Results::new();
    for (form, c) in FORMS.into_iter().flat_map(|form| BOTH.map(|c| (form, c))) {
        for shape in [
            (1, 8, 16),
            (16, 72, 40),
            (5, 130, 260),
            (50, 66, 70),
            (131, 140, 77),
            (20, 24, 700),
            (700, 20, 24),
        ] {
            for start in [Start::Zero, Start::Add] {
                let numbers = product(device, (form, start), shape, [Dtype::Bf16, Dtype::Bf16, c]);
                let depth = depth(form, shape);
                results.push((format!("tensor {form:?} {start:?} {shape:?} {depth} {c}"), numbers));
            }
        }
    }
    results
}

/// Products of f32 with bf16, which tensor cores make of what is nearest.
pub(crate) fn mixed_products<D: Device>(device: &D) -> Results {
    let (f32, bf16) = (Dtype::F32, Dtype::Bf16);
    let types = [[bf16, f32, f32], [f32, bf16, f32], [f32, f32, bf16]];
    let run = |(form, types): (Form, [Dtype; 3])| {
        let numbers = product(device, (form, Start::Add), (37, 3, 50), types);
        (format!("mixed {form:?} {types:?}"), numbers)
    };
    FORMS.into_iter().flat_map(|form| types.map(|it| (form, it))).map(run).collect()
}
