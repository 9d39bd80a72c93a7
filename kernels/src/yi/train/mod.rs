//! The model while it is trained: forward and backward, spelled out.
//!
//! Written once, against [`Device`](crate::Device). A step computes its batch in micro-batches, one
//! after another, in the order of its texts; every sum over tokens is a chain that the next
//! micro-batch continues. So neither the split nor what is computed again instead of kept changes a
//! bit of the gradient.

mod activations;
mod backward;
mod forward;
mod linear;
mod micro;
mod model;

pub use activations::{Activations, Sizes};
pub use micro::{Micro, StepPart};
pub use model::{
    Gradients, Model, OnDevice, Precision, arena, masters, read_exact, read_f32, write_exact,
};

use serde::{Deserialize, Serialize};

/// What the forward pass does not keep, and the backward pass computes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recompute {
    /// Nothing: most memory, least work.
    Nothing,
    /// What is cheap: norms and the product of gate and up.
    Light,
    /// Everything but the input of each layer: least memory, a third more work.
    Layers,
}

impl Recompute {
    /// The work of a step, where nothing is computed again as one.
    pub(crate) fn work(self) -> f64 {
        match self {
            Recompute::Nothing => 1.0,
            Recompute::Light => 1.01,
            Recompute::Layers => 4.0 / 3.0,
        }
    }

    /// What is computed again, for people.
    pub fn word(self) -> &'static str {
        match self {
            Recompute::Nothing => "nothing",
            Recompute::Light => "norms and the products of gates",
            Recompute::Layers => "whole layers",
        }
    }
}
