//! What may not change a bit of a run: threads, micro-batches, recomputation, kills.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use kernels::decoder::lora::{Lora, Target};
use kernels::decoder::train::{Precision, Recompute};
use kernels::decoder::{Config, Fresh, Save, WeightDtype};
use kernels::ops::adamw::OptimStates;
use kernels::train::{
    BatchSize, Data, Error, Length, Limits, Record, Sample, Samples, Settings, Trainer,
};
use kernels::{Cpu, Device, View};

const LIMITS: Limits = Limits { available: 1 << 30, micro_tokens: 512 };

fn config(tied: bool) -> Config {
    let text = format!(
        r#"{{"model_type": "llama", "hidden_size": 24, "intermediate_size": 40,
        "vocab_size": 60, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "rope_theta": 10000, "tie_word_embeddings": {tied}}}"#
    );
    Config::parse(text.as_bytes(), Path::new("config.json")).unwrap()
}

/// Texts of several lengths; of some only the end is learnt.
fn data() -> Data {
    let text = |i: u32| {
        let length = 5 + i * 7 % 40;
        let ids: Vec<u32> = (0..length).map(|it| (it * (i + 3) + i) % 60).collect();
        let trained = (0..length).map(|it| !i.is_multiple_of(3) || it > length / 2).collect();
        Sample { ids, trained }
    };
    Data { train: (0..18).map(text).collect(), eval: (30..34).map(text).collect() }
}

fn settings() -> Settings {
    Settings {
        seed: 11,
        length: Length::Epochs(2),
        batch: BatchSize::Sequences(5),
        learning_rate: 1e-2,
        weight_decay: 0.1,
        ..Settings::new()
    }
}

fn lora(dropout: f64) -> Option<Lora> {
    Some(Lora { dropout, ..Lora::of_all(3) })
}

/// Runs that differ in what is trained and held.
fn kinds() -> Vec<(bool, Settings)> {
    vec![
        (false, settings()),
        (true, Settings { batch: BatchSize::Tokens(90), ..settings() }),
        (false, Settings { pack: Some(64), precision: Precision::Bf16Weights, ..settings() }),
        (true, Settings { precision: Precision::Bf16, ..settings() }),
        (false, Settings { precision: Precision::Bf16Split, ..settings() }),
        (
            false,
            Settings {
                precision: Precision::Bf16Split,
                optim_states: OptimStates::Bf16,
                ..settings()
            },
        ),
        (
            true,
            Settings {
                precision: Precision::Bf16Split,
                optim_states: OptimStates::EightBit,
                ..settings()
            },
        ),
        (true, Settings { lora: lora(0.0), optim_states: OptimStates::EightBit, ..settings() }),
        (false, Settings { lora: lora(0.0), precision: Precision::Bf16Weights, ..settings() }),
        (true, Settings { lora: lora(0.3), ..settings() }),
    ]
}

fn start<'d>(device: &'d Cpu, tied: bool, settings: &Settings) -> Trainer<'d, Cpu> {
    let config = config(tied);
    let fresh = Fresh::new(&config, 3);
    Trainer::new(device, (&config, &fresh), settings.clone(), data(), LIMITS).unwrap()
}

/// All that a run gives: its records, its evaluations, its last weights.
type Outcome = (Vec<Record>, Vec<f64>, Vec<u8>);

fn finish(trainer: &mut Trainer<'_, Cpu>, mut records: Vec<Record>) -> Outcome {
    while let Some(record) = trainer.step().unwrap() {
        records.push(record);
    }
    let eval = trainer.evaluate().unwrap().unwrap();
    (records, vec![eval.loss], saved(trainer))
}

/// The bytes of the weights as they are saved.
fn saved(trainer: &Trainer<'_, Cpu>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    let config = trainer.model().config().clone();
    trainer.save(&path, &config, &Save::new(WeightDtype::F32)).unwrap();
    fs::read(path.join("model.safetensors")).unwrap()
}

#[test]
fn threads_micro_batches_and_recomputation_do_not_change_a_bit() {
    for (tied, settings) in kinds() {
        let device = Cpu::new(1).unwrap();
        let first = finish(&mut start(&device, tied, &settings), Vec::new());
        for (threads, micro_tokens, recompute) in [
            (3, 512, Recompute::None),
            (1, 50, Recompute::Selective),
            (2, 64, Recompute::Full),
            (2, 100, Recompute::None),
        ] {
            let other =
                Settings { micro_tokens: Some(micro_tokens), recompute, ..settings.clone() };
            let device = Cpu::new(threads).unwrap();
            let outcome = finish(&mut start(&device, tied, &other), Vec::new());
            assert_eq!(outcome, first, "{threads} threads, {other:?}");
        }
        assert!(first.0.last().unwrap().loss < first.0[0].loss, "{settings:?} learns nothing");
    }
}

#[test]
fn smaller_optimizer_states_train_as_well() {
    let device = Cpu::new(2).unwrap();
    let eval = |optim_states| {
        let settings = Settings { optim_states, length: Length::Epochs(6), ..settings() };
        finish(&mut start(&device, false, &settings), Vec::new()).1[0]
    };
    let whole = eval(OptimStates::F32);
    for optim_states in [OptimStates::Bf16, OptimStates::EightBit] {
        let less = eval(optim_states);
        assert!((less - whole).abs() < 0.02 * whole, "{optim_states:?}: {less} and not {whole}");
    }
}

#[test]
fn a_run_killed_after_any_step_goes_on_to_the_same_bytes() {
    for (tied, settings) in kinds() {
        let device = Cpu::new(2).unwrap();
        let undisturbed = finish(&mut start(&device, tied, &settings), Vec::new());
        let folder = tempfile::tempdir().unwrap();
        for kill in 1..=undisturbed.0.len() {
            let path = folder.path().join(kill.to_string());
            let mut records = Vec::new();
            let mut killed = start(&device, tied, &settings);
            assert!(!killed.resume(&path).unwrap());
            for _ in 0..kill {
                records.push(killed.step().unwrap().unwrap());
                killed.checkpoint(&path).unwrap();
            }
            drop(killed);
            assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "only the last one is kept");
            // What another kill left in the middle of writing is not taken for a checkpoint.
            fs::create_dir(path.join("step-9999999999.partial")).unwrap();
            let mut resumed = start(&device, tied, &settings);
            assert!(resumed.resume(&path).unwrap());
            assert_eq!(resumed.done(), kill as u64);
            assert_eq!(finish(&mut resumed, records), undisturbed, "killed after {kill}");
        }
    }
}

#[test]
fn checkpoints_that_do_not_belong_or_are_damaged_are_refused() {
    let device = Cpu::new(1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = start(&device, false, &settings());
    trainer.step().unwrap();
    trainer.checkpoint(folder.path()).unwrap();
    let step = folder.path().join("step-0000000001");
    let say = |trainer: &mut Trainer<'_, Cpu>| {
        let why = trainer.resume(folder.path()).unwrap_err().to_string();
        why.replace(&format!("{}/", folder.path().display()), "")
    };
    let other = Settings { learning_rate: 1e-3, ..settings() };
    assert_eq!(
        say(&mut start(&device, false, &other)),
        "`step-0000000001/state.json` is of a run with other settings"
    );
    for (file, reason) in [
        ("weights.bin", "is damaged: its checksum is another"),
        ("v.bin", "is damaged: its checksum is another"),
        ("state.json", "is damaged: its checksum is another"),
    ] {
        let whole = fs::read(step.join(file)).unwrap();
        let mut damaged = whole.clone();
        damaged[20] ^= 1;
        fs::write(step.join(file), damaged).unwrap();
        let said = say(&mut start(&device, false, &settings()));
        assert_eq!(said, format!("`step-0000000001/{file}` {reason}"));
        fs::write(step.join(file), &whole[..whole.len() - 4]).unwrap();
        let said = say(&mut start(&device, false, &settings()));
        assert!(said.starts_with(&format!("`step-0000000001/{file}` ")), "{said}");
        fs::write(step.join(file), whole).unwrap();
    }
    assert!(start(&device, false, &settings()).resume(folder.path()).unwrap());
}

#[test]
fn a_number_that_is_not_finite_stops_the_run_and_the_batch_is_kept() {
    let device = Cpu::new(1).unwrap();
    let wild = Settings { learning_rate: 1e30, max_grad_norm: None, ..settings() };
    let mut trainer = start(&device, false, &wild);
    let mut done = 0;
    let crash = loop {
        let before: Vec<f32> = device.read(View::all(trainer.model().trained())).unwrap();
        match trainer.step() {
            Ok(_) => done += 1,
            Err(Error::NotFinite(crash)) => {
                let after: Vec<f32> = device.read(View::all(trainer.model().trained())).unwrap();
                assert_eq!(before, after);
                break crash;
            }
            Err(why) => panic!("{why}"),
        }
        assert!(done < 8, "a rate of 1e30 does no harm");
    };
    assert_eq!((crash.step, crash.losses.len() as u64), (done + 1, done));
    assert_eq!(crash.batch.len(), 5);
    let folder = tempfile::tempdir().unwrap();
    crash.write(&folder.path().join("crash.json")).unwrap();
    assert_eq!(kernels::train::Crash::read(&folder.path().join("crash.json")).unwrap(), *crash);
}

#[test]
fn fresh_adapters_change_nothing_and_trained_ones_are_added_when_saved() {
    let device = Cpu::new(1).unwrap();
    let plain = start(&device, false, &settings());
    let mut adapted = start(&device, false, &Settings { lora: lora(0.0), ..settings() });
    assert_eq!(saved(&plain), saved(&adapted));
    let before = adapted.evaluate().unwrap().unwrap().loss;
    let outcome = finish(&mut adapted, Vec::new());
    assert_ne!(before, outcome.1[0]);

    // Alone they are a file with PEFT's names.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    adapted.save_adapters(&path, "base").unwrap();
    let bytes = fs::read(path.join("adapter_model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), 2 * 2 * Target::ALL.len());
    let name = "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight";
    assert_eq!(file.tensor(name).unwrap().shape(), [24, 3]);
    let refused = plain.save_adapters(&folder.path().join("b"), "base").unwrap_err();
    assert_eq!(refused.to_string(), "`lora` is not set: there are no adapters to save");

    // The merged model has the loss of the one with adapters beside it.
    let folder = tempfile::tempdir().unwrap();
    let (path, config) = (folder.path().join("m"), config(false));
    adapted.save(&path, &config, &Save::new(WeightDtype::F32)).unwrap();
    let files = kernels::decoder::WeightFiles::open(&path, &config).unwrap();
    let mut merged = Trainer::new(&device, (&config, &files), settings(), data(), LIMITS).unwrap();
    let loss = merged.evaluate().unwrap().unwrap().loss;
    assert!((loss - outcome.1[0]).abs() < 1e-6, "{loss} and not {}", outcome.1[0]);
}

#[test]
fn texts_that_the_model_cannot_take_are_refused_before_anything_is_loaded() {
    let say = |train: Samples, settings: &Settings, available: u64| {
        let data = Data { train, eval: Samples::new() };
        let limits = Limits { available, ..LIMITS };
        Trainer::<Cpu>::plan(&config(false), settings, &data, limits).unwrap_err().to_string()
    };
    let texts = |ids: Vec<u32>| -> Samples { [Sample::all(ids)].into_iter().collect() };
    let unknown = "sample 0 has token 60 at 1, and the model has 60";
    assert_eq!(say(texts(vec![1, 60]), &settings(), 1 << 30), unknown);
    let long = "sample 0 has 2049 tokens, and there is room for 2048";
    assert_eq!(say(texts(vec![1; 2049]), &settings(), 1 << 30), long);
    let none = "step 1 has no target token; its samples are [0]";
    assert_eq!(say(texts(vec![1]), &settings(), 1 << 30), none);
    let little = say(texts(vec![1, 2]), &settings(), 1 << 10);
    assert!(little.starts_with("a run needs ") && little.ends_with("and there are 0.0 MiB"));
    let wrong = Settings { beta1: 1.0, ..settings() };
    let beta = "`beta1` and `beta2` are not both from 0 to below 1";
    assert_eq!(say(texts(vec![1, 2]), &wrong, 1 << 30), beta);
}
