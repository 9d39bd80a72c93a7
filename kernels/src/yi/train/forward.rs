//! The forward pass, layer by layer.

use super::activations::{Activations, Heavy, Light, Low};
use super::micro::{Micro, StepPart};
use super::model::Model;
use crate::device::{View, ViewMut};
use crate::ops::attention;
use crate::ops::cross_entropy::LinearCrossEntropy;
use crate::ops::rms_norm;
use crate::ops::rope::Direction;
use crate::yi::layout::Part;
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
        let low = &mut memory.work.low;
        for layer in 0..self.config.layers {
            let (before, after) = memory.stream.split_at_mut(layer + 1);
            let x = first(&before[layer], tokens * hidden);
            let heavy = at(&mut memory.heavy, layer);
            let light = at(&mut memory.light, layer);
            pass.layer(layer, x, (&mut *heavy, &mut *light), low)?;
            let out = first_mut(&mut after[0], tokens * hidden);
            let middle = first(&heavy.middle, tokens * hidden);
            let product = first(&light.product, tokens * self.config.intermediate);
            pass.linear_onto(Part::Down(layer), product, (middle, out), low)?;
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
        (heavy, light): (&mut Heavy<D::Buffer>, &mut Light<D::Buffer>),
        low: &mut Low<D::Buffer>,
    ) -> Result<()> {
        let (device, n, heads) = (self.device, self.tokens, self.model.heads());
        let hidden = n * self.model.config.hidden;
        self.norm1(layer, x, heavy, light)?;
        let normed = first(&light.normed1, hidden);
        let mut qkv = first_mut(&mut heavy.qkv, n * heads.row());
        let turn = self.model.rope.turn(heads, Direction::Forward);
        match self.alone(Part::Qkv(layer), normed) {
            Some(pair) => device.matmul_turned(pair, qkv, (self.positions, turn))?,
            None => {
                self.linear(Part::Qkv(layer), normed, qkv.again(), low)?;
                device.rope(qkv, self.positions, turn)?;
            }
        }
        let qkv = first(&heavy.qkv, n * heads.row());
        let given = attention::Forward { qkv, spans: self.spans, heads };
        let out = first_mut(&mut heavy.attended, n * heads.out());
        device.attention(given, out, first_mut(&mut heavy.lse, n * heads.query))?;

        let middle = first_mut(&mut heavy.middle, hidden);
        let attended = first(&heavy.attended, n * heads.out());
        self.linear_onto(Part::O(layer), attended, (x, middle), low)?;
        self.norm2(layer, heavy, light)?;
        let wide = n * self.model.config.intermediate;
        let gate_up = first_mut(&mut heavy.gate_up, 2 * wide);
        let normed = first(&light.normed2, hidden);
        if let Some(pair) = self.alone(Part::GateUp(layer), normed) {
            return device.matmul_gated(pair, gate_up, first_mut(&mut light.product, wide));
        }
        self.linear(Part::GateUp(layer), normed, gate_up, low)?;
        self.product(heavy, light)
    }

    /// What is cheap of a layer, from what is dear.
    pub(super) fn light(
        &self,
        layer: usize,
        x: View<'_, D::Buffer>,
        heavy: &mut Heavy<D::Buffer>,
        light: &mut Light<D::Buffer>,
    ) -> Result<()> {
        self.norm1(layer, x, heavy, light)?;
        self.norm2(layer, heavy, light)?;
        self.product(heavy, light)
    }

    fn norm1(
        &self,
        layer: usize,
        x: View<'_, D::Buffer>,
        heavy: &mut Heavy<D::Buffer>,
        light: &mut Light<D::Buffer>,
    ) -> Result<()> {
        let out = first_mut(&mut light.normed1, x.len());
        let scale = first_mut(&mut heavy.scale1, self.tokens);
        self.norm(Part::InputNorm(layer), x, (out, scale))
    }

    fn norm2(
        &self,
        layer: usize,
        heavy: &mut Heavy<D::Buffer>,
        light: &mut Light<D::Buffer>,
    ) -> Result<()> {
        let x = first(&heavy.middle, self.tokens * self.model.config.hidden);
        let out = first_mut(&mut light.normed2, x.len());
        self.norm(Part::PostNorm(layer), x, (out, first_mut(&mut heavy.scale2, self.tokens)))
    }

    fn product(&self, heavy: &Heavy<D::Buffer>, light: &mut Light<D::Buffer>) -> Result<()> {
        let width = self.model.config.intermediate;
        let gate_up = first(&heavy.gate_up, 2 * self.tokens * width);
        self.device.swiglu(gate_up, width, first_mut(&mut light.product, self.tokens * width))
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
