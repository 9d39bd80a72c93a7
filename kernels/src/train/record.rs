//! What is told of each step: what the run computed, and apart from it what was measured.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::device::{Device, View, ViewMut};
use crate::dtype::Dtype;
use crate::ops::matmul::{Form, Product, Start};

/// A step, as the run computed it: the same each time the run is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Which step, from 1.
    pub step: u64,
    /// How many there are.
    pub steps: u64,
    /// How often all texts have been seen, after the step.
    pub epoch: f64,
    /// The mean over the step's targets, before the step.
    pub loss: f64,
    /// The rate that it was made with.
    pub learning_rate: f64,
    /// The gradient norm, before clipping.
    pub grad_norm: f64,
    /// Its tokens.
    pub tokens: usize,
    /// Its targets.
    pub targets: usize,
    /// The operations that the model's formulas ask for; recomputation does not count.
    #[serde(skip)]
    pub operations: f64,
}

/// An evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// After which step.
    pub step: u64,
    /// The mean over all targets.
    pub loss: f64,
    /// Tokens.
    pub tokens: usize,
    /// Targets.
    pub targets: usize,
}

/// What was measured of a step. It differs from time to time, so it is kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// How long the step took.
    pub seconds: f64,
    /// Its tokens in that time.
    pub tokens_per_second: f64,
    /// The share of the device's best rate, where that is known.
    pub utilization: Option<f64>,
    /// How long the rest will take, at the rate of the steps since the run began or went on.
    pub seconds_left: f64,
    /// The most memory that the process had.
    pub peak_bytes: u64,
}

/// Measures steps.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    begun: Instant,
    last: Instant,
    steps: u64,
    best_rate: Option<f64>,
}

impl Meter {
    /// Begins to measure. `best_rate` is the most operations in a second that the device can do.
    pub fn new(best_rate: Option<f64>) -> Self {
        let now = Instant::now();
        Self { begun: now, last: now, steps: 0, best_rate }
    }

    /// Time that belongs to no step ends here: a checkpoint, an evaluation.
    pub fn pause_ends(&mut self) {
        self.begun += self.last.elapsed();
        self.last = Instant::now();
    }

    /// Measures the step that has just been done.
    pub fn take(&mut self, record: &Record) -> Measured {
        let now = Instant::now();
        let seconds = now.duration_since(self.last).as_secs_f64().max(1e-9);
        (self.last, self.steps) = (now, self.steps + 1);
        let mean = now.duration_since(self.begun).as_secs_f64() / self.steps as f64;
        Measured {
            seconds,
            tokens_per_second: record.tokens as f64 / seconds,
            utilization: self.best_rate.map(|it| record.operations / seconds / it),
            seconds_left: mean * record.steps.saturating_sub(record.step) as f64,
            peak_bytes: peak_bytes(),
        }
    }
}

/// The operations a second of a large product, the best of a few: what a device without a published
/// rate is measured by.
pub fn best_rate<D: Device>(device: &D) -> crate::Result<f64> {
    const SIDE: usize = 512;
    const ROUNDS: usize = 6;
    let numbers = device.upload(&vec![0.5f32; SIDE * SIDE])?;
    let mut out = device.zeros(Dtype::F32, SIDE * SIDE)?;
    let rows = View::all(&numbers).rows(SIDE);
    device.run(|| {
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let product = Product { form: Form::Xwt, a: rows, b: rows, start: Start::Zero };
            device.matmul(product, ViewMut::all(&mut out).rows(SIDE))?;
            best = best.min(begun.elapsed().as_secs_f64().max(1e-9));
        }
        Ok(2.0 * (SIDE * SIDE * SIDE) as f64 / best)
    })
}

/// The most memory that this process had; 0 where the system does not say.
pub fn peak_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|it| it.strip_prefix("VmHWM:"));
    let kib = line.and_then(|it| it.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_counts_only_what_belongs_to_steps() {
        let record = Record {
            step: 3,
            steps: 5,
            epoch: 0.5,
            loss: 1.0,
            learning_rate: 0.1,
            grad_norm: 1.0,
            tokens: 10,
            targets: 9,
            operations: 100.0,
        };
        let mut meter = Meter::new(Some(1e9));
        meter.pause_ends();
        let measured = meter.take(&record);
        assert!((measured.tokens_per_second * measured.seconds - 10.0).abs() < 1e-6);
        assert!(measured.seconds_left >= 2.0 * measured.seconds * 0.99);
        assert!(measured.utilization.is_some_and(|it| it > 0.0));
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.ends_with(r#""tokens":10,"targets":9}"#), "{text}");
    }
}
