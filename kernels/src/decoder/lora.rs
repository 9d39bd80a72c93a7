//! Low-rank adapters: beside a frozen matrix `W` a product `B·A` of small ones is trained.
//!
//! The meaning is PEFT's: `y = x Wᵀ + (alpha / rank) · dropout(x) Aᵀ Bᵀ`, `A` uniform in
//! ±1/√inputs at first and `B` zero, so that a fresh adapter changes nothing.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::layout::{Layout, Part};
use crate::random::Random;

/// A matrix that can have an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// The output of attention.
    O,
    /// The gate of the feed-forward part.
    Gate,
    /// Its other half.
    Up,
    /// Its output.
    Down,
}

impl Target {
    /// Every one.
    pub const ALL: [Target; 7] =
        [Target::Q, Target::K, Target::V, Target::O, Target::Gate, Target::Up, Target::Down];

    /// The module's name in files.
    pub fn module(self) -> &'static str {
        match self {
            Target::Q => "q_proj",
            Target::K => "k_proj",
            Target::V => "v_proj",
            Target::O => "o_proj",
            Target::Gate => "gate_proj",
            Target::Up => "up_proj",
            Target::Down => "down_proj",
        }
    }
}

/// The adapters of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lora {
    /// Rows of `A` and columns of `B`.
    pub rank: usize,
    /// Divided by the rank it is what adapters are multiplied by.
    pub alpha: f64,
    /// The probability with which an input of an adapter is dropped in training.
    pub dropout: f64,
    /// Which matrices have one.
    pub targets: Vec<Target>,
}

impl Lora {
    /// Adapters of this rank for all matrices, multiplied by two.
    pub fn of_all(rank: usize) -> Self {
        Self { rank, alpha: 2.0 * rank as f64, dropout: 0.0, targets: Target::ALL.to_vec() }
    }

    /// What adapters are multiplied by.
    pub fn scale(&self) -> f32 {
        (self.alpha / self.rank as f64) as f32
    }

    /// What is wrong with it, as the end of a sentence.
    pub(crate) fn mistake(&self) -> Option<String> {
        if self.rank == 0 || self.rank > 1 << 14 {
            return Some(format!("has rank {}, not from 1 to 16384", self.rank));
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return Some(format!("has alpha {}, not above 0", self.alpha));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Some(format!("has dropout {}, not from 0 to below 1", self.dropout));
        }
        if self.targets.is_empty() {
            return Some("has no targets".to_owned());
        }
        None
    }
}

/// An adapter in the arena of all adapters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// What it adapts.
    pub target: Target,
    /// Of which layer.
    pub layer: usize,
    /// The slot of the base that holds the matrix.
    pub part: Part,
    /// The matrix's name in files.
    pub name: String,
    /// The matrix's first row in that slot.
    pub first_row: usize,
    /// Its rows: outputs.
    pub outputs: usize,
    /// Its columns: inputs.
    pub inputs: usize,
    /// Rows of `A` and columns of `B`.
    pub rank: usize,
    /// Where `A`, `[rank, inputs]`, begins in the arena.
    pub a: usize,
    /// Where `B`, `[outputs, rank]`, begins in the arena.
    pub b: usize,
}

impl Adapter {
    /// The elements of `A`.
    pub fn a_range(&self) -> std::ops::Range<usize> {
        self.a..self.a + self.rank * self.inputs
    }

    /// The elements of `B`.
    pub fn b_range(&self) -> std::ops::Range<usize> {
        self.b..self.b + self.outputs * self.rank
    }
}

/// The place of each adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoraLayout {
    adapters: Vec<Adapter>,
    len: usize,
}

/// Adapters begin at multiples of this many elements.
const ALIGN: usize = 64;
/// Streams of fresh adapters begin here.
const STREAM: u64 = 1 << 41;

impl LoraLayout {
    /// The adapters of a model, in the order of its tensors.
    pub fn new(config: &Config, lora: &Lora) -> Self {
        let mut layout = Self { adapters: Vec::new(), len: 0 };
        for tensor in Layout::new(config).tensors() {
            let (Part::Qkv(layer) | Part::O(layer) | Part::GateUp(layer) | Part::Down(layer)) =
                tensor.part
            else {
                continue;
            };
            let module = |it: &&Target| tensor.name.ends_with(&format!(".{}.weight", it.module()));
            let Some(target) = Target::ALL.iter().find(module) else { continue };
            if !lora.targets.contains(target) {
                continue;
            }
            let (outputs, inputs, rank) = (tensor.shape[0], tensor.shape[1], lora.rank);
            let a = layout.len;
            let b = (a + rank * inputs).next_multiple_of(ALIGN);
            layout.len = (b + outputs * rank).next_multiple_of(ALIGN);
            layout.adapters.push(Adapter {
                target: *target,
                layer,
                part: tensor.part,
                name: tensor.name.clone(),
                first_row: tensor.first_row,
                outputs,
                inputs,
                rank,
                a,
                b,
            });
        }
        layout
    }

    /// All adapters.
    pub fn adapters(&self) -> &[Adapter] {
        &self.adapters
    }

    /// The adapters of a slot.
    pub fn of(&self, part: Part) -> impl Iterator<Item = &Adapter> {
        self.adapters.iter().filter(move |it| it.part == part)
    }

    /// How many elements the arena has, with the gaps.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no adapters.
    pub fn is_empty(&self) -> bool {
        self.adapters.is_empty()
    }

    /// Fresh adapters.
    pub fn fresh(&self, seed: u64) -> Vec<f32> {
        let mut arena = vec![0.0f32; self.len];
        for (index, adapter) in self.adapters.iter().enumerate() {
            let random = Random::new(seed, STREAM + index as u64);
            let bound = 1.0 / (adapter.inputs as f64).sqrt();
            arena[adapter.a_range()].par_iter_mut().enumerate().for_each(|(i, it)| {
                *it = ((2.0 * random.unit_at(i as u64) - 1.0) * bound) as f32;
            });
        }
        arena
    }
}
