//! The model while it is trained: forward and backward, spelled out.
//!
//! Written once, against [`Device`](crate::Device). A step computes its batch in micro-batches, one
//! after another, in the order of its texts; every sum over tokens is a chain that the next
//! micro-batch continues. So neither the split nor what is recomputed instead of saved changes a
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

/// What the forward pass does not save, and the backward pass recomputes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recompute {
    /// Nothing: most memory, least work.
    None,
    /// What is cheap: norms and the products of SwiGLU.
    Selective,
    /// Everything but the input of each layer: least memory, a third more work.
    Full,
}

impl Recompute {
    /// The work of a step, relative to one that recomputes nothing.
    pub(crate) fn work(self) -> f64 {
        match self {
            Recompute::None => 1.0,
            Recompute::Selective => 1.01,
            Recompute::Full => 4.0 / 3.0,
        }
    }

    /// What is recomputed, for people.
    pub fn word(self) -> &'static str {
        match self {
            Recompute::None => "none",
            Recompute::Selective => "norms and SwiGLU",
            Recompute::Full => "whole layers",
        }
    }
}
