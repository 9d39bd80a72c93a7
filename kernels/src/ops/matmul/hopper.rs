//! Launches of `hopper.cu`.

use super::cuda::Operand;
use super::{Form, Shape, Start};
use crate::cuda::{Arg, Boxed, Cuda, Grid, Kernel, Source, Variant, type_name};
use crate::{Dtype, Result};

const SOURCE: Source = Source::hopper("matmul.hopper", include_str!("hopper.cu"));
const STAGES: usize = 4; // hopper.cu: STAGES
const STEP: usize = 64; // hopper.cu: STEP
const BARRIERS: usize = 2 * STAGES * size_of::<u64>();

/// The tile of a block of threads: 64 rows for each warpgroup that multiplies.
struct Tile {
    consumers: usize,
    columns: usize,
}

/// Tiles for few rows and for many. Which one is taken does not show in the bits.
const TILES: [Tile; 2] = [Tile { consumers: 1, columns: 64 }, Tile { consumers: 2, columns: 256 }];

impl Tile {
    fn of(rows: usize) -> &'static Self {
        if rows <= 64 { &TILES[0] } else { &TILES[1] }
    }

    fn rows(&self) -> usize {
        64 * self.consumers
    }

    /// Types, form and tile.
    fn defines(&self, c: &str, form: Form) -> [(&'static str, String); 4] {
        let form = form as usize; // hopper.cu: FORM
        [
            ("C", c.to_owned()),
            ("FORM", form.to_string()),
            ("CONSUMERS", self.consumers.to_string()),
            ("COLUMNS", self.columns.to_string()),
        ]
    }
}

/// How the file is compiled.
pub(super) fn variants() -> Vec<Variant> {
    let mut all = Vec::new();
    for (tile, form) in
        TILES.iter().flat_map(|it| [Form::Xwt, Form::Dyw, Form::Dytx].map(|form| (it, form)))
    {
        for c in ["float", "bf16"] {
            let defines = tile.defines(c, form);
            let defines: Vec<_> = defines.iter().map(|(name, it)| (*name, it.as_str())).collect();
            all.push(Variant::new(&SOURCE, &defines));
        }
    }
    all
}

/// A matrix of which boxes of 64 numbers are copied: of `lines` rows where rows are summed along, else of
/// 64 rows.
fn boxed(it: &Operand, (rows, columns): (usize, usize), lines: usize) -> Boxed {
    let (length, lines) = (STEP as u32, lines as u32);
    Boxed { at: it.at, rows, columns, stride: it.stride, lines, length }
}

/// # Safety
///
/// As for [`super::cuda::multiply`]; and the operands are aligned bf16.
pub(super) unsafe fn multiply(
    cuda: &Cuda,
    form: Form,
    shape: Shape,
    [a, b, out]: [Operand; 3],
    start: Start,
) -> Result<()> {
    let Shape { rows, columns, depth } = shape;
    let tile = Tile::of(rows);
    let a = match form {
        Form::Xwt | Form::Dyw => boxed(&a, (rows, depth), tile.rows()),
        Form::Dytx => boxed(&a, (depth, rows), STEP),
    };
    let b = match form {
        Form::Xwt => boxed(&b, (columns, depth), tile.columns),
        Form::Dyw | Form::Dytx => boxed(&b, (depth, columns), STEP),
    };
    let mut args = vec![Arg::Map(cuda.map(a)?), Arg::Map(cuda.map(b)?), Arg::Pointer(out.at)];
    args.extend([rows, columns, depth, out.stride].map(Arg::Size));
    args.push(Arg::U32(u32::from(start == Start::Add)));
    let numbers = STAGES * (tile.rows() + tile.columns) * STEP;
    let grid = Grid {
        blocks: (rows.div_ceil(tile.rows()) * columns.div_ceil(tile.columns), 1),
        threads: 128 * (tile.consumers as u32 + 1),
        shared_bytes: numbers * Dtype::Bf16.bytes() + BARRIERS,
    };
    let defines = tile.defines(type_name(out.dtype, "matmul", "out")?, form);
    let defines: Vec<_> = defines.iter().map(|(name, it)| (*name, it.as_str())).collect();
    let kernel = Kernel { source: &SOURCE, function: "matmul", defines: &defines };
    // SAFETY: `matmul(TensorMap, TensorMap, C*, four sizes, u32)`; the maps are of the operands, the rest is
    // the caller's promise.
    unsafe { cuda.launch(kernel, grid, &args) }
}
