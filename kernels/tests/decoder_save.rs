//! Saved models: whole or not at all, the same bytes each time, and readable again.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kernels::decoder::{Config, Extra, Fresh, Layout, Save, WeightDtype, WeightFiles, Weights};

fn config(tied: bool) -> Config {
    let text = format!(
        r#"{{"model_type": "llama", "hidden_size": 24, "intermediate_size": 36,
        "vocab_size": 50, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "rope_theta": 10000, "tie_word_embeddings": {tied},
        "eos_token_id": [2, 7], "pad_token_id": 0}}"#
    );
    Config::parse(text.as_bytes(), Path::new("config.json")).unwrap()
}

/// All files of a folder.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|it| it.unwrap());
    entries
        .map(|it| (it.file_name().into_string().unwrap(), fs::read(it.path()).unwrap()))
        .collect()
}

#[test]
fn a_saved_model_reads_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    for (tied, shard_bytes) in [(false, 1 << 30), (true, 1 << 30), (false, 9000), (false, 1)] {
        let config = config(tied);
        let layout = Layout::new(&config);
        let arena = Fresh::new(&config, 5).arena(&layout);
        let path = folder.path().join(format!("{tied}-{shard_bytes}"));
        let save = Save { shard_bytes, ..Save::new(WeightDtype::F32) };
        save.write(&path, &config, &arena.as_slice()).unwrap();
        let read = Config::open(&path).unwrap();
        assert_eq!(read, Config { dtype: Some(WeightDtype::F32), ..config });
        let files = WeightFiles::open(&path, &read).unwrap();
        for tensor in layout.tensors() {
            let mut numbers = vec![0.0; tensor.len()];
            files.read_f32(&tensor.name, 0..tensor.shape[0], &mut numbers).unwrap();
            assert_eq!(numbers, arena[tensor.range()], "{}", tensor.name);
        }
        let n_files = files.paths().count();
        match shard_bytes {
            1 => assert_eq!(n_files, layout.tensors().len()),
            9000 => assert!(n_files > 2 && n_files < layout.tensors().len()),
            _ => assert_eq!(n_files, 1),
        }
    }
}

#[test]
fn memory_files_and_the_seed_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(false);
    let fresh = Fresh::new(&config, 5);
    let save = Save { shard_bytes: 9000, ..Save::new(WeightDtype::Bf16) };
    let path = |it: &str| folder.path().join(it);
    save.write(&path("a"), &config, &fresh).unwrap();
    save.write(&path("b"), &config, &fresh.arena(&Layout::new(&config)).as_slice()).unwrap();
    save.write(&path("c"), &config, &WeightFiles::open(&path("a"), &config).unwrap()).unwrap();
    assert_eq!(content(&path("a")), content(&path("b")));
    assert_eq!(content(&path("a")), content(&path("c")));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left beside them");
}

#[test]
fn added_files_are_there_and_the_model_s_own_cannot_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(false);
    let fresh = Fresh::new(&config, 5);
    fs::write(folder.path().join("t"), "tokens").unwrap();
    let mut save = Save::new(WeightDtype::F16);
    save.files.insert("tokenizer.json".into(), Extra::Copy(folder.path().join("t")));
    save.files.insert("README.md".into(), Extra::Bytes(b"card".to_vec()));
    let path = folder.path().join("model");
    save.write(&path, &config, &fresh).unwrap();
    let files = content(&path);
    assert_eq!(
        (&files["tokenizer.json"][..], &files["README.md"][..]),
        (&b"tokens"[..], &b"card"[..])
    );
    let generation = String::from_utf8(files["generation_config.json"].clone()).unwrap();
    assert!(generation.contains("\"eos_token_id\": [\n    2,\n    7\n  ]"), "{generation}");
    for name in ["config.json", "model.safetensors", "../x", "a/b"] {
        let mut save = Save::new(WeightDtype::F32);
        save.files.insert(name.into(), Extra::Bytes(Vec::new()));
        let why = save.write(&folder.path().join("other"), &config, &fresh).unwrap_err();
        assert_eq!(why.to_string(), format!("`{name}` cannot be added to a model folder"));
    }
    assert!(!folder.path().join("other").exists() && !folder.path().join("x").exists());
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("mine"), "x").unwrap();
    let config = config(false);
    let save = Save::new(WeightDtype::F32);
    let why = save.write(&path, &config, &Fresh::new(&config, 5)).unwrap_err();
    assert!(why.to_string().ends_with("model` is there and not empty"), "{why}");
    assert_eq!(content(&path).len(), 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_was_left_of_a_killed_attempt_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let (path, left) = (folder.path().join("m"), folder.path().join("m.partial"));
    fs::create_dir(&left).unwrap();
    fs::write(left.join("model.safetensors.index.json"), "half").unwrap();
    let config = config(false);
    Save::new(WeightDtype::F32).write(&path, &config, &Fresh::new(&config, 5)).unwrap();
    assert_eq!(content(&path).len(), 3);
    assert!(!left.exists());
}

#[test]
fn numbers_that_a_file_cannot_hold_are_refused_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(false);
    let layout = Layout::new(&config);
    let mut arena = Fresh::new(&config, 5).arena(&layout);
    let tensor = &layout.tensors()[2];
    arena[tensor.start + 30] = 1e5;
    let path = folder.path().join("m");
    let weights: &dyn Weights = &arena.as_slice();
    Save::new(WeightDtype::Bf16).write(&folder.path().join("wide"), &config, weights).unwrap();
    let why = Save::new(WeightDtype::F16).write(&path, &config, weights).unwrap_err();
    assert!(why.to_string().ends_with("q_proj.weight` has inf at index 30"), "{why}");
    assert!(!path.exists());
}
