//! Trains tiny models for a few steps and saves them in each form, with the loss of each on a known
//! batch. `tests/oracle/load_ours.py` then loads them with `transformers` and compares.
//!
//! ```sh
//! cargo run --release -p kernels --example models_for_transformers -- FOLDER
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};

use kernels::Cpu;
use kernels::decoder::lora::Lora;
use kernels::decoder::{Config, Fresh, Save, WeightDtype, WeightFiles};
use kernels::train::{BatchSize, Data, Length, Limits, Sample, Samples, Settings, Trainer};

const VOCAB: u32 = 96;
const LIMITS: Limits = Limits { available: 1 << 30, micro_tokens: 2048 };

/// The batches of the oracle's formula.
fn samples(steps: std::ops::Range<u32>) -> Samples {
    let row = |step: u32, row: u32| {
        let mut ids = vec![(31 * step + 17 * row + 5) % VOCAB];
        for t in 0..23 {
            ids.push((5 * ids[t as usize] + 3 + t % 3) % VOCAB);
        }
        Sample::all(ids)
    };
    steps.flat_map(|step| (0..4).map(move |it| row(step, it))).collect()
}

fn config(tied: bool) -> Result<Config, kernels::decoder::Error> {
    let text = format!(
        r#"{{"model_type": "llama", "hidden_size": 64, "intermediate_size": 104,
        "vocab_size": {VOCAB}, "num_hidden_layers": 2, "num_attention_heads": 8,
        "num_key_value_heads": 2, "rope_theta": 5000000, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 64, "tie_word_embeddings": {tied},
        "eos_token_id": [2, 7], "pad_token_id": 0}}"#
    );
    Config::parse(text.as_bytes(), Path::new("config.json"))
}

struct Form {
    name: &'static str,
    tied: bool,
    dtype: WeightDtype,
    shard_bytes: u64,
    lora: Option<Lora>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("which folder?")?);
    std::fs::create_dir_all(&folder)?;
    let plain = |name, dtype| Form { name, tied: false, dtype, shard_bytes: 1 << 30, lora: None };
    let lora = Lora::of_all(4);
    let forms = [
        plain("f32", WeightDtype::F32),
        plain("bf16", WeightDtype::Bf16),
        plain("f16", WeightDtype::F16),
        Form { tied: true, ..plain("tied", WeightDtype::F32) },
        Form { shard_bytes: 60_000, ..plain("sharded", WeightDtype::F32) },
        Form { lora: Some(lora), ..plain("lora", WeightDtype::F32) },
    ];
    let mut losses = std::collections::BTreeMap::new();
    for form in forms {
        losses.insert(form.name, make(&folder, form)?);
    }
    std::fs::write(folder.join("losses.json"), serde_json::to_string_pretty(&losses)?)?;
    Ok(())
}

/// Trains, saves, and gives the loss of what was saved.
fn make(folder: &Path, form: Form) -> Result<f64, Box<dyn Error>> {
    let device = Cpu::new(2)?;
    let config = config(form.tied)?;
    let settings = Settings {
        length: Length::Steps(5),
        batch: BatchSize::Sequences(4),
        learning_rate: 1e-2,
        lora: form.lora,
        ..Settings::new()
    };
    let data = Data { train: samples(0..5), eval: samples(7..8) };
    let fresh = Fresh::new(&config, 1);
    let mut trainer = Trainer::new(&device, (&config, &fresh), settings, data.clone(), LIMITS)?;
    while trainer.step()?.is_some() {}
    let save = Save { shard_bytes: form.shard_bytes, ..Save::new(form.dtype) };
    let path = folder.join(form.name);
    trainer.save(&path, &config, &save)?;
    if trainer.model().lora().is_some() {
        let base = folder.join("base");
        Save::new(form.dtype).write(&base, &config, &fresh)?;
        trainer.save_adapters(&folder.join("adapters"), &base.display().to_string())?;
    }

    let config = Config::open(&path)?;
    let files = WeightFiles::open(&path, &config)?;
    let mut again = Trainer::new(&device, (&config, &files), Settings::new(), data, LIMITS)?;
    Ok(again.evaluate()?.ok_or("no targets")?.loss)
}
