//! A linear layer with its adapters, forward and backward.

use super::activations::LoraScratch;
use super::forward::Pass;
use super::model::Gradients;
use crate::decoder::layout::Part;
use crate::decoder::lora::Adapter;
use crate::device::{Matrix, MatrixMut, View, ViewMut};
use crate::ops::dropout::Dropout;
use crate::ops::matmul::{Form, Pair, Product, Start};
use crate::random::Random;
use crate::{Device, Result};

/// The streams of dropout under a run's seed.
const DROPOUT: u64 = 0x6472_6f70;

/// What the backward pass is given.
pub(super) struct Given<'a, B> {
    /// The gradient of the result: `[tokens, outputs]`.
    pub(super) d_out: View<'a, B>,
    /// What the layer was given: `[tokens, inputs]`.
    pub(super) x: View<'a, B>,
}

/// Where the backward pass adds to, and what it works in.
pub(super) struct Sinks<'a, D: Device> {
    pub(super) gradients: &'a mut Gradients<D>,
    pub(super) scratch: &'a mut LoraScratch<D::Buffer>,
}

impl<D: Device> Pass<'_, D> {
    /// `out = x Wᵀ`, and what the adapters add.
    pub(super) fn linear(
        &self,
        part: Part,
        x: View<'_, D::Buffer>,
        out: ViewMut<'_, D::Buffer>,
        scratch: &mut LoraScratch<D::Buffer>,
    ) -> Result<()> {
        let (a, b) = self.operands(part, x);
        let mut out = out.rows(b.rows);
        let product = Product { form: Form::Xwt, a, b, start: Start::Zero };
        self.device.matmul(product, out.again())?;
        self.adapt(part, a, out, scratch)
    }

    /// `out = from + x Wᵀ`, and what the adapters add.
    pub(super) fn linear_onto(
        &self,
        part: Part,
        x: View<'_, D::Buffer>,
        (from, mut out): (View<'_, D::Buffer>, ViewMut<'_, D::Buffer>),
        scratch: &mut LoraScratch<D::Buffer>,
    ) -> Result<()> {
        let pair = self.operands(part, x);
        self.device.matmul_residual(from, pair, out.again())?;
        self.adapt(part, pair.0, out.rows(pair.1.rows), scratch)
    }

    /// The operands of a layer that has no adapters: what comes after it may be done at once.
    pub(super) fn alone<'v>(
        &'v self,
        part: Part,
        x: View<'v, D::Buffer>,
    ) -> Option<Pair<'v, D::Buffer>> {
        let adapters = self.model.adapters.as_ref();
        let has_some = adapters.is_some_and(|it| it.layout.of(part).next().is_some());
        (!has_some).then(|| self.operands(part, x))
    }

    fn operands<'v>(&'v self, part: Part, x: View<'v, D::Buffer>) -> Pair<'v, D::Buffer> {
        let weight = self.model.weight(part);
        (x.rows(weight.columns), weight)
    }

    /// Adds what the adapters of a layer make of `x`.
    fn adapt(
        &self,
        part: Part,
        x: Matrix<'_, D::Buffer>,
        mut out: MatrixMut<'_, D::Buffer>,
        scratch: &mut LoraScratch<D::Buffer>,
    ) -> Result<()> {
        let Some(adapters) = &self.model.adapters else { return Ok(()) };
        for adapter in adapters.layout.of(part) {
            self.inner(adapter, x, scratch)?;
            let inner = self.inner_view(adapter, &scratch.inner);
            let product =
                Product { form: Form::Xwt, a: inner, b: self.b(adapter), start: Start::Add };
            self.device.matmul(product, out.again().columns(columns(adapter)))?;
        }
        Ok(())
    }

    /// Writes the gradient of `x`, and adds to those of what is trained.
    pub(super) fn linear_backward(
        &self,
        part: Part,
        given: Given<'_, D::Buffer>,
        d_x: ViewMut<'_, D::Buffer>,
        sinks: Sinks<'_, D>,
    ) -> Result<()> {
        let weight = self.model.weight(part);
        let (d_out, x) = (given.d_out.rows(weight.rows), given.x.rows(weight.columns));
        let mut d_x = d_x.rows(weight.columns);
        let product = Product { form: Form::Dyw, a: d_out, b: weight, start: Start::Zero };
        self.device.matmul(product, d_x.again())?;
        let Some(adapters) = &self.model.adapters else {
            let start = sinks.gradients.start;
            let product = Product { form: Form::Dytx, a: d_out, b: x, start };
            return self.device.matmul(product, sinks.gradients.slot(self.model, part));
        };
        let mut sinks = sinks;
        for adapter in adapters.layout.of(part) {
            self.adapter_backward(adapter, (d_out, x), d_x.again(), &mut sinks)?;
        }
        Ok(())
    }

    fn adapter_backward(
        &self,
        adapter: &Adapter,
        (d_out, x): (Matrix<'_, D::Buffer>, Matrix<'_, D::Buffer>),
        d_x: MatrixMut<'_, D::Buffer>,
        sinks: &mut Sinks<'_, D>,
    ) -> Result<()> {
        let Sinks { gradients, scratch } = sinks;
        let d_out = d_out.columns(columns(adapter));
        self.inner(adapter, x, scratch)?;
        let inner = self.inner_view(adapter, &scratch.inner);
        let product = Product { form: Form::Dytx, a: d_out, b: inner, start: Start::Add };
        let mut all = ViewMut::all(&mut gradients.all);
        let d_b = all.again().part(adapter.b_range()).rows(adapter.rank);
        self.device.matmul(product, d_b)?;

        let mut d_inner = ViewMut::all(&mut scratch.d_inner).part(0..self.tokens * adapter.rank);
        let product = Product { form: Form::Dyw, a: d_out, b: self.b(adapter), start: Start::Zero };
        self.device.matmul(product, d_inner.again().rows(adapter.rank))?;
        self.device.scale(self.adapter_scale(), d_inner)?;
        let d_inner = self.inner_view(adapter, &scratch.d_inner);
        let dropout = self.dropout(adapter);
        let given = dropout.map_or(x, |_| dropped(&scratch.dropped, x));
        let product = Product { form: Form::Dytx, a: d_inner, b: given, start: Start::Add };
        let d_a = all.part(adapter.a_range()).rows(adapter.inputs);
        self.device.matmul(product, d_a)?;

        let a = self.a(adapter);
        let Some(dropout) = dropout else {
            let product = Product { form: Form::Dyw, a: d_inner, b: a, start: Start::Add };
            return self.device.matmul(product, d_x);
        };
        let mut back = ViewMut::all(&mut scratch.dropped).part(0..x.rows * x.columns);
        let product = Product { form: Form::Dyw, a: d_inner, b: a, start: Start::Zero };
        self.device.matmul(product, back.again().rows(x.columns))?;
        self.device.dropout(dropout, back.again())?;
        self.device.add(back.read(), d_x.view)
    }

    /// What an adapter drops of its inputs here.
    fn dropout(&self, adapter: &Adapter) -> Option<Dropout> {
        let (adapters, part) = (self.model.adapters.as_ref()?, self.part?);
        let p = adapters.lora.dropout;
        let random = Random::of(adapters.seed, &[DROPOUT, part.step, adapter.a as u64]);
        let first = part.first_token * adapter.inputs as u64;
        (p > 0.0).then_some(Dropout { random, first, p })
    }

    /// `inner = scale · dropout(x) Aᵀ`; leaves `dropout(x)` in `scratch` where there is dropout.
    fn inner(
        &self,
        adapter: &Adapter,
        x: Matrix<'_, D::Buffer>,
        scratch: &mut LoraScratch<D::Buffer>,
    ) -> Result<()> {
        let mut x = x;
        if let Some(dropout) = self.dropout(adapter) {
            let mut kept = ViewMut::all(&mut scratch.dropped).part(0..x.rows * x.columns);
            self.device.copy(x.view, kept.again())?;
            self.device.dropout(dropout, kept)?;
            x = dropped(&scratch.dropped, x);
        }
        let mut inner = ViewMut::all(&mut scratch.inner).part(0..self.tokens * adapter.rank);
        let product = Product { form: Form::Xwt, a: x, b: self.a(adapter), start: Start::Zero };
        self.device.matmul(product, inner.again().rows(adapter.rank))?;
        self.device.scale(self.adapter_scale(), inner)
    }

    fn inner_view<'b>(&self, adapter: &Adapter, scratch: &'b D::Buffer) -> Matrix<'b, D::Buffer> {
        View::all(scratch).part(0..self.tokens * adapter.rank).rows(adapter.rank)
    }

    fn adapter_scale(&self) -> f32 {
        self.model.adapters.as_ref().map_or(0.0, |it| it.lora.scale())
    }

    fn a(&self, adapter: &Adapter) -> Matrix<'_, D::Buffer> {
        View::all(self.model.trained()).part(adapter.a_range()).rows(adapter.inputs)
    }

    fn b(&self, adapter: &Adapter) -> Matrix<'_, D::Buffer> {
        View::all(self.model.trained()).part(adapter.b_range()).rows(adapter.rank)
    }
}

/// What is left of an adapter's inputs.
fn dropped<'b, B: crate::Buffer>(scratch: &'b B, x: Matrix<'_, B>) -> Matrix<'b, B> {
    View::all(scratch).part(0..x.rows * x.columns).rows(x.columns)
}

/// The columns of the slot's result that an adapter adds to.
fn columns(adapter: &Adapter) -> std::ops::Range<usize> {
    adapter.first_row..adapter.first_row + adapter.outputs
}
