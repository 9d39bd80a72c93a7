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
const PAIRS: usize = 2 * THREADS as usize / 32; // kernel.cu: `Running`, one for each warp
/// Rows of a chunk where products are fast: enough that adding to the head's gradient does not show.
const ROWS: usize = 2048;
const OP: &str = "cross_entropy";

/// How the file is compiled.
pub(crate) fn variants(e: &str) -> Vec<Variant> {
    ["0", "1"].map(|back| Variant::new(&SOURCE, &[("E", e), ("BACK", back)])).into()
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
    /// Whether all products can go through tensor cores. Then gradients of logits are bf16 and lie where
    /// the logits do, at twice the stride.
    in_place: bool,
    d_hidden: Option<Pointer>,
    d_head: Option<Operand>,
}

/// Memory of a chunk.
struct Memory<'a> {
    hidden: Piece<'a>,           // [rows, width]
    logits: Piece<'a>,           // [rows, vocabulary], f32; and their gradients
    d_hidden: Option<Piece<'a>>, // [rows, width], f32
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
    let most = rows_at_once(given.vocabulary, given.in_place).min(cuda.at_least(counted.len()));
    let back = given.d_hidden.is_some();
    let memory = Memory {
        hidden: cuda.scratch(given.dtype, most * given.width)?,
        logits: cuda.scratch(Dtype::F32, most * given.vocabulary)?,
        d_hidden: back.then(|| cuda.scratch(Dtype::F32, most * given.width)).transpose()?,
    };
    counted.chunks(most).try_for_each(|it| chunk(cuda, &given, it, &memory))
}

/// Rows of a chunk.
pub(crate) fn rows_at_once(vocabulary: usize, in_place: bool) -> usize {
    if in_place { ROWS } else { chunk_rows(vocabulary) }
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
        in_place: both,
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
    let half = Operand { stride: 2 * vocabulary, dtype: Dtype::Bf16, ..logits };
    let gradients = if given.in_place { half } else { logits };
    let e = type_name(given.dtype, OP, "hidden")?;
    let defines = [("E", e), ("BACK", if back { "1" } else { "0" })];
    let kernel = |function| Kernel { source: &SOURCE, function, defines: &defines };
    let grid = Grid { blocks: (rows, 1), threads: THREADS, shared_bytes: PARTS * size_of::<f32>() };
    let args = [given.hidden, list, hidden.at].map(Arg::Pointer);
    // SAFETY: `gather(const E*, const u32*, E*, size_t)`: the list names rows of `hidden`, and a chunk has
    // room for as many.
    unsafe { cuda.launch(kernel("gather"), grid, &[&args[..], &[Arg::Size(width)]].concat()) }?;
    let shape = Shape { rows, columns: vocabulary, depth: width };
    // SAFETY: the pieces have room for `rows`, and the head is `[vocabulary, width]`.
    unsafe { multiply(cuda, Form::Xwt, shape, [hidden, given.head, logits], Start::Zero) }?;
    // SAFETY: the logits were just made.
    unsafe { loss(cuda, given, kernel, (logits.at, list, rows)) }?;
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

/// The losses of a chunk, and the gradients of its logits where the kernel has them.
///
/// # Safety
///
/// `logits` are `rows` rows of the vocabulary, `list` names as many rows of targets and losses, and targets
/// are below the vocabulary.
unsafe fn loss<'k>(
    cuda: &Cuda,
    given: &Given,
    kernel: impl Fn(&'static str) -> Kernel<'k>,
    (logits, list, rows): (Pointer, Pointer, usize),
) -> Result<()> {
    let last = [Arg::Size(given.vocabulary), Arg::F32(given.scale)];
    let args = [&[logits, given.targets, list, given.nll].map(Arg::Pointer)[..], &last].concat();
    let (function, floats) =
        if given.in_place { ("loss_in_place", PAIRS) } else { ("loss", PARTS) };
    let shared_bytes = floats * size_of::<f32>();
    let grid = Grid { blocks: (rows, 1), threads: THREADS, shared_bytes };
    // SAFETY: `(float*, const u32*, const u32*, float*, size_t, float)`; the rest is the caller's promise.
    unsafe { cuda.launch(kernel(function), grid, &args) }
}
