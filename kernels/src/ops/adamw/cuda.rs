//! Launches of `kernel.cu`.

use super::{AdamW, Numbers, State};
use crate::cuda::{
    Arg, Cuda, CudaBuffer, Grid, Kernel, Pointer, Source, Variant, pointer, pointer_mut,
};
use crate::error::{check_dtype, check_len};
use crate::{Dtype, Result};

const SOURCE: Source = Source::new("adamw", include_str!("kernel.cu"));

const EACH: usize = 4; // kernel.cu: EACH, where all lies at multiples of 16 bytes

/// How the file is compiled.
pub(crate) fn variants() -> Vec<Variant> {
    let all = ["0", "1", "2"].map(|master| ["1", "4"].map(|each| (master, each)));
    let all = all.into_iter().flatten();
    all.map(|it| Variant::new(&SOURCE, &[("MASTER", it.0), ("EACH", it.1)])).collect()
}

pub(crate) fn step(cuda: &Cuda, step: AdamW, state: State<'_, CudaBuffer>) -> Result<()> {
    let len = state.weight.len();
    let (master, exact, low) = checked(&state)?;
    let State { weight, m, v, gradient, .. } = state;
    let pointers =
        [exact, low, pointer_mut(&weight), pointer_mut(&m), pointer_mut(&v), pointer(&gradient)];
    let is_aligned = len.is_multiple_of(EACH) && pointers.iter().all(|it| it.is_multiple_of(16));
    let (each, each_text) = if is_aligned { (EACH, "4") } else { (1, "1") };
    let defines = [("MASTER", master), ("EACH", each_text)];
    let kernel = Kernel { source: &SOURCE, function: "adamw", defines: &defines };
    let numbers = Numbers::from(step).in_order().map(Arg::F32);
    let args = [&pointers.map(Arg::Pointer)[..], &[Arg::Size(len)], &numbers].concat();
    // SAFETY: `adamw(float*, u16*, bf16*, float*, float*, const float*, size_t, eight floats)`; lengths and
    // types were checked. What a kind of masters does not have is a null pointer that is not used.
    unsafe { cuda.launch(kernel, Grid::each(len / each), &args) }
}

/// The kind of masters, as `kernel.cu` names it, and where the exact weights and their low halves are.
fn checked(state: &State<'_, CudaBuffer>) -> Result<(&'static str, Pointer, Pointer)> {
    const OP: &str = "adamw";
    let State { weight, master, m, v, gradient } = state;
    let len = weight.len();
    for (name, got) in [("m", m.len()), ("v", v.len()), ("gradient", gradient.len())] {
        check_len(OP, name, got, len)?;
    }
    for (name, got) in [("m", m.dtype()), ("v", v.dtype()), ("gradient", gradient.dtype())] {
        check_dtype(OP, name, got, Dtype::F32)?;
    }
    let Some(master) = master else {
        check_dtype(OP, "weight", weight.dtype(), Dtype::F32)?;
        return Ok(("0", pointer_mut(weight), 0));
    };
    check_dtype(OP, "weight", weight.dtype(), Dtype::Bf16)?;
    check_len(OP, "master", master.len(), len)?;
    if master.dtype() == Dtype::Bf16 {
        return Ok(("2", 0, pointer_mut(master)));
    }
    check_dtype(OP, "master", master.dtype(), Dtype::F32)?;
    Ok(("1", pointer_mut(master), 0))
}
