//! candle's own Llama on the processor: `candle-peer FOLDER forward|generate|first-token BATCH`.
//! Prints one line of JSON: the tokens of a round, the wall time of every round, and the processor
//! time of all rounds together.

use std::fs;
use std::time::Instant;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama, LlamaConfig};

const PROMPT: usize = 32;
const NEW: usize = 128;
const ROUNDS: usize = 5;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, what, batch] = arguments.as_slice() else {
        return Err("expected FOLDER forward|generate|first-token BATCH".into());
    };
    let batch: usize = batch.parse()?;
    let config: LlamaConfig = serde_json::from_slice(&fs::read(format!("{folder}/config.json"))?)?;
    let config = config.into_config(false);
    let files = [format!("{folder}/model.safetensors")];
    let weights =
        // SAFETY: the harness made the folder for this run alone; nobody changes the file meanwhile.
        unsafe { VarBuilder::from_mmaped_safetensors(&files, DType::F32, &Device::Cpu)? };
    let model = Llama::load(weights, &config)?;
    let (rounds, tokens) = match what.as_str() {
        "first-token" => (1, 1),
        "forward" => (ROUNDS, batch * 256),
        _ => (ROUNDS, batch * NEW),
    };
    let before = processor_seconds();
    let mut wall = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        match what.as_str() {
            "first-token" => generate(&model, &config, (1, 1))?,
            "forward" => {
                let mut cache = Cache::new(false, DType::F32, &config, &Device::Cpu)?;
                model.forward(&prompt(batch, 256, config.vocab_size)?, 0, &mut cache)?;
            }
            _ => generate(&model, &config, (batch, NEW))?,
        }
        wall.push(start.elapsed().as_secs_f64());
    }
    let processor = processor_seconds() - before;
    println!("{}", serde_json::json!({ "work": tokens, "wall": wall, "processor": processor }));
    Ok(())
}

/// Of this process, all threads. Ticks are 1/100 s on Linux.
fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|it| it.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The ids that `peers.py` and the bench of `kernels` use too.
fn prompt(batch: usize, length: usize, vocab: usize) -> Result<Tensor> {
    let id = |i: usize| ((i * 7919 + 17) % (vocab - 3) + 3) as u32;
    let ids: Vec<u32> = (0..batch * length).map(id).collect();
    Tensor::from_vec(ids, (batch, length), &Device::Cpu)
}

fn generate(model: &Llama, config: &Config, (batch, new): (usize, usize)) -> Result<()> {
    let mut cache = Cache::new(true, DType::F32, config, &Device::Cpu)?;
    let mut ids = prompt(batch, PROMPT, config.vocab_size)?;
    let mut position = 0;
    for _ in 0..new {
        let logits = model.forward(&ids, position, &mut cache)?;
        position += ids.dim(1)?;
        ids = logits.argmax(D::Minus1)?.unsqueeze(1)?;
    }
    ids.flatten_all()?.to_vec1::<u32>()?;
    Ok(())
}
