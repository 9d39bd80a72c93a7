//! Scoring: how likely texts are, without keeping logits.
//!
//! [`Scorer::texts`] gives the loss of each token of a text, with or without a prompt before it;
//! [`Scorer::choices`] the losses of several continuations of one prompt, which is computed once.
//! Prompts that begin alike, such as questions after the same examples, share what is alike.
//!
//! **A text's losses are a function of the model and the text**: the same bits alone, in company, as
//! one of several continuations, in whatever chunks. A token's loss is minus its log-probability in
//! [`crate::generate`] and its loss in training, to the last bit.

mod scorer;
#[cfg(test)]
mod tests;
mod tree;

pub use scorer::Scorer;

/// A text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The tokens before it, which are not scored.
    pub prompt: Vec<u32>,
    /// Its tokens.
    pub ids: Vec<u32>,
}

/// Several texts after one prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// The tokens before each of them; at least one.
    pub prompt: Vec<u32>,
    /// The tokens of each.
    pub candidates: Vec<Vec<u32>>,
}

/// The losses of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// How many tokens it has.
    pub tokens: usize,
    /// Minus the logarithm of each token's probability; without a prompt the first token has none.
    pub nll: Vec<f32>,
}

impl Scored {
    /// The sum of all losses.
    pub fn sum(&self) -> f64 {
        self.nll.iter().copied().map(f64::from).sum()
    }

    /// The logarithm of the text's probability.
    pub fn log_probability(&self) -> f64 {
        -self.sum()
    }

    /// The mean loss; none where no token has one.
    pub fn mean(&self) -> Option<f64> {
        (!self.nll.is_empty()).then(|| self.sum() / self.nll.len() as f64)
    }

    /// The exponential of the mean loss.
    pub fn perplexity(&self) -> Option<f64> {
        self.mean().map(f64::exp)
    }

    /// OpenCompass's score of a whole text, the lowest of which is its answer: the sum of losses over
    /// the number of tokens, the first one included although it has no loss.
    pub fn opencompass(&self) -> f64 {
        self.sum() / self.tokens.max(1) as f64
    }
}
