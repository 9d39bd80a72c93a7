//! Gradients against differences of the loss, for what the oracle has no numbers of: adapters, odd
//! head widths, texts that are marked in part.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use kernels::decoder::lora::{Lora, Target};
use kernels::decoder::train::{
    Activations, Gradients, Micro, Model, Precision, Recompute, StepPart,
};
use kernels::decoder::{Config, Fresh};
use kernels::random::Random;
use kernels::{Cpu, Device, View, ViewMut};

fn config(heads: usize, kv: usize, head_dim: usize, tied: bool) -> Config {
    let text = format!(
        r#"{{"model_type": "llama", "hidden_size": 12, "intermediate_size": 20,
        "vocab_size": 31, "num_hidden_layers": 2, "num_attention_heads": {heads},
        "num_key_value_heads": {kv}, "head_dim": {head_dim}, "rope_theta": 10000,
        "initializer_range": 0.3, "tie_word_embeddings": {tied}}}"#
    );
    Config::parse(text.as_bytes(), Path::new("config.json")).unwrap()
}

/// Texts of several lengths, marked in part.
fn micro() -> Micro {
    let random = Random::new(5, 0);
    let mut micro = Micro::new();
    for (text, length) in [(0, 9), (1, 1), (2, 14), (3, 3)] {
        let ids: Vec<u32> =
            (0..length).map(|it| random.below(text * 100 + it, 31) as u32).collect();
        let trained: Vec<bool> = (0..length).map(|it| (it + text) % 3 > 0).collect();
        micro.push(&ids, &trained);
    }
    micro
}

struct Case {
    device: Cpu,
    model: Model<Cpu>,
    memory: Activations<Cpu>,
    micro: Micro,
}

impl Case {
    fn new(config: &Config, lora: Option<Lora>) -> Self {
        let device = Cpu::new(1).unwrap();
        let fresh = Fresh::new(config, 9);
        let mut model = Model::new(&device, config, Precision::F32, &fresh, 32).unwrap();
        if let Some(lora) = lora {
            model.adapt(&device, &lora, 4).unwrap();
        }
        let micro = micro();
        let memory =
            Activations::new(&device, model.sizes(), Recompute::None, micro.tokens()).unwrap();
        Self { device, model, memory, micro }
    }

    fn trained(&self) -> Vec<f32> {
        self.device.read(View::all(self.model.trained())).unwrap()
    }

    /// The sum of all losses with other weights, as a step finds it: with dropout.
    fn loss(&mut self, weights: &[f32]) -> f64 {
        self.device.write(ViewMut::all(self.model.trained_mut()), weights).unwrap();
        self.differentiate().0
    }

    fn gradient(&mut self) -> Vec<f32> {
        self.differentiate().1
    }

    fn differentiate(&mut self) -> (f64, Vec<f32>) {
        let Self { device, model, memory, micro } = self;
        let mut gradients = Gradients::new(device, model).unwrap();
        let given = (&*micro, StepPart { scale: 1.0, step: 3, first_token: 5 });
        let losses = model.losses_and_gradients(device, given, memory, &mut gradients).unwrap();
        gradients.finish(device, model).unwrap();
        let all = device.read(View::all(gradients.buffer())).unwrap();
        (losses.iter().map(|it| f64::from(*it)).sum(), all)
    }

    /// Holds the gradient of some weights against differences in random directions.
    fn check(&mut self, what: &str, range: std::ops::Range<usize>) {
        let (weights, gradient) = (self.trained(), self.gradient());
        let size: f64 = gradient[range.clone()].iter().map(|it| f64::from(*it).powi(2)).sum();
        assert!(size > 1e-9, "`{what}` has no gradient");
        for direction in 0..3 {
            let random = Random::new(direction, 77);
            let way: Vec<f64> = range.clone().map(|it| random.normal_at(it as u64)).collect();
            let slope: f64 =
                way.iter().zip(&gradient[range.clone()]).map(|(a, b)| a * f64::from(*b)).sum();
            let mut at = |far: f64| {
                let mut moved = weights.clone();
                for (to, way) in moved[range.clone()].iter_mut().zip(&way) {
                    *to = (f64::from(*to) + far * way) as f32;
                }
                self.loss(&moved)
            };
            // Richardson's form: an error of the fourth power of the distance.
            let mut slope_over = |far: f64| (at(far) - at(-far)) / (2.0 * far);
            let (near, wide) = (slope_over(1e-3), slope_over(2e-3));
            let want = (4.0 * near - wide) / 3.0;
            let within = 2e-3 * size.sqrt().max(0.05);
            assert!((slope - want).abs() < within, "`{what}`: {slope} and not {want}");
        }
        self.loss(&weights);
    }
}

#[test]
fn every_weight_s_gradient_is_the_slope_of_the_loss() {
    for (heads, kv, head_dim, tied) in [(4, 2, 2, false), (3, 1, 6, true), (2, 2, 6, false)] {
        let config = config(heads, kv, head_dim, tied);
        let mut case = Case::new(&config, None);
        let tensors = case.model.layout().tensors().to_vec();
        for tensor in tensors {
            case.check(&tensor.name, tensor.range());
        }
    }
}

#[test]
fn every_adapter_s_gradient_is_the_slope_of_the_loss() {
    let config = config(4, 2, 4, false);
    let some = vec![Target::K, Target::Up];
    for (targets, dropout) in
        [(Target::ALL.to_vec(), 0.0), (some, 0.0), (Target::ALL.to_vec(), 0.4)]
    {
        let lora = Lora { rank: 3, alpha: 5.0, dropout, targets };
        let mut case = Case::new(&config, Some(lora));
        // With the zeros that `B` begins with, `A` would have no slope.
        let mut weights = case.trained();
        let random = Random::new(3, 3);
        for (i, it) in weights.iter_mut().enumerate() {
            *it += 0.2 * random.normal_at(i as u64) as f32;
        }
        case.loss(&weights);
        let adapters = case.model.lora().unwrap().1.adapters().to_vec();
        for adapter in adapters {
            case.check(&format!("{} A", adapter.name), adapter.a_range());
            case.check(&format!("{} B", adapter.name), adapter.b_range());
        }
    }
}
