//! The memory of a forward and a backward pass, made once for the largest micro-batch.

use std::cell::RefCell;

use super::Recompute;
use super::model::Precision;
use crate::decoder::config::Config;
use crate::decoder::lora::Lora;
use crate::{Device, Dtype, Result};

/// What the backward pass of a layer needs and is dear to compute again.
#[derive(Debug)]
pub(super) struct Saved<B> {
    pub(super) scale1: B,   // [tokens], f32
    pub(super) qkv: B,      // [tokens, (heads + 2 kv) dim], after RoPE
    pub(super) attended: B, // [tokens, heads dim]
    pub(super) lse: B,      // [tokens, heads], f32
    pub(super) middle: B,   // [tokens, hidden], the stream after attention
    pub(super) scale2: B,   // [tokens], f32
    pub(super) gate_up: B,  // [tokens, 2 intermediate]
}

/// What it needs and is cheap to compute again.
#[derive(Debug)]
pub(super) struct Recomputed<B> {
    pub(super) normed1: B, // [tokens, hidden]
    pub(super) normed2: B, // [tokens, hidden]
    pub(super) product: B, // [tokens, intermediate]
}

/// Gradients on their way back, and what is needed for a moment.
#[derive(Debug)]
pub(super) struct Work<B> {
    pub(super) d_stream: B,   // [tokens, hidden]
    pub(super) d_normed: B,   // [tokens, hidden]
    pub(super) d_qkv: B,      // [tokens, (heads + 2 kv) dim]
    pub(super) d_attended: B, // [tokens, heads dim]
    pub(super) d_gate_up: B,  // [tokens, 2 intermediate]
    pub(super) d_product: B,  // [tokens, intermediate]
    pub(super) scratch: LoraScratch<B>,
}

/// What adapters need for a moment.
#[derive(Debug)]
pub(super) struct LoraScratch<B> {
    pub(super) inner: B,   // [tokens, rank], f32
    pub(super) d_inner: B, // [tokens, rank], f32
    pub(super) dropped: B, // [tokens, widest input of an adapter], where there is dropout
}

/// All of it.
#[derive(Debug)]
pub struct Activations<D: Device> {
    pub(super) tokens: usize,
    pub(super) recompute: Recompute,
    /// The residual stream before each layer, and after the last: `[tokens, hidden]` each.
    pub(super) stream: Vec<D::Buffer>,
    /// One for each layer, or one for all.
    pub(super) saved: Vec<Saved<D::Buffer>>,
    /// One for each layer, or one for all.
    pub(super) recomputed: Vec<Recomputed<D::Buffer>>,
    pub(super) normed: D::Buffer, // [tokens, hidden], after the last norm
    pub(super) scale: D::Buffer,  // [tokens], f32
    pub(super) nll: D::Buffer,    // [tokens], f32
    pub(super) ids: D::Buffer,
    pub(super) positions: D::Buffer,
    pub(super) targets: D::Buffer,
    pub(super) work: Work<D::Buffer>,
}

/// The sizes that memory follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    hidden: usize,
    qkv: usize,
    attended: usize,
    heads: usize,
    wide: usize,
    layers: usize,
    rank: usize,
    dropped: usize,
    real: Dtype,
}

impl Sizes {
    /// The sizes of a model with or without adapters.
    pub fn new(config: &Config, precision: Precision, lora: Option<&Lora>) -> Self {
        let attended = config.attention_width();
        let dropped = lora
            .filter(|it| it.dropout > 0.0)
            .map_or(0, |_| config.hidden.max(config.intermediate).max(attended));
        Self {
            hidden: config.hidden,
            qkv: config.qkv_rows(),
            attended,
            heads: config.heads,
            wide: config.intermediate,
            layers: config.layers,
            rank: lora.map_or(0, |it| it.rank),
            dropped,
            real: precision.activations(),
        }
    }

    /// The bytes that one token takes.
    pub fn bytes_per_token(&self, recompute: Recompute) -> u64 {
        let real = self.real.bytes();
        let saved =
            (self.qkv + self.attended + self.hidden + 2 * self.wide) * real + (self.heads + 2) * 4;
        let recomputed = (2 * self.hidden + self.wide) * real;
        let (n_heavy, n_light) = self.kept(recompute);
        let stream = (self.layers + 1) * self.hidden * real;
        let ends = self.hidden * real + 5 * 4;
        let work = (2 * self.hidden + self.qkv + self.attended + 3 * self.wide) * real
            + 2 * self.rank * 4
            + self.dropped * real;
        (n_heavy * saved + n_light * recomputed + stream + ends + work) as u64
    }

    /// How many layers keep what is dear, and what is cheap.
    fn kept(&self, recompute: Recompute) -> (usize, usize) {
        match recompute {
            Recompute::None => (self.layers, self.layers),
            Recompute::Selective => (self.layers, 1),
            Recompute::Full => (1, 1),
        }
    }
}

/// The parts, whatever they are made of.
struct Parts<B> {
    stream: Vec<B>,
    saved: Vec<Saved<B>>,
    recomputed: Vec<Recomputed<B>>,
    ends: [B; 3],  // normed, scale, nll
    given: [B; 3], // ids, positions, targets
    work: Work<B>,
}

impl<B> Parts<B> {
    /// Each is made by its type and length, always in this order.
    fn new(
        sizes: Sizes,
        recompute: Recompute,
        tokens: usize,
        make: &dyn Fn(Dtype, usize) -> B,
    ) -> Self {
        let real = |width: usize| make(sizes.real, tokens * width);
        let wide = |width: usize| make(Dtype::F32, tokens * width);
        let whole = || make(Dtype::U32, tokens);
        let saved = || Saved {
            scale1: wide(1),
            qkv: real(sizes.qkv),
            attended: real(sizes.attended),
            lse: wide(sizes.heads),
            middle: real(sizes.hidden),
            scale2: wide(1),
            gate_up: real(2 * sizes.wide),
        };
        let recomputed = || Recomputed {
            normed1: real(sizes.hidden),
            normed2: real(sizes.hidden),
            product: real(sizes.wide),
        };
        let (n_heavy, n_light) = sizes.kept(recompute);
        Self {
            stream: (0..=sizes.layers).map(|_| real(sizes.hidden)).collect(),
            saved: (0..n_heavy).map(|_| saved()).collect(),
            recomputed: (0..n_light).map(|_| recomputed()).collect(),
            ends: [real(sizes.hidden), wide(1), wide(1)],
            given: [whole(), whole(), whole()],
            work: Work {
                d_stream: real(sizes.hidden),
                d_normed: real(sizes.hidden),
                d_qkv: real(sizes.qkv),
                d_attended: real(sizes.attended),
                d_gate_up: real(2 * sizes.wide),
                d_product: real(sizes.wide),
                scratch: LoraScratch {
                    inner: wide(sizes.rank),
                    d_inner: wide(sizes.rank),
                    dropped: real(sizes.dropped),
                },
            },
        }
    }
}

impl<D: Device> Activations<D> {
    /// Memory for micro-batches of up to this many tokens: one piece of the device's.
    pub fn new(device: &D, sizes: Sizes, recompute: Recompute, tokens: usize) -> Result<Self> {
        let lengths = RefCell::new(Vec::new());
        Parts::new(sizes, recompute, tokens, &|dtype, len| lengths.borrow_mut().push((dtype, len)));
        let buffers = RefCell::new(device.zeros_of(&lengths.into_inner())?.into_iter());
        let made = Parts::new(sizes, recompute, tokens, &|_, _| {
            buffers.borrow_mut().next().expect("one was made for each")
        });
        let Parts { stream, saved, recomputed, ends, given, work } = made;
        let ([normed, scale, nll], [ids, positions, targets]) = (ends, given);
        Ok(Self {
            tokens,
            recompute,
            stream,
            saved,
            recomputed,
            normed,
            scale,
            nll,
            ids,
            positions,
            targets,
            work,
        })
    }

    /// The most tokens of a micro-batch.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}
