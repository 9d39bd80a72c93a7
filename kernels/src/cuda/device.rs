//! [`Device`] for CUDA: each operation's launches are in its folder, what is no operation is here.

use std::ops::Range;

use super::{Cuda, CudaBuffer};
use crate::device::{Device, Matrix, MatrixMut, View, ViewMut};
use crate::error::{check_dtype, check_len};
use crate::ops::adamw::{self, AdamW};
use crate::ops::attention::{self, Backward as AttentionBackward, Forward as AttentionForward};
use crate::ops::cross_entropy::{self, Gradients, LinearCrossEntropy};
use crate::ops::dropout::{self, Dropout};
use crate::ops::matmul::{self, Form, Pair, Product, Start, fused_cuda};
use crate::ops::paged::{self, CacheShape, CudaCache, Tokens};
use crate::ops::rms_norm::{self, Backward as NormBackward, Forward as NormForward};
use crate::ops::rope::{self, Rope};
use crate::ops::uniform::{self, Uniform};
use crate::ops::{embedding, square_sum, swiglu};
use crate::{Dtype, Element, Result};

type In<'a> = View<'a, CudaBuffer>;
type Out<'a> = ViewMut<'a, CudaBuffer>;
type Mat<'a> = Matrix<'a, CudaBuffer>;
type MatMut<'a> = MatrixMut<'a, CudaBuffer>;

/// A weight matrix as rows, which is what the kernels multiply with.
pub struct Packed {
    rows: CudaBuffer, // [outputs, inputs]
    inputs: usize,
}

impl Packed {
    /// The rows.
    pub(crate) fn rows(&self) -> Matrix<'_, CudaBuffer> {
        self.rows.view().rows(self.inputs)
    }
}

impl Cuda {
    /// Copies numbers of one type from a range of a buffer to a place in another, or in the same where
    /// they do not overlap.
    pub(crate) fn copy_bytes(
        &self,
        from: &CudaBuffer,
        range: Range<usize>,
        to: (&CudaBuffer, usize),
    ) -> Result<()> {
        from.copy_to(&self.stream, range, to)
    }

    pub(crate) fn clear_range(&self, buffer: &CudaBuffer, range: Range<usize>) -> Result<()> {
        buffer.clear(&self.stream, range)
    }

    /// All numbers of a buffer; waits for them.
    pub(crate) fn read_words<E: Element>(&self, from: &CudaBuffer) -> Result<Vec<E>> {
        self.read(from.view())
    }
}

impl Device for Cuda {
    type Buffer = CudaBuffer;
    type Packed = Packed;
    type Cache = CudaCache;
    const BLOCK: usize = attention::BLOCK;

    fn activations(&self) -> Dtype {
        self.numerics().activations()
    }

    fn reserve(&self, rows: usize) -> Result<()> {
        self.reserve_rows(rows);
        self.make_tables()
    }

    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    fn zeros(&self, dtype: Dtype, len: usize) -> Result<CudaBuffer> {
        CudaBuffer::zeros(&self.stream, dtype, len)
    }

    fn zeros_of(&self, lengths: &[(Dtype, usize)]) -> Result<Vec<CudaBuffer>> {
        CudaBuffer::zeros_of(&self.stream, lengths)
    }

    fn upload<E: Element>(&self, data: &[E]) -> Result<CudaBuffer> {
        let buffer = CudaBuffer::new(&self.stream, E::DTYPE, data.len())?;
        buffer.write_from(&self.stream, 0, data)?;
        Ok(buffer)
    }

    fn write<E: Element>(&self, to: Out<'_>, data: &[E]) -> Result<()> {
        check_len("write", "to", to.len(), data.len())?;
        check_dtype("write", "to", to.dtype(), E::DTYPE)?;
        to.buffer.write_from(&self.stream, to.start, data)
    }

    fn read<E: Element>(&self, from: In<'_>) -> Result<Vec<E>> {
        check_dtype("read", "from", from.dtype(), E::DTYPE)?;
        let mut data = vec![E::zeroed(); from.len()];
        self.explained(from.buffer.read_into(&self.stream, from.start, &mut data))?;
        self.wait()?;
        Ok(data)
    }

    fn copy(&self, from: In<'_>, to: Out<'_>) -> Result<()> {
        self.copy_real(from, to)
    }

    fn clear(&self, to: Out<'_>) -> Result<()> {
        self.clear_range(to.buffer, to.start..to.start + to.len)
    }

    fn add(&self, x: In<'_>, to: Out<'_>) -> Result<()> {
        self.add_real(x, to)
    }

    fn scale(&self, factor: f32, to: Out<'_>) -> Result<()> {
        self.scale_real(factor, to)
    }

    fn dropout(&self, given: Dropout, to: Out<'_>) -> Result<()> {
        dropout::cuda::dropout(self, given, to)
    }

    fn uniform(&self, given: Uniform, to: Out<'_>) -> Result<()> {
        uniform::cuda::uniform(self, given, to)
    }

    fn embed(&self, table: Mat<'_>, ids: In<'_>, out: Out<'_>) -> Result<()> {
        embedding::cuda::forward(self, table, ids, out)
    }

    fn embed_backward(&self, d_out: In<'_>, ids: In<'_>, d_table: MatMut<'_>) -> Result<()> {
        embedding::cuda::backward(self, d_out, ids, d_table)
    }

    fn rms_norm(
        &self,
        given: NormForward<'_, CudaBuffer>,
        out: Out<'_>,
        scale: Out<'_>,
    ) -> Result<()> {
        rms_norm::cuda::forward(self, given, out, scale)
    }

    fn rms_norm_backward(
        &self,
        given: NormBackward<'_, CudaBuffer>,
        d_x: Out<'_>,
        d_gain: Option<Out<'_>>,
    ) -> Result<()> {
        rms_norm::cuda::backward(self, given, d_x, d_gain)
    }

    fn rope(&self, qkv: Out<'_>, positions: In<'_>, rope: Rope<'_, CudaBuffer>) -> Result<()> {
        rope::cuda::rope(self, qkv, positions, rope)
    }

    fn matmul(&self, product: Product<'_, CudaBuffer>, out: MatMut<'_>) -> Result<()> {
        matmul::cuda::matmul(self, product, out)
    }

    fn matmul_residual(
        &self,
        from: In<'_>,
        pair: Pair<'_, CudaBuffer>,
        out: Out<'_>,
    ) -> Result<()> {
        fused_cuda::residual(self, from, pair, out)
    }

    fn matmul_rope(
        &self,
        pair: Pair<'_, CudaBuffer>,
        qkv: Out<'_>,
        rope: (In<'_>, Rope<'_, CudaBuffer>),
    ) -> Result<()> {
        fused_cuda::rope(self, pair, qkv, rope)
    }

    fn matmul_swiglu(
        &self,
        pair: Pair<'_, CudaBuffer>,
        gate_up: Out<'_>,
        out: Out<'_>,
    ) -> Result<()> {
        fused_cuda::swiglu(self, pair, gate_up, out)
    }

    fn attention(
        &self,
        given: AttentionForward<'_, CudaBuffer>,
        out: Out<'_>,
        lse: Out<'_>,
    ) -> Result<()> {
        attention::cuda::forward(self, given, out, lse)
    }

    fn attention_backward(
        &self,
        given: AttentionBackward<'_, CudaBuffer>,
        d_qkv: Out<'_>,
    ) -> Result<()> {
        attention::cuda::backward(self, given, d_qkv)
    }

    fn swiglu(&self, gate_up: In<'_>, width: usize, out: Out<'_>) -> Result<()> {
        swiglu::cuda::forward(self, gate_up, width, out)
    }

    fn swiglu_backward(
        &self,
        d_out: In<'_>,
        gate_up: In<'_>,
        width: usize,
        d_gate_up: Out<'_>,
    ) -> Result<()> {
        swiglu::cuda::backward(self, (d_out, gate_up), width, d_gate_up)
    }

    fn cross_entropy(
        &self,
        given: LinearCrossEntropy<'_, CudaBuffer>,
        nll: Out<'_>,
        gradients: Option<Gradients<'_, CudaBuffer>>,
    ) -> Result<()> {
        cross_entropy::cuda::cross_entropy(self, given, nll, gradients)
    }

    fn square_sum(&self, x: In<'_>) -> Result<f64> {
        square_sum::cuda::square_sum(self, x)
    }

    fn adamw(&self, step: AdamW, state: adamw::State<'_, CudaBuffer>) -> Result<()> {
        adamw::cuda::step(self, step, state)
    }

    fn pack(&self, weight: Mat<'_>) -> Result<Packed> {
        let Matrix { view, rows, columns, stride } = weight;
        let packed = CudaBuffer::new(&self.stream, view.dtype(), rows * columns)?;
        if stride == columns {
            let range = view.start..view.start + rows * columns;
            self.copy_bytes(view.buffer, range, (&packed, 0))?;
        } else {
            for row in 0..rows {
                let start = view.start + row * stride;
                self.copy_bytes(view.buffer, start..start + columns, (&packed, row * columns))?;
            }
        }
        Ok(Packed { rows: packed, inputs: columns })
    }

    fn linear(&self, x: Mat<'_>, weight: &Packed, out: MatMut<'_>, start: Start) -> Result<()> {
        self.matmul(Product { form: Form::Xwt, a: x, b: weight.rows(), start }, out)
    }

    fn cache(&self, shape: CacheShape) -> Result<CudaCache> {
        paged::cuda::new(self, shape)
    }

    fn cache_append(
        &self,
        cache: &mut CudaCache,
        layer: usize,
        tokens: Tokens<'_, CudaBuffer>,
    ) -> Result<()> {
        paged::cuda::append(self, cache, layer, tokens)
    }

    fn cache_copy(&self, cache: &mut CudaCache, from: u32, to: u32) -> Result<()> {
        paged::cuda::copy_block(self, cache, from, to)
    }

    fn attention_paged(
        &self,
        cache: &CudaCache,
        layer: usize,
        tokens: Tokens<'_, CudaBuffer>,
        out: Out<'_>,
    ) -> Result<()> {
        paged::cuda::attention(self, cache, layer, tokens, out)
    }
}
