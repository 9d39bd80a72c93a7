//! Launches of `kernel.cu`, and of `tensor.cu` where both operands are bf16.

use super::after::After;
use super::{Form, Product, Shape, Start, hopper, shape};
use crate::cuda::{
    Arg, Cuda, CudaBuffer, Grid, Kernel, Pointer, Source, Variant, pointer, pointer_mut, type_name,
};
use crate::device::{Matrix, MatrixMut};
use crate::error::check_matrix;
use crate::{Dtype, Result};

const SOURCE: Source = Source::new("matmul", include_str!("kernel.cu"));
const OP: &str = "matmul";
const TILE: usize = 64; // kernel.cu: TILE
const THREADS: u32 = 256; // kernel.cu: THREADS
const SHARED: usize = 2 * 16 * (TILE + 4) * size_of::<f32>(); // kernel.cu: two of [STEPS][ROW]

const TENSOR: Source = Source::new("matmul.tensor", include_str!("tensor.cu"));
const STAGES: usize = 4; // tensor.cu: STAGES

/// The tile of a block of threads in `tensor.cu`.
struct Tile {
    rows: usize,
    columns: usize,
    step: usize,
    /// How many warps share its rows, and its columns.
    warps: (usize, usize),
}

/// Tiles for few rows and for many. Which one is taken does not show in the bits.
const TILES: [Tile; 3] = [
    Tile { rows: 16, columns: 64, step: 128, warps: (1, 4) },
    Tile { rows: 64, columns: 64, step: 64, warps: (2, 2) },
    Tile { rows: 128, columns: 128, step: 32, warps: (2, 4) },
];

impl Tile {
    /// The smallest that has all rows, or the largest.
    fn of(rows: usize) -> &'static Self {
        TILES.iter().find(|it| rows <= it.rows).unwrap_or(&TILES[TILES.len() - 1])
    }

    /// Types, form, what is fused, and the tile.
    fn defines(&self, c: &str, form: Form, fused: usize) -> [(&'static str, String); 8] {
        let (rows, columns) = self.warps;
        [
            ("C", c.to_owned()),
            ("FORM", number(form).to_owned()),
            ("FUSED", fused.to_string()),
            ("ROWS", self.rows.to_string()),
            ("COLUMNS", self.columns.to_string()),
            ("STEP", self.step.to_string()),
            ("ROW_WARPS", rows.to_string()),
            ("COLUMN_WARPS", columns.to_string()),
        ]
    }

    fn grid(&self, shape: Shape) -> Grid {
        let blocks = shape.rows.div_ceil(self.rows) * shape.columns.div_ceil(self.columns);
        let numbers = STAGES * (self.rows + self.columns) * self.step;
        let threads = 32 * (self.warps.0 * self.warps.1) as u32;
        Grid { blocks: (blocks, 1), threads, shared_bytes: numbers * size_of::<u16>() }
    }
}

/// Rows on the device.
#[derive(Clone, Copy)]
pub(crate) struct Operand {
    pub(crate) at: Pointer,
    pub(crate) stride: usize,
    pub(crate) dtype: Dtype,
}

impl Operand {
    /// Whether its rows can be copied 16 bytes at a time.
    pub(crate) fn is_aligned(&self) -> bool {
        self.dtype == Dtype::Bf16 && self.stride.is_multiple_of(8) && self.at.is_multiple_of(16)
    }

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
    for form in [Form::Xwt, Form::Dyw, Form::Dytx] {
        // Exact activations meet weights of both types; gradients of weights are f32.
        let types: &[[&str; 3]] = match (e, form) {
            ("float", Form::Dytx) => &[["float", "float", "float"]],
            ("float", _) => &[["float", "float", "float"], ["float", "bf16", "float"]],
            _ => &[],
        };
        for [a, b, c] in types {
            let defines = [("A", *a), ("B", *b), ("C", *c), ("FORM", number(form))];
            all.push(Variant::new(&SOURCE, &defines));
        }
        let tiles = TILES.iter().filter(|it| e == "bf16" && (form == Form::Xwt || it.rows == 128));
        for (tile, c) in tiles.flat_map(|it| ["float", "bf16"].map(|c| (it, c))) {
            all.push(Variant::new(&TENSOR, &texts(&tile.defines(c, form, 0))));
        }
    }
    if e == "bf16" {
        let tile = &TILES[TILES.len() - 1];
        let fused = |it| Variant::new(&TENSOR, &texts(&tile.defines("bf16", Form::Xwt, it)));
        all.extend([1, 2].map(fused));
        all.extend(hopper::variants());
    }
    all
}

/// What is defined, as it is handed on.
pub(super) fn texts<'a>(defines: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    defines.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

pub(crate) fn matmul(
    cuda: &Cuda,
    product: Product<'_, CudaBuffer>,
    out: MatrixMut<'_, CudaBuffer>,
) -> Result<()> {
    let Product { form, a, b, start } = product;
    let sizes = [(a.rows, a.columns), (b.rows, b.columns), (out.rows, out.columns)];
    let shape = shape(form, sizes[0], sizes[1], sizes[2])?;
    let (a_at, b_at) = (Operand::new(&a, "a")?, Operand::new(&b, "b")?);
    let out = Operand::new_mut(&out, "out")?;
    // Products of f32 with bf16, such as those of adapters, are products of bf16 where these are fast; those
    // of f32 alone, of which nothing is bf16, stay what they are.
    let has_bf16 = [a_at, b_at, out].iter().any(|it| it.dtype == Dtype::Bf16);
    let narrow = cuda.has_tensor_cores() && has_bf16;
    let mut pieces = Vec::new();
    let mut narrowed = |it: Operand, (rows, columns): (usize, usize), room: usize| {
        if !narrow || it.dtype != Dtype::F32 {
            return Ok(it);
        }
        // SAFETY: the operand lies in its view, which the caller borrows.
        let (piece, stride) = unsafe { cuda.as_bf16(it.at, (rows, columns, it.stride), room) }?;
        let at = pointer(&piece.view());
        pieces.push(piece);
        Ok(Operand { at, stride, dtype: Dtype::Bf16 })
    };
    // Rows of activations may be more another time, those of weights are not.
    let (rows, of_b) = (cuda.at_least(0), if form == Form::Dytx { cuda.at_least(0) } else { 0 });
    let operands = [narrowed(a_at, sizes[0], rows)?, narrowed(b_at, sizes[1], of_b)?, out];
    // SAFETY: the three matrices have the sizes that make the shape and lie in their views, or in pieces that
    // live until the product is launched.
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
    if cuda.has_tensor_cores() && a.is_aligned() && b.is_aligned() {
        let from = if start == Start::Add { out.at } else { 0 };
        let it = Fast { form, shape, operands: [a, b, out], from, after: After::Nothing };
        // SAFETY: the caller's promise.
        return unsafe { it.multiply(cuda) };
    }
    let form = number(form);
    let Shape { rows, columns, depth } = shape;
    let pointers = [a.at, b.at, out.at].map(Arg::Pointer);
    let sizes = [rows, columns, depth, a.stride, b.stride, out.stride].map(Arg::Size);
    let add = Arg::U32(u32::from(start == Start::Add));
    let args = [&pointers[..], &sizes, &[add]].concat();
    let c = type_name(out.dtype, OP, "out")?;
    let (a, b) = (type_name(a.dtype, OP, "a")?, type_name(b.dtype, OP, "b")?);
    let defines = [("A", a), ("B", b), ("C", c), ("FORM", form)];
    let kernel = Kernel { source: &SOURCE, function: "matmul", defines: &defines };
    let blocks = (columns.div_ceil(TILE), rows.div_ceil(TILE));
    let grid = Grid { blocks, threads: THREADS, shared_bytes: SHARED };
    // SAFETY: `matmul(const A*, const B*, C*, six sizes, u32)`; the rest is the caller's promise.
    unsafe { cuda.launch(kernel, grid, &args) }
}

/// The form as kernels know it.
pub(super) fn number(form: Form) -> &'static str {
    match form {
        Form::Xwt => "0",
        Form::Dyw => "1",
        Form::Dytx => "2",
    }
}

/// A product by tensor cores.
pub(super) struct Fast {
    pub(super) form: Form,
    pub(super) shape: Shape,
    /// `a`, `b` and `out`.
    pub(super) operands: [Operand; 3],
    /// What the sums begin with; null is zero.
    pub(super) from: Pointer,
    /// What is done to them before they are written.
    pub(super) after: After,
}

impl Fast {
    /// # Safety
    ///
    /// As for [`multiply`], and `from` is null or as large as `out` and lies in such rows, perhaps where
    /// `out` does; `a` and `b` are aligned bf16; what comes after has what kernels read and write, and then
    /// `out` is aligned bf16 with [`super::after::FEWEST_ROWS`] rows or more.
    pub(super) unsafe fn multiply(self, cuda: &Cuda) -> Result<()> {
        if cuda.is_hopper() && self.shape.depth > 0 {
            // SAFETY: the caller's promise.
            return unsafe { self.by_hopper(cuda) };
        }
        let Self { form, shape, operands: [a, b, out], from, after } = self;
        let Shape { rows, columns, depth } = shape;
        let pointers = [a.at, b.at, from, out.at].map(Arg::Pointer);
        let sizes = [rows, columns, depth, a.stride, b.stride, out.stride].map(Arg::Size);
        let tile = Tile::of(rows);
        let defines = tile.defines(type_name(out.dtype, OP, "out")?, form, after.number());
        let grid = tile.grid(Shape { columns: columns * after.parts(), ..shape });
        let args = [&pointers[..], &sizes, &after.args(cuda)].concat();
        let kernel = Kernel { source: &TENSOR, function: "matmul", defines: &texts(&defines) };
        // SAFETY: `matmul(const bf16*, const bf16*, const C*, C*, six sizes, …)`, and what comes after; the rest
        // is the caller's promise.
        unsafe { cuda.launch(kernel, grid, &args) }
    }
}
