//! Mistakes that are planted in kernels, and that the emulator has to find: each kind by what should.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kernels::cuda::Numerics;
use kernels::{Cpu, Cuda, Device, Dtype};

use crate::cases::{self, Results};
use crate::emulator::{Emulator, emulator};

/// What finds a mistake.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Finds {
    /// Other numbers than the processor's, in some order of warps.
    Numbers,
    /// The guards of buffers.
    Guards,
    /// A launch that cannot go on.
    Launch,
}

/// A text of a kernel that is replaced by another, where it stands for the n-th time.
struct Mistake {
    what: &'static str,
    file: &'static str,
    text: &'static str,
    nth: usize,
    by: &'static str,
    finds: Finds,
    on_cuda: fn(&Cuda) -> Results,
    on_cpu: fn(&Cpu) -> Results,
}

fn attention<D: Device>(device: &D) -> Results {
    let (heads, spans) = &cases::attentions()[1];
    cases::attention(device, Dtype::F32, *heads, spans)
}

fn paged<D: Device>(device: &D) -> Results {
    cases::paged(device, Dtype::F32)
}

fn cross_entropy<D: Device>(device: &D) -> Results {
    cases::cross_entropy(device, Dtype::F32, Dtype::F32)
}

macro_rules! mistake {
    ($what:literal, $file:literal, $text:literal[$nth:literal] => $by:literal, $finds:ident, $case:path) => {
        Mistake {
            what: $what,
            file: $file,
            text: $text,
            nth: $nth,
            by: $by,
            finds: Finds::$finds,
            on_cuda: $case,
            on_cpu: $case,
        }
    };
}

/// In the kernels for all types.
const EXACT: &[Mistake] = &[
    mistake!("no barrier before parts are read", "cross_entropy", "__syncthreads();"[0] => "", Numbers, cross_entropy),
    mistake!("no barrier before the logits change", "cross_entropy", "__syncthreads();"[1] => "", Numbers, cross_entropy),
    mistake!("no barrier before a tile is overwritten", "matmul", "__syncthreads();"[0] => "", Numbers, cases::matmul),
    mistake!("no barrier before a tile is read", "matmul", "__syncthreads();"[1] => "", Numbers, cases::matmul),
    mistake!("no barrier before queries are overwritten", "attention.backward", "__syncthreads();"[0] => "", Numbers, attention),
    mistake!("no barrier before weights are read", "attention.backward", "__syncthreads();"[2] => "", Numbers, attention),
    mistake!("half of a warp waits for all", "square_sum", "sum += __shfl"[0] => "if (lane < 4) sum += __shfl", Launch, cases::square_sum),
    mistake!("threads end before the others shuffle", "rms_norm", "square = tree(square);"[0] => "if (!here) return; square = tree(square);", Launch, cases::rms_norm),
    mistake!("a barrier for one warp alone", "cross_entropy", "__syncthreads();"[2] => "if (threadIdx.x < 32) __syncthreads();", Numbers, cross_entropy),
    mistake!("one number too many", "elementwise", "i < n;"[1] => "i <= n;", Guards, one_sum),
    mistake!("one row too many", "matmul", "at_row < rows &&"[1] => "at_row <= rows &&", Guards, one_product),
    mistake!("a query does not see itself", "attention", "at.position + 1 -"[0] => "at.position -", Numbers, paged),
    mistake!("the backward pass sees a key too few", "attention.backward", "key + j <= query"[0] => "key + j < query", Numbers, attention),
    mistake!("the last block of keys is left out", "attention", "n <= at.position / BLOCK"[0] => "n < at.position / BLOCK", Numbers, paged),
    mistake!("a wrong head of keys", "attention", "head / (heads.query / heads.kv)"[0] => "head % heads.kv", Numbers, paged),
    mistake!("a sum that is rounded twice", "rms_norm", "fmaf(wide(from[i]), wide(from[i]), square)"[0] => "wide(from[i]) * wide(from[i]) + square", Numbers, cases::rms_norm),
    mistake!("sums that are not rounded alike", "adamw", "fmaf(g * g, one_less_beta2, v[i] * beta2)"[0] => "g * g * one_less_beta2 + v[i] * beta2", Numbers, cases::adamw),
    mistake!("a random word off by one", "dropout", "place - first >= n"[0] => "place - first > n", Guards, one_dropout),
    mistake!("rows that are added in no order", "embedding", "row = first; row < rows; ++row"[0] => "row = rows; row-- > first;", Numbers, cases::embedding),
    mistake!("keys into the wrong place of a block", "paged", "at[1] % BLOCK"[0] => "(at[1] + 1) % BLOCK", Numbers, paged),
    mistake!("values of the wrong sign", "rope", "-turned"[0] => "turned", Numbers, cases::rope),
    mistake!("gate and up exchanged", "swiglu", "at + width"[0] => "at", Numbers, cases::swiglu),
];

/// A sum over a whole buffer, so that what is beside it is no buffer's.
fn one_sum<D: Device>(device: &D) -> Results {
    let (x, mut to) =
        (cases::upload(device, Dtype::F32, 65, 1), cases::upload(device, Dtype::F32, 64, 2));
    let some = kernels::View::all(&x).part(0..64);
    device.add(some, kernels::ViewMut::all(&mut to)).unwrap();
    vec![("one sum".into(), cases::download(device, &to))]
}

fn one_dropout<D: Device>(device: &D) -> Results {
    let mut to = cases::upload(device, Dtype::F32, 61, 2);
    let random = kernels::random::Random::new(1, 2);
    let given = kernels::ops::dropout::Dropout { random, first: 0, share: 0.5 };
    device.dropout(given, kernels::ViewMut::all(&mut to)).unwrap();
    vec![("one dropout".into(), cases::download(device, &to))]
}

fn one_product<D: Device>(device: &D) -> Results {
    use kernels::ops::matmul::{Form, Product, Start};
    let (a, b) = (
        cases::upload(device, Dtype::F32, 70 * 20, 1),
        cases::upload(device, Dtype::F32, 9 * 20, 2),
    );
    let mut c = cases::upload(device, Dtype::F32, 70 * 9, 3);
    let (a, b) = (kernels::View::all(&a).rows(20), kernels::View::all(&b).rows(20));
    let product = Product { form: Form::Xwt, a, b, start: Start::Zero };
    device.matmul(product, kernels::ViewMut::all(&mut c).rows(9)).unwrap();
    vec![("one product".into(), cases::download(device, &c))]
}

/// Orders of warps in which a mistake may hide.
const SEEDS: std::ops::Range<u64> = 0..4;

/// What finds it; nothing if nothing does.
fn found(it: &Emulator, mistake: &Mistake) -> Option<Finds> {
    let Mistake { file, text, nth, by, .. } = *mistake;
    let edit = move |name: &str, kernel: &str| match kernel.match_indices(text).nth(nth) {
        Some((at, _)) if name == file => [&kernel[..at], by, &kernel[at + text.len()..]].concat(),
        None if name == file => panic!("`{text}` stands nowhere in {file}"),
        _ => kernel.to_owned(),
    };
    let cuda = it.edited(Numerics::Exact, Arc::new(edit));
    let want = (mistake.on_cpu)(&Cpu::new(1).unwrap());
    for seed in SEEDS {
        it.set_seed(seed);
        let got = catch_unwind(AssertUnwindSafe(|| (mistake.on_cuda)(&cuda)));
        let failure = it.failure();
        it.set_seed(0);
        it.repair();
        let bits = |it: &Results| -> Vec<u32> {
            it.iter().flat_map(|it| it.1.iter().map(|it| it.to_bits())).collect()
        };
        match got {
            Ok(got) if bits(&got) == bits(&want) => {}
            Ok(_) => return Some(Finds::Numbers),
            Err(_) if failure.contains("wrote beside") => return Some(Finds::Guards),
            Err(_) => {
                assert!(!failure.is_empty(), "{}", mistake.what);
                return Some(Finds::Launch);
            }
        }
    }
    None
}

fn all_are_found(mistakes: &[Mistake]) {
    let Some(it) = emulator() else { return };
    let missed: Vec<String> = mistakes
        .iter()
        .map(|mistake| (mistake, found(it, mistake)))
        .filter(|(mistake, found)| *found != Some(mistake.finds))
        .map(|(mistake, found)| format!("{}: {}: {found:?}", mistake.file, mistake.what))
        .collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn planted_mistakes_are_found() {
    all_are_found(EXACT);
}
