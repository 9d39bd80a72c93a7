//! The forward pass, layer by layer.

use super::activations::{Activations, LoraScratch, Recomputed, Saved};
use super::micro::{Micro, StepPart};
use super::model::Model;
use crate::decoder::layout::Part;
use crate::device::{View, ViewMut};
use crate::ops::attention;
use crate::ops::cross_entropy::LinearCrossEntropy;
use crate::ops::rms_norm;
use crate::ops::rope::Direction;
use crate::{Device, Result};

/// What all parts of a pass need.
pub(super) struct Pass<'a, D: Device> {
    pub(super) device: &'a D,
    pub(super) model: &'a Model<D>,
    pub(super) tokens: usize,
    pub(super) spans: &'a [u32],
    pub(super) positions: View<'a, D::Buffer>,
    /// Where dropout stands; there is none where the model is only measured.
    pub(super) part: Option<StepPart>,
}

impl<D: Device> Model<D> {
    /// The negative log-likelihood of each target of a micro-batch; 0 where there is none. The
    /// micro-batch is not larger than the activations are.
    pub fn losses(
        &self,
        device: &D,
        micro: &Micro,
        memory: &mut Activations<D>,
    ) -> Result<Vec<f32>> {
        self.forward(device, (micro, None), memory)?;
        let tokens = micro.tokens();
        let given = LinearCrossEntropy {
            hidden: first(&memory.normed, tokens * self.config.hidden),
            head: self.weight(Part::Head),
            targets: first(&memory.targets, tokens),
            scale: 1.0,
        };
        device.cross_entropy(given, first_mut(&mut memory.nll, tokens), None)?;
        device.read(first(&memory.nll, tokens))
    }

    /// Everything up to the last norm.
    pub(super) fn forward(
        &self,
        device: &D,
        (micro, part): (&Micro, Option<StepPart>),
        memory: &mut Activations<D>,
    ) -> Result<()> {
        let tokens = micro.tokens();
        device.write(first_mut(&mut memory.ids, tokens), &micro.ids)?;
        device.write(first_mut(&mut memory.positions, tokens), &micro.positions)?;
        device.write(first_mut(&mut memory.targets, tokens), &micro.targets)?;
        let hidden = self.config.hidden;
        let (ids, table) = (first(&memory.ids, tokens), self.weight(Part::Embed));
        device.embed(table, ids, first_mut(&mut memory.stream[0], tokens * hidden))?;
        let positions = first(&memory.positions, tokens);
        let pass = Pass { device, model: self, tokens, spans: &micro.spans, positions, part };
        let scratch = &mut memory.work.scratch;
        for layer in 0..self.config.layers {
            let (before, after) = memory.stream.split_at_mut(layer + 1);
            let x = first(&before[layer], tokens * hidden);
            let saved = at(&mut memory.saved, layer);
            let recomputed = at(&mut memory.recomputed, layer);
            pass.layer(layer, x, (&mut *saved, &mut *recomputed), scratch)?;
            let out = first_mut(&mut after[0], tokens * hidden);
            let middle = first(&saved.middle, tokens * hidden);
            let product = first(&recomputed.product, tokens * self.config.intermediate);
            pass.linear_onto(Part::Down(layer), product, (middle, out), scratch)?;
        }
        let x = first(&memory.stream[self.config.layers], tokens * hidden);
        let (out, scale) = (&mut memory.normed, &mut memory.scale);
        pass.norm(Part::Norm, x, (first_mut(out, tokens * hidden), first_mut(scale, tokens)))
    }
}

impl<D: Device> Pass<'_, D> {
    /// A layer, but for the last product: all that its backward pass needs.
    pub(super) fn layer(
        &self,
        layer: usize,
        x: View<'_, D::Buffer>,
        (saved, recomputed): (&mut Saved<D::Buffer>, &mut Recomputed<D::Buffer>),
        scratch: &mut LoraScratch<D::Buffer>,
    ) -> Result<()> {
        let (device, n, heads) = (self.device, self.tokens, self.model.heads());
        let hidden = n * self.model.config.hidden;
        self.norm1(layer, x, saved, recomputed)?;
        let normed = first(&recomputed.normed1, hidden);
        let mut qkv = first_mut(&mut saved.qkv, n * heads.row());
        let rope = self.model.rope.with_heads(heads, Direction::Forward);
        match self.alone(Part::Qkv(layer), normed) {
            Some(pair) => device.matmul_rope(pair, qkv, (self.positions, rope))?,
            None => {
                self.linear(Part::Qkv(layer), normed, qkv.again(), scratch)?;
                device.rope(qkv, self.positions, rope)?;
            }
        }
        let qkv = first(&saved.qkv, n * heads.row());
        let given = attention::Forward { qkv, spans: self.spans, heads };
        let out = first_mut(&mut saved.attended, n * heads.out());
        device.attention(given, out, first_mut(&mut saved.lse, n * heads.query))?;

        let middle = first_mut(&mut saved.middle, hidden);
        let attended = first(&saved.attended, n * heads.out());
        self.linear_onto(Part::O(layer), attended, (x, middle), scratch)?;
        self.norm2(layer, saved, recomputed)?;
        let wide = n * self.model.config.intermediate;
        let gate_up = first_mut(&mut saved.gate_up, 2 * wide);
        let normed = first(&recomputed.normed2, hidden);
        if let Some(pair) = self.alone(Part::GateUp(layer), normed) {
            return device.matmul_swiglu(pair, gate_up, first_mut(&mut recomputed.product, wide));
        }
        self.linear(Part::GateUp(layer), normed, gate_up, scratch)?;
        self.product(saved, recomputed)
    }

    /// What is cheap of a layer, from what is dear.
    pub(super) fn recomputed(
        &self,
        layer: usize,
        x: View<'_, D::Buffer>,
        saved: &mut Saved<D::Buffer>,
        recomputed: &mut Recomputed<D::Buffer>,
    ) -> Result<()> {
        self.norm1(layer, x, saved, recomputed)?;
        self.norm2(layer, saved, recomputed)?;
        self.product(saved, recomputed)
    }

    fn norm1(
        &self,
        layer: usize,
        x: View<'_, D::Buffer>,
        saved: &mut Saved<D::Buffer>,
        recomputed: &mut Recomputed<D::Buffer>,
    ) -> Result<()> {
        let out = first_mut(&mut recomputed.normed1, x.len());
        let scale = first_mut(&mut saved.scale1, self.tokens);
        self.norm(Part::InputNorm(layer), x, (out, scale))
    }

    fn norm2(
        &self,
        layer: usize,
        saved: &mut Saved<D::Buffer>,
        recomputed: &mut Recomputed<D::Buffer>,
    ) -> Result<()> {
        let x = first(&saved.middle, self.tokens * self.model.config.hidden);
        let out = first_mut(&mut recomputed.normed2, x.len());
        self.norm(Part::PostNorm(layer), x, (out, first_mut(&mut saved.scale2, self.tokens)))
    }

    fn product(
        &self,
        saved: &Saved<D::Buffer>,
        recomputed: &mut Recomputed<D::Buffer>,
    ) -> Result<()> {
        let width = self.model.config.intermediate;
        let gate_up = first(&saved.gate_up, 2 * self.tokens * width);
        self.device.swiglu(gate_up, width, first_mut(&mut recomputed.product, self.tokens * width))
    }

    fn norm(
        &self,
        part: Part,
        x: View<'_, D::Buffer>,
        (out, scale): (ViewMut<'_, D::Buffer>, ViewMut<'_, D::Buffer>),
    ) -> Result<()> {
        let eps = self.model.config.rms_norm_eps as f32;
        let given = rms_norm::Forward { x, gain: self.model.gain(part), eps };
        self.device.rms_norm(given, out, scale)
    }
}

/// The set of a layer, or the one that all share.
pub(super) fn at<T>(sets: &mut [T], layer: usize) -> &mut T {
    let last = sets.len() - 1;
    &mut sets[layer.min(last)]
}

/// The first elements of a buffer.
pub(super) fn first<B: crate::Buffer>(buffer: &B, len: usize) -> View<'_, B> {
    View::all(buffer).part(0..len)
}

/// The first elements of a buffer, to be written.
pub(super) fn first_mut<B: crate::Buffer>(buffer: &mut B, len: usize) -> ViewMut<'_, B> {
    ViewMut::all(buffer).part(0..len)
}
