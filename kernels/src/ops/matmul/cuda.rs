//! Launches of `kernel.cu`.

use super::{Form, Product, Shape, Start, shape};
use crate::cuda::{
    Arg, Cuda, CudaBuffer, Grid, Kernel, Pointer, Source, Variant, pointer, pointer_mut, type_name,
};
use crate::device::{Matrix, MatrixMut};
use crate::error::check_matrix;
use crate::{Dtype, Result};

const SOURCE: Source = Source { name: "matmul", text: include_str!("kernel.cu") };
const OP: &str = "matmul";
const TILE: usize = 64; // kernel.cu: TILE
const THREADS: u32 = 256; // kernel.cu: THREADS
const SHARED: usize = 2 * 16 * (TILE + 4) * size_of::<f32>(); // kernel.cu: two of [STEPS][ROW]

/// Rows on the device.
#[derive(Clone, Copy)]
pub(crate) struct Operand {
    pub(crate) at: Pointer,
    pub(crate) stride: usize,
    pub(crate) dtype: Dtype,
}

impl Operand {
    /// A matrix that lies in its view.
    pub(crate) fn new(it: &Matrix<'_, CudaBuffer>, name: &'static str) -> Result<Self> {
        check_matrix(OP, name, (it.rows, it.columns, it.stride), it.view.len())?;
        Ok(Self { at: pointer(&it.view), stride: it.stride, dtype: it.view.dtype() })
    }

    /// One that is written.
    pub(crate) fn new_mut(it: &MatrixMut<'_, CudaBuffer>, name: &'static str) -> Result<Self> {
        check_matrix(OP, name, (it.rows, it.columns, it.stride), it.view.len())?;
        Ok(Self { at: pointer_mut(&it.view), stride: it.stride, dtype: it.view.dtype() })
    }
}

/// How the files are compiled.
pub(crate) fn variants(e: &str) -> Vec<Variant> {
    let mut all = Vec::new();
    for form in ["0", "1", "2"] {
        // Exact activations meet weights of both types; gradients of weights are f32.
        let types: &[[&str; 3]] = match (e, form) {
            ("float", "2") => &[["float", "float", "float"]],
            ("float", _) => &[["float", "float", "float"], ["float", "bf16", "float"]],
            _ => &[],
        };
        for [a, b, c] in types {
            let defines = [("A", *a), ("B", *b), ("C", *c), ("FORM", form)];
            all.push(Variant::new(&SOURCE, &defines));
        }
    }
    all
}

pub(crate) fn matmul(
    cuda: &Cuda,
    product: Product<'_, CudaBuffer>,
    out: MatrixMut<'_, CudaBuffer>,
) -> Result<()> {
    let Product { form, a, b, start } = product;
    let sizes = [(a.rows, a.columns), (b.rows, b.columns), (out.rows, out.columns)];
    let shape = shape(form, sizes[0], sizes[1], sizes[2])?;
    let operands = [Operand::new(&a, "a")?, Operand::new(&b, "b")?, Operand::new_mut(&out, "out")?];
    // SAFETY: the three matrices have the sizes that make the shape and lie in their views.
    unsafe { multiply(cuda, form, shape, operands, start) }
}

/// The product of operands that are known to fit.
///
/// # Safety
///
/// `a`, `b` and `out` lie in buffers that the caller borrows and are as large as form and shape say;
/// `out` overlaps neither.
pub(crate) unsafe fn multiply(
    cuda: &Cuda,
    form: Form,
    shape: Shape,
    [a, b, out]: [Operand; 3],
    start: Start,
) -> Result<()> {
    let form = match form {
        Form::Xwt => "0",
        Form::Dyw => "1",
        Form::Dytx => "2",
    };
    let defines = [
        ("A", type_name(a.dtype, OP, "a")?),
        ("B", type_name(b.dtype, OP, "b")?),
        ("C", type_name(out.dtype, OP, "out")?),
        ("FORM", form),
    ];
    let kernel = Kernel { source: &SOURCE, function: "matmul", defines: &defines };
    let Shape { rows, columns, depth } = shape;
    let pointers = [a.at, b.at, out.at].map(Arg::Pointer);
    let sizes = [rows, columns, depth, a.stride, b.stride, out.stride].map(Arg::Size);
    let add = Arg::U32(u32::from(start == Start::Add));
    let blocks = (columns.div_ceil(TILE), rows.div_ceil(TILE));
    let grid = Grid { blocks, threads: THREADS, shared_bytes: SHARED };
    // SAFETY: `matmul(const A*, const B*, C*, six sizes, u32)`; the rest is the caller's promise.
    unsafe { cuda.launch(kernel, grid, &[&pointers[..], &sizes, &[add]].concat()) }
}
