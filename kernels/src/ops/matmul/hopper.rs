//! Launches of `hopper.cu`.

use super::cuda::{Fast, Operand, number, texts};
use super::{Form, Shape};
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

    /// Types, form, tile, and what is fused.
    fn defines(&self, c: &str, form: Form, fused: usize) -> [(&'static str, String); 5] {
        [
            ("C", c.to_owned()),
            ("FORM", number(form).to_owned()),
            ("CONSUMERS", self.consumers.to_string()),
            ("COLUMNS", self.columns.to_string()),
            ("FUSED", fused.to_string()),
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
            all.push(Variant::new(&SOURCE, &texts(&tile.defines(c, form, 0))));
        }
    }
    let fused = |it| Variant::new(&SOURCE, &texts(&TILES[1].defines("bf16", Form::Xwt, it)));
    all.extend([1, 2].map(fused));
    all
}

impl Operand {
    /// As a matrix of which boxes are copied that are `lines` rows of 64 numbers.
    pub(crate) fn boxed(&self, (rows, columns): (usize, usize), lines: usize) -> Boxed {
        let (length, lines) = (STEP as u32, lines as u32);
        Boxed { at: self.at, rows, columns, stride: self.stride, lines, length }
    }
}

impl Fast {
    /// # Safety
    ///
    /// As for [`Fast::multiply`], and the sum has steps.
    pub(super) unsafe fn by_hopper(self, cuda: &Cuda) -> Result<()> {
        let Self { form, shape, operands: [a, b, out], from, after } = self;
        let Shape { rows, columns, depth } = shape;
        let tile = Tile::of(rows);
        let fused = after.number();
        let parts = after.parts();
        let a = match form {
            Form::Xwt | Form::Dyw => a.boxed((rows, depth), tile.rows()),
            Form::Dytx => a.boxed((depth, rows), STEP),
        };
        let b = match form {
            Form::Xwt => b.boxed((columns * parts, depth), tile.columns / parts),
            Form::Dyw | Form::Dytx => b.boxed((depth, columns), STEP),
        };
        let mut args = vec![Arg::Map(cuda.map(a)?), Arg::Map(cuda.map(b)?)];
        args.extend([from, out.at].map(Arg::Pointer));
        args.extend([rows, columns, depth, out.stride].map(Arg::Size));
        args.extend(after.args(cuda));
        let numbers = STAGES * (tile.rows() + tile.columns) * STEP;
        let grid = Grid {
            blocks: (rows.div_ceil(tile.rows()) * columns.div_ceil(tile.columns / parts), 1),
            threads: 128 * (tile.consumers as u32 + 1),
            shared_bytes: numbers * Dtype::Bf16.bytes() + BARRIERS,
        };
        let defines = tile.defines(type_name(out.dtype, "matmul", "out")?, form, fused);
        let kernel = Kernel { source: &SOURCE, function: "matmul", defines: &texts(&defines) };
        // SAFETY: `matmul(TensorMap, TensorMap, const C*, C*, four sizes, …)`, and what comes after; the maps are
        // of the operands, the rest is the caller's promise.
        unsafe { cuda.launch(kernel, grid, &args) }
    }
}
