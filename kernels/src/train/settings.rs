//! How a model is trained.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::error::{Error, Result};
use super::schedule::Schedule;
use crate::decoder::lora::Lora;
use crate::decoder::train::{Precision, Recompute};
use crate::ops::adamw::OptimStates;

/// How many rows make a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchSize {
    /// This many texts, or packed rows.
    Sequences(usize),
    /// As many rows as have at most this many tokens together; at least one.
    Tokens(usize),
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// After this many times through all texts.
    Epochs(u64),
    /// After this many steps.
    Steps(u64),
}

/// The settings of a run. `recompute` and `micro_tokens` change time and memory, never a bit of the
/// result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The seed of shuffling, of fresh adapters and of dropout.
    pub seed: u64,
    /// When the run ends.
    pub length: Length,
    /// How many rows make a step.
    pub batch: BatchSize,
    /// Puts several texts into rows of this many tokens.
    pub pack: Option<usize>,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// The full learning rate.
    pub learning_rate: f64,
    /// Its shape over the steps.
    pub schedule: Schedule,
    /// How slowly AdamW's first moment forgets.
    pub beta1: f64,
    /// How slowly AdamW's second moment forgets.
    pub beta2: f64,
    /// What AdamW adds below the fraction.
    pub eps: f64,
    /// Decoupled decay of matrices; gains have none.
    pub weight_decay: f64,
    /// The longest gradient; longer ones are shortened to it.
    pub max_grad_norm: Option<f64>,
    /// What weights and activations are held in.
    pub precision: Precision,
    /// What AdamW's optim_states are kept in.
    pub optim_states: OptimStates,
    /// Trains small adapters in place of the weights.
    pub lora: Option<Lora>,
    /// What the backward pass computes again.
    pub recompute: Recompute,
    /// The most tokens that are computed at once; found by the memory plan where it is not given.
    pub micro_tokens: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

impl Settings {
    /// One epoch in batches of 16 with the constants that most people take.
    pub fn new() -> Self {
        Self {
            seed: 0,
            length: Length::Epochs(1),
            batch: BatchSize::Sequences(16),
            pack: None,
            shuffle: true,
            learning_rate: 2e-5,
            schedule: Schedule::CONSTANT,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: Some(1.0),
            precision: Precision::F32,
            optim_states: OptimStates::F32,
            lora: None,
            recompute: Recompute::None,
            micro_tokens: None,
        }
    }

    /// Whether a run can have these settings.
    pub fn check(&self) -> Result<()> {
        let refuse = |field: &'static str, reason: &str| {
            Err(Error::Setting { field, reason: reason.to_owned() })
        };
        let positive = |it: f64| it > 0.0 && it.is_finite();
        let share = |it: f64| (0.0..1.0).contains(&it);
        let size = match self.batch {
            BatchSize::Sequences(n) | BatchSize::Tokens(n) => n,
        };
        let length = match self.length {
            Length::Epochs(n) | Length::Steps(n) => n,
        };
        if size == 0 {
            return refuse("batch", "is 0");
        }
        if length == 0 {
            return refuse("length", "is 0");
        }
        if self.pack == Some(0) || self.micro_tokens == Some(0) {
            return refuse("pack", "or `micro_tokens` is 0");
        }
        if !(self.learning_rate >= 0.0 && self.learning_rate.is_finite()) {
            return refuse("learning_rate", "is not a number from 0 up");
        }
        if !share(self.beta1) || !share(self.beta2) {
            return refuse("beta1", "and `beta2` are not both from 0 to below 1");
        }
        if !positive(self.eps) {
            return refuse("eps", "is not above 0");
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return refuse("weight_decay", "is not a number from 0 up");
        }
        if self.max_grad_norm.is_some_and(|it| !positive(it)) {
            return refuse("max_grad_norm", "is not above 0");
        }
        if !(0.0..=1.0).contains(&self.schedule.min_ratio) {
            return refuse("min_ratio", "is not from 0 to 1");
        }
        match self.schedule.warmup {
            super::schedule::Warmup::Ratio(it) if !(0.0..=1.0).contains(&it) => {
                refuse("warmup_ratio", "is not from 0 to 1")
            }
            _ => self.lora.as_ref().map_or(Ok(()), |it| match it.mistake() {
                Some(reason) => Err(Error::Setting { field: "lora", reason }),
                None => Ok(()),
            }),
        }
    }

    /// A checksum of all that changes the result, by which a resumed run knows its settings.
    pub fn digest(&self) -> u64 {
        let plain = Self { recompute: Recompute::None, micro_tokens: None, ..self.clone() };
        // Rust's own form of a value has every field, and each number in full.
        Digest::of(format!("{plain:?}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_known_by_what_changes_its_result() {
        let plain = Settings::new();
        assert_eq!(plain.digest(), 0x107c_fe12_6708_1b56);
        let faster =
            Settings { recompute: Recompute::Full, micro_tokens: Some(9), ..plain.clone() };
        assert_eq!(faster.digest(), plain.digest());
        let halves = Settings { optim_states: OptimStates::Bf16, ..plain.clone() };
        let bytes = Settings { optim_states: OptimStates::EightBit, ..plain.clone() };
        assert!(halves.digest() != plain.digest() && halves.digest() != bytes.digest());
    }
}
