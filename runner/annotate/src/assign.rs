//! Who is asked about what, and in which order: a function of the seed. What stands on which side is
//! [`crate::sides`]'s.
//!
//! See `doc/decisions/0012-random-streams.md`: nothing is drawn in an order, so that a study that is
//! opened again goes on as it would have.

use kernels::random::Random;

/// Whose random numbers they are: the purpose comes first in a stream's parts.
const WHO: u64 = 1;
const LOT: u64 = 2;
const ORDER: u64 = 3;
const SECOND_HALF: u64 = 4;

/// One thing to be asked of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// The number of the unit.
    pub(crate) unit: usize,
    /// 0, and 1 where it is shown again to see whether the same is said.
    pub(crate) round: u8,
}

/// A text as a number, for the name of a stream.
pub(crate) fn number(text: &str) -> u64 {
    let digest = blake3::hash(text.as_bytes());
    let bytes = digest.as_bytes();
    bytes[..8].iter().fold(0, |all, it| all << 8 | u64::from(*it))
}

/// For each annotator the units that are theirs: each unit goes to `raters` of them, and none has
/// more than one unit more than another.
pub(crate) fn shares(units: &[u64], names: &[u64], raters: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..units.len()).collect();
    Random::of(seed, &[WHO]).shuffle(&mut order);
    let mut shares = vec![Vec::new(); names.len()];
    for unit in order {
        // Those with the least so far; among them, a lot that differs from unit to unit, so that not
        // always the same people meet.
        let mut all: Vec<usize> = (0..names.len()).collect();
        all.sort_by_key(|who| (shares[*who].len(), lot(units[unit], names[*who], seed)));
        for who in all.into_iter().take(raters) {
            shares[who].push(unit);
        }
    }
    shares
}

/// Somebody's lot for a unit: who has the least of equals is asked.
pub(crate) fn lot(unit: u64, name: u64, seed: u64) -> u64 {
    Random::of(seed, &[LOT, name]).u64_at(unit)
}

/// The order in which somebody is asked. A share of what comes in the first third comes again in
/// the second half.
pub(crate) fn queue(mut units: Vec<usize>, repeats: f64, name: u64, seed: u64) -> Vec<Turn> {
    units.sort_unstable();
    Random::of(seed, &[ORDER, name]).shuffle(&mut units);
    let n = units.len();
    let n_repeats = ((n as f64 * repeats).round() as usize).min(n / 3);
    let turn = |round| move |unit: &usize| Turn { unit: *unit, round };
    let mut queue: Vec<Turn> = units[..n.div_ceil(2)].iter().map(turn(0)).collect();
    let mut rest: Vec<Turn> = units[n.div_ceil(2)..].iter().map(turn(0)).collect();
    rest.extend(units[..n_repeats].iter().map(turn(1)));
    Random::of(seed, &[SECOND_HALF, name]).shuffle(&mut rest);
    queue.append(&mut rest);
    queue
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(prefix: &str, n: usize) -> Vec<u64> {
        (0..n).map(|it| number(&format!("{prefix}{it}"))).collect()
    }

    #[test]
    fn every_unit_has_its_raters_and_nobody_has_more_than_one_more() {
        for (n, people, raters) in [(0, 3, 3), (1, 5, 2), (100, 7, 3), (300, 24, 3), (9, 3, 3)] {
            let shares = shares(&numbers("u", n), &numbers("p", people), raters, 7);
            let lengths: Vec<usize> = shares.iter().map(Vec::len).collect();
            let (least, most) = (lengths.iter().min().unwrap(), lengths.iter().max().unwrap());
            assert!(most - least <= 1, "{lengths:?}");
            for unit in 0..n {
                let has = |it: &&Vec<usize>| it.iter().filter(|it| **it == unit).count() == 1;
                assert_eq!(shares.iter().filter(has).count(), raters);
            }
        }
    }

    #[test]
    fn people_meet_in_changing_company() {
        let shares = shares(&numbers("u", 200), &numbers("p", 8), 2, 1);
        let pairs: std::collections::BTreeSet<Vec<usize>> = (0..200)
            .map(|unit| (0..8).filter(|who| shares[*who].contains(&unit)).collect())
            .collect();
        assert!(pairs.len() > 20, "{}", pairs.len());
    }

    #[test]
    fn repeats_come_later_and_never_at_once() {
        let queue = queue((0..100).collect(), 0.05, 3, 9);
        assert_eq!(queue.len(), 105);
        let again: Vec<usize> = (0..105).filter(|it| queue[*it].round == 1).collect();
        assert_eq!(again.len(), 5);
        for at in again {
            let first = queue.iter().position(|it| it.unit == queue[at].unit).unwrap();
            assert!(at - first > 10 && at >= 50 && queue[first].round == 0);
        }
        assert!(super::queue(vec![1, 2], 1.0, 3, 9).iter().all(|it| it.round == 0));
    }

    #[test]
    fn orders_differ_from_person_to_person_and_not_from_time_to_time() {
        let of = |name| queue((0..50).collect(), 0.0, name, 1);
        assert_ne!(of(1), of(2));
        assert_eq!(of(1), of(1));
    }
}
