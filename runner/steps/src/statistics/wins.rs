//! Models that were compared two at a time: who wins how often, and an order of all.
//!
//! The order is that of Bradley and Terry ("Rank analysis of incomplete block designs", 1952): the
//! chance that one wins against another is its strength by the sum of both. A tie is half a win for
//! each. Each pair that met has half a win more on both sides, so that a model that always won has a
//! finite strength.

use kernels::random::Random;

use super::agreement::middle;
use super::share::rounded;

/// What came of one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    /// The number of the prompt: what people said about one prompt is drawn again together.
    pub(crate) prompt: usize,
    /// The numbers of the two models.
    pub(crate) models: [usize; 2],
    /// The number of the one that won; nothing is a tie.
    pub(crate) winner: Option<usize>,
}

/// How often one won.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Wins {
    pub(crate) wins: u64,
    pub(crate) losses: u64,
    pub(crate) ties: u64,
    /// Of what was decided.
    pub(crate) share: f64,
    /// Its interval with 95 % confidence, from prompts drawn again.
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// With ties as half a win.
    pub(crate) adjusted: f64,
}

/// A model's strength: the logarithm, 0 in the middle of all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Strength {
    pub(crate) strength: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

const N_SAMPLES: u64 = 1_000;
const SEED: u64 = 20_240_114;
const MAX_ROUNDS: usize = 2_000;

/// Who won against whom: wins by winner and loser, and ties.
struct Table {
    wins: Vec<Vec<f64>>,
    ties: Vec<Vec<f64>>,
}

impl Table {
    fn of<'a>(n_models: usize, all: impl Iterator<Item = &'a Met>) -> Self {
        let zero = vec![vec![0.0; n_models]; n_models];
        let mut table = Self { wins: zero.clone(), ties: zero };
        for Met { models: [a, b], winner, .. } in all {
            match winner {
                None => {
                    table.ties[*a][*b] += 1.0;
                    table.ties[*b][*a] += 1.0;
                }
                Some(it) if it == a => table.wins[*a][*b] += 1.0,
                Some(_) => table.wins[*b][*a] += 1.0,
            }
        }
        table
    }

    /// Wins, losses and ties of one against another, or against all.
    fn of_one(&self, one: usize, other: Option<usize>) -> (f64, f64, f64) {
        let others = (0..self.wins.len()).filter(|it| other.is_none_or(|other| other == *it));
        others.fold((0.0, 0.0, 0.0), |(wins, losses, ties), it| {
            (wins + self.wins[one][it], losses + self.wins[it][one], ties + self.ties[one][it])
        })
    }

    /// Strengths by the iteration of Zermelo, which always converges with the half wins.
    fn strengths(&self) -> Vec<f64> {
        let n = self.wins.len();
        let met = |a: usize, b: usize| {
            let n = self.wins[a][b] + self.wins[b][a] + self.ties[a][b];
            if n > 0.0 { n + 1.0 } else { 0.0 }
        };
        let won = |a: usize| -> f64 {
            let of = |b: usize| self.wins[a][b] + self.ties[a][b] / 2.0 + 0.5;
            (0..n).filter(|b| met(a, *b) > 0.0).map(of).sum()
        };
        let won: Vec<f64> = (0..n).map(won).collect();
        let mut strength = vec![1.0_f64; n];
        for _ in 0..MAX_ROUNDS {
            let next = |a: usize| {
                let of = |b: usize| met(a, b) / (strength[a] + strength[b]);
                let sum: f64 = (0..n).filter(|b| *b != a).map(of).sum();
                if sum > 0.0 { won[a] / sum } else { 1.0 }
            };
            let mut new: Vec<f64> = (0..n).map(next).collect();
            let mean = new.iter().map(|it| it.ln()).sum::<f64>() / n as f64;
            new.iter_mut().for_each(|it| *it /= mean.exp());
            let moved = new.iter().zip(&strength).map(|(a, b)| (a / b).ln().abs());
            let still = moved.fold(0.0, f64::max) < 1e-9;
            strength = new;
            if still {
                break;
            }
        }
        strength.iter().map(|it| it.ln()).collect()
    }
}

fn share(wins: f64, losses: f64) -> f64 {
    if wins + losses > 0.0 { wins / (wins + losses) } else { 0.5 }
}

/// All that is said of models that were compared.
pub(crate) struct Ranking {
    samples: Vec<Table>,
    all: Table,
    /// Each model's strength.
    pub(crate) strengths: Vec<Strength>,
}

impl Ranking {
    /// From all comparisons of so many models.
    pub(crate) fn of(n_models: usize, all: &[Met]) -> Self {
        let n_prompts = all.iter().map(|it| it.prompt + 1).max().unwrap_or(0);
        let mut prompts: Vec<Vec<&Met>> = vec![Vec::new(); n_prompts];
        for it in all {
            prompts[it.prompt].push(it);
        }
        prompts.retain(|it| !it.is_empty());
        let n = prompts.len() as u64;
        let sample = |sample| {
            let random = Random::of(SEED, &[n, sample]);
            let drawn = (0..n).flat_map(|i| prompts[random.below(i, n) as usize].iter().copied());
            Table::of(n_models, drawn)
        };
        let samples: Vec<Table> = (0..N_SAMPLES).map(sample).collect();
        let table = Table::of(n_models, all.iter());
        let drawn: Vec<Vec<f64>> = samples.iter().map(Table::strengths).collect();
        let strength = |(i, it): (usize, f64)| {
            let mut of: Vec<f64> = drawn.iter().map(|it| it[i]).collect();
            let (low, high) = middle(&mut of);
            Strength { strength: rounded(it), low, high }
        };
        let strengths = table.strengths().into_iter().enumerate().map(strength).collect();
        Self { samples, all: table, strengths }
    }

    /// How often one won against another, or against all.
    pub(crate) fn wins(&self, one: usize, other: Option<usize>) -> Wins {
        let (wins, losses, ties) = self.all.of_one(one, other);
        let drawn = |it: &Table| {
            let (wins, losses, _) = it.of_one(one, other);
            share(wins, losses)
        };
        let (low, high) = middle(&mut self.samples.iter().map(drawn).collect::<Vec<f64>>());
        let n = (wins + losses + ties).max(1.0);
        Wins {
            wins: wins as u64,
            losses: losses as u64,
            ties: ties as u64,
            share: rounded(share(wins, losses)),
            low,
            high,
            adjusted: rounded((wins + ties / 2.0) / n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(models: [usize; 2], won: &[(Option<usize>, usize)]) -> Vec<Met> {
        let all = won.iter().flat_map(|(winner, n)| std::iter::repeat_n(*winner, *n));
        all.enumerate().map(|(prompt, winner)| Met { prompt, models, winner }).collect()
    }

    #[test]
    fn strengths_are_those_of_bradley_and_terry() {
        // Strengths of 4, 2 and 1: what is expected of 6000 meetings of each pair.
        let all = [
            met([0, 1], &[(Some(0), 4000), (Some(1), 2000)]),
            met([0, 2], &[(Some(0), 4800), (Some(2), 1200)]),
            met([1, 2], &[(Some(1), 4000), (Some(2), 2000)]),
        ];
        let table = Table::of(3, all.concat().iter());
        for (it, want) in table.strengths().iter().zip([2.0_f64, 1.0, 0.5]) {
            assert!((it - want.ln()).abs() < 1e-3, "{it} {want}");
        }
        // Two models: the logarithm of the odds, half a win added to both sides.
        let two = Table::of(2, met([0, 1], &[(Some(0), 7), (Some(1), 2), (None, 2)]).iter());
        let it = two.strengths();
        assert!((it[0] - it[1] - (8.5_f64 / 3.5).ln()).abs() < 1e-7, "{it:?}");
    }

    #[test]
    fn strengths_are_those_of_another_program() {
        // `choix.ilsr_pairwise_dense` 0.4.1 over these wins, half a win added to each.
        let wins = [[0, 7, 9, 4], [3, 0, 6, 8], [1, 4, 0, 5], [6, 2, 5, 0]];
        let pairs = (0..4).flat_map(|a| (a + 1..4).map(move |b| (a, b)));
        let of =
            |(a, b): (usize, usize)| met([a, b], &[(Some(a), wins[a][b]), (Some(b), wins[b][a])]);
        let all: Vec<Met> = pairs.flat_map(of).collect();
        let want = [0.477_573_09, 0.188_305_34, -0.477_573_09, -0.188_305_34];
        for (it, want) in Table::of(4, all.iter()).strengths().iter().zip(want) {
            assert!((it - want).abs() < 1e-7, "{it} {want}");
        }
    }

    #[test]
    fn wins_have_an_interval_from_prompts_and_always_the_same() {
        let all = met([0, 1], &[(Some(0), 60), (Some(1), 30), (None, 10)]);
        let ranking = Ranking::of(2, &all);
        let it = ranking.wins(0, Some(1));
        assert_eq!((it.wins, it.losses, it.ties, it.adjusted), (60, 30, 10, 0.65));
        // The deviation of two thirds of 90 is 0.0497.
        assert!((it.share - 0.666_667).abs() < 1e-9);
        assert!((it.low - 0.569).abs() < 0.02 && (it.high - 0.764).abs() < 0.02, "{it:?}");
        assert_eq!(Ranking::of(2, &all).wins(0, None), it);
        assert_eq!(ranking.wins(1, Some(0)).share, 0.333_333);
        let strength = ranking.strengths[0];
        assert!(strength.low < strength.strength && strength.strength < strength.high);
    }

    #[test]
    fn a_model_that_always_won_has_a_finite_strength() {
        let ranking = Ranking::of(3, &met([0, 1], &[(Some(0), 5)]));
        let it: Vec<f64> = ranking.strengths.iter().map(|it| it.strength).collect();
        assert!(it[0] > 0.5 && it[1] < -0.5 && it.iter().all(|it| it.is_finite()), "{it:?}");
        assert_eq!(Ranking::of(2, &[]).wins(0, None).share, 0.5);
    }
}
