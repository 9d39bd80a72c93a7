//! Whole steps of training a model of Yi-6B's shape, with weights that are random: all weights, and adapters.
//! The memory plan says what is computed again and how the exact weights are kept, from what is free on the
//! device; where the whole model does not fit, fewer layers are trained, and the line says how many.

use std::path::Path;
use std::time::Instant;

use kernels::ops::adamw::Moments;
use kernels::random::Random;
use kernels::train::{self, BatchSize, Data, Length, Limits, Sample, Trainer};
use kernels::yi::lora::Lora;
use kernels::yi::save::Weights;
use kernels::yi::train::{Precision, Recompute};
use kernels::yi::{Config, Result, Tensor};
use kernels::{AnyDevice, Cuda};
use serde_json::json;

use super::Sizes;

/// What a device of Hopper's makes at most, dense bf16, in operations a second: NVIDIA's data sheet.
const PEAK: f64 = 989.4e12;
/// The most tokens that are computed at once.
const MICRO_TOKENS: usize = 8192;
const LEVELS: [Recompute; 3] = [Recompute::Nothing, Recompute::Light, Recompute::Layers];

/// What weights and moments are held in.
type State = (Precision, Moments);

/// A run that is measured.
struct Run {
    name: &'static str,
    /// The most exact first.
    states: &'static [State],
    lora: Option<Lora>,
    /// Steps that are timed, after one that warms up.
    steps: u64,
}

/// Random numbers of a table that is read round and round: drawing six billion would take minutes.
pub(super) struct Rounds(Vec<f32>);

impl Rounds {
    pub(super) fn new() -> Self {
        let random = Random::new(7, 1);
        // Of no power of two, so that rows differ.
        Self((0..1_000_003).map(|it| (random.unit_at(it) * 0.04 - 0.02) as f32).collect())
    }
}

impl Weights for Rounds {
    fn read(
        &self,
        index: usize,
        tensor: &Tensor,
        rows: std::ops::Range<usize>,
        out: &mut [f32],
    ) -> Result<()> {
        if tensor.shape.len() == 1 {
            out.fill(1.0);
            return Ok(());
        }
        let width: usize = tensor.shape[1..].iter().product();
        let mut at = (index * 7919 + rows.start * width) % self.0.len();
        let mut rest = out;
        while !rest.is_empty() {
            let n = rest.len().min(self.0.len() - at);
            let (now, later) = rest.split_at_mut(n);
            now.copy_from_slice(&self.0[at..at + n]);
            (rest, at) = (later, 0);
        }
        Ok(())
    }
}

pub(super) fn config(sizes: &Sizes, layers: usize) -> Config {
    let (heads, hidden, wide) = (sizes.heads, sizes.hidden, sizes.wide);
    let text = json!({"model_type": "llama", "hidden_size": hidden, "intermediate_size": wide,
        "vocab_size": sizes.vocabulary, "num_hidden_layers": layers, "head_dim": heads.dim,
        "num_attention_heads": heads.query, "num_key_value_heads": heads.kv, "rope_theta": 5e6,
        "max_position_embeddings": 4096, "tie_word_embeddings": false});
    Config::parse(text.to_string().as_bytes(), Path::new("config.json")).unwrap()
}

/// Sixteen texts for each step, of which every token is learnt.
fn data(sizes: &Sizes, steps: u64) -> Data {
    let random = Random::new(11, 2);
    let (texts, length) = (sizes.texts as u64 * steps, sizes.text_tokens as u64);
    let id = |it: u64| (random.unit_at(it) * sizes.vocabulary as f64) as u32;
    let text = |n: u64| Sample::all((n * length..(n + 1) * length).map(id).collect());
    Data { train: (0..texts).map(text).collect(), ..Data::default() }
}

/// Measures all runs, each as a line of JSON.
pub(super) fn measure(cuda: Cuda, sizes: &Sizes) {
    let device = AnyDevice::Cuda(Box::new(cuda));
    let lora = Lora::of_all(16);
    const WHOLE: State = (Precision::Bf16, Moments::Whole);
    const LOW: State = (Precision::Bf16Low, Moments::Whole);
    const LEAST: State = (Precision::Bf16Low, Moments::Bytes);
    let (whole, low, adapters) = ("train step", "train step, low", "train step, adapters");
    let steps = sizes.steps;
    let runs = [
        Run { name: whole, states: &[WHOLE, LOW, LEAST], lora: None, steps },
        Run { name: adapters, states: &[WHOLE], lora: Some(lora), steps },
        Run { name: low, states: &[LEAST], lora: None, steps },
    ];
    for run in runs {
        one(&device, sizes, &run);
    }
}

/// Measures a run with as many layers as fit.
fn one(device: &AnyDevice, sizes: &Sizes, run: &Run) {
    // What was given back a moment ago is free only when the device has been waited for.
    if let AnyDevice::Cuda(it) = device {
        it.wait().unwrap();
    }
    let available = device.memory_bytes().unwrap() / 20 * 19;
    let limits = Limits { available, micro_tokens: MICRO_TOKENS };
    let texts = data(sizes, run.steps + 1);
    let layers = [32, 24, 16, 12, 8, 4, 2].into_iter().filter(|it| *it <= sizes.layers);
    for (layers, (precision, moments)) in
        layers.flat_map(|n| run.states.iter().map(move |it| (n, *it)))
    {
        let config = config(sizes, layers);
        let settings = train::Settings {
            length: Length::Steps(run.steps + 1),
            batch: BatchSize::Sequences(sizes.texts),
            precision,
            moments,
            lora: run.lora.clone(),
            ..train::Settings::new()
        };
        let fitting = Trainer::<AnyDevice>::fastest(&config, &settings, &LEVELS, (&texts, limits));
        let Ok((settings, plan, _)) = fitting else { continue };
        let made = Trainer::new(device, (&config, &Rounds::new()), settings.clone(), texts, limits);
        let mut trainer = made.unwrap();
        let first = trainer.step().unwrap().unwrap();
        let mut seconds = Vec::new();
        let mut last = first.clone();
        loop {
            let start = Instant::now();
            let Some(record) = trainer.step().unwrap() else { break };
            seconds.push(start.elapsed().as_secs_f64());
            last = record;
        }
        let mean = seconds.iter().sum::<f64>() / seconds.len().max(1) as f64;
        let shape = format!("{}x{}", sizes.texts, sizes.text_tokens);
        let line = json!({"name": format!("{} {shape}", run.name), "seconds": mean,
            "flop": last.operations, "tokens": last.tokens, "tokens_per_second": last.tokens as f64 / mean,
            "share_of_989_tflops": last.operations / mean / PEAK, "layers": layers,
            "of_layers": sizes.layers, "precision": precision, "moments": moments, "recompute": settings.recompute,
            "micro_tokens": plan.micro_tokens, "planned_gib": plan.total() as f64 / (1u64 << 30) as f64,
            "first_loss": first.loss, "last_loss": last.loss, "all_seconds": seconds});
        super::say(&line);
        return;
    }
    super::say(&json!({"failed": run.name, "reason": "nothing fits", "available": available}));
}
