//! Generation on whichever device: it only hands calls on.

use super::{
    AnyBuffer, AnyCache, AnyDevice, AnyPacked, Backend, In, Mat, OTHER, Out, matrix, on, view,
    view_mut,
};
use crate::Result;
use crate::cuda::Cuda;
use crate::decode::Decode;
use crate::ops::attention::Heads;
use crate::ops::decode::{Attending, DecodeQkv, Norm, Parts, Places};
use crate::ops::rope::Rope;
use crate::ops::sample::{Given, Pick, SampleError};

fn parts<'a, K: Backend>(on: &K, it: Parts<'a, AnyBuffer>) -> Parts<'a, K::Buffer> {
    Parts { numbers: view(on, it.numbers), parts: it.parts }
}

fn places<'a, K: Backend>(on: &K, it: Places<'a, AnyBuffer>) -> Places<'a, K::Buffer> {
    let (positions, blocks) = (view(on, it.positions), view(on, it.blocks));
    Places { positions, blocks, splits: it.splits }
}

fn decode_qkv_input<'a, K: Backend>(
    on: &K,
    it: DecodeQkv<'a, AnyBuffer>,
) -> DecodeQkv<'a, K::Buffer> {
    let Rope { cosines, sines, heads, direction } = it.rope;
    let rope = Rope { cosines: view(on, cosines), sines: view(on, sines), heads, direction };
    DecodeQkv { parts: parts(on, it.parts), rope, places: places(on, it.places) }
}

fn attending<'a, K: Backend>(on: &K, it: Attending<'a, AnyBuffer>) -> Attending<'a, K::Buffer> {
    let (queries, workspace) = (view(on, it.queries), view_mut(on, it.workspace));
    Attending { queries, heads: it.heads, places: places(on, it.places), workspace }
}

/// Launches of one of the devices; the processor has none.
#[derive(Default)]
pub struct AnyGraph(<Cuda as Decode>::Graph);

impl Decode for AnyDevice {
    type Graph = AnyGraph;

    fn decodes(&self, heads: Heads) -> bool {
        on!(self, it => it.decodes(heads))
    }

    fn decode_parts(&self, weight: &AnyPacked) -> usize {
        fn one<K: Backend>(on: &K, weight: &AnyPacked) -> usize {
            on.decode_parts(K::packed(weight).expect(OTHER))
        }
        on!(self, it => one(it, weight))
    }

    fn decode_product(&self, x: Mat<'_>, weight: &AnyPacked, to: Out<'_>) -> Result<()> {
        fn one<K: Backend>(on: &K, x: Mat<'_>, weight: &AnyPacked, to: Out<'_>) -> Result<()> {
            let weight = K::packed(weight).expect(OTHER);
            on.decode_product(matrix(on, x), weight, view_mut(on, to))
        }
        on!(self, it => one(it, x, weight, to))
    }

    fn decode_total(&self, given: Parts<'_, AnyBuffer>, out: Out<'_>) -> Result<()> {
        on!(self, it => it.decode_total(parts(it, given), view_mut(it, out)))
    }

    fn decode_gate(&self, given: Parts<'_, AnyBuffer>, width: usize, out: Out<'_>) -> Result<()> {
        on!(self, it => it.decode_gate(parts(it, given), width, view_mut(it, out)))
    }

    fn decode_norm(&self, given: Norm<'_, AnyBuffer>, x: Out<'_>, out: Out<'_>) -> Result<()> {
        on!(self, it => {
            let parts = given.parts.map(|given| parts(it, given));
            let given = Norm { parts, gain: view(it, given.gain), eps: given.eps };
            it.decode_norm(given, view_mut(it, x), view_mut(it, out))
        })
    }

    fn decode_qkv(
        &self,
        given: DecodeQkv<'_, AnyBuffer>,
        (cache, layer): (&mut AnyCache, usize),
        queries: Out<'_>,
    ) -> Result<()> {
        fn one<K: Backend>(
            on: &K,
            given: DecodeQkv<'_, AnyBuffer>,
            (cache, layer): (&mut AnyCache, usize),
            queries: Out<'_>,
        ) -> Result<()> {
            let cache = K::cache_mut(cache).expect(OTHER);
            on.decode_qkv(decode_qkv_input(on, given), (cache, layer), view_mut(on, queries))
        }
        on!(self, it => one(it, given, (cache, layer), queries))
    }

    fn decode_attention(
        &self,
        (cache, layer): (&AnyCache, usize),
        given: Attending<'_, AnyBuffer>,
        out: Out<'_>,
    ) -> Result<()> {
        fn one<K: Backend>(
            on: &K,
            (cache, layer): (&AnyCache, usize),
            given: Attending<'_, AnyBuffer>,
            out: Out<'_>,
        ) -> Result<()> {
            let cache = <K as Backend>::cache(cache).expect(OTHER);
            on.decode_attention((cache, layer), attending(on, given), view_mut(on, out))
        }
        on!(self, it => one(it, (cache, layer), given, out))
    }

    unsafe fn repeat(&self, graph: &mut AnyGraph, work: impl FnOnce() -> Result<()>) -> Result<()> {
        match self {
            AnyDevice::Cpu(_) => work(),
            // SAFETY: the caller's promise.
            AnyDevice::Cuda(it) => unsafe { it.repeat(&mut graph.0, work) },
        }
    }

    fn pick(&self, logits: In<'_>, given: &[Given<'_>]) -> Result<Vec<Result<Pick, SampleError>>> {
        on!(self, it => it.pick(view(it, logits), given))
    }
}
