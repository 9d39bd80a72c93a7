//! Launches of `product.cu`, `hopper.cu`, `kernel.cu` and `attention.cu`.

use super::{Attending, DecodeQkv, FEATURES, Norm, Parts, Places, STEP, cpu, cut, workspace_len};
use crate::cuda::{
    Arg, Cuda, CudaBuffer, CudaPacked, Fault, Graph, Grid, Kernel, Source, Variant, pointer,
    pointer_mut, type_name,
};
use crate::decode::Decode;
use crate::device::{Matrix, View, ViewMut};
use crate::error::{check_dtype, check_len};
use crate::ops::attention::Heads;
use crate::ops::matmul::cuda::Operand;
use crate::ops::paged::CudaCache;
use crate::ops::rope::Rope;
use crate::ops::sample::{self, Given, Pick, SampleError};
use crate::{Dtype, Error, Result};

const SOURCE: Source = Source::new("decode", include_str!("kernel.cu"));
const PRODUCT: Source = Source::new("decode.product", include_str!("product.cu"));
const HOPPER: Source = Source::hopper("decode.hopper", include_str!("hopper.cu"));
const ATTENTION: Source = Source::new("decode.attention", include_str!("attention.cu"));

const THREADS: u32 = 128; // product.cu, ../attention/tensor.cuh: THREADS
const STAGES: usize = 4; // product.cu: STAGES
const HOPPER_THREADS: u32 = 160; // hopper.cu: __launch_bounds__
const HOPPER_STAGES: [usize; 2] = [6, 4]; // for up to 64 rows, and for more
const BARRIERS: usize = 2 * size_of::<u64>(); // hopper.cu: `full` and `empty`, of a stage
const NORM_THREADS: u32 = 512; // kernel.cu: NORM_THREADS
const KEYS: usize = 64; // attention.cu: KEYS
const HEADS: usize = 8; // attention.cu: HEADS
const WARPS: usize = 4; // attention.cu: WARPS
const WIDEST: usize = 128; // a wider head's sums have no workspace in registers

/// Rows of a block of threads, by the path; which one is taken does not show in the bits.
const TILES: [usize; 5] = [8, 16, 32, 64, 128];
const HOPPER_TILES: [usize; 6] = [8, 16, 32, 64, 128, 256];

/// The smallest that has all rows, or the largest.
fn tile(rows: usize, tiles: &[usize]) -> usize {
    tiles.iter().copied().find(|it| rows <= *it).unwrap_or(tiles[tiles.len() - 1])
}

fn hopper_stages(tile: usize) -> usize {
    HOPPER_STAGES[usize::from(tile > 64)]
}

/// How the files are compiled.
pub(crate) fn variants(e: &str) -> Vec<Variant> {
    if e != "bf16" {
        return Vec::new();
    }
    let mut all: Vec<Variant> =
        ["bf16", "float"].map(|g| Variant::new(&SOURCE, &finish(e, g))).into();
    all.push(Variant::new(&SOURCE, &finish("float", "float")));
    all.extend(TILES.map(|it| Variant::new(&PRODUCT, &[("TILE_ROWS", &it.to_string())])));
    all.extend(HOPPER_TILES.map(|it| {
        let (n, stages) = (it.to_string(), hopper_stages(it).to_string());
        Variant::new(&HOPPER, &[("TILE_ROWS", &n), ("STAGES", &stages)])
    }));
    all.push(Variant::new(&ATTENTION, &[("DIM", "128")]));
    all
}

/// What is defined for `kernel.cu`.
fn finish<'a>(e: &'a str, g: &'a str) -> [(&'static str, &'a str); 3] {
    [("E", e), ("G", g), ("K", e)]
}

/// Whether products with this weight are made by tensor cores, in parts.
fn is_cut(cuda: &Cuda, weight: &CudaPacked) -> bool {
    let it = weight.rows();
    cuda.has_tensor_cores() && it.view.dtype() == Dtype::Bf16 && it.columns.is_multiple_of(8)
}

impl Decode for Cuda {
    type Graph = Graph;

    fn decodes(&self, heads: Heads) -> bool {
        self.has_tensor_cores()
            && heads.dim.is_multiple_of(16)
            && heads.dim <= WIDEST
            && heads.group() <= HEADS
    }

    fn decode_parts(&self, weight: &CudaPacked) -> usize {
        let it = weight.rows();
        if is_cut(self, weight) { cut(it.rows, it.columns).0 } else { 1 }
    }

    fn decode_product(
        &self,
        x: Matrix<'_, CudaBuffer>,
        weight: &CudaPacked,
        parts: ViewMut<'_, CudaBuffer>,
    ) -> Result<()> {
        const OP: &str = "decode_product";
        if !is_cut(self, weight) {
            return cpu::product(self, x, weight, parts);
        }
        let w = weight.rows();
        let (n_parts, each) = cut(w.rows, w.columns);
        check_len(OP, "x columns", x.columns, w.columns)?;
        check_len(OP, "parts", parts.len(), n_parts * x.rows * w.rows)?;
        check_dtype(OP, "parts", parts.dtype(), Dtype::F32)?;
        let (features, rows, depth) = (w.rows, x.rows, w.columns);
        let (x, w) = (Operand::new(&x, "x")?, Operand::new(&w, "weight")?);
        if !x.is_aligned() {
            return Err(Error::Dtype { op: OP, buffer: "x", got: x.dtype });
        }
        let given = Cut { operands: [w, x], sizes: [features, rows, depth], n_parts, each };
        // SAFETY: both operands lie in their views, and `parts` has a number for each part, row and
        // feature; rows are copied 16 bytes at a time, which was just asked of `x` and follows for the
        // weight from its columns.
        unsafe {
            if self.is_hopper() {
                given.by_hopper(self, &parts)
            } else {
                given.portable(self, &parts)
            }
        }
    }

    fn decode_total(
        &self,
        parts: Parts<'_, CudaBuffer>,
        out: ViewMut<'_, CudaBuffer>,
    ) -> Result<()> {
        const OP: &str = "decode_total";
        check_parts(OP, parts, out.len())?;
        let e = type_name(out.dtype(), OP, "out")?;
        let kernel = Kernel { source: &SOURCE, function: "total", defines: &finish(e, e) };
        let args = [
            Arg::Pointer(pointer(&parts.numbers)),
            Arg::Pointer(pointer_mut(&out)),
            Arg::Size(out.len()),
            Arg::U32(parts.parts as u32),
        ];
        // SAFETY: `total(const float*, E*, size_t, u32)` with that many parts of that many numbers.
        unsafe { self.launch(kernel, Grid::each(out.len()), &args) }
    }

    fn decode_gate(
        &self,
        parts: Parts<'_, CudaBuffer>,
        width: usize,
        out: ViewMut<'_, CudaBuffer>,
    ) -> Result<()> {
        const OP: &str = "decode_gate";
        let rows = out.len() / width.max(1);
        check_len(OP, "out", out.len(), rows * width)?;
        check_parts(OP, parts, rows * 2 * width)?;
        let e = type_name(out.dtype(), OP, "out")?;
        let kernel = Kernel { source: &SOURCE, function: "gate", defines: &finish(e, e) };
        let args = [
            Arg::Pointer(pointer(&parts.numbers)),
            Arg::Pointer(pointer_mut(&out)),
            Arg::Size(rows),
            Arg::Size(width),
            Arg::U32(parts.parts as u32),
        ];
        // SAFETY: `gate(const float*, E*, size_t, size_t, u32)` with that many parts of rows twice as wide.
        unsafe { self.launch(kernel, Grid::each(out.len()), &args) }
    }

    fn decode_norm(
        &self,
        given: Norm<'_, CudaBuffer>,
        x: ViewMut<'_, CudaBuffer>,
        out: ViewMut<'_, CudaBuffer>,
    ) -> Result<()> {
        const OP: &str = "decode_norm";
        let Norm { parts, gain, eps } = given;
        let (width, rows) = (gain.len(), x.len() / gain.len().max(1));
        check_len(OP, "x", x.len(), rows * width)?;
        check_len(OP, "out", out.len(), rows * width)?;
        check_dtype(OP, "out", out.dtype(), x.dtype())?;
        if let Some(it) = parts {
            check_parts(OP, it, rows * width)?;
        }
        let defines = finish(type_name(x.dtype(), OP, "x")?, type_name(gain.dtype(), OP, "gain")?);
        let kernel = Kernel { source: &SOURCE, function: "add_norm", defines: &defines };
        let (numbers, n_parts) =
            parts.map_or((pointer_mut(&x), 0), |it| (pointer(&it.numbers), it.parts as u32));
        let pointers = [numbers, pointer_mut(&x), pointer(&gain), pointer_mut(&out)];
        let sizes = [Arg::Size(rows), Arg::Size(width), Arg::U32(n_parts), Arg::F32(eps)];
        let shared_bytes = NORM_THREADS as usize / 32 * size_of::<f32>(); // kernel.cu: `squares`
        let grid = Grid { blocks: (rows, 1), threads: NORM_THREADS, shared_bytes };
        // SAFETY: `add_norm(const float*, E*, const G*, E*, size_t, size_t, u32, float)`; lengths and types were
        // checked, and without parts the first is not looked at.
        unsafe { self.launch(kernel, grid, &[&pointers.map(Arg::Pointer)[..], &sizes].concat()) }
    }

    fn decode_qkv(
        &self,
        given: DecodeQkv<'_, CudaBuffer>,
        (cache, layer): (&mut CudaCache, usize),
        queries: ViewMut<'_, CudaBuffer>,
    ) -> Result<()> {
        const OP: &str = "decode_qkv";
        let DecodeQkv { parts, rope: Rope { cosines, sines, heads, direction: _ }, places } = given;
        let rows = check_places(OP, places)?;
        check_cache(OP, cache, layer, heads)?;
        check_parts(OP, parts, rows * heads.row())?;
        check_len(OP, "queries", queries.len(), rows * heads.out())?;
        check_dtype(OP, "queries", queries.dtype(), cache.dtype())?;
        check_len(OP, "sines", sines.len(), cosines.len())?;
        check_dtype(OP, "cosines", cosines.dtype(), Dtype::F32)?;
        check_dtype(OP, "sines", sines.dtype(), Dtype::F32)?;
        let (half, e) = (heads.dim / 2, type_name(queries.dtype(), OP, "queries")?);
        let kernel = Kernel { source: &SOURCE, function: "qkv", defines: &finish(e, e) };
        let [keys, values] = cache.layer(layer);
        let tables = [cosines, sines, places.positions, places.blocks].map(|it| pointer(&it));
        let [a, b, c, d] = tables;
        let pointers = [pointer(&parts.numbers), a, b, c, d, pointer_mut(&queries), keys, values];
        let n_positions = cosines.len() / half.max(1);
        let sizes = [heads.query, heads.kv, half, places.stride(), cache.shape().blocks];
        let sizes = sizes.into_iter().chain([parts.parts, n_positions]);
        let mut args: Vec<Arg> = pointers.map(Arg::Pointer).into();
        args.push(Arg::Size(rows));
        args.extend(sizes.map(|it| Arg::U32(it as u32)));
        args.push(self.fault(Fault::DecodePositions));
        // SAFETY: `qkv(const float*, const float*, const float*, const u32*, const u32*, E*, K*, K*, size_t,
        // seven u32, u32*)`; lengths and types were checked, and the kernel looks at positions and blocks
        // before it uses them.
        unsafe { self.launch(kernel, Grid::each(rows * heads.row() / 2), &args) }
    }

    fn decode_attention(
        &self,
        (cache, layer): (&CudaCache, usize),
        given: Attending<'_, CudaBuffer>,
        out: ViewMut<'_, CudaBuffer>,
    ) -> Result<()> {
        if !self.decodes(given.heads) {
            return cpu::attention(self, (cache, layer), given, out);
        }
        attention(self, (cache, layer), given, out)
    }

    unsafe fn repeat(&self, graph: &mut Graph, work: impl FnOnce() -> Result<()>) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.repeat_launches(graph, work) }
    }

    fn pick(
        &self,
        logits: View<'_, CudaBuffer>,
        given: &[Given<'_>],
    ) -> Result<Vec<Result<Pick, SampleError>>> {
        sample::cuda::pick(self, logits, given)
    }
}

/// A product in parts.
struct Cut {
    /// Weights and rows.
    operands: [Operand; 2],
    /// Features, rows, depth.
    sizes: [usize; 3],
    n_parts: usize,
    each: usize,
}

impl Cut {
    fn blocks(&self, tile: usize) -> (usize, usize) {
        let [features, rows, _] = self.sizes;
        (features.div_ceil(FEATURES) * rows.div_ceil(tile), self.n_parts)
    }

    /// # Safety
    ///
    /// The operands are aligned bf16 that lie in buffers; `parts` has a number for each part, row and feature.
    unsafe fn portable(&self, cuda: &Cuda, parts: &ViewMut<'_, CudaBuffer>) -> Result<()> {
        let [w, x] = self.operands;
        let tile = tile(self.sizes[1], &TILES);
        let pointers = [w.at, x.at, pointer_mut(parts)].map(Arg::Pointer);
        let strides = [w.stride, x.stride, self.each].map(Arg::Size);
        let args = [&pointers[..], &self.sizes.map(Arg::Size), &strides].concat();
        let lines = FEATURES + tile.max(16); // product.cu: LENGTH
        let shared_bytes = STAGES * lines * STEP * size_of::<u16>();
        let grid = Grid { blocks: self.blocks(tile), threads: THREADS, shared_bytes };
        let kernel = Kernel {
            source: &PRODUCT,
            function: "product",
            defines: &[("TILE_ROWS", &tile.to_string())],
        };
        // SAFETY: `product(const bf16*, const bf16*, float*, six sizes)`; the rest is the caller's promise.
        unsafe { cuda.launch(kernel, grid, &args) }
    }

    /// # Safety
    ///
    /// As for [`Cut::portable`].
    unsafe fn by_hopper(&self, cuda: &Cuda, parts: &ViewMut<'_, CudaBuffer>) -> Result<()> {
        let ([w, x], [features, rows, depth]) = (self.operands, self.sizes);
        let tile = tile(rows, &HOPPER_TILES);
        let (w, x) = (w.boxed((features, depth), FEATURES), x.boxed((rows, depth), tile));
        let mut args = vec![Arg::Map(cuda.map(w)?), Arg::Map(cuda.map(x)?)];
        args.push(Arg::Pointer(pointer_mut(parts)));
        args.extend([features, rows, depth, self.each].map(Arg::Size));
        let stages = hopper_stages(tile);
        let stage = (FEATURES + tile) * STEP * size_of::<u16>() + BARRIERS;
        let shared_bytes = stages * stage;
        let grid = Grid { blocks: self.blocks(tile), threads: HOPPER_THREADS, shared_bytes };
        let defines = [("TILE_ROWS", &*tile.to_string()), ("STAGES", &*stages.to_string())];
        let kernel = Kernel { source: &HOPPER, function: "product", defines: &defines };
        // SAFETY: `product(TensorMap, TensorMap, float*, four sizes)`; the maps are of the operands, the rest
        // is the caller's promise.
        unsafe { cuda.launch(kernel, grid, &args) }
    }
}

fn attention(
    cuda: &Cuda,
    (cache, layer): (&CudaCache, usize),
    given: Attending<'_, CudaBuffer>,
    out: ViewMut<'_, CudaBuffer>,
) -> Result<()> {
    const OP: &str = "decode_attention";
    let Attending { queries, heads, places, workspace: memory } = given;
    let rows = check_places(OP, places)?;
    check_cache(OP, cache, layer, heads)?;
    check_len(OP, "queries", queries.len(), rows * heads.out())?;
    check_len(OP, "out", out.len(), rows * heads.out())?;
    let splits = places.splits.max(1);
    check_len(OP, "workspace", memory.len(), workspace_len(rows, heads, splits))?;
    check_dtype(OP, "workspace", memory.dtype(), Dtype::F32)?;
    for (name, dtype) in
        [("queries", queries.dtype()), ("out", out.dtype()), ("cache", cache.dtype())]
    {
        check_dtype(OP, name, dtype, Dtype::Bf16)?;
    }
    let dim = heads.dim.to_string();
    let defines = [("DIM", &*dim)];
    let [keys, values] = cache.layer(layer);
    let sums = pointer_mut(&memory);
    let levels = sums + (rows * heads.query * splits * heads.dim * size_of::<f32>()) as u64;
    let positions = pointer(&places.positions);
    let [query_heads, kv_heads] = [heads.query, heads.kv].map(|it| Arg::U32(it as u32));
    let pointers =
        [pointer(&queries), positions, pointer(&places.blocks), keys, values, sums, levels];
    let mut args: Vec<Arg> = pointers.map(Arg::Pointer).into();
    let sizes = [places.stride(), cache.shape().blocks].map(|it| Arg::U32(it as u32));
    args.extend([query_heads, kv_heads]);
    args.extend(sizes);
    args.push(Arg::F32(heads.score_scale()));
    let line = heads.dim.next_multiple_of(64) * size_of::<u16>(); // ../attention/tensor.cuh: LENGTH
    let tiles = (HEADS + 2 * 2 * KEYS) * line;
    let joined = WARPS * HEADS * (heads.dim + 2) * size_of::<f32>(); // attention.cu: `join`
    let shared_bytes = tiles.max(joined);
    let grid = Grid { blocks: (rows * heads.kv, splits), threads: THREADS, shared_bytes };
    let split = Kernel { source: &ATTENTION, function: "split", defines: &defines };
    // SAFETY: `split(const bf16*, const u32*, const u32*, const bf16*, const bf16*, float*, float*, four u32,
    // float)`; lengths and types were checked, and the kernel looks at positions and blocks before it uses
    // them.
    unsafe { cuda.launch(split, grid, &args) }?;
    let pointers = [sums, levels, positions, pointer_mut(&out)].map(Arg::Pointer);
    let args = [&pointers[..], &[query_heads, Arg::U32(splits as u32)]].concat();
    let combine = Kernel { source: &ATTENTION, function: "combine", defines: &defines };
    // SAFETY: `combine(const float*, const float*, const u32*, bf16*, u32, u32)`, after `split` wrote what
    // it reads.
    unsafe { cuda.launch(combine, Grid::blocks(rows * heads.query, THREADS), &args) }
}

fn check_parts(op: &'static str, parts: Parts<'_, CudaBuffer>, numbers: usize) -> Result<()> {
    check_len(op, "parts", parts.numbers.len(), parts.parts.max(1) * numbers)?;
    check_dtype(op, "parts", parts.numbers.dtype(), Dtype::F32)
}

/// How many rows there are, where positions and blocks fit together.
fn check_places(op: &'static str, places: Places<'_, CudaBuffer>) -> Result<usize> {
    let rows = places.rows();
    check_len(op, "blocks", places.blocks.len(), rows * places.stride())?;
    check_dtype(op, "positions", places.positions.dtype(), Dtype::U32)?;
    check_dtype(op, "blocks", places.blocks.dtype(), Dtype::U32)?;
    Ok(rows)
}

fn check_cache(op: &'static str, cache: &CudaCache, layer: usize, heads: Heads) -> Result<()> {
    let shape = cache.shape();
    check_len(op, "heads of the cache", shape.kv_heads, heads.kv)?;
    check_len(op, "head width of the cache", shape.head_dim, heads.dim)?;
    if layer >= shape.layers {
        return Err(Error::Index { op, buffer: "layer", index: layer, len: shape.layers });
    }
    Ok(())
}
