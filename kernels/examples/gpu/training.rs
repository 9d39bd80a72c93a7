//! Whole steps of training a model of Yi-6B's shape, with weights that are random and made on the device: the run
//! that takes the least memory, the one that takes the most, and adapters; and what each kernel in a step takes.
//!
//! The memory plan says what is recomputed, from what is free on the device; where the whole model does not
//! fit, by the plan or by the device's own answer, fewer layers are trained, and the line says how many.

use std::path::Path;
use std::time::Instant;

use kernels::decoder::Config;
use kernels::decoder::lora::Lora;
use kernels::decoder::train::{Precision, Recompute};
use kernels::ops::adamw::OptimStates;
use kernels::random::Random;
use kernels::train::{self, BatchSize, Data, Length, Limits, Record, Sample, Trainer};
use kernels::{AnyDevice, Cuda};
use serde_json::json;

use super::generation::WEIGHTS;
use super::{Sizes, say, say_profile};

/// What a device of Hopper's makes at most, dense bf16, in operations a second: NVIDIA's data sheet.
const PEAK: f64 = 989.4e12;
/// The most tokens that are computed at once.
const MICRO_TOKENS: usize = 8192;
const LEVELS: [Recompute; 3] = [Recompute::None, Recompute::Selective, Recompute::Full];

/// A run that is measured.
struct Run {
    name: &'static str,
    precision: Precision,
    optim_states: OptimStates,
    lora: Option<Lora>,
}

/// Split master weights and 8-bit optimizer states: ten bytes a weight.
pub(super) fn smallest(cuda: Cuda, sizes: &Sizes) {
    let (precision, optim_states) = (Precision::Bf16Split, OptimStates::EightBit);
    measure(
        cuda,
        sizes,
        &Run { name: "train step, 8-bit states", precision, optim_states, lora: None },
    );
}

/// Master weights and optimizer states in f32.
pub(super) fn largest(cuda: Cuda, sizes: &Sizes) {
    let (precision, optim_states) = (Precision::Bf16, OptimStates::F32);
    measure(cuda, sizes, &Run { name: "train step", precision, optim_states, lora: None });
}

/// Adapters of rank 16 on all matrices.
pub(super) fn adapters(cuda: Cuda, sizes: &Sizes) {
    let (precision, optim_states) = (Precision::Bf16, OptimStates::F32);
    let lora = Some(Lora::of_all(16));
    measure(cuda, sizes, &Run { name: "train step, adapters", precision, optim_states, lora });
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
    let id = |n: u64| (random.unit_at(n) * sizes.vocabulary as f64) as u32;
    let text = |n: u64| Sample::all((n * length..(n + 1) * length).map(id).collect());
    Data { train: (0..texts).map(text).collect(), ..Data::default() }
}

/// A run with as many layers as fit.
fn measure(cuda: Cuda, sizes: &Sizes, run: &Run) {
    let device = AnyDevice::Cuda(Box::new(cuda));
    for layers in [32, 24, 16, 12, 8, 4, 2].into_iter().filter(|it| *it <= sizes.layers) {
        match with_layers(&device, sizes, run, layers) {
            Ok(true) => return,
            Ok(false) => {}
            Err(failed) => {
                say(&json!({"failed": run.name, "layers": layers, "reason": failed.to_string()}))
            }
        }
        // What was given back a moment ago is free only when the device has been waited for.
        on_cuda(&device).wait().unwrap();
    }
    let available = device.memory_bytes().unwrap();
    say(&json!({"failed": run.name, "reason": "nothing fits", "available": available}));
}

fn on_cuda(device: &AnyDevice) -> &Cuda {
    match device {
        AnyDevice::Cuda(cuda) => cuda,
        AnyDevice::Cpu(_) => panic!("this is measured on CUDA devices"),
    }
}

/// Whether it fits by the plan; an error where the device says something else.
fn with_layers(device: &AnyDevice, sizes: &Sizes, run: &Run, layers: usize) -> train::Result<bool> {
    let available = device.memory_bytes()? / 20 * 19;
    let limits = Limits { available, micro_tokens: MICRO_TOKENS };
    // One step warms up, and one more is profiled.
    let steps = sizes.steps + 2;
    let texts = data(sizes, steps);
    let config = config(sizes, layers);
    let settings = train::Settings {
        length: Length::Steps(steps),
        batch: BatchSize::Sequences(sizes.texts),
        precision: run.precision,
        optim_states: run.optim_states,
        lora: run.lora.clone(),
        ..train::Settings::new()
    };
    let fitting = Trainer::<AnyDevice>::fastest(&config, &settings, &LEVELS, (&texts, limits));
    let Ok((settings, plan, _)) = fitting else { return Ok(false) };
    let start = Instant::now();
    let mut trainer = Trainer::new(device, (&config, &WEIGHTS), settings.clone(), texts, limits)?;
    let mut next = || -> train::Result<Record> {
        Ok(trainer.step()?.expect("there are as many steps as are made here"))
    };
    let first = next()?;
    say(&json!({"first_step_after_seconds": start.elapsed().as_secs_f64(), "of": run.name}));
    let mut seconds = Vec::new();
    let mut last = first.clone();
    for _ in 0..sizes.steps {
        let start = Instant::now();
        last = next()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    let shape = format!("{}x{}", sizes.texts, sizes.text_tokens);
    let name = format!("{} {shape}", run.name);
    say(&json!({"name": name, "seconds": median, "fastest": seconds[0],
        "flop": last.operations, "tokens": last.tokens, "tokens_per_second": last.tokens as f64 / median,
        "share_of_989_tflops": last.operations / median / PEAK, "layers": layers,
        "of_layers": sizes.layers, "precision": run.precision, "optim_states": run.optim_states,
        "recompute": settings.recompute, "micro_tokens": plan.micro_tokens,
        "planned_gib": plan.total() as f64 / (1u64 << 30) as f64, "first_loss": first.loss,
        "last_loss": last.loss, "all_seconds": seconds}));
    let (profiled, kernels) = on_cuda(device).profile(next)?;
    profiled?;
    say_profile(&name, &kernels);
    Ok(true)
}
