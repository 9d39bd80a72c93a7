//! Launches of `kernel.cu`.

use super::{AdamW, Numbers, State};
use crate::cuda::{Arg, Cuda, CudaBuffer, Grid, Kernel, Source, Variant, pointer, pointer_mut};
use crate::error::{check_dtype, check_len};
use crate::{Dtype, Result};

const SOURCE: Source = Source::new("adamw", include_str!("kernel.cu"));

/// How the file is compiled.
pub(crate) fn variants() -> Vec<Variant> {
    ["0", "1"].map(|master| Variant::new(&SOURCE, &[("MASTER", master)])).into()
}

pub(crate) fn step(cuda: &Cuda, step: AdamW, state: State<'_, CudaBuffer>) -> Result<()> {
    const OP: &str = "adamw";
    let State { weight, master, m, v, gradient } = state;
    let len = weight.len();
    for (name, got) in [("m", m.len()), ("v", v.len()), ("gradient", gradient.len())] {
        check_len(OP, name, got, len)?;
    }
    for (name, got) in [("m", m.dtype()), ("v", v.dtype()), ("gradient", gradient.dtype())] {
        check_dtype(OP, name, got, Dtype::F32)?;
    }
    let (flag, exact) = match &master {
        None => {
            check_dtype(OP, "weight", weight.dtype(), Dtype::F32)?;
            ("0", pointer_mut(&weight))
        }
        Some(master) => {
            check_dtype(OP, "weight", weight.dtype(), Dtype::Bf16)?;
            check_dtype(OP, "master", master.dtype(), Dtype::F32)?;
            check_len(OP, "master", master.len(), len)?;
            ("1", pointer_mut(master))
        }
    };
    let defines = [("MASTER", flag)];
    let kernel = Kernel { source: &SOURCE, function: "adamw", defines: &defines };
    let pointers =
        [exact, pointer_mut(&weight), pointer_mut(&m), pointer_mut(&v), pointer(&gradient)];
    let numbers = Numbers::from(step).in_order().map(Arg::F32);
    let args = [&pointers.map(Arg::Pointer)[..], &[Arg::Size(len)], &numbers].concat();
    // SAFETY: `adamw(float*, bf16*, float*, float*, const float*, size_t, eight floats)`; lengths and
    // types were checked. Without a master the second pointer is not used.
    unsafe { cuda.launch(kernel, Grid::each(len), &args) }
}
