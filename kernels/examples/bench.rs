//! What our arithmetic costs: `bench gemm DTYPE N | train DIR BATCH | forward DIR BATCH |
//! generate DIR BATCH | first-token DIR`, with `--threads N --rounds N` in front of it.
//!
//! Prints one line of JSON: what was done in a round, the wall time of every round, and the
//! processor time of all rounds together. `tests/bench/peers.py` puts it beside others.

#![expect(clippy::print_stdout, reason = "a program of its own")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use half::bf16;
use kernels::decoder::{Config, WeightFiles};
use kernels::device::{Device, View, ViewMut};
use kernels::generate::{Flow, Generator, Model, Request, Settings};
use kernels::ops::matmul::{Form, Product, Start};
use kernels::score::{Scorer, Text};
use kernels::train::{BatchSize, Data, Length, Limits, Sample, Settings as Training, Trainer};
use kernels::{Cpu, Dtype};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

const PROMPT: usize = 32;
const NEW: usize = 128;
const CONTEXT: usize = 256;

fn main() -> Outcome<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let mut number = |name: &str, usual: usize| -> Outcome<usize> {
        if words.first().is_none_or(|it| it != name) {
            return Ok(usual);
        }
        words.remove(0);
        Ok(words.remove(0).parse()?)
    };
    let threads = number("--threads", 2)?;
    let rounds = number("--rounds", 5)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let cpu = Cpu::new(threads)?;
    let (work, times) = match words.as_slice() {
        ["gemm", dtype, n] => gemm(&cpu, dtype, n.parse()?, rounds)?,
        ["train", folder, batch] => train(cpu, folder, batch.parse()?, rounds)?,
        ["forward", folder, batch] => forward(cpu, folder, batch.parse()?, rounds)?,
        ["generate", folder, batch] => generate(cpu, folder, (batch.parse()?, NEW), rounds)?,
        ["first-token", folder] => generate(cpu, folder, (1, 1), 1)?,
        _ => return Err("see the head of this file".into()),
    };
    let Times { wall, processor } = times;
    let line = json!({ "what": words, "work": work, "wall": wall, "processor": processor });
    println!("{line}");
    Ok(())
}

/// Seconds of each round, and processor seconds of all.
struct Times {
    wall: Vec<f64>,
    processor: f64,
}

fn timed(rounds: usize, mut round: impl FnMut() -> Outcome<()>) -> Outcome<Times> {
    let before = processor_seconds();
    let mut wall = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        round()?;
        wall.push(start.elapsed().as_secs_f64());
    }
    Ok(Times { wall, processor: processor_seconds() - before })
}

/// Of this process, all threads; zero where the system does not say. Ticks are 1/100 s on Linux.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|it| it.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Floating-point operations of a product of square matrices.
fn gemm(cpu: &Cpu, dtype: &str, n: usize, rounds: usize) -> Outcome<(usize, Times)> {
    let numbers: Vec<f32> = (0..n * n).map(|it| (it * 7919 % 1000) as f32 * 2e-3 - 1.0).collect();
    let upload = || match dtype {
        "bf16" => {
            let all: Vec<bf16> = numbers.iter().map(|it| bf16::from_f32(*it)).collect();
            cpu.upload(&all)
        }
        _ => cpu.upload(&numbers),
    };
    let (a, b) = (upload()?, upload()?);
    let mut out = cpu.zeros(if dtype == "bf16" { Dtype::Bf16 } else { Dtype::F32 }, n * n)?;
    let mut round = || -> Outcome<()> {
        let (a, b) = (View::all(&a).rows(n), View::all(&b).rows(n));
        let product = Product { form: Form::Xwt, a, b, start: Start::Zero };
        let out = ViewMut::all(&mut out).rows(n);
        Ok(cpu.run(|| cpu.matmul(product, out))?)
    };
    round()?;
    Ok((2 * n * n * n, timed(rounds, round)?))
}

fn load(cpu: Cpu, folder: &str) -> Outcome<Arc<Model<Cpu>>> {
    let config = Config::open(Path::new(folder))?;
    let files = WeightFiles::open(Path::new(folder), &config)?;
    Ok(Arc::new(Model::load(Arc::new(cpu), &config, &files, CONTEXT)?))
}

/// The ids that `peers.py` and the other programs use too.
fn prompts(batch: usize, length: usize, vocab: usize) -> Vec<Vec<u32>> {
    let id = |i: usize| ((i * 7919 + 17) % (vocab - 3) + 3) as u32;
    (0..batch).map(|row| (row * length..(row + 1) * length).map(id).collect()).collect()
}

/// Tokens of a training step.
fn train(cpu: Cpu, folder: &str, batch: usize, rounds: usize) -> Outcome<(usize, Times)> {
    let config = Config::open(Path::new(folder))?;
    let files = WeightFiles::open(Path::new(folder), &config)?;
    let train = prompts(batch, CONTEXT, config.vocab).into_iter().map(Sample::all).collect();
    let settings = Training {
        length: Length::Steps(rounds as u64 + 1),
        batch: BatchSize::Sequences(batch),
        learning_rate: 1e-4,
        beta2: 0.95,
        weight_decay: 0.1,
        ..Training::new()
    };
    let data = Data { train, ..Data::default() };
    let limits = Limits { available: 1 << 34, micro_tokens: 1024 };
    let mut trainer = Trainer::new(&cpu, (&config, &files), settings, data, limits)?;
    let mut step = || -> Outcome<()> {
        trainer.step()?.ok_or("no step is left")?;
        Ok(())
    };
    step()?;
    Ok((batch * CONTEXT, timed(rounds, step)?))
}

/// Tokens whose losses are computed.
fn forward(cpu: Cpu, folder: &str, batch: usize, rounds: usize) -> Outcome<(usize, Times)> {
    let model = load(cpu, folder)?;
    let ids = prompts(batch, CONTEXT, model.config().vocab);
    let text = |ids| Text { prompt: Vec::new(), ids };
    let texts: Vec<Text> = ids.into_iter().map(text).collect();
    let cache_tokens = batch * CONTEXT;
    let settings = Settings { rows: batch, step_tokens: 1024, cache_tokens };
    let times = timed(rounds, || {
        // A new one for each round, or it would know the beginnings.
        Scorer::new(Arc::clone(&model), settings)?.texts(&texts)?;
        Ok(())
    })?;
    Ok((batch * CONTEXT, times))
}

/// Tokens that are generated, greedily, after a prompt of 32.
fn generate(
    cpu: Cpu,
    folder: &str,
    (batch, new): (usize, usize),
    rounds: usize,
) -> Outcome<(usize, Times)> {
    let model = load(cpu, folder)?;
    let cache_tokens = batch * CONTEXT;
    let settings = Settings { rows: batch, step_tokens: 512.max(batch), cache_tokens };
    let times = timed(rounds, || {
        let ids = prompts(batch, PROMPT, model.config().vocab).into_iter();
        let requests = (0..).zip(ids).map(|(row, ids)| Request::greedy(row, ids, new));
        let mut generator = Generator::new(Arc::clone(&model), settings)?;
        generator.run(requests, &mut |_| Flow::Continue)?;
        Ok(())
    })?;
    Ok((batch * new, times))
}
