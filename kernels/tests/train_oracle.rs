//! Whole training steps, held against PyTorch and `transformers` (tests/oracle/README.md says how
//! the numbers were made).
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::PathBuf;

use kernels::decoder::{Config, Layout, WeightFiles};
use kernels::train::{
    BatchSize, Curve, Data, Limits, Record, Sample, Samples, Schedule, Settings, Trainer, Warmup,
};
use kernels::{Cpu, Device, View};
use safetensors::SafeTensors;
use serde_json::Value;

const LIMITS: Limits = Limits { available: 1 << 30, micro_tokens: 2048 };

fn fixture(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/oracle/fixtures/gqa").join(file)
}

/// The formula of the oracle's batches.
fn samples(steps: u32, rows: u32, length: u32, vocab: u32) -> Samples {
    let row = |step: u32, row: u32| {
        let mut ids = vec![(31 * step + 17 * row + 5) % vocab];
        for t in 0..length - 1 {
            ids.push((5 * ids[t as usize] + 3 + t % 3) % vocab);
        }
        Sample::all(ids)
    };
    (0..steps).flat_map(|step| (0..rows).map(move |it| row(step, it))).collect()
}

/// The oracle's optimizer.
fn settings(rows: usize, learning_rate: f64) -> Settings {
    Settings {
        batch: BatchSize::Sequences(rows),
        shuffle: false,
        learning_rate,
        beta1: 0.9,
        beta2: 0.95,
        weight_decay: 0.1,
        ..Settings::new()
    }
}

fn trainer(device: &Cpu, settings: Settings, train: Samples) -> Trainer<'_, Cpu> {
    let folder = fixture("");
    let config = Config::open(&folder).unwrap();
    let files = WeightFiles::open(&folder, &config).unwrap();
    let data = Data { train, eval: Samples::new() };
    Trainer::new(device, (&config, &files), settings, data, LIMITS).unwrap()
}

fn assert_near(what: &str, got: f64, want: f64, within: f64) {
    assert!((got - want).abs() <= within, "{what}: {got} and not {want}");
}

/// The length of the difference over the length of what it should be.
fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |it: f32| f64::from(it).powi(2);
    let difference: f64 = got.iter().zip(want).map(|(a, b)| square(a - b)).sum();
    (difference / want.iter().map(|it| square(*it)).sum::<f64>()).sqrt()
}

#[test]
fn parameters_after_steps_of_adamw_are_those_of_torch() {
    let device = Cpu::new(2).unwrap();
    let mut trainer = trainer(&device, settings(4, 1e-2), samples(3, 4, 24, 96));
    let bytes = fs::read(fixture("steps.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |name: &str| -> Vec<f32> {
        let bytes = expected.tensor(name).unwrap().data();
        bytes.as_chunks().0.iter().map(|it| f32::from_le_bytes(*it)).collect()
    };
    let (losses, norms) = (numbers("losses"), numbers("grad_norms"));
    let layout = Layout::new(trainer.model().config());
    for step in 1..=3 {
        let Record { loss, grad_norm, .. } = trainer.step().unwrap().unwrap();
        assert_near("loss", loss, f64::from(losses[step - 1]), 2e-5);
        assert_near("norm", grad_norm, f64::from(norms[step - 1]), 2e-4);
        if step == 2 {
            continue;
        }
        let all: Vec<f32> = device.read(View::all(trainer.model().trained())).unwrap();
        for tensor in layout.tensors() {
            let want = numbers(&format!("step{step}/{}", tensor.name));
            let got = &all[tensor.range()];
            // Where a gradient is as small as `eps`, its last digits decide the step: the length of
            // the difference is held, not the greatest one.
            let far = distance(got, &want);
            assert!(far < 2e-5, "step {step}: `{}` is {far:e} away", tensor.name);
        }
    }
    assert!(trainer.step().unwrap().is_none());
}

#[test]
fn a_run_of_sixty_steps_has_the_losses_of_transformers() {
    let curve: Value = serde_json::from_slice(&fs::read(fixture("curve.json")).unwrap()).unwrap();
    let list = |name: &str| -> Vec<f64> {
        curve[name].as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect()
    };
    let schedule = Schedule { curve: Curve::Cosine, warmup: Warmup::Steps(6), min_ratio: 0.0 };
    let settings = Settings { schedule, ..settings(8, 3e-3) };
    let device = Cpu::new(2).unwrap();
    let mut trainer = trainer(&device, settings, samples(60, 8, 32, 96));
    let (rates, losses) = (list("learning_rates"), list("losses"));
    for step in 0..60 {
        let record = trainer.step().unwrap().unwrap();
        assert_near("rate", record.learning_rate, rates[step], 1e-15);
        let within = if step < 20 { 1e-4 } else { 1e-2 };
        assert_near(&format!("loss {}", step + 1), record.loss, losses[step], within);
        assert_eq!((record.tokens, record.targets), (256, 248));
    }
}
