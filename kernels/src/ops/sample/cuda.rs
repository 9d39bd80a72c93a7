//! Launches of `kernel.cu`: logits stay on the device, what was sampled comes back.

use super::{Given, Pick, SampleError, steps_of};
use crate::cuda::{Arg, Cuda, CudaBuffer, Grid, Kernel, Source, Variant, pointer};
use crate::device::{Device, View};
use crate::error::{check_dtype, check_len};
use crate::{Dtype, Result};

const SOURCE: Source = Source::new("sample", include_str!("kernel.cu"));
const OP: &str = "pick";
const THREADS: u32 = 1024; // kernel.cu: THREADS
const FIELDS: usize = 12; // kernel.cu: FIELDS
const CHUNK: usize = 4096; // kernel.cu: CHUNK
const WORDS: usize = 256 + 32 + 1; // kernel.cu: BUCKETS, WARPS, one more

/// How the file is compiled.
pub(crate) fn variants() -> Vec<Variant> {
    vec![Variant::new(&SOURCE, &[])]
}

/// What the kernel is told of the rows: fields of each, then their lists.
fn table(given: &[Given<'_>]) -> Vec<u32> {
    let mut fields = Vec::with_capacity(given.len() * FIELDS);
    let mut lists: Vec<u32> = Vec::new();
    for it in given {
        let sampling = it.sampling;
        let seen = if sampling.repetition_penalty == 1.0 { &[][..] } else { it.seen.ids() };
        for list in [seen, it.suppressed] {
            fields.extend([lists.len() as u32, list.len() as u32]);
            lists.extend_from_slice(list);
        }
        let numbers =
            [sampling.temperature, sampling.top_p, sampling.min_p, sampling.repetition_penalty];
        fields.extend(numbers.map(f32::to_bits));
        let uniform = steps_of(it.uniform);
        let top_k = u32::try_from(sampling.top_k).unwrap_or(u32::MAX);
        fields.extend([top_k, uniform as u32, (uniform >> 32) as u32, 0]);
    }
    fields.extend(lists);
    fields
}

/// Picks a token for each row of logits.
pub(crate) fn pick(
    cuda: &Cuda,
    logits: View<'_, CudaBuffer>,
    given: &[Given<'_>],
) -> Result<Vec<Result<Pick, SampleError>>> {
    let (rows, vocab) = (given.len(), logits.len() / given.len().max(1));
    check_len(OP, "logits", logits.len(), rows * vocab)?;
    check_dtype(OP, "logits", logits.dtype(), Dtype::F32)?;
    if rows == 0 {
        return Ok(Vec::new());
    }
    let told = cuda.told(&table(given))?;
    let out = cuda.scratch(Dtype::U32, rows * 3)?;
    let fields = pointer(&told.view());
    let lists = fields + (rows * FIELDS * size_of::<u32>()) as u64;
    let mut args: Vec<Arg> =
        [pointer(&logits), fields, lists, pointer(&out.view())].map(Arg::Pointer).into();
    args.push(Arg::U32(vocab as u32));
    let bitmaps = 2 * vocab.div_ceil(32) * size_of::<u32>();
    let shared_bytes = WORDS * size_of::<u64>() + CHUNK * size_of::<f32>() + bitmaps;
    let grid = Grid { blocks: (rows, 1), threads: THREADS, shared_bytes };
    let kernel = Kernel { source: &SOURCE, function: "pick", defines: &[] };
    // SAFETY: `pick(const float*, const u32*, const u32*, u32*, u32)`: `rows` rows of logits, their fields
    // and the lists that these name, and three numbers for each.
    unsafe { cuda.launch(kernel, grid, &args) }?;
    let found: Vec<u32> = cuda.read(out.view())?;
    Ok(found.chunks_exact(3).map(|it| read(it, vocab)).collect())
}

/// What stands in a row's three numbers.
fn read(it: &[u32], vocab: usize) -> Result<Pick, SampleError> {
    let number = f32::from_bits(it[2]);
    match it[0] {
        0 => Ok(Pick { id: it[1], log_probability: number }),
        1 => Err(SampleError::Logit { id: it[1] as usize, value: number }),
        _ => Err(SampleError::Nothing { vocab }),
    }
}
