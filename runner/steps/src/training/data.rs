//! The samples of a run, what was left out of them and why, and which are only measured.

use std::collections::BTreeMap;
use std::path::Path;

use kernels::train::{Data, Samples};
use serde_json::{Map, Value, json};

use crate::StepError;
use crate::model::Sample;
use crate::records::Output;

/// Samples, with the digest of the record of each.
#[derive(Default)]
pub(crate) struct Gathered {
    pub(crate) samples: Vec<Sample>,
    digests: Vec<[u8; 32]>,
    /// Samples that were cut.
    pub(crate) truncated: u64,
}

impl Gathered {
    /// One more sample of a record.
    pub(crate) fn push(&mut self, sample: Sample, record: &[u8]) {
        self.samples.push(sample);
        self.digests.push(*blake3::hash(record).as_bytes());
    }
}

/// Writes what is left out, each with its reason.
pub(crate) struct Dropped {
    output: Output,
    /// How often each reason was given.
    pub(crate) counts: BTreeMap<String, u64>,
}

impl Dropped {
    pub(crate) fn create(path: &Path) -> Result<Self, StepError> {
        Ok(Self { output: Output::create(path)?, counts: BTreeMap::new() })
    }

    /// A record that is left out. `class` is a word for all of its sort.
    pub(crate) fn note(
        &mut self,
        (class, reason): (&str, String),
        record: &Map<String, Value>,
    ) -> Result<(), StepError> {
        *self.counts.entry(class.to_owned()).or_default() += 1;
        let line = json!({ "class": class, "reason": reason, "record": record });
        self.output.line(line.to_string().as_bytes())
    }

    /// How many were left out, and as what.
    pub(crate) fn told(&self) -> String {
        let classes: Vec<String> =
            self.counts.iter().map(|(class, n)| format!("{n} {class}")).collect();
        if classes.is_empty() {
            "none left out".into()
        } else {
            format!("left out: {}", classes.join(", "))
        }
    }

    /// How many were left out.
    pub(crate) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(crate) fn finish(self) -> Result<(), StepError> {
        self.output.finish()
    }
}

/// Parts samples into those that are learnt and those that are only measured: a share below 1, or a
/// number of records. Which ones depends on the seed and the records' content; samples of one record
/// and of equal ones stay together.
pub(crate) fn split(gathered: Gathered, val_size: f64, seed: u64) -> Data {
    let mut lots: Vec<[u8; 32]> = gathered.digests.clone();
    lots.sort_unstable();
    lots.dedup();
    let lot = |digest: &[u8; 32]| {
        let mut hasher = blake3::Hasher::new_derive_key("kun validation split, format 1");
        hasher.update(&seed.to_le_bytes());
        hasher.update(digest);
        *hasher.finalize().as_bytes()
    };
    let wanted = if val_size < 1.0 {
        (lots.len() as f64 * val_size).ceil() as usize
    } else {
        val_size as usize
    };
    lots.sort_by_key(|it| lot(it));
    // Something must be left to learn from.
    lots.truncate(wanted.min(lots.len().saturating_sub(1)));
    lots.sort_unstable();
    let (mut train, mut eval) = (Samples::new(), Samples::new());
    for (sample, digest) in gathered.samples.into_iter().zip(&gathered.digests) {
        let sample = kernels::train::Sample { ids: sample.ids, trained: sample.trained };
        let to = if lots.binary_search(digest).is_ok() { &mut eval } else { &mut train };
        to.push(&sample);
    }
    Data { train, eval }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(n: usize) -> Gathered {
        let mut all = Gathered::default();
        for i in 0..n {
            let sample = Sample { ids: vec![i as u32, 1], trained: vec![true; 2] };
            all.push(sample, format!("record {i}").as_bytes());
        }
        all
    }

    fn measured(n: usize, val_size: f64, seed: u64) -> Vec<u32> {
        let data = split(gathered(n), val_size, seed);
        assert_eq!(data.train.len() + data.eval.len(), n);
        (0..data.eval.len()).map(|it| data.eval.ids(it)[0]).collect()
    }

    #[test]
    fn a_share_or_a_number_of_records_is_only_measured() {
        assert_eq!(measured(100, 0.0, 1).len(), 0);
        assert_eq!(measured(100, 0.05, 1).len(), 5);
        assert_eq!(measured(100, 7.0, 1).len(), 7);
        assert_eq!(measured(3, 100.0, 1).len(), 2);
        assert_ne!(measured(100, 7.0, 1), measured(100, 7.0, 2));
    }

    #[test]
    fn a_record_that_is_added_moves_at_most_one_other() {
        let (before, after) = (measured(100, 10.0, 1), measured(101, 10.0, 1));
        assert!(before.iter().filter(|it| !after.contains(it)).count() <= 1);
    }

    #[test]
    fn equal_records_stay_together() {
        let mut all = gathered(10);
        for _ in 0..10 {
            all.push(Sample { ids: vec![99, 1], trained: vec![true; 2] }, b"twin");
        }
        let data = split(all, 5.0, 3);
        let twins = |it: &Samples| (0..it.len()).filter(|i| it.ids(*i)[0] == 99).count();
        assert!(twins(&data.eval) == 0 || twins(&data.train) == 0);
    }
}
