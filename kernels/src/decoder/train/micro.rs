//! A micro-batch: texts side by side, with positions, targets and borders.

use crate::ops::cross_entropy::IGNORE;

/// Which part of a step a micro-batch is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepPart {
    /// What gradients are multiplied by: one over the targets of the whole step.
    pub scale: f32,
    /// Which step.
    pub step: u64,
    /// How many tokens of the step come before.
    pub first_token: u64,
}

/// Texts that are computed together. None sees another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Micro {
    /// The tokens of all texts.
    pub ids: Vec<u32>,
    /// For each token its place in its text.
    pub positions: Vec<u32>,
    /// For each token the one that should follow, or [`IGNORE`].
    pub targets: Vec<u32>,
    /// Where texts begin, and where the last one ends.
    pub spans: Vec<u32>,
}

impl Micro {
    /// None yet.
    pub fn new() -> Self {
        Self { spans: vec![0], ..Self::default() }
    }

    /// Adds a text; `trained` marks the tokens that are targets.
    pub fn push(&mut self, ids: &[u32], trained: &[bool]) {
        self.ids.extend_from_slice(ids);
        self.positions.extend(0..ids.len() as u32);
        let following = ids.iter().zip(trained).skip(1);
        self.targets.extend(following.map(|(id, trained)| if *trained { *id } else { IGNORE }));
        self.targets.resize(self.ids.len(), IGNORE);
        self.spans.push(self.ids.len() as u32);
    }

    /// How many tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// How many targets.
    pub fn n_targets(&self) -> usize {
        self.targets.iter().filter(|it| **it != IGNORE).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_tokens_that_follow_within_a_text() {
        let mut micro = Micro::new();
        micro.push(&[5, 6, 7], &[true, false, true]);
        micro.push(&[8], &[true]);
        micro.push(&[9, 3], &[false, true]);
        assert_eq!(micro.targets, [IGNORE, 7, IGNORE, IGNORE, 3, IGNORE]);
        assert_eq!(micro.positions, [0, 1, 2, 0, 0, 1]);
        assert_eq!(micro.spans, [0, 3, 4, 6]);
        assert_eq!(micro.n_targets(), 2);
    }
}
