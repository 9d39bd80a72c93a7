//! Picking a token from logits.
//!
//! # Contract
//!
//! | | |
//! |---|---|
//! | logits | `[vocab]` f32; minus infinity is a token that cannot be, not a number is an error |
//! | arithmetic of scores | f32, one rounding per processor |
//! | weights | exponentials f32 of differences to the greatest score; where they are added they are whole multiples of 2⁻⁴⁴, rounded down, so that every order of adding gives the same bits |
//! | log-probability | of the sampled token under the bare logits, f32: [`log_sum_exp`] |
//! | ties | the smaller id comes first, everywhere |
//!
//! The processors are those of `transformers`, in its order: repetition penalty over prompt and
//! output, suppression of the tokens that may not come yet, and then, where the temperature is not
//! zero, temperature, top-k, top-p and min-p. The pick of a draw is the smallest id whose cumulative
//! weight is above ⌊u · all⌋, for a uniform number u in [0, 1) of 53 bits.
//!
//! - Repetition penalty: a score below zero is multiplied by it, another one divided, once for each
//!   token that occurred.
//! - Top-k: scores below the k-th greatest are out, so ties with it stay.
//! - Top-p: a token is out when it and all less likely ones weigh at most ⌊(1 − p) · all⌋, a product in
//!   f64; the most likely one stays. Of equal ones the greater id is out first.
//! - Min-p: tokens less likely than this share of the most likely one are out.
//!
//! Neither the number of threads nor other rows have a part in it, nor the device: a CUDA device picks the
//! same token from the same logits, with the same bits of its log-probability.

pub(crate) mod cpu;
pub(crate) mod cuda;
#[cfg(test)]
mod tests;

pub use cpu::{Sampler, log_probability, log_sum_exp, top_log_probabilities};

/// How tokens are sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Scores are divided by it; zero takes the greatest score and needs no uniform number.
    pub temperature: f32,
    /// How many of the greatest scores stay; zero is all.
    pub top_k: usize,
    /// How much probability stays; one is all.
    pub top_p: f32,
    /// How likely a token is, at least, measured by the most likely one; zero is all.
    pub min_p: f32,
    /// How much less likely a token becomes that occurred already; one is not at all.
    pub repetition_penalty: f32,
}

impl Sampling {
    /// The greatest score, always.
    pub const GREEDY: Self =
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0 };

    /// The setting that makes no sense, if there is one.
    pub fn check(&self) -> Result<(), SampleError> {
        let wrong = |setting, value| Err(SampleError::Setting { setting, value });
        let Self { temperature, top_k: _, top_p, min_p, repetition_penalty } = *self;
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return wrong("temperature", temperature);
        }
        if !(0.0..=1.0).contains(&top_p) {
            return wrong("top_p", top_p);
        }
        if !(0.0..=1.0).contains(&min_p) {
            return wrong("min_p", min_p);
        }
        if !(repetition_penalty > 0.0 && repetition_penalty.is_finite()) {
            return wrong("repetition_penalty", repetition_penalty);
        }
        Ok(())
    }
}

/// What a pick depends on besides the logits.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// How.
    pub sampling: Sampling,
    /// The tokens of prompt and output.
    pub seen: &'a Seen,
    /// Tokens that may not come now.
    pub suppressed: &'a [u32],
    /// A number in [0, 1); not looked at where the temperature is zero.
    pub uniform: f64,
}

/// A token that was sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pick {
    /// Which.
    pub id: u32,
    /// Its log-probability under the bare logits.
    pub log_probability: f32,
}

/// Why no token can be sampled.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// A setting outside of its range.
    #[error("`{setting}` cannot be {value}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// Its value.
        value: f32,
    },
    /// A logit that is no number, or plus infinity.
    #[error("the logit of token {id} is {value}")]
    Logit {
        /// The token.
        id: usize,
        /// What stands there.
        value: f32,
    },
    /// No token has a probability.
    #[error("none of {vocab} tokens can be sampled")]
    Nothing {
        /// How many there are.
        vocab: usize,
    },
}

/// A weight between 0 and 1 as a multiple of 2⁻⁴⁴; 0 of what is no number.
pub(crate) fn whole(weight: f32) -> u64 {
    (f64::from(weight) * (1u64 << 44) as f64) as u64
}

/// A number in [0, 1) as a multiple of 2⁻⁵³.
pub(crate) fn steps_of(uniform: f64) -> u64 {
    (uniform * (1u64 << 53) as f64) as u64
}

/// The tokens that occurred, each once.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    bits: Vec<u64>,
    ids: Vec<u32>,
}

impl Seen {
    /// Notes tokens.
    pub fn add(&mut self, ids: &[u32]) {
        for &id in ids {
            let (word, bit) = (id as usize / 64, 1 << (id % 64));
            if word >= self.bits.len() {
                self.bits.resize(word + 1, 0);
            }
            if self.bits[word] & bit == 0 {
                self.bits[word] |= bit;
                self.ids.push(id);
            }
        }
    }

    /// In the order in which they first came.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }
}
