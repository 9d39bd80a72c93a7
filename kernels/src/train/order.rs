//! Which texts each step sees: epochs, shuffled rows, batches; and where a run stands in them.
//!
//! All of it is a function of the texts' lengths, the settings and the seed. A [`Cursor`] is two
//! numbers: nothing has to be read again to go on from it.

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::pack::pack;
use super::sample::Samples;
use super::settings::{BatchSize, Length, Settings};
use crate::random::Random;

/// The stream of shuffles under a run's seed.
const SHUFFLE: u64 = 0x7368_7566;

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// How often all texts have been seen.
    pub epoch: u64,
    /// How many rows of this epoch have been seen.
    pub row: u64,
}

/// The texts of a step, in the order in which they are computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The numbers of the texts.
    pub samples: Vec<u32>,
    /// All tokens.
    pub tokens: usize,
    /// All targets; never 0.
    pub targets: usize,
}

/// The order of a run.
#[derive(Debug)]
pub struct Order {
    seed: u64,
    shuffle: bool,
    batch: BatchSize,
    rows: Vec<Row>,
    steps: u64,
    largest: usize,
    /// The last epoch that was asked for, and its rows in their order.
    drawn: (u64, Vec<u32>),
}

#[derive(Debug)]
struct Row {
    samples: Vec<u32>,
    tokens: usize,
    targets: usize,
}

impl Order {
    /// The order of these texts. Every batch is made once here, to count the steps and to find any
    /// that has nothing to learn from.
    pub fn new(samples: &Samples, settings: &Settings) -> Result<Self> {
        let rows = rows(samples, settings)?;
        let mut order = Self {
            seed: settings.seed,
            shuffle: settings.shuffle,
            batch: settings.batch,
            rows,
            steps: 0,
            largest: 0,
            drawn: (u64::MAX, Vec::new()),
        };
        order.count(settings.length)?;
        Ok(order)
    }

    fn count(&mut self, length: Length) -> Result<()> {
        let (mut cursor, mut steps) = (Cursor::default(), 0);
        loop {
            match length {
                Length::Epochs(epochs) if cursor.epoch >= epochs => break,
                Length::Steps(most) if steps >= most => break,
                _ => (),
            }
            let (batch, next) = self.draw(cursor);
            if batch.targets == 0 {
                return Err(Error::NoTarget { step: steps + 1, samples: batch.samples });
            }
            self.largest = self.largest.max(batch.tokens);
            (cursor, steps) = (next, steps + 1);
        }
        self.steps = steps;
        Ok(())
    }

    /// How many steps the run has.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How many rows an epoch has: texts, or packed rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The most tokens of one row.
    pub fn longest_row(&self) -> usize {
        self.rows.iter().map(|it| it.tokens).max().unwrap_or(0)
    }

    /// The most tokens of one step.
    pub fn largest_step(&self) -> usize {
        self.largest
    }

    /// The batch at a place, and the place after it. An epoch's last batch may be smaller.
    pub fn draw(&mut self, cursor: Cursor) -> (Batch, Cursor) {
        self.draw_epoch(cursor.epoch);
        let mut batch = Batch { samples: Vec::new(), tokens: 0, targets: 0 };
        let rest = &self.drawn.1[cursor.row as usize..];
        let mut taken = 0;
        for row in rest.iter().map(|it| &self.rows[*it as usize]) {
            let full = match self.batch {
                BatchSize::Sequences(n) => taken == n,
                BatchSize::Tokens(n) => taken > 0 && batch.tokens + row.tokens > n,
            };
            if full {
                break;
            }
            batch.samples.extend_from_slice(&row.samples);
            batch.tokens += row.tokens;
            batch.targets += row.targets;
            taken += 1;
        }
        let next = if taken == rest.len() {
            Cursor { epoch: cursor.epoch + 1, row: 0 }
        } else {
            Cursor { row: cursor.row + taken as u64, ..cursor }
        };
        (batch, next)
    }

    fn draw_epoch(&mut self, epoch: u64) {
        if self.drawn.0 == epoch {
            return;
        }
        let mut rows: Vec<u32> = (0..self.rows.len() as u32).collect();
        if self.shuffle {
            Random::of(self.seed, &[SHUFFLE, epoch]).shuffle(&mut rows);
        }
        self.drawn = (epoch, rows);
    }
}

/// Texts as rows: one each, or packed.
fn rows(samples: &Samples, settings: &Settings) -> Result<Vec<Row>> {
    if samples.is_empty() {
        return Err(Error::NoSample);
    }
    let lengths: Vec<usize> = (0..samples.len()).map(|it| samples.tokens(it)).collect();
    if let Some(sample) = lengths.iter().position(|it| *it == 0) {
        return Err(Error::Empty { sample });
    }
    let lists = match settings.pack {
        None => (0..samples.len() as u32).map(|it| vec![it]).collect(),
        Some(room) => {
            if let Some(sample) = lengths.iter().position(|it| *it > room) {
                return Err(Error::Long { sample, tokens: lengths[sample], most: room });
            }
            pack(&lengths, room)
        }
    };
    let sum = |list: &[u32], of: &dyn Fn(usize) -> usize| -> usize {
        list.iter().map(|it| of(*it as usize)).sum()
    };
    let row = |list: Vec<u32>| Row {
        tokens: sum(&list, &|it| samples.tokens(it)),
        targets: sum(&list, &|it| samples.targets(it)),
        samples: list,
    };
    Ok(lists.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;

    fn samples(lengths: &[usize]) -> Samples {
        lengths.iter().map(|it| Sample::all(vec![1; *it])).collect()
    }

    fn all(order: &mut Order) -> Vec<Batch> {
        let (mut batches, mut cursor) = (Vec::new(), Cursor::default());
        for _ in 0..order.steps() {
            let (batch, next) = order.draw(cursor);
            batches.push(batch);
            cursor = next;
        }
        batches
    }

    #[test]
    fn every_epoch_has_every_text_once_in_an_order_of_its_own() {
        let settings = Settings {
            batch: BatchSize::Sequences(4),
            length: Length::Epochs(3),
            ..Settings::new()
        };
        let mut order = Order::new(&samples(&[3; 10]), &settings).unwrap();
        assert_eq!(order.steps(), 9);
        let batches = all(&mut order);
        let epochs: Vec<Vec<u32>> = batches
            .chunks(3)
            .map(|it| it.iter().flat_map(|it| it.samples.clone()).collect())
            .collect();
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
        assert_eq!(batches[2].samples.len(), 2);
        assert_eq!((batches[0].tokens, batches[0].targets), (12, 8));
    }

    #[test]
    fn any_place_can_be_gone_to_at_once() {
        let settings =
            Settings { batch: BatchSize::Tokens(20), length: Length::Steps(25), ..Settings::new() };
        let texts = samples(&[3, 9, 4, 17, 30, 2, 8]);
        let mut order = Order::new(&texts, &settings).unwrap();
        let batches = all(&mut order);
        assert_eq!(batches.len(), 25);
        assert!(batches.iter().all(|it| it.tokens <= 20 || it.samples.len() == 1));
        let mut cursor = Cursor::default();
        for batch in &batches {
            let mut again = Order::new(&texts, &settings).unwrap();
            let (same, next) = again.draw(cursor);
            assert_eq!(&same, batch);
            cursor = next;
        }
    }

    #[test]
    fn packed_rows_count_as_one_sequence_each() {
        let settings = Settings {
            pack: Some(10),
            shuffle: false,
            batch: BatchSize::Sequences(1),
            ..Settings::new()
        };
        let mut order = Order::new(&samples(&[3, 7, 5, 2, 5]), &settings).unwrap();
        assert_eq!((order.steps(), order.longest_row()), (3, 10));
        let batches = all(&mut order);
        assert_eq!(batches[1].samples, [2, 4]);
    }

    #[test]
    fn what_cannot_be_trained_on_is_refused_before_the_first_step() {
        let say = |samples: &Samples, settings: &Settings| {
            Order::new(samples, settings).unwrap_err().to_string()
        };
        let settings = Settings { pack: Some(10), ..Settings::new() };
        assert_eq!(say(&Samples::new(), &settings), "there is nothing to train on");
        assert_eq!(say(&samples(&[3, 0]), &settings), "sample 1 has no tokens");
        let long = "sample 1 has 11 tokens, and there is room for 10";
        assert_eq!(say(&samples(&[3, 11]), &settings), long);
        let mut texts = samples(&[3, 3]);
        texts.push(&Sample { ids: vec![1, 2], trained: vec![true, false] });
        let settings =
            Settings { batch: BatchSize::Sequences(1), shuffle: false, ..Settings::new() };
        let none = "step 3 has no target token; its samples are [2]";
        assert_eq!(say(&texts, &settings), none);
    }
}
