//! The processor's pick: one pass for the greatest score, and only what the settings ask for besides.

use rayon::prelude::*;

use super::{Given, Pick, SampleError, Sampling, steps_of, whole};
use crate::cpu::isa::versions;
use crate::cpu::math;
use crate::machine::Isa;

/// Picks tokens, one row after another; keeps its memory between them.
#[derive(Debug)]
pub struct Sampler {
    isa: Isa,
    /// Scores, then exponentials of their differences to the greatest. // [vocab]
    scores: Vec<f32>,
    /// The ids that are still in, in the order in which top-p looks at them.
    order: Vec<u32>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { isa: Isa::here(), scores: Vec::new(), order: Vec::new() }
    }
}

impl Sampler {
    /// Picks a token; see the contract. `sampling` was checked.
    pub fn pick(&mut self, logits: &[f32], given: Given<'_>) -> Result<Pick, SampleError> {
        check(self.isa, logits)?;
        let id = if plain(&given) {
            greatest(self.isa, logits)
        } else {
            self.scores.clear();
            self.scores.extend_from_slice(logits);
            adjust(&mut self.scores, &given);
            match given.sampling.temperature {
                0.0 => greatest(self.isa, &self.scores),
                _ => {
                    self.warp(given.sampling);
                    draw(&self.scores, given.uniform)
                }
            }
        };
        let id = id.ok_or(SampleError::Nothing { vocab: logits.len() })?;
        Ok(Pick { id, log_probability: log_probability(logits, id) })
    }

    /// The scores as the warpers leave them.
    #[cfg(test)]
    pub(crate) fn warped(&mut self, logits: &[f32], given: Given<'_>) -> Vec<f32> {
        self.scores.clear();
        self.scores.extend_from_slice(logits);
        adjust(&mut self.scores, &given);
        if given.sampling.temperature == 0.0 {
            return self.scores.clone();
        }
        let mut warped = self.scores.clone();
        warped.iter_mut().for_each(|it| *it /= given.sampling.temperature);
        self.warp(given.sampling);
        for (score, weight) in warped.iter_mut().zip(&self.scores) {
            *score = if *weight > 0.0 { *score } else { f32::NEG_INFINITY };
        }
        warped
    }

    /// Temperature, top-k, top-p and min-p: scores become weights, zero for what is out.
    fn warp(&mut self, sampling: Sampling) {
        let Sampling { temperature, top_k, top_p, min_p, repetition_penalty: _ } = sampling;
        if temperature != 1.0 {
            self.scores.iter_mut().for_each(|it| *it /= temperature);
        }
        if top_k > 0 && top_k < self.scores.len() {
            self.keep_greatest(top_k);
        }
        weigh(self.isa, &mut self.scores);
        if top_p < 1.0 {
            self.keep_share(f64::from(top_p));
        }
        if min_p > 0.0 {
            // The greatest weight is one.
            self.scores.iter_mut().for_each(|it| *it = if *it < min_p { 0.0 } else { *it });
        }
    }

    /// Top-k: what is below the k-th greatest score is out.
    fn keep_greatest(&mut self, k: usize) {
        self.order.clear();
        self.order.extend(0..self.scores.len() as u32);
        let scores = &self.scores;
        let by_score = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]);
        let (_, kth, _) = self.order.select_nth_unstable_by(k - 1, by_score);
        let least = self.scores[*kth as usize];
        let out = |it: &mut f32| *it = if *it < least { f32::NEG_INFINITY } else { *it };
        self.scores.iter_mut().for_each(out);
    }

    /// Top-p over weights: the least likely ones that make at most 1 − p of all are out.
    fn keep_share(&mut self, p: f64) {
        let all: u64 = self.scores.iter().copied().map(whole).sum();
        let out_at = ((1.0 - p) * all as f64) as u64;
        self.order.clear();
        self.order.extend((0..).zip(&self.scores).filter(|it| *it.1 > 0.0).map(|it| it.0));
        let weights = &self.scores;
        let likely_first =
            |a: &u32, b: &u32| weights[*b as usize].total_cmp(&weights[*a as usize]).then(a.cmp(b));
        // The likely ones are sorted a few at a time: mostly few of many stay.
        let (mut sorted, mut before) = (0, 0);
        let mut kept = 0;
        'all: while sorted < self.order.len() {
            let rest = &mut self.order[sorted..];
            let n = (64.max(sorted * 3)).min(rest.len());
            if n < rest.len() {
                rest.select_nth_unstable_by(n - 1, likely_first);
            }
            rest[..n].sort_unstable_by(likely_first);
            for &id in &self.order[sorted..sorted + n] {
                if all - before <= out_at && kept > 0 {
                    break 'all;
                }
                before += whole(self.scores[id as usize]);
                kept += 1;
            }
            sorted += n;
        }
        for &id in &self.order[kept..] {
            self.scores[id as usize] = 0.0;
        }
    }
}

/// A token for each row of logits, the rows in parallel.
pub(crate) fn pick_rows(logits: &[f32], given: &[Given<'_>]) -> Vec<Result<Pick, SampleError>> {
    let vocab = logits.len() / given.len().max(1);
    let rows = logits.par_chunks_exact(vocab.max(1)).zip(given);
    rows.map_init(Sampler::default, |sampler, (row, given)| sampler.pick(row, *given)).collect()
}

/// Whether the greatest logit is the answer, with nothing before it.
fn plain(given: &Given<'_>) -> bool {
    given.sampling.temperature == 0.0
        && given.sampling.repetition_penalty == 1.0
        && given.suppressed.is_empty()
}

/// Repetition penalty and suppression.
fn adjust(scores: &mut [f32], given: &Given<'_>) {
    let penalty = given.sampling.repetition_penalty;
    if penalty != 1.0 {
        for &id in given.seen.ids() {
            if let Some(score) = scores.get_mut(id as usize) {
                *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
            }
        }
    }
    for &id in given.suppressed {
        if let Some(score) = scores.get_mut(id as usize) {
            *score = f32::NEG_INFINITY;
        }
    }
}

/// That every logit is a number below infinity.
fn check(isa: Isa, logits: &[f32]) -> Result<(), SampleError> {
    if usable(isa, logits) {
        return Ok(());
    }
    let bad = logits.iter().position(|it| it.is_nan() || *it == f32::INFINITY);
    let id = bad.unwrap_or_default();
    Err(SampleError::Logit { id, value: logits.get(id).copied().unwrap_or(f32::NAN) })
}

versions! {
    fn usable(logits: &[f32]) -> bool {
        // One that is not a number is below nothing.
        logits.iter().fold(true, |all, it| all & (*it < f32::INFINITY))
    }
}

versions! {
    fn max_of(scores: &[f32]) -> f32 {
        math::max(scores)
    }
}

versions! {
    /// Exponentials of the differences to the greatest score.
    fn exponentials(scores: &mut [f32], greatest: f32) {
        for it in scores {
            *it = math::exp(*it - greatest);
        }
    }
}

versions! {
    fn sum_of_exponentials(logits: &[f32], greatest: f32) -> f32 {
        math::sum(logits.len(), |i, sum| sum + math::exp(logits[i] - greatest))
    }
}

/// The id of the greatest score, the smallest of equal ones.
fn greatest(isa: Isa, scores: &[f32]) -> Option<u32> {
    let greatest = max_of(isa, scores);
    let id = scores.iter().position(|it| *it == greatest && *it > f32::NEG_INFINITY)?;
    u32::try_from(id).ok()
}

/// Scores become weights; all zero where no score is above minus infinity.
fn weigh(isa: Isa, scores: &mut [f32]) {
    let greatest = max_of(isa, scores);
    if greatest == f32::NEG_INFINITY {
        scores.fill(0.0);
    } else {
        exponentials(isa, scores, greatest);
    }
}

/// The smallest id whose cumulative weight is above this share of all.
fn draw(weights: &[f32], uniform: f64) -> Option<u32> {
    let all: u64 = weights.iter().copied().map(whole).sum();
    let bound = (u128::from(steps_of(uniform)) * u128::from(all)) >> 53;
    // A listed number may be 1; then it is the last one that can be.
    let bound = bound.min(u128::from(all.checked_sub(1)?)) as u64;
    let mut sum = 0;
    let above = |it: &f32| {
        sum += whole(*it);
        sum > bound
    };
    weights.iter().position(above).and_then(|id| u32::try_from(id).ok())
}

/// ln Σ exp of logits.
///
/// The sum runs over fixed lanes in f32 and its logarithm is f64, as in
/// [`crate::ops::cross_entropy`]: minus the loss of a token there and its log-probability here are
/// the same number.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let isa = Isa::here();
    let greatest = max_of(isa, logits);
    let sum = sum_of_exponentials(isa, logits, greatest);
    math::ln(f64::from(sum)) + f64::from(greatest)
}

/// The log-probability of a token.
pub fn log_probability(logits: &[f32], id: u32) -> f32 {
    (f64::from(logits[id as usize]) - log_sum_exp(logits)) as f32
}

/// The most likely tokens and their log-probabilities, the likeliest first.
pub fn top_log_probabilities(logits: &[f32], n: usize) -> Vec<(u32, f32)> {
    let all = log_sum_exp(logits);
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let likely_first =
        |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let n = n.min(ids.len());
    if n > 0 && n < ids.len() {
        ids.select_nth_unstable_by(n - 1, likely_first);
    }
    ids.truncate(n);
    ids.sort_unstable_by(likely_first);
    let of = |id: u32| (f64::from(logits[id as usize]) - all) as f32;
    ids.into_iter().map(|id| (id, of(id))).collect()
}
