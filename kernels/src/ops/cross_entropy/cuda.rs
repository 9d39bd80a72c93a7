//! The chunks of the processor's twin, with products and losses on the device.

use super::{Gradients, IGNORE, LinearCrossEntropy, chunk_rows};
use crate::cuda::{
    Arg, Cuda, CudaBuffer, Grid, Kernel, Piece, Pointer, Source, Variant, pointer, pointer_mut,
    type_name,
};
use crate::device::{Device, ViewMut};
use crate::error::{check_dtype, check_len};
use crate::ops::matmul::cuda::{Operand, multiply};
use crate::ops::matmul::{Form, Shape, Start};
use crate::{Dtype, Error, Result};

const SOURCE: Source = Source::new("cross_entropy", include_str!("kernel.cu"));
const THREADS: u32 = 256; // kernel.cu: THREADS
const PARTS: usize = THREADS as usize / 32 + 1; // kernel.cu: `parts`
const OP: &str = "cross_entropy";

/// How the file is compiled.
pub(crate) fn variants(e: &str) -> Vec<Variant> {
    ["0", "1"].map(|back| Variant::new(&SOURCE, &[("E", e), ("G", e), ("BACK", back)])).into()
}

/// Addresses, sizes and types, after all checks.
struct Given {
    hidden: Pointer,
    head: Operand,
    targets: Pointer,
    nll: Pointer,
    width: usize,
    vocabulary: usize,
    scale: f32,
    /// Of hidden states.
    dtype: Dtype,
    /// Of the gradients of logits: bf16 where all products can go through tensor cores.
    gradient: Dtype,
    d_hidden: Option<Pointer>,
    d_head: Option<Operand>,
}

/// Memory of a chunk.
struct Memory<'a> {
    hidden: Piece<'a>,            // [rows, width]
    logits: Piece<'a>,            // [rows, vocabulary], f32
    gradients: Option<Piece<'a>>, // [rows, vocabulary], where they are not f32
    d_hidden: Option<Piece<'a>>,  // [rows, width], f32
}

pub(crate) fn cross_entropy(
    cuda: &Cuda,
    given: LinearCrossEntropy<'_, CudaBuffer>,
    nll: ViewMut<'_, CudaBuffer>,
    gradients: Option<Gradients<'_, CudaBuffer>>,
) -> Result<()> {
    let targets: Vec<u32> = cuda.read(given.targets)?;
    check_targets(&targets, given.head.rows)?;
    check_len(OP, "nll", nll.len(), targets.len())?;
    check_dtype(OP, "nll", nll.dtype(), Dtype::F32)?;
    cuda.clear_range(nll.buffer, nll.start..nll.start + nll.len)?;
    if let Some(it) = &gradients {
        let it = &it.d_hidden;
        cuda.clear_range(it.buffer, it.start..it.start + it.len)?;
    }
    let given = checked(cuda, &given, &nll, gradients.as_ref())?;
    let counted: Vec<u32> =
        (0..).zip(&targets).filter(|it| *it.1 != IGNORE).map(|it| it.0).collect();
    let most = chunk_rows(given.vocabulary).min(counted.len()).max(1);
    let some =
        |wanted: bool, dtype, width| wanted.then(|| cuda.scratch(dtype, most * width)).transpose();
    let back = given.d_hidden.is_some();
    let memory = Memory {
        hidden: cuda.scratch(given.dtype, most * given.width)?,
        logits: cuda.scratch(Dtype::F32, most * given.vocabulary)?,
        gradients: some(back && given.gradient != Dtype::F32, given.gradient, given.vocabulary)?,
        d_hidden: some(back, Dtype::F32, given.width)?,
    };
    counted.chunks(most).try_for_each(|it| chunk(cuda, &given, it, &memory))
}

fn check_targets(targets: &[u32], len: usize) -> Result<()> {
    match targets.iter().find(|it| **it != IGNORE && **it as usize >= len) {
        Some(it) => {
            let index = *it as usize;
            Err(Error::Index { op: OP, buffer: "targets", index, len })
        }
        None => Ok(()),
    }
}

/// That lengths and types fit.
fn checked(
    cuda: &Cuda,
    given: &LinearCrossEntropy<'_, CudaBuffer>,
    nll: &ViewMut<'_, CudaBuffer>,
    gradients: Option<&Gradients<'_, CudaBuffer>>,
) -> Result<Given> {
    let LinearCrossEntropy { hidden, head, targets, scale } = given;
    let (width, vocabulary, dtype) = (head.columns, head.rows, hidden.dtype());
    check_len(OP, "hidden", hidden.len(), targets.len() * width)?;
    type_name(dtype, OP, "hidden")?;
    let mut d_head = None;
    if let Some(it) = gradients {
        check_len(OP, "d_hidden", it.d_hidden.len(), hidden.len())?;
        check_dtype(OP, "d_hidden", it.d_hidden.dtype(), dtype)?;
        if let Some(it) = &it.d_head {
            check_len(OP, "d_head", it.rows * it.columns, vocabulary * width)?;
            check_dtype(OP, "d_head", it.view.dtype(), Dtype::F32)?;
            d_head = Some(Operand::new_mut(it, "d_head")?);
        }
    }
    let head = Operand::new(head, "head")?;
    let both = cuda.has_tensor_cores() && [dtype, head.dtype] == [Dtype::Bf16; 2];
    Ok(Given {
        hidden: pointer(hidden),
        head,
        targets: pointer(targets),
        nll: pointer_mut(nll),
        width,
        vocabulary,
        scale: *scale,
        dtype,
        gradient: if both { Dtype::Bf16 } else { Dtype::F32 },
        d_hidden: gradients.map(|it| pointer_mut(&it.d_hidden)),
        d_head,
    })
}

/// The rows of one chunk.
fn chunk(cuda: &Cuda, given: &Given, counted: &[u32], memory: &Memory<'_>) -> Result<()> {
    let (rows, width, vocabulary) = (counted.len(), given.width, given.vocabulary);
    let list = cuda.table(counted.to_vec())?;
    let list = pointer(&list.view());
    let back = given.d_hidden.is_some();
    let row = |of: &Piece<'_>, stride, dtype| Operand { at: pointer(&of.view()), stride, dtype };
    let hidden = row(&memory.hidden, width, given.dtype);
    let logits = row(&memory.logits, vocabulary, Dtype::F32);
    let gradients =
        memory.gradients.as_ref().map_or(logits, |it| row(it, vocabulary, given.gradient));
    let defines = [
        ("E", type_name(given.dtype, OP, "hidden")?),
        ("G", type_name(if back { gradients.dtype } else { Dtype::F32 }, OP, "gradients")?),
        ("BACK", if back { "1" } else { "0" }),
    ];
    let kernel = |function| Kernel { source: &SOURCE, function, defines: &defines };
    let grid = Grid { blocks: (rows, 1), threads: THREADS, shared_bytes: PARTS * size_of::<f32>() };
    let args = [given.hidden, list, hidden.at].map(Arg::Pointer);
    // SAFETY: `gather(const E*, const u32*, E*, size_t)`: the list names rows of `hidden`, and a chunk has
    // room for as many.
    unsafe { cuda.launch(kernel("gather"), grid, &[&args[..], &[Arg::Size(width)]].concat()) }?;
    let shape = Shape { rows, columns: vocabulary, depth: width };
    // SAFETY: the pieces have room for `rows`, and the head is `[vocabulary, width]`.
    unsafe { multiply(cuda, Form::Xwt, shape, [hidden, given.head, logits], Start::Zero) }?;
    let pointers = [logits.at, gradients.at, given.targets, list, given.nll].map(Arg::Pointer);
    let args = [&pointers[..], &[Arg::Size(vocabulary), Arg::F32(given.scale)]].concat();
    // SAFETY: `loss(float*, G*, const u32*, const u32*, float*, size_t, float)`: targets are below the
    // vocabulary, the list names rows of `targets` and `nll`.
    unsafe { cuda.launch(kernel("loss"), grid, &args) }?;
    let (Some(to), Some(piece)) = (given.d_hidden, &memory.d_hidden) else { return Ok(()) };
    if let Some(d_head) = given.d_head {
        let shape = Shape { rows: vocabulary, columns: width, depth: rows };
        // SAFETY: as above; `d_head` is `[vocabulary, width]`.
        unsafe { multiply(cuda, Form::Dytx, shape, [gradients, hidden, d_head], Start::Add) }?;
    }
    let d_hidden = row(piece, width, Dtype::F32);
    let shape = Shape { rows, columns: width, depth: vocabulary };
    // SAFETY: as above.
    unsafe { multiply(cuda, Form::Dyw, shape, [gradients, given.head, d_hidden], Start::Zero) }?;
    let args = [d_hidden.at, list, to].map(Arg::Pointer);
    // SAFETY: `scatter(const float*, const u32*, E*, size_t)`: the list names rows of `d_hidden`.
    unsafe { cuda.launch(kernel("scatter"), grid, &[&args[..], &[Arg::Size(width)]].concat()) }
}
