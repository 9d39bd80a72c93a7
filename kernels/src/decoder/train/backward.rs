//! The backward pass: the forward pass in reverse, each step with its gradient.

use super::Recompute;
use super::activations::{Activations, Recomputed, Saved, Work};
use super::forward::{Pass, at, first, first_mut};
use super::linear::{Given, Sinks};
use super::micro::{Micro, StepPart};
use super::model::{Gradients, Model};
use crate::decoder::layout::Part;
use crate::device::{View, ViewMut};
use crate::ops::attention;
use crate::ops::cross_entropy::{Gradients as LossGradients, LinearCrossEntropy};
use crate::ops::matmul::Start;
use crate::ops::rms_norm;
use crate::ops::rope::Direction;
use crate::{Device, Result};

impl<D: Device> Model<D> {
    /// The negative log-likelihood of each target of a micro-batch, and their gradients, which are
    /// added to `gradients`.
    pub fn losses_and_gradients(
        &self,
        device: &D,
        (micro, part): (&Micro, StepPart),
        memory: &mut Activations<D>,
        gradients: &mut Gradients<D>,
    ) -> Result<Vec<f32>> {
        self.forward(device, (micro, Some(part)), memory)?;
        self.loss_backward(device, part.scale, memory, (gradients, micro.tokens()))?;
        let (tokens, hidden) = (micro.tokens(), self.config.hidden);
        let positions = first(&memory.positions, tokens);
        let spans = &micro.spans;
        let pass = Pass { device, model: self, tokens, spans, positions, part: Some(part) };
        for layer in (0..self.config.layers).rev() {
            let x = first(&memory.stream[layer], tokens * hidden);
            let saved = at(&mut memory.saved, layer);
            let recomputed = at(&mut memory.recomputed, layer);
            match memory.recompute {
                Recompute::None => (),
                Recompute::Selective => pass.recomputed(layer, x, saved, recomputed)?,
                Recompute::Full => {
                    pass.layer(
                        layer,
                        x,
                        (&mut *saved, &mut *recomputed),
                        &mut memory.work.scratch,
                    )?;
                }
            }
            let kept = Kept { x, saved, recomputed };
            pass.layer_backward(layer, kept, &mut memory.work, gradients)?;
        }
        if self.adapters.is_none() {
            let d_stream = first(&memory.work.d_stream, tokens * hidden);
            let table = gradients.slot(self, Part::Embed);
            device.embed_backward(d_stream, first(&memory.ids, tokens), table)?;
        }
        gradients.start = Start::Add;
        device.read(first(&memory.nll, tokens))
    }

    /// The loss, and its gradient down to the stream after the last layer.
    fn loss_backward(
        &self,
        device: &D,
        scale: f32,
        memory: &mut Activations<D>,
        (gradients, tokens): (&mut Gradients<D>, usize),
    ) -> Result<()> {
        let hidden = tokens * self.config.hidden;
        let work = &mut memory.work;
        let given = LinearCrossEntropy {
            hidden: first(&memory.normed, hidden),
            head: self.weight(Part::Head),
            targets: first(&memory.targets, tokens),
            scale,
        };
        let d_head = match (&self.adapters, &mut gradients.head) {
            (Some(_), _) => None,
            (None, Some(head)) => Some(ViewMut::all(head).rows(self.config.hidden)),
            (None, None) => Some(gradients.slot(self, Part::Head)),
        };
        let to = LossGradients { d_hidden: first_mut(&mut work.d_normed, hidden), d_head };
        device.cross_entropy(given, first_mut(&mut memory.nll, tokens), Some(to))?;
        device.clear(first_mut(&mut work.d_stream, hidden))?;
        let given = rms_norm::Backward {
            d_out: first(&work.d_normed, hidden),
            x: first(&memory.stream[self.config.layers], hidden),
            gain: self.gain(Part::Norm),
            scale: first(&memory.scale, tokens),
        };
        let d_gain = self.d_gain(gradients, Part::Norm);
        device.rms_norm_backward(given, first_mut(&mut work.d_stream, hidden), d_gain)
    }

    /// Where the gradient of a gain goes, if it is trained.
    fn d_gain<'g>(
        &self,
        gradients: &'g mut Gradients<D>,
        part: Part,
    ) -> Option<ViewMut<'g, D::Buffer>> {
        self.adapters.is_none().then(|| gradients.slot(self, part).view)
    }
}

/// What a layer's backward pass is given.
struct Kept<'a, B> {
    x: View<'a, B>,
    saved: &'a Saved<B>,
    recomputed: &'a Recomputed<B>,
}

impl<D: Device> Pass<'_, D> {
    /// Takes the gradient of the stream after a layer to the one before it.
    fn layer_backward(
        &self,
        layer: usize,
        kept: Kept<'_, D::Buffer>,
        work: &mut Work<D::Buffer>,
        gradients: &mut Gradients<D>,
    ) -> Result<()> {
        self.feed_forward_backward(layer, &kept, work, gradients)?;
        self.attention_backward(layer, &kept, work, gradients)
    }

    fn feed_forward_backward(
        &self,
        layer: usize,
        kept: &Kept<'_, D::Buffer>,
        work: &mut Work<D::Buffer>,
        gradients: &mut Gradients<D>,
    ) -> Result<()> {
        let (n, config) = (self.tokens, &self.model.config);
        let (hidden, wide) = (n * config.hidden, n * config.intermediate);
        let (saved, recomputed) = (kept.saved, kept.recomputed);
        let (d_out, x) = (first(&work.d_stream, hidden), first(&recomputed.product, wide));
        let d_product = first_mut(&mut work.d_product, wide);
        let sinks = Sinks { gradients: &mut *gradients, scratch: &mut work.scratch };
        self.linear_backward(Part::Down(layer), Given { d_out, x }, d_product, sinks)?;

        let (d_product, gate_up) = (first(&work.d_product, wide), first(&saved.gate_up, 2 * wide));
        let d_gate_up = first_mut(&mut work.d_gate_up, 2 * wide);
        self.device.swiglu_backward(d_product, gate_up, config.intermediate, d_gate_up)?;
        let (d_out, x) = (first(&work.d_gate_up, 2 * wide), first(&recomputed.normed2, hidden));
        let d_normed = first_mut(&mut work.d_normed, hidden);
        let sinks = Sinks { gradients: &mut *gradients, scratch: &mut work.scratch };
        self.linear_backward(Part::GateUp(layer), Given { d_out, x }, d_normed, sinks)?;

        let given = rms_norm::Backward {
            d_out: first(&work.d_normed, hidden),
            x: first(&saved.middle, hidden),
            gain: self.model.gain(Part::PostNorm(layer)),
            scale: first(&saved.scale2, n),
        };
        let d_gain = self.model.d_gain(gradients, Part::PostNorm(layer));
        self.device.rms_norm_backward(given, first_mut(&mut work.d_stream, hidden), d_gain)
    }

    fn attention_backward(
        &self,
        layer: usize,
        kept: &Kept<'_, D::Buffer>,
        work: &mut Work<D::Buffer>,
        gradients: &mut Gradients<D>,
    ) -> Result<()> {
        let (n, heads) = (self.tokens, self.model.heads());
        let hidden = n * self.model.config.hidden;
        let saved = kept.saved;
        let attended = first(&saved.attended, n * heads.out());
        let d_out = first(&work.d_stream, hidden);
        let d_attended = first_mut(&mut work.d_attended, n * heads.out());
        let sinks = Sinks { gradients: &mut *gradients, scratch: &mut work.scratch };
        self.linear_backward(Part::O(layer), Given { d_out, x: attended }, d_attended, sinks)?;

        let given = attention::Backward {
            d_out: first(&work.d_attended, n * heads.out()),
            out: attended,
            qkv: first(&saved.qkv, n * heads.row()),
            lse: first(&saved.lse, n * heads.query),
            spans: self.spans,
            heads,
        };
        let mut d_qkv = first_mut(&mut work.d_qkv, n * heads.row());
        self.device.attention_backward(given, d_qkv.again())?;
        let rope = self.model.rope.with_heads(heads, Direction::Backward);
        self.device.rope(d_qkv, self.positions, rope)?;
        let d_out = first(&work.d_qkv, n * heads.row());
        let x = first(&kept.recomputed.normed1, hidden);
        let d_normed = first_mut(&mut work.d_normed, hidden);
        let sinks = Sinks { gradients: &mut *gradients, scratch: &mut work.scratch };
        self.linear_backward(Part::Qkv(layer), Given { d_out, x }, d_normed, sinks)?;

        let given = rms_norm::Backward {
            d_out: first(&work.d_normed, hidden),
            x: kept.x,
            gain: self.model.gain(Part::InputNorm(layer)),
            scale: first(&saved.scale1, n),
        };
        let d_gain = self.model.d_gain(gradients, Part::InputNorm(layer));
        self.device.rms_norm_backward(given, first_mut(&mut work.d_stream, hidden), d_gain)
    }
}
