//! Launches of `kernel.cu`.

use super::moments::BLOCK;
use super::{AdamW, Numbers, OptimStates, State};
use crate::cuda::{Arg, Cuda, CudaBuffer, Grid, Kernel, Source, Variant, pointer, pointer_mut};
use crate::{Dtype, Result};

const SOURCE: Source = Source::new("adamw", include_str!("kernel.cu"));

const EACH: usize = 4; // kernel.cu: EACH
const EACH_OF_BYTES: usize = 8; // kernel.cu: EACH
const WARP: usize = 32;

/// How the file is compiled.
pub(crate) fn variants() -> Vec<Variant> {
    const KINDS: [&str; 3] = ["0", "1", "2"];
    let all = KINDS.iter().flat_map(|master| KINDS.map(|moments| (*master, moments)));
    let all = all.flat_map(|(master, moments)| ["0", "1"].map(|wide| (master, moments, wide)));
    let variant = |(master, moments, wide)| {
        Variant::new(&SOURCE, &[("MASTER", master), ("MOMENTS", moments), ("WIDE", wide)])
    };
    all.map(variant).collect()
}

pub(crate) fn step(cuda: &Cuda, step: AdamW, state: State<'_, CudaBuffer>) -> Result<()> {
    state.check()?;
    let State { weight, master, m, v, gradient } = state;
    let (len, rounded) = (weight.len(), pointer_mut(&weight));
    let (kind, exact, low) = match master {
        None => ("0", rounded, 0),
        Some(it) if it.dtype() == Dtype::Bf16 => ("2", 0, pointer_mut(&it)),
        Some(it) => ("1", pointer_mut(&it), 0),
    };
    let (moments, each, threads) = match OptimStates::of(m.dtype()) {
        Some(OptimStates::EightBit) => ("2", EACH_OF_BYTES, len.div_ceil(BLOCK) * WARP),
        Some(OptimStates::Bf16) => ("1", EACH, len),
        _ => ("0", EACH, len),
    };
    let pointers = [exact, low, rounded, pointer_mut(&m), pointer_mut(&v), pointer(&gradient)];
    let is_wide = len.is_multiple_of(each)
        && step.first.is_multiple_of(EACH as u64)
        && pointers.iter().all(|it| it.is_multiple_of(16));
    let threads = if is_wide && moments != "2" { threads / EACH } else { threads };
    let wide = if is_wide { "1" } else { "0" };
    let defines = [("MASTER", kind), ("MOMENTS", moments), ("WIDE", wide)];
    let kernel = Kernel { source: &SOURCE, function: "adamw", defines: &defines };
    let (key, stream) = step.random.words();
    let numbers = Numbers::from(step).in_order().map(Arg::F32);
    let places = [step.first, key, stream].map(Arg::U64);
    let args = [&pointers.map(Arg::Pointer)[..], &[Arg::Size(len)], &places, &numbers].concat();
    // SAFETY: `adamw(float*, u16*, bf16*, Kept*, Kept*, const float*, size_t, three u64, eight floats)`;
    // lengths and types were checked. What a kind of masters does not have is not used: null, or `exact` again.
    unsafe { cuda.launch(kernel, Grid::each(threads), &args) }
}
