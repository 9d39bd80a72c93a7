//! How the values of rules are spread, and where their thresholds stand.

use report::chart::{Chart, Marks};
use report::page::{Block, Section};

use super::All;
use super::seen::Seen;
use super::words::Words;
use crate::text::ledger::Limit;

const N_BINS: usize = 40;

pub(super) fn section(seen: &All<'_>, words: &Words) -> Section {
    let mut blocks = Vec::new();
    for (item, seen) in seen {
        let Seen::Ledger(_, values) = seen else { continue };
        for (name, values) in values {
            let mine = |it: &&Limit| it.value == *name || it.rule == *name;
            let bounds =
                item.limits.iter().filter(mine).flat_map(|it| [it.bounds.min, it.bounds.max]);
            let thresholds: Vec<f64> = bounds.flatten().collect();
            let Some((borders, counts)) = bins(values) else { continue };
            blocks.push(Block::Chart(Chart {
                title: format!("{} · {name}", item.name),
                x: name.clone(),
                y: words.records.to_owned(),
                marks: Marks::Histogram { borders, counts, thresholds },
            }));
        }
    }
    Section { title: words.distributions.to_owned(), blocks }
}

/// Equal bins over what lies between the first and the last per mille, so that a single value far off
/// does not flatten all others; what lies beyond is in the first and the last bin. None where all
/// values are equal.
fn bins(values: &[f32]) -> Option<(Vec<f64>, Vec<u64>)> {
    let mut sorted: Vec<f32> = values.iter().copied().filter(|it| it.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    let n = sorted.len();
    let at = |share: f64| sorted.get(((n.max(1) - 1) as f64 * share) as usize).copied();
    let (low, high) = (f64::from(at(0.001)?), f64::from(at(0.999)?));
    if low >= high {
        return None;
    }
    let wide = (high - low) / N_BINS as f64;
    let mut counts = vec![0; N_BINS];
    for it in &sorted {
        let place = ((f64::from(*it) - low) / wide).max(0.0) as usize;
        counts[place.min(N_BINS - 1)] += 1;
    }
    Some(((0..=N_BINS).map(|it| low + wide * it as f64).collect(), counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bin() {
        let values: Vec<f32> = (0..1000).map(|it| it as f32).chain([1e9]).collect();
        let (borders, counts) = bins(&values).unwrap();
        assert_eq!((borders.len(), counts.iter().sum::<u64>()), (41, 1001));
        assert!(borders[40] < 2000.0);
        assert_eq!(bins(&[3.0, 3.0]), None);
        assert_eq!(bins(&[]), None);
    }
}
