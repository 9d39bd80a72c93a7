//! Whole runs of a tiny model, written once for all devices: training, generation, scoring.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernels::decoder::lora::Lora;
use kernels::decoder::train::{Precision, Recompute};
use kernels::decoder::{Config, Fresh, Save, WeightDtype, WeightFiles};
use kernels::generate::{Draws, Error, Flow, Generator, Model, Output, Request, Settings};
use kernels::ops::sample::Sampling;
use kernels::score::{Choices, Scored, Scorer, Text};
use kernels::train::{self, BatchSize, Data, Length, Limits, Record, Sample, Trainer};
use kernels::{Decode, Device};

const LIMITS: Limits = Limits { available: 1 << 30, micro_tokens: 512 };

/// Hidden and intermediate width, query heads, heads of keys: multiples of eight, as `tensor.cu` wants them.
pub(crate) type Sizes = [usize; 4];
pub(crate) const TINY: Sizes = [64, 72, 4, 2];
/// With heads of 128, as Hopper's own kernels want them.
pub(crate) const WIDE: Sizes = [256, 136, 2, 1];

/// A Yi with tied or separate heads.
fn config_of([hidden, wide, heads, kv]: Sizes, tied: bool) -> Config {
    let text = format!(
        r#"{{"model_type": "llama", "hidden_size": {hidden}, "intermediate_size": {wide},
        "vocab_size": 72, "num_hidden_layers": 2, "num_attention_heads": {heads},
        "num_key_value_heads": {kv}, "rope_theta": 10000, "tie_word_embeddings": {tied}}}"#
    );
    Config::parse(text.as_bytes(), Path::new("config.json")).unwrap()
}

fn data() -> Data {
    let text = |i: u32| {
        let length = 5 + i * 7 % 40;
        let ids: Vec<u32> = (0..length).map(|it| (it * (i + 3) + i) % 60).collect();
        let trained = (0..length).map(|it| !i.is_multiple_of(3) || it > length / 2).collect();
        Sample { ids, trained }
    };
    Data { train: (0..9).map(text).collect(), eval: (30..32).map(text).collect() }
}

/// A run of three steps; what is trained is `precision` and adapters, if there are any.
pub(crate) fn training(precision: Precision, adapters: Option<f64>) -> train::Settings {
    let lora = |dropout| Lora { dropout, ..Lora::of_all(3) };
    train::Settings {
        seed: 11,
        length: Length::Steps(3),
        batch: BatchSize::Sequences(3),
        learning_rate: 1e-2,
        weight_decay: 0.1,
        precision,
        lora: adapters.map(lora),
        recompute: Recompute::Selective,
        micro_tokens: Some(48),
        ..train::Settings::new()
    }
}

/// What a run of training gives.
#[derive(Debug, PartialEq)]
pub(crate) struct Trained {
    pub(crate) records: Vec<Record>,
    pub(crate) eval: f64,
    pub(crate) weights: Vec<f32>,
}

/// Trains to the end, or to the first error.
pub(crate) fn train<D: Device>(
    device: &D,
    tied: bool,
    settings: &train::Settings,
) -> train::Result<Trained> {
    train_sized(device, (TINY, tied), settings)
}

/// The same of a model of these sizes.
pub(crate) fn train_sized<D: Device>(
    device: &D,
    (sizes, tied): (Sizes, bool),
    settings: &train::Settings,
) -> train::Result<Trained> {
    let config = config_of(sizes, tied);
    let fresh = Fresh::new(&config, 3);
    let mut trainer = Trainer::new(device, (&config, &fresh), settings.clone(), data(), LIMITS)?;
    let mut records = Vec::new();
    while let Some(record) = trainer.step()? {
        records.push(record);
    }
    let eval = trainer.evaluate()?.unwrap().loss;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    trainer.save(&path, &config, &Save::new(WeightDtype::F32))?;
    let bytes = fs::read(path.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut weights = Vec::new();
    let mut names: Vec<_> = tensors.names();
    names.sort();
    for name in names {
        let data = tensors.tensor(name).unwrap().data().to_vec();
        weights.extend(data.as_chunks::<4>().0.iter().map(|it| f32::from_le_bytes(*it)));
    }
    Ok(Trained { records, eval, weights })
}

/// How much `count` rises in each step of a run after the first.
pub(crate) fn counted_steps<D: Device>(
    device: &D,
    sizes: Sizes,
    settings: &train::Settings,
    count: impl Fn() -> usize,
) -> Vec<usize> {
    let config = config_of(sizes, false);
    let fresh = Fresh::new(&config, 3);
    let settings = settings.clone();
    let mut trainer = Trainer::new(device, (&config, &fresh), settings, data(), LIMITS).unwrap();
    trainer.step().unwrap().unwrap();
    let mut before = count();
    let mut rises = Vec::new();
    while trainer.step().unwrap().is_some() {
        let now = count();
        rises.push(now - before);
        before = now;
    }
    rises
}

/// A model of the oracle.
pub(crate) fn model<D: Device>(device: Arc<D>, name: &str) -> Result<Arc<Model<D>>, Error> {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/oracle/fixtures");
    let folder = std::env::var_os("KUN_FIXTURES").map_or_else(here, PathBuf::from).join(name);
    let config = Config::open(&folder).unwrap();
    let files = WeightFiles::open(&folder, &config).unwrap();
    Ok(Arc::new(Model::load(device, &config, &files, 128)?))
}

const SETTINGS: Settings = Settings { rows: 3, step_tokens: 24, cache_tokens: 256 };

/// A fresh model with bf16 weights, of widths that tensor cores take.
pub(crate) fn tiny<D: Device>(device: Arc<D>) -> Arc<Model<D>> {
    fresh(device, TINY)
}

/// One of these sizes.
pub(crate) fn fresh<D: Device>(device: Arc<D>, sizes: Sizes) -> Arc<Model<D>> {
    let config = config_of(sizes, false);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    let fresh = Fresh::new(&config, 5);
    Save::new(WeightDtype::Bf16).write(&path, &config, &fresh).unwrap();
    let config = Config::open(&path).unwrap();
    let files = WeightFiles::open(&path, &config).unwrap();
    Arc::new(Model::load(device, &config, &files, 128).unwrap())
}

/// The prompt of a row of [`generate`].
pub(crate) fn prompt_of(row: u64) -> Vec<u32> {
    let length = match row {
        1 => 40,
        7 => 5,
        _ => 1,
    };
    (0..length).map(|it| 3 + it * 7 % 60).collect()
}

/// How likely a token is after others.
pub(crate) fn log_probability<D: Decode>(
    model: &Arc<Model<D>>,
    prefix: &[u32],
    id: u32,
) -> Result<f32, Error> {
    let mut scorer = Scorer::new(Arc::clone(model), SETTINGS)?;
    let text = Text { prompt: prefix.to_vec(), ids: vec![id] };
    Ok(-scorer.texts(&[text])?[0].nll[0])
}

/// Prompts of several lengths, some outputs drawn and some greedy.
pub(crate) fn generate<D: Decode>(model: &Arc<Model<D>>) -> Result<Vec<Output>, Error> {
    generate_with(model, SETTINGS)
}

/// The same in other steps.
pub(crate) fn generate_with<D: Decode>(
    model: &Arc<Model<D>>,
    settings: Settings,
) -> Result<Vec<Output>, Error> {
    let sampling = Sampling { temperature: 0.9, top_k: 40, top_p: 0.95, ..Sampling::GREEDY };
    let drawn = Request {
        samples: 2,
        draws: Draws::Seeded(20_240_129),
        sampling,
        ..Request::greedy(7, prompt_of(7), 6)
    };
    let greedy = |row, new| Request::greedy(row, prompt_of(row), new);
    let requests = vec![greedy(1, 8), drawn, greedy(2, 10)];
    let mut generator = Generator::new(Arc::clone(model), settings)?;
    generator.run(requests, &mut |_| Flow::Continue)
}

/// More rows than there is room for, some of them with the same beginning, one with another's output in its
/// prompt; and how often one was sent back.
pub(crate) fn crowd<D: Decode>(
    model: &Arc<Model<D>>,
    settings: Settings,
) -> Result<(Vec<Output>, usize), Error> {
    let prompt = |n: u32, by: u32| (0..n).map(|it| 3 + it * by % 60).collect::<Vec<u32>>();
    let mut generator = Generator::new(Arc::clone(model), settings)?;
    let first = Request::greedy(0, prompt(5, 7), 50);
    let output = generator.run([first.clone()], &mut |_| Flow::Continue)?.remove(0);
    let longer = [first.prompt.clone(), output.ids[..38].to_vec()].concat();
    let others = [(1, prompt(5, 7), 60), (2, longer, 30), (3, prompt(9, 11), 60)];
    let others = others.map(|(row, prompt, n)| Request::greedy(row, prompt, n));
    let mut all =
        generator.run([vec![first], others.to_vec()].concat(), &mut |_| Flow::Continue)?;
    all.push(output);
    Ok((all, generator.counts().preempted))
}

/// Does the same requests with one generator whenever it is called.
pub(crate) fn again_and_again<D: Decode>(model: &Arc<Model<D>>) -> impl FnMut() {
    let mut generator = Generator::new(Arc::clone(model), SETTINGS).unwrap();
    move || {
        let prompt = |n: u32, by: u32| (0..n).map(|it| 3 + it * by % 60).collect::<Vec<u32>>();
        let requests = [(40, 7), (5, 11), (1, 3), (29, 13)];
        let requests = requests.map(|(n, by)| Request::greedy(n.into(), prompt(n, by), 12));
        generator.run(requests, &mut |_| Flow::Continue).unwrap();
    }
}

/// The losses of a text and of some continuations.
pub(crate) fn score<D: Decode>(model: &Arc<Model<D>>) -> Result<Vec<Scored>, Error> {
    score_with(model, SETTINGS)
}

/// The same in other steps.
pub(crate) fn score_with<D: Decode>(
    model: &Arc<Model<D>>,
    settings: Settings,
) -> Result<Vec<Scored>, Error> {
    let ids = |n: u32, seed: u32| (0..n).map(|it| 3 + it * seed % 60).collect::<Vec<u32>>();
    let mut scorer = Scorer::new(Arc::clone(model), settings)?;
    let text = Text { prompt: ids(3, 5), ids: ids(37, 7) };
    let choices = Choices { prompt: ids(35, 11), candidates: vec![ids(2, 3), ids(5, 13)] };
    let mut all = scorer.texts(&[text])?;
    all.extend(scorer.choices(&[choices])?.into_iter().flatten());
    Ok(all)
}
