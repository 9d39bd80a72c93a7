//! Loss and gradients of the model, held against `transformers` (tests/oracle/README.md says how
//! the numbers were made).
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::PathBuf;

use kernels::decoder::train::{
    Activations, Gradients, Micro, Model, Precision, Recompute, StepPart,
};
use kernels::decoder::{Config, WeightFiles};
use kernels::{Cpu, Device, View};
use safetensors::SafeTensors;

/// A folder of the oracle's files.
fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/oracle/fixtures").join(name)
}

/// Numbers that the oracle made.
struct Expected(Vec<u8>);

impl Expected {
    fn read(model: &str, file: &str) -> Self {
        Self(fs::read(fixture(model).join(file)).unwrap())
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let bytes = file.tensor(name).unwrap().data();
        bytes.as_chunks().0.iter().map(|it| f32::from_le_bytes(*it)).collect()
    }

    /// Whole numbers, and the length of a row.
    fn i32(&self, name: &str) -> (Vec<i32>, usize) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        let width = *tensor.shape().last().unwrap();
        (tensor.data().as_chunks().0.iter().map(|it| i32::from_le_bytes(*it)).collect(), width)
    }

    /// The rows of a file, one text each.
    fn micro(&self) -> Micro {
        let ((ids, width), (labels, _)) = (self.i32("input_ids"), self.i32("labels"));
        let mut micro = Micro::new();
        for (ids, labels) in ids.chunks(width).zip(labels.chunks(width)) {
            push(&mut micro, ids, labels);
        }
        micro
    }
}

/// Adds a text whose targets are the labels from 0 up.
fn push(micro: &mut Micro, ids: &[i32], labels: &[i32]) {
    let ids: Vec<u32> = ids.iter().map(|it| *it as u32).collect();
    let trained: Vec<bool> = labels.iter().map(|it| *it >= 0).collect();
    micro.push(&ids, &trained);
}

/// A model of the oracle on the processor.
struct Loaded {
    device: Cpu,
    model: Model<Cpu>,
}

impl Loaded {
    fn new(name: &str) -> Self {
        let device = Cpu::new(2).unwrap();
        let config = Config::open(&fixture(name)).unwrap();
        let files = WeightFiles::open(&fixture(name), &config).unwrap();
        let model = Model::new(&device, &config, Precision::F32, &files, 64).unwrap();
        Self { device, model }
    }

    /// The mean loss over all targets, and the gradients of all tensors.
    fn gradients(&self, micros: &[Micro], recompute: Recompute) -> (f64, Vec<(String, Vec<f32>)>) {
        let Self { device, model } = self;
        let most = micros.iter().map(Micro::tokens).max().unwrap();
        let n_targets: usize = micros.iter().map(Micro::n_targets).sum();
        let mut memory = Activations::new(device, model.sizes(), recompute, most).unwrap();
        let mut gradients = Gradients::new(device, model).unwrap();
        let mut sum = 0.0;
        for micro in micros {
            let part = StepPart { scale: 1.0 / n_targets as f32, step: 0, first_token: 0 };
            let given = (micro, part);
            let losses = device.run(|| {
                model.losses_and_gradients(device, given, &mut memory, &mut gradients).unwrap()
            });
            sum += losses.iter().map(|it| f64::from(*it)).sum::<f64>();
        }
        gradients.finish(device, model).unwrap();
        let all: Vec<f32> = device.read(View::all(gradients.buffer())).unwrap();
        let tensors = model.layout().tensors().iter();
        let gradients = tensors.map(|it| (it.name.clone(), all[it.range()].to_vec())).collect();
        (sum / n_targets as f64, gradients)
    }
}

/// The length of the difference over the length of what it should be.
fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |it: f32| f64::from(it).powi(2);
    let difference: f64 = got.iter().zip(want).map(|(a, b)| square(a - b)).sum();
    (difference / want.iter().map(|it| square(*it)).sum::<f64>().max(1e-30)).sqrt()
}

fn assert_equal(name: &str, loss: f64, gradients: &[(String, Vec<f32>)], expected: &Expected) {
    let want = f64::from(expected.f32("loss")[0]);
    assert!((loss - want).abs() < 1e-5, "{name}: loss {loss} and not {want}");
    for (tensor, gradient) in gradients {
        let far = distance(gradient, &expected.f32(&format!("grad/{tensor}")));
        assert!(far < 1e-4, "{name}: gradient of `{tensor}` is {far:e} away");
    }
}

#[test]
fn losses_and_gradients_are_those_of_transformers() {
    for name in ["mha", "gqa", "tied", "bf16", "sharded"] {
        let expected = Expected::read(name, "expected.safetensors");
        let (loss, gradients) = Loaded::new(name).gradients(&[expected.micro()], Recompute::None);
        assert_equal(name, loss, &gradients, &expected);
    }
}

#[test]
fn texts_that_are_packed_do_not_see_each_other() {
    let expected = Expected::read("gqa", "packed.safetensors");
    let ((ids, _), (labels, _)) = (expected.i32("input_ids"), expected.i32("labels"));
    let (lengths, _) = expected.i32("lengths");
    let (mut micro, mut at) = (Micro::new(), 0);
    for length in lengths {
        let text = at..at + length as usize;
        at = text.end;
        push(&mut micro, &ids[text.clone()], &labels[text]);
    }
    let (loss, gradients) = Loaded::new("gqa").gradients(&[micro], Recompute::None);
    assert_equal("packed", loss, &gradients, &expected);
}

#[test]
fn neither_the_split_nor_what_is_computed_again_changes_a_bit() {
    for name in ["gqa", "tied"] {
        let loaded = Loaded::new(name);
        let file = if name == "gqa" { "accumulated.safetensors" } else { "expected.safetensors" };
        let expected = Expected::read(name, file);
        let ((ids, width), (labels, _)) = (expected.i32("input_ids"), expected.i32("labels"));
        let whole = expected.micro();
        let first = loaded.gradients(&[whole], Recompute::None);
        assert_equal(file, first.0, &first.1, &expected);
        for at_once in 1..=ids.len() / width {
            let rows = ids.chunks(width * at_once).zip(labels.chunks(width * at_once));
            let micros: Vec<Micro> = rows
                .map(|(ids, labels)| {
                    let mut micro = Micro::new();
                    for (ids, labels) in ids.chunks(width).zip(labels.chunks(width)) {
                        push(&mut micro, ids, labels);
                    }
                    micro
                })
                .collect();
            for recompute in [Recompute::None, Recompute::Selective, Recompute::Full] {
                assert_eq!(loaded.gradients(&micros, recompute), first, "{at_once} {recompute:?}");
            }
        }
    }
}
