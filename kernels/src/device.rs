//! The seam between the model and what it runs on: memory, and the operations of the model.
//!
//! The model's code is written once, against [`Device`]. The processor ([`crate::cpu::Cpu`]) is the
//! backend that is always there and the definition of every result; other devices are held against
//! it. Each operation's contract is the head of its folder in `ops/`.
//!
//! Buffers are plain memory of one [`Dtype`]; operations take [`View`]s, ranges of buffers. Shapes
//! are checked by every call: a wrong one is an [`crate::Error`], never a wild access. A view that
//! does not lie in its buffer is a mistake of ours and panics where it is made.

use std::ops::Range;

use crate::ops::adamw::AdamW;
use crate::ops::attention::{Backward as AttentionBackward, Forward as AttentionForward};
use crate::ops::cross_entropy::{Gradients, LinearCrossEntropy};
use crate::ops::dropout::Dropout;
use crate::ops::matmul::{Pair, Product, Start, fused};
use crate::ops::paged::{CacheShape, Tokens};
use crate::ops::rms_norm::{Backward as NormBackward, Forward as NormForward};
use crate::ops::rope::Rope;
use crate::ops::uniform::Uniform;
use crate::{Dtype, Element, Result};

/// Memory of a device.
pub trait Buffer: Send + Sync {
    /// What it holds.
    fn dtype(&self) -> Dtype;
    /// How many elements.
    fn len(&self) -> usize;
    /// Whether it has none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A range of a buffer, to be read.
#[derive(Debug)]
pub struct View<'a, B> {
    pub(crate) buffer: &'a B,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

// By hand: a derived one would ask `B` to be `Copy`.
impl<B> Clone for View<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for View<'_, B> {}

impl<'a, B: Buffer> View<'a, B> {
    /// All of a buffer.
    pub fn all(buffer: &'a B) -> Self {
        Self { buffer, start: 0, len: buffer.len() }
    }

    /// A part of this one, counted from its start.
    pub fn part(self, range: Range<usize>) -> Self {
        check_range(&range, self.len);
        Self { start: self.start + range.start, len: range.len(), ..self }
    }

    /// As rows of this width, one after another.
    pub fn rows(self, columns: usize) -> Matrix<'a, B> {
        let rows = self.len.checked_div(columns).unwrap_or(0);
        assert_eq!(rows * columns, self.len, "rows of {columns} in {} elements", self.len);
        Matrix { view: self, rows, columns, stride: columns }
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it holds.
    pub fn dtype(&self) -> Dtype {
        self.buffer.dtype()
    }
}

/// A range of a buffer, to be written.
#[derive(Debug)]
pub struct ViewMut<'a, B> {
    pub(crate) buffer: &'a mut B,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl<'a, B: Buffer> ViewMut<'a, B> {
    /// All of a buffer.
    pub fn all(buffer: &'a mut B) -> Self {
        let len = buffer.len();
        Self { buffer, start: 0, len }
    }

    /// A part of this one, counted from its start.
    pub fn part(self, range: Range<usize>) -> Self {
        check_range(&range, self.len);
        Self { start: self.start + range.start, len: range.len(), buffer: self.buffer }
    }

    /// The same range once more, for a call after which this one is used again.
    pub fn again(&mut self) -> ViewMut<'_, B> {
        ViewMut { buffer: self.buffer, start: self.start, len: self.len }
    }

    /// The same range, to be read.
    pub fn read(&self) -> View<'_, B> {
        View { buffer: self.buffer, start: self.start, len: self.len }
    }

    /// As rows of this width, one after another.
    pub fn rows(self, columns: usize) -> MatrixMut<'a, B> {
        let rows = self.len.checked_div(columns).unwrap_or(0);
        assert_eq!(rows * columns, self.len, "rows of {columns} in {} elements", self.len);
        MatrixMut { view: self, rows, columns, stride: columns }
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it holds.
    pub fn dtype(&self) -> Dtype {
        self.buffer.dtype()
    }
}

fn check_range(range: &Range<usize>, len: usize) {
    assert!(range.start <= range.end && range.end <= len, "{range:?} of {len} elements");
}

/// Rows of a view, perhaps a range of columns of wider rows.
#[derive(Debug)]
pub struct Matrix<'a, B> {
    /// Where the rows lie.
    pub view: View<'a, B>,
    /// How many rows.
    pub rows: usize,
    /// Elements of a row.
    pub columns: usize,
    /// From the start of a row to the start of the next.
    pub stride: usize,
}

impl<B> Clone for Matrix<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Matrix<'_, B> {}

impl<'a, B: Buffer> Matrix<'a, B> {
    /// These columns of every row.
    pub fn columns(self, range: Range<usize>) -> Self {
        check_range(&range, self.columns);
        let end = self.view.len;
        let view = if self.rows == 0 { self.view } else { self.view.part(range.start..end) };
        Self { view, columns: range.len(), ..self }
    }

    /// These rows.
    pub fn row_range(self, range: Range<usize>) -> Self {
        check_range(&range, self.rows);
        let view = self.view.part(rows_of(&range, self.columns, self.stride));
        Self { view, rows: range.len(), ..self }
    }
}

/// Rows of a view, to be written.
#[derive(Debug)]
pub struct MatrixMut<'a, B> {
    /// Where the rows lie.
    pub view: ViewMut<'a, B>,
    /// How many rows.
    pub rows: usize,
    /// Elements of a row.
    pub columns: usize,
    /// From the start of a row to the start of the next.
    pub stride: usize,
}

impl<'a, B: Buffer> MatrixMut<'a, B> {
    /// These columns of every row.
    pub fn columns(self, range: Range<usize>) -> Self {
        check_range(&range, self.columns);
        let end = self.view.len;
        let view = if self.rows == 0 { self.view } else { self.view.part(range.start..end) };
        Self { view, columns: range.len(), ..self }
    }

    /// These rows.
    pub fn row_range(self, range: Range<usize>) -> Self {
        check_range(&range, self.rows);
        let view = self.view.part(rows_of(&range, self.columns, self.stride));
        Self { view, rows: range.len(), ..self }
    }

    /// The same rows once more, for a call after which this one is used again.
    pub fn again(&mut self) -> MatrixMut<'_, B> {
        let Self { rows, columns, stride, .. } = *self;
        MatrixMut { view: self.view.again(), rows, columns, stride }
    }
}

/// The elements that rows cover, from the first of the first to the last of the last.
fn rows_of(range: &Range<usize>, columns: usize, stride: usize) -> Range<usize> {
    if range.is_empty() {
        return 0..0;
    }
    range.start * stride..(range.end - 1) * stride + columns
}

/// What a model runs on.
///
/// `View<'_, Self::Buffer>` reads, `ViewMut` writes. Nothing may overlap but where a contract says
/// so; the borrow checker sees to it.
pub trait Device: Send + Sync + Sized + 'static {
    /// Its memory.
    type Buffer: Buffer;
    /// A weight matrix made ready for [`Device::linear`].
    type Packed: Send + Sync;
    /// Keys and values of all layers, in blocks of [`Device::BLOCK`] tokens.
    type Cache: Send + Sync;
    /// Tokens in a block of the cache.
    const BLOCK: usize;

    /// What the activations of inference are kept in.
    fn activations(&self) -> Dtype {
        Dtype::F32
    }

    /// From now on batches have up to this many rows: what a device keeps for a moment is made for them, so
    /// that a step after the first takes no memory.
    fn reserve(&self, _rows: usize) -> Result<()> {
        Ok(())
    }

    /// Does work on the device's threads. Wrap whole steps in it: entering costs a switch of threads.
    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R;

    /// New memory, all zero.
    fn zeros(&self, dtype: Dtype, len: usize) -> Result<Self::Buffer>;
    /// The same of several types and lengths, which may be parts of one piece.
    fn zeros_of(&self, lengths: &[(Dtype, usize)]) -> Result<Vec<Self::Buffer>> {
        lengths.iter().map(|it| self.zeros(it.0, it.1)).collect()
    }
    /// New memory with this in it.
    fn upload<E: Element>(&self, data: &[E]) -> Result<Self::Buffer>;
    /// Writes numbers of the view's own type.
    fn write<E: Element>(&self, to: ViewMut<'_, Self::Buffer>, data: &[E]) -> Result<()>;
    /// Reads numbers of the view's own type.
    fn read<E: Element>(&self, from: View<'_, Self::Buffer>) -> Result<Vec<E>>;
    /// Copies; where the types differ, each number becomes the nearest.
    fn copy(&self, from: View<'_, Self::Buffer>, to: ViewMut<'_, Self::Buffer>) -> Result<()>;
    /// Makes all zero.
    fn clear(&self, to: ViewMut<'_, Self::Buffer>) -> Result<()>;
    /// `to += x`.
    fn add(&self, x: View<'_, Self::Buffer>, to: ViewMut<'_, Self::Buffer>) -> Result<()>;
    /// `to *= factor`.
    fn scale(&self, factor: f32, to: ViewMut<'_, Self::Buffer>) -> Result<()>;
    /// Leaves out some of the numbers: [`crate::ops::dropout`].
    fn dropout(&self, given: Dropout, to: ViewMut<'_, Self::Buffer>) -> Result<()>;
    /// Fills it with uniform random numbers: [`crate::ops::uniform`].
    fn uniform(&self, given: Uniform, to: ViewMut<'_, Self::Buffer>) -> Result<()>;

    /// The rows of a table: [`crate::ops::embedding`].
    fn embed(
        &self,
        table: Matrix<'_, Self::Buffer>,
        ids: View<'_, Self::Buffer>,
        out: ViewMut<'_, Self::Buffer>,
    ) -> Result<()>;
    /// Adds each row's gradient to its table row, in the order of the rows.
    fn embed_backward(
        &self,
        d_out: View<'_, Self::Buffer>,
        ids: View<'_, Self::Buffer>,
        d_table: MatrixMut<'_, Self::Buffer>,
    ) -> Result<()>;

    /// `out = x · scale · gain` by rows, keeping `scale` = 1/√(mean x² + eps): [`crate::ops::rms_norm`].
    fn rms_norm(
        &self,
        given: NormForward<'_, Self::Buffer>,
        out: ViewMut<'_, Self::Buffer>,
        scale: ViewMut<'_, Self::Buffer>,
    ) -> Result<()>;
    /// Adds to the gradient of `x`, and of `gain` where it is wanted.
    fn rms_norm_backward(
        &self,
        given: NormBackward<'_, Self::Buffer>,
        d_x: ViewMut<'_, Self::Buffer>,
        d_gain: Option<ViewMut<'_, Self::Buffer>>,
    ) -> Result<()>;

    /// Turns queries and keys by their positions, or back: [`crate::ops::rope`].
    fn rope(
        &self,
        qkv: ViewMut<'_, Self::Buffer>,
        positions: View<'_, Self::Buffer>,
        rope: Rope<'_, Self::Buffer>,
    ) -> Result<()>;

    /// A product of matrices in one of the three forms: [`crate::ops::matmul`].
    fn matmul(
        &self,
        product: Product<'_, Self::Buffer>,
        out: MatrixMut<'_, Self::Buffer>,
    ) -> Result<()>;

    /// `out = from + x wᵀ`, with the bits of a copy and a product that is added.
    fn matmul_residual(
        &self,
        from: View<'_, Self::Buffer>,
        pair: Pair<'_, Self::Buffer>,
        out: ViewMut<'_, Self::Buffer>,
    ) -> Result<()> {
        fused::residual(self, from, pair, out)
    }
    /// `qkv = x wᵀ` with RoPE of queries and keys, with the bits of one after the other.
    fn matmul_rope(
        &self,
        pair: Pair<'_, Self::Buffer>,
        qkv: ViewMut<'_, Self::Buffer>,
        rope: (View<'_, Self::Buffer>, Rope<'_, Self::Buffer>),
    ) -> Result<()> {
        fused::rope(self, pair, qkv, rope)
    }
    /// `gate | up = x wᵀ` and `out = silu(gate) · up`, with the bits of one after the other.
    fn matmul_swiglu(
        &self,
        pair: Pair<'_, Self::Buffer>,
        gate_up: ViewMut<'_, Self::Buffer>,
        out: ViewMut<'_, Self::Buffer>,
    ) -> Result<()> {
        fused::swiglu(self, pair, gate_up, out)
    }

    /// Causal attention within each span of rows: [`crate::ops::attention`].
    ///
    /// `lse` gets the logarithm of each query's sum, which the backward pass needs.
    fn attention(
        &self,
        given: AttentionForward<'_, Self::Buffer>,
        out: ViewMut<'_, Self::Buffer>,
        lse: ViewMut<'_, Self::Buffer>,
    ) -> Result<()>;
    /// Writes the gradient of `qkv`.
    fn attention_backward(
        &self,
        given: AttentionBackward<'_, Self::Buffer>,
        d_qkv: ViewMut<'_, Self::Buffer>,
    ) -> Result<()>;

    /// `silu(gate) · up` of rows that are `gate | up`: [`crate::ops::swiglu`].
    fn swiglu(
        &self,
        gate_up: View<'_, Self::Buffer>,
        width: usize,
        out: ViewMut<'_, Self::Buffer>,
    ) -> Result<()>;
    /// Writes the gradient of `gate | up`.
    fn swiglu_backward(
        &self,
        d_out: View<'_, Self::Buffer>,
        gate_up: View<'_, Self::Buffer>,
        width: usize,
        d_gate_up: ViewMut<'_, Self::Buffer>,
    ) -> Result<()>;

    /// Negative log-likelihoods of targets under a linear head, and the gradients; logits exist for
    /// a chunk of rows at a time only: [`crate::ops::cross_entropy`].
    fn cross_entropy(
        &self,
        given: LinearCrossEntropy<'_, Self::Buffer>,
        nll: ViewMut<'_, Self::Buffer>,
        gradients: Option<Gradients<'_, Self::Buffer>>,
    ) -> Result<()>;

    /// The sum of squares; not finite where an element is not: [`crate::ops::square_sum`].
    fn square_sum(&self, x: View<'_, Self::Buffer>) -> Result<f64>;

    /// One step of AdamW: [`crate::ops::adamw`].
    fn adamw(&self, step: AdamW, state: crate::ops::adamw::State<'_, Self::Buffer>) -> Result<()>;

    /// Makes a weight matrix of `[outputs, inputs]` ready for [`Device::linear`].
    fn pack(&self, weight: Matrix<'_, Self::Buffer>) -> Result<Self::Packed>;
    /// `out = x Wᵀ`, the bits of [`crate::ops::matmul::Form::Xwt`].
    fn linear(
        &self,
        x: Matrix<'_, Self::Buffer>,
        weight: &Self::Packed,
        out: MatrixMut<'_, Self::Buffer>,
        start: Start,
    ) -> Result<()>;

    /// Room for keys and values: [`crate::ops::paged`].
    fn cache(&self, shape: CacheShape) -> Result<Self::Cache>;
    /// Puts the keys and values of new tokens into their blocks.
    fn cache_append(
        &self,
        cache: &mut Self::Cache,
        layer: usize,
        tokens: Tokens<'_, Self::Buffer>,
    ) -> Result<()>;
    /// Copies a block of all layers, before one of its two users writes to it.
    fn cache_copy(&self, cache: &mut Self::Cache, from: u32, to: u32) -> Result<()>;
    /// Attention of new tokens to all cached ones, the bits of [`Device::attention`].
    fn attention_paged(
        &self,
        cache: &Self::Cache,
        layer: usize,
        tokens: Tokens<'_, Self::Buffer>,
        out: ViewMut<'_, Self::Buffer>,
    ) -> Result<()>;
}
