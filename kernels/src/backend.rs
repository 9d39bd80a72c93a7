//! A device that is chosen at run time: the processor or a CUDA device, as one type.
//!
//! It only hands calls on. A buffer of one device given to the other is a mistake of ours and panics.

mod decode;

use crate::cuda::{Cuda, CudaBuffer};
use crate::decode::Decode;
use crate::device::{Buffer, Device, Matrix, MatrixMut, View, ViewMut};
use crate::ops::adamw::{AdamW, State};
use crate::ops::attention::{Backward as AttentionBackward, Forward as AttentionForward};
use crate::ops::cross_entropy::{Gradients, LinearCrossEntropy};
use crate::ops::dropout::Dropout;
use crate::ops::matmul::{Pair, Product, Start};
use crate::ops::paged::{CacheShape, Tokens};
use crate::ops::rms_norm::{Backward as NormBackward, Forward as NormForward};
use crate::ops::rope::Rope;
use crate::ops::uniform::Uniform;
use crate::{Cpu, CpuBuffer, Dtype, Element, Result};

/// One of the devices.
pub enum AnyDevice {
    /// The processor.
    Cpu(Cpu),
    /// A CUDA device.
    Cuda(Box<Cuda>),
}

/// Memory of one of the devices.
pub enum AnyBuffer {
    /// Of the processor.
    Cpu(CpuBuffer),
    /// Of a CUDA device.
    Cuda(CudaBuffer),
}

/// A weight matrix made ready for one of the devices.
pub enum AnyPacked {
    /// For the processor.
    Cpu(<Cpu as Device>::Packed),
    /// For a CUDA device.
    Cuda(<Cuda as Device>::Packed),
}

/// Keys and values on one of the devices.
pub enum AnyCache {
    /// On the processor.
    Cpu(<Cpu as Device>::Cache),
    /// On a CUDA device.
    Cuda(<Cuda as Device>::Cache),
}

impl AnyDevice {
    /// The memory that there is for a model: the machine's, or what is free on the device; 0 where
    /// nobody says.
    pub fn memory_bytes(&self) -> Result<u64> {
        match self {
            AnyDevice::Cpu(_) => Ok(crate::machine::memory_bytes()),
            AnyDevice::Cuda(it) => it.free_bytes(),
        }
    }
}

impl Buffer for AnyBuffer {
    fn dtype(&self) -> Dtype {
        match self {
            AnyBuffer::Cpu(it) => it.dtype(),
            AnyBuffer::Cuda(it) => it.dtype(),
        }
    }

    fn len(&self) -> usize {
        match self {
            AnyBuffer::Cpu(it) => it.len(),
            AnyBuffer::Cuda(it) => it.len(),
        }
    }
}

/// A device that is one of the kinds.
trait Backend: Decode {
    fn buffer(it: &AnyBuffer) -> Option<&Self::Buffer>;
    fn buffer_mut(it: &mut AnyBuffer) -> Option<&mut Self::Buffer>;
    fn packed(it: &AnyPacked) -> Option<&Self::Packed>;
    fn cache(it: &AnyCache) -> Option<&Self::Cache>;
    fn cache_mut(it: &mut AnyCache) -> Option<&mut Self::Cache>;
}

macro_rules! backend {
    ($device:ident) => {
        impl Backend for $device {
            fn buffer(it: &AnyBuffer) -> Option<&Self::Buffer> {
                if let AnyBuffer::$device(it) = it { Some(it) } else { None }
            }
            fn buffer_mut(it: &mut AnyBuffer) -> Option<&mut Self::Buffer> {
                if let AnyBuffer::$device(it) = it { Some(it) } else { None }
            }
            fn packed(it: &AnyPacked) -> Option<&Self::Packed> {
                if let AnyPacked::$device(it) = it { Some(it) } else { None }
            }
            fn cache(it: &AnyCache) -> Option<&Self::Cache> {
                if let AnyCache::$device(it) = it { Some(it) } else { None }
            }
            fn cache_mut(it: &mut AnyCache) -> Option<&mut Self::Cache> {
                if let AnyCache::$device(it) = it { Some(it) } else { None }
            }
        }
    };
}

backend!(Cpu);
backend!(Cuda);

const OTHER: &str = "a buffer of another device";

type In<'a> = View<'a, AnyBuffer>;
type Out<'a> = ViewMut<'a, AnyBuffer>;
type Mat<'a> = Matrix<'a, AnyBuffer>;
type MatMut<'a> = MatrixMut<'a, AnyBuffer>;

// The same views for the device's own buffers; the kind is what the device's call wants.

fn view<'a, K: Backend>(_: &K, it: In<'a>) -> View<'a, K::Buffer> {
    View { buffer: K::buffer(it.buffer).expect(OTHER), start: it.start, len: it.len }
}

fn view_mut<'a, K: Backend>(_: &K, it: Out<'a>) -> ViewMut<'a, K::Buffer> {
    ViewMut { buffer: K::buffer_mut(it.buffer).expect(OTHER), start: it.start, len: it.len }
}

fn matrix<'a, K: Backend>(on: &K, it: Mat<'a>) -> Matrix<'a, K::Buffer> {
    let Matrix { rows, columns, stride, .. } = it;
    Matrix { view: view(on, it.view), rows, columns, stride }
}

fn matrix_mut<'a, K: Backend>(on: &K, it: MatMut<'a>) -> MatrixMut<'a, K::Buffer> {
    let MatrixMut { rows, columns, stride, .. } = it;
    MatrixMut { view: view_mut(on, it.view), rows, columns, stride }
}

fn rope<'a, K: Backend>(on: &K, it: Rope<'a, AnyBuffer>) -> Rope<'a, K::Buffer> {
    let Rope { heads, direction, .. } = it;
    Rope { cosines: view(on, it.cosines), sines: view(on, it.sines), heads, direction }
}

fn tokens<'a, K: Backend>(on: &K, it: Tokens<'a, AnyBuffer>) -> Tokens<'a, K::Buffer> {
    Tokens { qkv: view(on, it.qkv), heads: it.heads, runs: it.runs }
}

fn gradients<'a, K: Backend>(on: &K, it: Gradients<'a, AnyBuffer>) -> Gradients<'a, K::Buffer> {
    let d_head = it.d_head.map(|it| matrix_mut(on, it));
    Gradients { d_hidden: view_mut(on, it.d_hidden), d_head }
}

/// `$body` with `$on` as the device that it is.
macro_rules! on {
    ($self:expr, $on:ident => $body:expr) => {
        match $self {
            AnyDevice::Cpu($on) => $body,
            AnyDevice::Cuda($on) => {
                let $on: &Cuda = $on;
                $body
            }
        }
    };
}

use on;

/// What `$body` makes on the device, as `$any`.
macro_rules! made {
    ($self:expr, $any:ident, $on:ident => $body:expr) => {
        match $self {
            AnyDevice::Cpu($on) => $any::Cpu($body),
            AnyDevice::Cuda($on) => {
                let $on: &Cuda = $on;
                $any::Cuda($body)
            }
        }
    };
}

impl Device for AnyDevice {
    type Buffer = AnyBuffer;
    type Packed = AnyPacked;
    type Cache = AnyCache;
    // Of both; a test says so.
    const BLOCK: usize = Cpu::BLOCK;

    fn activations(&self) -> Dtype {
        on!(self, it => it.activations())
    }

    fn reserve(&self, rows: usize) -> Result<()> {
        on!(self, it => it.reserve(rows))
    }

    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        on!(self, it => it.run(work))
    }

    fn zeros(&self, dtype: Dtype, len: usize) -> Result<AnyBuffer> {
        Ok(made!(self, AnyBuffer, it => it.zeros(dtype, len)?))
    }

    fn zeros_of(&self, lengths: &[(Dtype, usize)]) -> Result<Vec<AnyBuffer>> {
        Ok(match self {
            AnyDevice::Cpu(it) => it.zeros_of(lengths)?.into_iter().map(AnyBuffer::Cpu).collect(),
            AnyDevice::Cuda(it) => it.zeros_of(lengths)?.into_iter().map(AnyBuffer::Cuda).collect(),
        })
    }

    fn upload<E: Element>(&self, data: &[E]) -> Result<AnyBuffer> {
        Ok(made!(self, AnyBuffer, it => it.upload(data)?))
    }

    fn write<E: Element>(&self, to: Out<'_>, data: &[E]) -> Result<()> {
        on!(self, it => it.write(view_mut(it, to), data))
    }

    fn read<E: Element>(&self, from: In<'_>) -> Result<Vec<E>> {
        on!(self, it => it.read(view(it, from)))
    }

    fn copy(&self, from: In<'_>, to: Out<'_>) -> Result<()> {
        on!(self, it => it.copy(view(it, from), view_mut(it, to)))
    }

    fn clear(&self, to: Out<'_>) -> Result<()> {
        on!(self, it => it.clear(view_mut(it, to)))
    }

    fn add(&self, x: In<'_>, to: Out<'_>) -> Result<()> {
        on!(self, it => it.add(view(it, x), view_mut(it, to)))
    }

    fn scale(&self, factor: f32, to: Out<'_>) -> Result<()> {
        on!(self, it => it.scale(factor, view_mut(it, to)))
    }

    fn dropout(&self, given: Dropout, to: Out<'_>) -> Result<()> {
        on!(self, it => it.dropout(given, view_mut(it, to)))
    }

    fn uniform(&self, given: Uniform, to: Out<'_>) -> Result<()> {
        on!(self, it => it.uniform(given, view_mut(it, to)))
    }

    fn embed(&self, table: Mat<'_>, ids: In<'_>, out: Out<'_>) -> Result<()> {
        on!(self, it => it.embed(matrix(it, table), view(it, ids), view_mut(it, out)))
    }

    fn embed_backward(&self, d_out: In<'_>, ids: In<'_>, d_table: MatMut<'_>) -> Result<()> {
        on!(self, it => it.embed_backward(view(it, d_out), view(it, ids), matrix_mut(it, d_table)))
    }

    fn rms_norm(
        &self,
        given: NormForward<'_, AnyBuffer>,
        out: Out<'_>,
        scale: Out<'_>,
    ) -> Result<()> {
        on!(self, it => {
            let (x, gain, eps) = (view(it, given.x), view(it, given.gain), given.eps);
            it.rms_norm(NormForward { x, gain, eps }, view_mut(it, out), view_mut(it, scale))
        })
    }

    fn rms_norm_backward(
        &self,
        given: NormBackward<'_, AnyBuffer>,
        d_x: Out<'_>,
        d_gain: Option<Out<'_>>,
    ) -> Result<()> {
        on!(self, it => {
            let given = NormBackward {
                d_out: view(it, given.d_out),
                x: view(it, given.x),
                gain: view(it, given.gain),
                scale: view(it, given.scale),
            };
            let d_gain = d_gain.map(|d_gain| view_mut(it, d_gain));
            it.rms_norm_backward(given, view_mut(it, d_x), d_gain)
        })
    }

    fn rope(&self, qkv: Out<'_>, positions: In<'_>, given: Rope<'_, AnyBuffer>) -> Result<()> {
        on!(self, it => it.rope(view_mut(it, qkv), view(it, positions), rope(it, given)))
    }

    fn matmul(&self, product: Product<'_, AnyBuffer>, out: MatMut<'_>) -> Result<()> {
        on!(self, it => {
            let Product { form, a, b, start } = product;
            let product = Product { form, a: matrix(it, a), b: matrix(it, b), start };
            it.matmul(product, matrix_mut(it, out))
        })
    }

    fn matmul_residual(&self, from: In<'_>, pair: Pair<'_, AnyBuffer>, out: Out<'_>) -> Result<()> {
        on!(self, it => {
            let pair = (matrix(it, pair.0), matrix(it, pair.1));
            it.matmul_residual(view(it, from), pair, view_mut(it, out))
        })
    }

    fn matmul_rope(
        &self,
        pair: Pair<'_, AnyBuffer>,
        qkv: Out<'_>,
        (positions, given): (In<'_>, Rope<'_, AnyBuffer>),
    ) -> Result<()> {
        on!(self, it => {
            let pair = (matrix(it, pair.0), matrix(it, pair.1));
            it.matmul_rope(pair, view_mut(it, qkv), (view(it, positions), rope(it, given)))
        })
    }

    fn matmul_swiglu(
        &self,
        pair: Pair<'_, AnyBuffer>,
        gate_up: Out<'_>,
        out: Out<'_>,
    ) -> Result<()> {
        on!(self, it => {
            let pair = (matrix(it, pair.0), matrix(it, pair.1));
            it.matmul_swiglu(pair, view_mut(it, gate_up), view_mut(it, out))
        })
    }

    fn attention(
        &self,
        given: AttentionForward<'_, AnyBuffer>,
        out: Out<'_>,
        lse: Out<'_>,
    ) -> Result<()> {
        on!(self, it => {
            let AttentionForward { qkv, spans, heads } = given;
            let given = AttentionForward { qkv: view(it, qkv), spans, heads };
            it.attention(given, view_mut(it, out), view_mut(it, lse))
        })
    }

    fn attention_backward(
        &self,
        given: AttentionBackward<'_, AnyBuffer>,
        d_qkv: Out<'_>,
    ) -> Result<()> {
        on!(self, it => {
            let given = AttentionBackward {
                d_out: view(it, given.d_out),
                out: view(it, given.out),
                qkv: view(it, given.qkv),
                lse: view(it, given.lse),
                spans: given.spans,
                heads: given.heads,
            };
            it.attention_backward(given, view_mut(it, d_qkv))
        })
    }

    fn swiglu(&self, gate_up: In<'_>, width: usize, out: Out<'_>) -> Result<()> {
        on!(self, it => it.swiglu(view(it, gate_up), width, view_mut(it, out)))
    }

    fn swiglu_backward(
        &self,
        d_out: In<'_>,
        gate_up: In<'_>,
        width: usize,
        d_gate_up: Out<'_>,
    ) -> Result<()> {
        on!(self, it => {
            let to = view_mut(it, d_gate_up);
            it.swiglu_backward(view(it, d_out), view(it, gate_up), width, to)
        })
    }

    fn cross_entropy(
        &self,
        given: LinearCrossEntropy<'_, AnyBuffer>,
        nll: Out<'_>,
        to: Option<Gradients<'_, AnyBuffer>>,
    ) -> Result<()> {
        on!(self, it => {
            let LinearCrossEntropy { hidden, head, targets, scale } = given;
            let (hidden, head, targets) =
                (view(it, hidden), matrix(it, head), view(it, targets));
            let given = LinearCrossEntropy { hidden, head, targets, scale };
            it.cross_entropy(given, view_mut(it, nll), to.map(|to| gradients(it, to)))
        })
    }

    fn square_sum(&self, x: In<'_>) -> Result<f64> {
        on!(self, it => it.square_sum(view(it, x)))
    }

    fn adamw(&self, step: AdamW, state: State<'_, AnyBuffer>) -> Result<()> {
        on!(self, it => {
            let state = State {
                weight: view_mut(it, state.weight),
                master: state.master.map(|master| view_mut(it, master)),
                m: view_mut(it, state.m),
                v: view_mut(it, state.v),
                gradient: view(it, state.gradient),
            };
            it.adamw(step, state)
        })
    }

    fn pack(&self, weight: Mat<'_>) -> Result<AnyPacked> {
        Ok(made!(self, AnyPacked, it => it.pack(matrix(it, weight))?))
    }

    fn linear(&self, x: Mat<'_>, weight: &AnyPacked, out: MatMut<'_>, start: Start) -> Result<()> {
        fn one<K: Backend>(
            on: &K,
            x: Mat<'_>,
            weight: &AnyPacked,
            out: MatMut<'_>,
            start: Start,
        ) -> Result<()> {
            on.linear(matrix(on, x), K::packed(weight).expect(OTHER), matrix_mut(on, out), start)
        }
        on!(self, it => one(it, x, weight, out, start))
    }

    fn cache(&self, shape: CacheShape) -> Result<AnyCache> {
        Ok(made!(self, AnyCache, it => Device::cache(it, shape)?))
    }

    fn cache_append(
        &self,
        cache: &mut AnyCache,
        layer: usize,
        given: Tokens<'_, AnyBuffer>,
    ) -> Result<()> {
        fn one<K: Backend>(
            on: &K,
            cache: &mut AnyCache,
            layer: usize,
            given: Tokens<'_, AnyBuffer>,
        ) -> Result<()> {
            on.cache_append(K::cache_mut(cache).expect(OTHER), layer, tokens(on, given))
        }
        on!(self, it => one(it, cache, layer, given))
    }

    fn cache_copy(&self, cache: &mut AnyCache, from: u32, to: u32) -> Result<()> {
        fn one<K: Backend>(on: &K, cache: &mut AnyCache, from: u32, to: u32) -> Result<()> {
            on.cache_copy(K::cache_mut(cache).expect(OTHER), from, to)
        }
        on!(self, it => one(it, cache, from, to))
    }

    fn attention_paged(
        &self,
        cache: &AnyCache,
        layer: usize,
        given: Tokens<'_, AnyBuffer>,
        out: Out<'_>,
    ) -> Result<()> {
        fn one<K: Backend>(
            on: &K,
            cache: &AnyCache,
            layer: usize,
            given: Tokens<'_, AnyBuffer>,
            out: Out<'_>,
        ) -> Result<()> {
            let cache = <K as Backend>::cache(cache).expect(OTHER);
            on.attention_paged(cache, layer, tokens(on, given), view_mut(on, out))
        }
        on!(self, it => one(it, cache, layer, given, out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_the_cache_are_of_one_size() {
        assert_eq!(Cpu::BLOCK, Cuda::BLOCK);
    }

    #[test]
    #[should_panic = "a buffer of another device"]
    fn a_buffer_of_another_device_panics() {
        let on_cpu = AnyBuffer::Cpu(CpuBuffer::zeros(Dtype::F32, 1).unwrap());
        assert!(<Cpu as Backend>::buffer(&on_cpu).is_some());
        let _ = <Cuda as Backend>::buffer(&on_cpu).expect(OTHER);
    }
}
