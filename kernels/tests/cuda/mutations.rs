//! Mistakes that are planted in kernels, and that the emulator has to find: each kind by what should.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kernels::cuda::Numerics;
use kernels::ops::attention::Heads;
use kernels::ops::matmul::{Form, Product, Start};
use kernels::{Cuda, Decode, Device, Dtype, View, ViewMut};

use crate::cases::{self, Results};
use crate::emulator::{Emulator, emulator};
use crate::paged::{Before, Prompts};
use crate::{decoding, picking};

/// What finds a mistake.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Finds {
    /// Other numbers, in some order of warps.
    Numbers,
    /// The guards of buffers.
    Guards,
    /// A launch that cannot go on.
    Launch,
}

/// What several kernels include: a mistake in it is planted in each of them by itself.
const INCLUDED: [(&str, &str); 3] = [
    ("#include \"adamw_moments.cuh\"", include_str!("../../src/ops/adamw/moments.cuh")),
    ("#include \"stages.cuh\"", include_str!("../../src/cuda/stages.cuh")),
    ("#include \"tiles.cuh\"", include_str!("../../src/cuda/tiles.cuh")),
];

/// A text of a kernel that is replaced by another, where it stands for the n-th time.
struct Mistake {
    what: &'static str,
    file: &'static str,
    text: &'static str,
    nth: usize,
    by: &'static str,
    finds: Finds,
    case: fn(&Cuda) -> Results,
}

fn attention<D: Device>(device: &D) -> Results {
    let (heads, spans) = &cases::attentions()[1];
    cases::attention(device, Dtype::F32, *heads, spans)
}

fn paged<D: Device>(device: &D) -> Results {
    cases::paged(device, Dtype::F32, 20)
}

fn cross_entropy<D: Device>(device: &D) -> Results {
    cases::cross_entropy(device, Dtype::F32, Dtype::F32)
}

macro_rules! mistake {
    ($what:literal, $file:literal, $text:literal[$nth:literal] => $by:literal, $finds:ident, $case:path) => {
        Mistake {
            what: $what,
            file: $file,
            text: $text,
            nth: $nth,
            by: $by,
            finds: Finds::$finds,
            case: $case,
        }
    };
}

/// In the kernels for all types.
const EXACT: &[Mistake] = &[
    mistake!("no barrier before parts are read", "cross_entropy", "__syncthreads();"[0] => "", Numbers, cross_entropy),
    mistake!("no barrier before the logits change", "cross_entropy", "__syncthreads();"[1] => "", Numbers, cross_entropy),
    mistake!("no barrier before a tile is overwritten", "matmul", "__syncthreads();"[0] => "", Numbers, cases::matmul),
    mistake!("no barrier before a tile is read", "matmul", "__syncthreads();"[1] => "", Numbers, cases::matmul),
    mistake!("no barrier before queries are overwritten", "attention.backward", "__syncthreads();"[0] => "", Numbers, attention),
    mistake!("no barrier before weights are read", "attention.backward", "__syncthreads();"[2] => "", Numbers, attention),
    mistake!("half of a warp waits for all", "square_sum", "sum += __shfl"[0] => "if (lane < 4) sum += __shfl", Launch, cases::square_sum),
    mistake!("threads end before the others shuffle", "rms_norm", "square = tree(square);"[0] => "if (!here) return; square = tree(square);", Launch, one_norm),
    mistake!("a barrier for one warp alone", "cross_entropy", "__syncthreads();"[2] => "if (threadIdx.x < 32) __syncthreads();", Numbers, cross_entropy),
    mistake!("one number too many", "elementwise", "i < n;"[1] => "i <= n;", Guards, one_sum),
    mistake!("one row too many", "matmul", "at_row < rows &&"[1] => "at_row <= rows &&", Guards, one_product),
    mistake!("a query does not see itself", "attention", "at.position + 1 -"[0] => "at.position -", Numbers, paged),
    mistake!("the backward pass sees a key too few", "attention.backward", "key + j <= query"[0] => "key + j < query", Numbers, attention),
    mistake!("the last block of keys is left out", "attention", "n <= at.position / BLOCK"[0] => "n < at.position / BLOCK", Numbers, paged),
    mistake!("a wrong head of keys", "attention", "head / (heads.query / heads.kv)"[0] => "head % heads.kv", Numbers, paged),
    mistake!("a sum that is rounded twice", "rms_norm", "fmaf(to_f32(from[i]), to_f32(from[i]), square)"[0] => "to_f32(from[i]) * to_f32(from[i]) + square", Numbers, one_norm),
    mistake!("sums that are not rounded alike", "adamw", "fmaf(g * g, one_less_beta2, second.at[k] * beta2)"[0] => "g * g * one_less_beta2 + second.at[k] * beta2", Numbers, cases::adamw),
    mistake!("a uniform number off by one", "uniform", "place - first >= n"[0] => "place - first > n", Guards, one_uniform),
    mistake!("a random word off by one", "dropout", "place - first >= n"[0] => "place - first > n", Guards, one_dropout),
    mistake!("rows that are added in no order", "embedding", "at = list[1]; at < list[2]; ++at"[0] => "at = list[2]; at-- > list[1];", Numbers, cases::embedding),
    mistake!("no barrier before factors are overwritten", "rms_norm", "__syncthreads();"[0] => "", Numbers, one_norm),
    mistake!("no barrier before factors are read", "rms_norm", "__syncthreads();"[1] => "", Numbers, one_norm),
    mistake!("halves that are joined without a sign", "adamw", "u32(int(short(low)))"[0] => "u32(low)", Numbers, cases::adamw),
    mistake!("an upper half that is cut off", "adamw", "bits + 0x8000u"[0] => "bits", Numbers, cases::adamw),
    mistake!("a block whose greatest number is not found", "adamw", "step = 16;"[0] => "step = 8;", Numbers, cases::adamw),
    mistake!("moments that are rounded to nothing", "adamw", "code > 1 ? code : 1"[0] => "code", Numbers, cases::adamw),
    mistake!("both moments by the same chance", "adamw", "second, words, 16"[0] => "second, words, 0", Numbers, cases::adamw),
    mistake!("random words of other places", "adamw", "place + i"[0] => "i", Numbers, cases::adamw),
    mistake!("an exponent of the wrong block", "adamw", "all[n + i / BLOCK] = "[0] => "all[n] = ", Numbers, cases::adamw),
    mistake!("an exponent beyond the last", "adamw", "? all[n + i / BLOCK] : 0"[0] => "? all[n + i / BLOCK + 1] : 0", Numbers, cases::adamw),
    mistake!("keys into the wrong place of a block", "paged", "at[1] % BLOCK"[0] => "(at[1] + 1) % BLOCK", Numbers, paged),
    mistake!("values of the wrong sign", "rope", "SIGN * sine"[0] => "sine", Numbers, cases::rope),
    mistake!("no barrier before buckets are filled", "sample", "__syncthreads();"[3] => "", Numbers, picking::some),
    mistake!("no barrier before buckets are read", "sample", "__syncthreads();"[4] => "", Launch, picking::some),
    mistake!("no barrier before exponentials are added", "sample", "__syncthreads();"[9] => "", Numbers, picking::some),
    mistake!("ties that all stay", "sample", "i <= last"[0] => "true", Numbers, picking::some),
    mistake!("a draw one token early", "sample", "sum + all > bound"[0] => "sum + all >= bound", Numbers, picking::some),
    mistake!("a digit of too few bits", "sample", "shift >= 0"[0] => "shift > 0", Numbers, picking::some),
    mistake!("gate and up exchanged", "swiglu", "at + width"[0] => "at", Numbers, cases::swiglu),
];

/// In those for tensor cores.
const TENSOR: &[Mistake] = &[
    mistake!("a wait for too few copies", "matmul.tensor", "copy_wait<STAGES - 2>"[0] => "copy_wait<STAGES - 1>", Numbers, tensor_product),
    mistake!("no barrier after the wait", "matmul.tensor", "__syncthreads();"[0] => "", Numbers, tensor_product),
    mistake!("a stage is overwritten too early", "matmul.tensor", "(stage + STAGES - 1) % STAGES"[0] => "stage", Numbers, tensor_product),
    mistake!("a stage of the wrong steps", "matmul.tensor", "step + (STAGES - 1) * LENGTH"[0] => "step + STAGES * LENGTH", Numbers, tensor_product),
    mistake!("chunks exchanged where they are read", "matmul.tensor", "(step + third) / CHUNK"[0] => "(step + 8 - third) / CHUNK", Numbers, tensor_product),
    mistake!("lines exchanged where they are read", "matmul.tensor", "column + line + third"[0] => "column + line + second", Numbers, tensor_product),
    mistake!("the end of a line is not cut off", "matmul.tensor", "left < CHUNK ? left : CHUNK"[0] => "CHUNK", Numbers, tensor_product),
    mistake!("one row too many", "matmul.tensor", "if (r < rows"[0] => "if (r <= rows", Guards, whole_tensor_product),
    mistake!("sums that do not go on", "matmul.tensor", "to_f32(from[r * c_stride + k]) : 0.0f"[0] => "0.0f : 0.0f", Numbers, tensor_product),
    mistake!("a tile is overwritten before it is read", "matmul.tensor", "__syncthreads();"[1] => "", Numbers, one_turned),
    mistake!("a tile is read before it is there", "matmul.tensor", "__syncthreads();"[2] => "", Numbers, one_turned),
    mistake!("a row's position of another row", "matmul.tensor", "positions + first_row, cosines"[0] => "positions, cosines", Numbers, one_turned),
    mistake!("a value's head is turned", "matmul.tensor", "first_column / COLUMNS < heads"[0] => "first_column / COLUMNS <= heads", Numbers, one_turned),
    mistake!("gates beside themselves", "matmul.tensor", "from_b, columns + first_column"[0] => "from_b, first_column", Numbers, one_gated),
    mistake!("gates beyond the last", "matmul.tensor", "|| at >= left"[0] => "|| at > left", Guards, one_gated),
    mistake!("no barrier before parts of a row are read", "rms_norm.rows", "__syncthreads();"[0] => "", Numbers, fast_norm),
    mistake!("parts of two rows in one place", "rms_norm.rows", "at % 2 * WARPS"[0] => "0", Numbers, fast_norm),
    mistake!("no barrier before parts of a gain are read", "rms_norm.rows", "__syncthreads();"[1] => "", Numbers, fast_norm),
    mistake!("a gain's sums without the last rows", "rms_norm.rows", "i < blocks; i +="[0] => "i + 1 < blocks; i +=", Numbers, fast_norm),
    mistake!("no barrier before parts of logits are read", "cross_entropy", "__syncthreads();"[4] => "", Numbers, tensor_loss),
    mistake!("logits that are overwritten before they are read", "cross_entropy", "__syncthreads();"[5] => "", Numbers, tensor_loss),
    mistake!("no barrier before keys are overwritten", "attention.tensor", "__syncthreads();"[0] => "", Numbers, tensor_attention),
    mistake!("no barrier before keys are read", "attention.tensor", "__syncthreads();"[1] => "", Numbers, tensor_attention),
    mistake!("no barrier before values are read", "attention.tensor", "__syncthreads();"[2] => "", Numbers, tensor_attention),
    mistake!("keys are not waited for", "attention.tensor", "copy_wait<1>();"[0] => "", Numbers, tensor_attention),
    mistake!("values are not waited for", "attention.tensor", "copy_wait<0>();"[0] => "", Numbers, tensor_attention),
    mistake!("a query does not see itself", "attention.tensor", "last - first + 1"[0] => "last - first", Numbers, tensor_attention),
    mistake!("results do not shrink", "attention.tensor", "running.sums[d][2 * half] *= shrink;"[0] => "", Numbers, tensor_attention),
    mistake!("a row of the wrong token", "attention.tensor", "(own + half * 8) / group"[0] => "(own + half * 8) % group", Numbers, tensor_attention),
    mistake!("a wrong place in a block of the cache", "attention.tensor", "key % BLOCK * DIM"[0] => "key % 16 * DIM", Numbers, tensor_paged),
    mistake!("a wrong block of the cache", "attention.tensor", "tokens.start + key / BLOCK"[0] => "key / BLOCK", Numbers, tensor_paged),
    mistake!("no barrier before queries are overwritten", "attention.tensor_backward", "__syncthreads();"[0] => "", Numbers, tensor_attention),
    mistake!("no barrier before queries are read", "attention.tensor_backward", "__syncthreads();"[1] => "", Numbers, tensor_attention),
    mistake!("no barrier before keys are read", "attention.tensor_backward", "__syncthreads();"[3] => "", Numbers, tensor_attention),
    mistake!("queries are not waited for", "attention.tensor_backward", "copy_wait<0>();"[0] => "", Numbers, tensor_attention),
    mistake!("keys see too few queries", "attention.tensor_backward", "key <= token"[0] => "key < token", Numbers, tensor_attention),
    mistake!("queries see too few keys", "attention.tensor_backward", "key <= token"[1] => "key < token", Numbers, tensor_attention),
    mistake!("the last tokens of a tile are left out", "attention.tensor_backward", "min(tokens, end - token) * group"[0] => "(min(tokens, end - token) - 1) * group", Numbers, tensor_attention),
];

/// In those for decoding.
const DECODING: &[Mistake] = &[
    mistake!("a wait for too few copies", "decode.product", "copy_wait<STAGES - 2>"[0] => "copy_wait<STAGES - 1>", Numbers, decode_product),
    mistake!("no barrier after the wait", "decode.product", "__syncthreads();"[0] => "", Numbers, decode_product),
    mistake!("a stage is overwritten too early", "decode.product", "(stage + STAGES - 1) % STAGES"[0] => "stage", Numbers, decode_product),
    mistake!("a part goes on into the next", "decode.product", "start + each < depth ? start + each : depth"[0] => "depth", Numbers, decode_product),
    mistake!("rows exchanged where they are read", "decode.product", "j * 8 + line + third"[0] => "j * 8 + line + second", Numbers, decode_product),
    mistake!("one feature too many", "decode.product", "feature < features &&"[0] => "feature <= features &&", Guards, decode_product),
    mistake!("the last part is left out", "decode", "part < n"[0] => "part + 1 < n", Numbers, decoding::finishing),
    mistake!("no barrier before squares are added", "decode", "__syncthreads();"[0] => "", Numbers, decoding::finishing),
    mistake!("gate and up exchanged", "decode", "sum_of(parts, at + width"[0] => "sum_of(parts, at", Numbers, decoding::finishing),
    mistake!("values are turned too", "decode", "head < query_heads + kv_heads)"[0] => "head < query_heads + 2 * kv_heads)", Numbers, decode_attention),
    mistake!("a wrong place in a block of the cache", "decode", "position % BLOCK) * dim"[0] => "position % 16) * dim", Numbers, decode_attention),
    mistake!("no barrier before what warps found is read", "decode.attention", "__syncthreads();"[0] => "", Numbers, decode_attention),
    mistake!("no barrier before keys are read", "decode.attention", "__syncthreads();"[1] => "", Numbers, decode_attention),
    mistake!("no barrier before keys are overwritten", "decode.attention", "__syncthreads();"[2] => "", Numbers, decode_attention),
    mistake!("keys are not waited for", "decode.attention", "copy_wait<1>();"[0] => "", Numbers, decode_attention),
    mistake!("a token does not see itself", "decode.attention", "position + 1 - start"[0] => "position - start", Numbers, decode_attention),
    mistake!("results do not shrink", "decode.attention", "running.sums[d][half] *= shrink;"[0] => "", Numbers, decode_attention),
    mistake!("weights that are not turned", "decode.attention", "transpose_matrix(pack(scores[2], scores[3]))"[0] => "pack(scores[2], scores[3])", Numbers, decode_attention),
    mistake!("splits that are not weighed", "decode.attention", "sum = fmaf(by, sums["[0] => "sum = fmaf(1.0f, sums[", Numbers, decode_attention),
    mistake!("the last split is left out", "decode.attention", "position / SPLIT + 1"[0] => "(position + 1) / SPLIT", Numbers, decode_attention),
    mistake!("a wrong block of the cache", "decode.attention", "row * stride + key"[0] => "key", Numbers, decode_attention),
];

/// In those for Hopper.
const HOPPER: &[Mistake] = &[
    mistake!("copies are not waited for", "matmul.hopper", "stages.wait_full(n);"[0] => "", Launch, hopper_product),
    mistake!("stages are given back before they are read", "matmul.hopper", "wgmma_wait<1>();"[0] => "", Numbers, hopper_product),
    mistake!("products are not waited for", "matmul.hopper", "wgmma_wait<0>();"[0] => "", Numbers, hopper_product),
    mistake!("stages are filled without asking", "matmul.hopper", "if (n >= COUNT) mbarrier_wait"[0] => "if (n > 99) mbarrier_wait", Launch, hopper_product),
    mistake!("stages are never given back", "matmul.hopper", "mbarrier_arrive(stages"[0] => "if (n > 99) mbarrier_arrive(stages", Launch, hopper_product),
    mistake!("the wrong stage is given back", "matmul.hopper", "stages.empty(n - 1)"[0] => "stages.empty(n)", Launch, hopper_product),
    mistake!("too few bytes are announced", "matmul.hopper", "full, STAGE_BYTES"[0] => "full, A_BYTES", Launch, hopper_product),
    mistake!("both warpgroups have the same rows", "matmul.hopper", "consumer * BOX_BYTES"[0] => "0", Numbers, hopper_product),
    mistake!("an operand that does not go on", "matmul.hopper", "right + step"[0] => "right + 0 * step", Numbers, hopper_product),
    mistake!("a turned operand that is not", "matmul.hopper", "A_TRANSPOSED ? LINE : 2"[0] => "2", Numbers, hopper_product),
    mistake!("copies are not waited for", "decode.hopper", "stages.wait_full(n);"[0] => "", Launch, decode_product),
    mistake!("stages are given back before they are read", "decode.hopper", "wgmma_wait<1>();"[0] => "", Numbers, decode_product),
    mistake!("products are not waited for", "decode.hopper", "wgmma_wait<0>();"[0] => "", Numbers, decode_product),
    mistake!("stages are never given back", "decode.hopper", "mbarrier_arrive(stages"[0] => "if (n > 99) mbarrier_arrive(stages", Launch, decode_product),
    mistake!("too few bytes are announced", "decode.hopper", "full, STAGE_BYTES"[0] => "full, A_BYTES", Launch, decode_product),
    mistake!("all parts are the first", "decode.hopper", "u32(start) + n * STEP"[0] => "n * STEP", Numbers, decode_product),
    mistake!("an operand that does not go on", "decode.hopper", "right + step"[0] => "right + 0 * step", Numbers, decode_product),
    mistake!("one row too many", "matmul.hopper", "if (r >= rows"[0] => "if (r > rows", Guards, whole_tensor_product),
];

/// In what is done to a product of Hopper before it is written.
const HOPPER_FUSED: &[Mistake] = &[
    mistake!("pairs that are not of one head", "matmul.hopper", "n + half * 2 + k + 32"[0] => "n + half * 2 + k + 28", Numbers, one_turned),
    mistake!("a value's head is turned", "matmul.hopper", "first_head + head >= it.heads"[0] => "first_head + head > it.heads", Numbers, one_turned),
    mistake!("sums that are turned before they are rounded", "matmul.hopper", "low = to_f32(round_to<C>(low))"[0] => "low = low", Numbers, one_turned),
    mistake!("gates beside themselves", "matmul.hopper", "u32(columns + tile.column)"[0] => "u32(tile.column)", Numbers, one_gated),
    mistake!("products of the wrong columns", "matmul.hopper", "products + r * columns + k"[0] => "products + r * columns + k - at", Numbers, one_gated),
    mistake!("sums that begin elsewhere", "matmul.hopper", "to_f32(from[r * c_stride + k])"[0] => "to_f32(c[r * c_stride + k])", Numbers, one_onto),
    mistake!("a pair at the end of a row", "matmul.hopper", "own_column + i / 4 * 8, columns,"[0] => "own_column + i / 4 * 8, columns + 1,", Guards, odd_tensor_product),
];

fn one_onto<D: Device>(device: &D) -> Results {
    cases::one_fused(device, 0)
}

fn one_turned<D: Device>(device: &D) -> Results {
    cases::one_fused(device, 1)
}

fn one_gated<D: Device>(device: &D) -> Results {
    cases::one_fused(device, 2)
}

fn one_norm<D: Device>(device: &D) -> Results {
    cases::rms_norm_of(device, (Dtype::F32, Dtype::F32), (71, 100))
}

fn fast_norm<D: Device>(device: &D) -> Results {
    cases::rms_norm_of(device, (Dtype::Bf16, Dtype::F32), (150, 2064))
}

/// A product with an odd number of columns, the last of which is the last number of its buffer.
fn odd_tensor_product<D: Device>(device: &D) -> Results {
    let (a, b) = (
        cases::upload(device, Dtype::Bf16, 3 * 24, 1),
        cases::upload(device, Dtype::Bf16, 7 * 24, 2),
    );
    let mut c = cases::upload(device, Dtype::F32, 3 * 7, 3);
    let (a, b) = (View::all(&a).rows(24), View::all(&b).rows(24));
    let product = Product { form: Form::Xwt, a, b, start: Start::Zero };
    device.matmul(product, ViewMut::all(&mut c).rows(7)).unwrap();
    vec![("an odd product".into(), cases::download(device, &c))]
}

/// In the attention of Hopper.
const HOPPER_ATTENTION: &[Mistake] = &[
    mistake!("keys are not waited for", "attention.hopper", "keys.wait_full(n);"[0] => "", Launch, hopper_attention),
    mistake!("values are not waited for", "attention.hopper", "values.wait_full(n - 1);"[0] => "", Launch, hopper_attention),
    mistake!("scores are not waited for", "attention.hopper", "wgmma_wait<1>();"[0] => "", Numbers, hopper_attention),
    mistake!("results are not waited for", "attention.hopper", "wgmma_wait<0>();"[2] => "", Numbers, hopper_attention),
    mistake!("keys are given back before they are read", "attention.hopper", "blocks.wait_empty(n);"[0] => "", Launch, hopper_attention),
    mistake!("values are never given back", "attention.hopper", "give_back(values.empty(n - 1));"[0] => "", Launch, hopper_attention),
    mistake!("results do not shrink", "attention.hopper", "sums[i] *= running.shrink[i % 4 / 2];"[0] => "", Numbers, hopper_attention),
    mistake!("results shrink by the other row", "attention.hopper", "running.shrink[i % 4 / 2]"[0] => "running.shrink[1 - i % 4 / 2]", Numbers, hopper_attention),
    mistake!("a query does not see itself", "attention.hopper", "last - first + 1"[0] => "last - first", Numbers, hopper_attention),
    mistake!("the first masked block is not masked", "attention.hopper", "first + KEYS > lowest + 1"[0] => "first > lowest", Numbers, hopper_attention),
    mistake!("both warpgroups have the same queries", "attention.hopper", "memory + consumer * BOX_BYTES"[0] => "memory", Numbers, hopper_attention),
    mistake!("a wrong head of keys", "attention.hopper", "blockIdx.x / (query_heads / kv_heads)"[0] => "blockIdx.x % kv_heads", Numbers, hopper_attention),
    mistake!("numbers of tokens are not waited for", "attention.hopper_backward", "1 + NUMBER_THREADS,"[0] => "1,", Launch, hopper_attention),
    mistake!("stages are given back too early", "attention.hopper_backward", "wgmma_wait<0>();"[1] => "", Numbers, hopper_attention),
    mistake!("scores are not waited for", "attention.hopper_backward", "wgmma_wait<0>();"[0] => "", Numbers, hopper_attention),
    mistake!("keys see too few queries", "attention.hopper_backward", "<= token + column &&"[0] => "< token + column &&", Numbers, hopper_attention),
    mistake!("keys see tokens of the next span", "attention.hopper_backward", "&& token + column < end"[0] => "", Numbers, hopper_attention),
    mistake!("a tile that is not masked", "attention.hopper_backward", "token < own_first + 64"[0] => "token < own_first", Numbers, hopper_attention),
    mistake!("a block that is not masked", "attention.hopper_backward", "first + STEP > own_first ||"[0] => "first > own_first ||", Numbers, hopper_attention),
    mistake!("gradients of keys that are not scaled", "attention.hopper_backward", "d_key, half, scale"[0] => "d_key, half, 1.0f", Numbers, hopper_attention),
    mistake!("a tile is left out that is seen", "attention.hopper_backward", "token + STEP > own_first"[0] => "token > own_first", Numbers, hopper_attention),
    mistake!("queries see too few keys", "attention.hopper_backward", "first + column <= own"[0] => "first + column < own", Numbers, hopper_attention),
    mistake!("stages are filled without asking", "attention.hopper_backward", "stages.wait_empty(n);"[1] => "", Launch, hopper_attention),
];

fn hopper_attention<D: Device>(device: &D) -> Results {
    let heads = Heads { query: 4, kv: 2, dim: 64 };
    cases::attention(device, Dtype::Bf16, heads, &[0, 70, 81, 410])
}

/// In the attention of Hopper over cached keys.
const HOPPER_PAGED: &[Mistake] = &[
    mistake!("a wrong page", "attention.hopper", "at.start + n * PAGES + page"[0] => "n * PAGES + page", Numbers, hopper_paged),
    mistake!("the pages of the first block again", "attention.hopper", "at.start + n * PAGES + page"[0] => "at.start + page", Numbers, hopper_paged),
    mistake!("a wrong head of a page", "attention.hopper", "* at.kv_heads + at.kv) * PAGE"[0] => "* at.kv_heads) * PAGE", Numbers, hopper_paged),
    mistake!("pages above each other", "attention.hopper", "to + (piece * PAGES + page) * PAGE_BYTES"[0] => "to + (piece * PAGES + page) * 1024", Numbers, hopper_paged),
    mistake!("too few pages", "attention.hopper", "n * KEYS + PAGE - 1) / PAGE"[0] => "n * KEYS) / PAGE", Numbers, hopper_paged),
    mistake!("pages that are not announced", "attention.hopper", "n_pages * PIECES * PAGE_BYTES"[0] => "PIECES * PAGE_BYTES", Launch, hopper_paged),
    mistake!("pages that do not come", "attention.hopper", "n_pages * PIECES * PAGE_BYTES"[0] => "KEY_BYTES", Launch, hopper_paged),
    mistake!("values that stay", "attention.hopper", "clear_lines(values.at(last)"[0] => "if (n_keys == 0) clear_lines(values.at(last)", Numbers, hopper_paged),
    mistake!("a line of values that stays", "attention.hopper", "line = used + thread / 8"[0] => "line = used + 1 + thread / 8", Numbers, hopper_paged),
    mistake!("a line too many is cleared", "attention.hopper", "line = used + thread / 8"[0] => "line = used - 1 + thread / 8", Numbers, hopper_paged),
    mistake!("a part of lines that stays", "attention.hopper", "thread % 8 * 16"[0] => "thread % 4 * 16", Numbers, hopper_paged),
    mistake!("products do not see what was cleared", "attention.hopper", "fence_proxy_async();"[0] => "", Numbers, hopper_paged),
    mistake!("the other consumer's lines are not waited for", "attention.hopper", "threads_wait<1, CONSUMERS * 128>();"[0] => "", Numbers, hopper_paged),
    mistake!("a barrier for one consumer alone", "attention.hopper", "threads_wait<1, CONSUMERS * 128>();"[0] => "threads_wait<1, 128>();", Numbers, hopper_paged),
    mistake!("a key of the future", "attention.hopper", "last - first + 1"[0] => "last - first + 2", Numbers, hopper_paged),
    mistake!("a thread's second row sees too few keys", "attention.hopper", "last = token + half * 8"[0] => "last = token", Numbers, hopper_paged),
    mistake!("a row too many", "attention.hopper", "token >= n_keys"[0] => "token > n_keys", Numbers, hopper_paged),
];

/// Prompts with a past, one of which ends within pages and blocks of keys; the rows of the other come after it.
fn hopper_paged<D: Device>(device: &D) -> Results {
    let heads = Heads { query: 4, kv: 2, dim: 64 };
    let prompts = Prompts { heads, seeds: &[1, 2], steps: &[&[100, 128], &[33, 128]] };
    vec![("paged".into(), prompts.attend(device, Before::NoNumbers).concat())]
}

fn hopper_product<D: Device>(device: &D) -> Results {
    let types = [Dtype::Bf16; 3];
    let products = [(Form::Xwt, (70, 24, 700)), (Form::Dytx, (700, 70, 24))];
    let product = |(form, shape)| cases::product(device, (form, Start::Add), shape, types);
    products.map(|it| (format!("{it:?}"), product(it))).into()
}

fn tensor_product<D: Device>(device: &D) -> Results {
    let types = [Dtype::Bf16; 3];
    let products = [(Form::Xwt, Start::Add), (Form::Dyw, Start::Zero), (Form::Dytx, Start::Add)];
    let product = |it| cases::product(device, it, (131, 140, 173), types);
    products.map(|it| (format!("{it:?}"), product(it))).into()
}

fn whole_tensor_product<D: Device>(device: &D) -> Results {
    let (a, b) = (
        cases::upload(device, Dtype::Bf16, 70 * 24, 1),
        cases::upload(device, Dtype::Bf16, 8 * 24, 2),
    );
    let mut c = cases::upload(device, Dtype::F32, 70 * 8, 3);
    let (a, b) = (View::all(&a).rows(24), View::all(&b).rows(24));
    let product = Product { form: Form::Xwt, a, b, start: Start::Zero };
    device.matmul(product, ViewMut::all(&mut c).rows(8)).unwrap();
    vec![("one product".into(), cases::download(device, &c))]
}

/// Several parts of few rows, more rows than one instruction has, and more steps than stages.
fn decode_product<D: Decode>(device: &D) -> Results {
    let sizes = [(13, 66, 1032), (100, 70, 24), (5, 10, 504)];
    let product = |(rows, features, depth)| {
        (format!("{rows} rows"), decoding::product(device, rows, features, depth))
    };
    sizes.map(product).into()
}

fn decode_attention<D: Decode>(device: &D) -> Results {
    decoding::attention_with(device, decoding::HEADS[1])
}

fn tensor_attention<D: Device>(device: &D) -> Results {
    let (heads, spans) = &cases::tensor_attentions()[1];
    cases::attention(device, Dtype::Bf16, *heads, spans)
}

fn tensor_loss<D: Device>(device: &D) -> Results {
    cases::cross_entropy(device, Dtype::Bf16, Dtype::Bf16)
}

fn tensor_paged<D: Device>(device: &D) -> Results {
    cases::paged(device, Dtype::Bf16, 32)
}

/// A sum over a whole buffer, so that what is beside it is no buffer's.
fn one_sum<D: Device>(device: &D) -> Results {
    let (x, mut to) =
        (cases::upload(device, Dtype::F32, 65, 1), cases::upload(device, Dtype::F32, 64, 2));
    let some = View::all(&x).part(0..64);
    device.add(some, ViewMut::all(&mut to)).unwrap();
    vec![("one sum".into(), cases::download(device, &to))]
}

fn one_dropout<D: Device>(device: &D) -> Results {
    let mut to = cases::upload(device, Dtype::F32, 61, 2);
    let random = kernels::random::Random::new(1, 2);
    let given = kernels::ops::dropout::Dropout { random, first: 0, p: 0.5 };
    device.dropout(given, ViewMut::all(&mut to)).unwrap();
    vec![("one dropout".into(), cases::download(device, &to))]
}

fn one_uniform<D: Device>(device: &D) -> Results {
    let mut to = cases::upload(device, Dtype::F32, 61, 2);
    let random = kernels::random::Random::new(1, 2);
    let given = kernels::ops::uniform::Uniform { random, first: 0, bound: 0.5 };
    device.uniform(given, ViewMut::all(&mut to)).unwrap();
    vec![("one uniform".into(), cases::download(device, &to))]
}

fn one_product<D: Device>(device: &D) -> Results {
    let (a, b) = (
        cases::upload(device, Dtype::F32, 70 * 20, 1),
        cases::upload(device, Dtype::F32, 9 * 20, 2),
    );
    let mut c = cases::upload(device, Dtype::F32, 70 * 9, 3);
    let (a, b) = (View::all(&a).rows(20), View::all(&b).rows(20));
    let product = Product { form: Form::Xwt, a, b, start: Start::Zero };
    device.matmul(product, ViewMut::all(&mut c).rows(9)).unwrap();
    vec![("one product".into(), cases::download(device, &c))]
}

/// Orders of warps in which a mistake may hide.
const SEEDS: std::ops::Range<u64> = 0..4;

/// What finds it; nothing if nothing does.
fn found(it: &Emulator, numerics: Numerics, mistake: &Mistake) -> Option<Finds> {
    let Mistake { file, text, nth, by, .. } = *mistake;
    let edit = move |name: &str, kernel: &str| {
        if name != file {
            return kernel.to_owned();
        }
        let kernel =
            INCLUDED.iter().fold(kernel.to_owned(), |it, (line, all)| it.replace(line, all));
        let place = kernel.match_indices(text).nth(nth);
        let (at, _) = place.unwrap_or_else(|| panic!("`{text}` stands nowhere in {file}"));
        [&kernel[..at], by, &kernel[at + text.len()..]].concat()
    };
    let cuda = it.edited(numerics, Arc::new(edit));
    let want = (mistake.case)(&it.open(numerics));
    for seed in SEEDS {
        it.set_seed(seed);
        let got = catch_unwind(AssertUnwindSafe(|| (mistake.case)(&cuda)));
        let failure = it.failure();
        it.set_seed(0);
        it.repair();
        let bits = |it: &Results| -> Vec<u32> {
            it.iter().flat_map(|it| it.1.iter().map(|it| it.to_bits())).collect()
        };
        match got {
            Ok(got) if bits(&got) == bits(&want) => {}
            Ok(_) => return Some(Finds::Numbers),
            Err(_) if failure.contains("wrote beside") => return Some(Finds::Guards),
            Err(_) => {
                assert!(!failure.is_empty(), "{}", mistake.what);
                return Some(Finds::Launch);
            }
        }
    }
    None
}

fn all_are_found(numerics: Numerics, mistakes: &[Mistake]) {
    let Some(it) = emulator() else { return };
    let missed: Vec<String> = mistakes
        .iter()
        .map(|mistake| (mistake, found(it, numerics, mistake)))
        .filter(|(mistake, found)| *found != Some(mistake.finds))
        .map(|(mistake, found)| format!("{}: {}: {found:?}", mistake.file, mistake.what))
        .collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn mistakes_planted_in_the_kernels_for_all_types_are_found() {
    all_are_found(Numerics::Exact, EXACT);
}

#[test]
fn mistakes_planted_in_the_kernels_for_decoding_are_found() {
    all_are_found(Numerics::Bf16, DECODING);
}

#[test]
fn mistakes_planted_in_the_kernels_for_hopper_are_found() {
    let Some(it) = emulator() else { return };
    it.set_capability(90);
    all_are_found(Numerics::Bf16, HOPPER);
    all_are_found(Numerics::Bf16, HOPPER_FUSED);
    all_are_found(Numerics::Bf16, HOPPER_ATTENTION);
    all_are_found(Numerics::Bf16, HOPPER_PAGED);
    it.set_capability(80);
}

#[test]
fn mistakes_planted_in_the_kernels_for_tensor_cores_are_found() {
    all_are_found(Numerics::Bf16, TENSOR);
}

/// Set where a test runs itself once more, to be ended or to be told of by a sanitizer.
const PLANTED: &str = "KUN_PLANTED";

/// What this process says on standard error when it runs one of its tests once more, with its mistake.
fn said_again(test: &str, mistake: usize) -> (bool, String) {
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", test, "--nocapture"]).env(PLANTED, mistake.to_string());
    let output = again.output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Whether kernels are compiled for this sanitizer.
fn sanitizer(name: &str) -> bool {
    std::env::var("KUN_EMULATOR_FLAGS").is_ok_and(|it| it.contains(name))
}

/// Guards see what is written. What is only read is seen by AddressSanitizer: see `.ci/asan`.
#[test]
fn a_read_beside_a_buffer_is_found() {
    let Some(it) = emulator() else { return };
    let run = || {
        let edit = |_: &str, text: &str| text.replace("to_f32(x[i])", "to_f32(x[i + 1])");
        one_sum_of_all(&it.edited(Numerics::Exact, Arc::new(edit)))
    };
    if std::env::var_os(PLANTED).is_some() {
        run();
    } else if sanitizer("address") {
        let (ended_well, said) = said_again("mutations::a_read_beside_a_buffer_is_found", 0);
        assert!(!ended_well && said.contains("AddressSanitizer"), "{said}");
    } else {
        assert_ne!(run(), one_sum_of_all(&it.open(Numerics::Exact)));
    }
}

/// A barrier without which threads race: its kernel, which one it is there, and what needs it.
type Race = (&'static str, usize, fn(&Cuda) -> Results);

const RACES: [Race; 3] = [
    ("cross_entropy", 0, cross_entropy),
    ("sample", 11, picking::some),
    ("sample", 13, picking::some),
];

/// The order of warps shows the first in the numbers; the others ThreadSanitizer alone: see `.ci/tsan`.
#[test]
fn a_race_is_found() {
    let Some(it) = emulator() else { return };
    let run = |(file, nth, case): Race| {
        const BARRIER: &str = "__syncthreads();";
        let edit = move |name: &str, text: &str| {
            let place = text.match_indices(BARRIER).nth(nth).filter(|_| name == file);
            let without = place.map(|it| [&text[..it.0], &text[it.0 + BARRIER.len()..]].concat());
            without.unwrap_or_else(|| text.to_owned())
        };
        case(&it.edited(Numerics::Exact, Arc::new(edit)))
    };
    if let Ok(race) = std::env::var(PLANTED) {
        run(RACES[race.parse::<usize>().unwrap()]);
    } else if sanitizer("thread") {
        for (n, (file, ..)) in RACES.into_iter().enumerate() {
            let (_, said) = said_again("mutations::a_race_is_found", n);
            assert!(said.contains(&format!("{file}.cu:")), "{n}: {said}");
        }
    } else {
        assert_ne!(run(RACES[0]), cross_entropy(&it.open(Numerics::Exact)));
    }
}

fn one_sum_of_all<D: Device>(device: &D) -> Results {
    let (x, mut to) =
        (cases::upload(device, Dtype::F32, 64, 1), cases::upload(device, Dtype::F32, 64, 2));
    device.add(View::all(&x), ViewMut::all(&mut to)).unwrap();
    vec![("one sum".into(), cases::download(device, &to))]
}
