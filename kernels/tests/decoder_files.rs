//! Weight files: what is read, and each way in which a folder is refused.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use half::{bf16, f16};
use kernels::decoder::{Config, Error, Layout, WeightFiles};
use serde_json::{Map, Value, json};

/// Sizes small enough to write by hand.
fn config(tied: bool) -> Config {
    let text = json!({
        "model_type": "llama", "hidden_size": 4, "intermediate_size": 6, "vocab_size": 5,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "rope_theta": 1e4, "tie_word_embeddings": tied
    });
    Config::parse(text.to_string().as_bytes(), Path::new("config.json")).unwrap()
}

/// A tensor of a file to be: name, dtype, shape, bytes.
type Made = (String, &'static str, Vec<usize>, Vec<u8>);

/// All tensors of the model; number i of the arena is i / 4.
fn model(config: &Config) -> Vec<Made> {
    let bytes = |start: usize, len: usize| -> Vec<u8> {
        (start..start + len).flat_map(|it| (it as f32 / 4.0).to_le_bytes()).collect()
    };
    let layout = Layout::new(config);
    let tensors = layout.tensors().iter();
    tensors
        .map(|it| (it.name.clone(), "F32", it.shape.clone(), bytes(it.start, it.len())))
        .collect()
}

fn file(tensors: &[Made]) -> Vec<u8> {
    let mut header = Map::new();
    let (mut at, mut data) = (0, Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let end = at + bytes.len();
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]});
        header.insert(name.clone(), entry);
        at = end;
        data.extend_from_slice(bytes);
    }
    with_header(&Value::Object(header).to_string(), &data)
}

fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// What a folder with these files says when it is opened; its path is cut out.
fn open(tied: bool, files: &[(&str, Vec<u8>)]) -> Result<WeightFiles, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let say = |it: Error| it.to_string().replace(&format!("{}/", folder.path().display()), "");
    WeightFiles::open(folder.path(), &config(tied)).map_err(say)
}

fn open_one(bytes: Vec<u8>) -> Result<WeightFiles, String> {
    open(false, &[("model.safetensors", bytes)])
}

fn refused(tensors: &[Made]) -> String {
    open_one(file(tensors)).unwrap_err()
}

#[test]
fn rows_are_read_in_every_kind_of_number() {
    let mut made = model(&config(false));
    let numbers = [1.0f32, -2.5, 0.5, 3.0];
    made[1].3 = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
    made[5].1 = "BF16";
    made[5].3 =
        numbers.iter().cycle().take(16).flat_map(|it| bf16::from_f32(*it).to_le_bytes()).collect();
    made[6].1 = "F16";
    made[6].3 = numbers.iter().flat_map(|it| f16::from_f32(*it).to_le_bytes()).collect();
    let files = open_one(file(&made)).unwrap();
    for name in ["input_layernorm", "post_attention_layernorm"] {
        let (mut wide, mut narrow) = ([0.0; 2], [bf16::ZERO; 2]);
        let name = format!("model.layers.0.{name}.weight");
        files.read_f32(&name, 1..3, &mut wide).unwrap();
        files.read_bf16(&name, 1..3, &mut narrow).unwrap();
        assert_eq!((wide, narrow.map(f32::from)), ([-2.5, 0.5], [-2.5, 0.5]));
    }
    let mut row = [0.0; 4];
    files.read_f32("model.layers.0.self_attn.o_proj.weight", 3..4, &mut row).unwrap();
    assert_eq!(row, numbers);
    let why = files.read_f32("model.norm.weight", 0..5, &mut [0.0; 5]).unwrap_err();
    assert!(why.to_string().contains("do not fill 5 numbers"));
}

#[test]
fn a_tied_output_layer_is_the_embedding() {
    let made = model(&config(true));
    let files = open(true, &[("model.safetensors", file(&made))]).unwrap();
    assert_eq!(files.tensor("lm_head.weight").unwrap().bytes, made[0].3);
}

#[test]
fn a_tied_output_layer_that_is_not_the_embedding_is_refused_with_both_ways_out() {
    let mut made = model(&config(true));
    let mut head = made[0].clone();
    head.0 = "lm_head.weight".to_owned();
    made.push(head);
    let tied = |made: &[Made]| open(true, &[("model.safetensors", file(made))]).map(|_| ());
    assert_eq!(tied(&made), Ok(()), "the same twice is what old files have");
    made.last_mut().unwrap().3[7] ^= 1;
    let said = "`model.safetensors`: tensor `lm_head.weight` differs from \
                `model.embed_tokens.weight`, and `config.json` says `tie_word_embeddings: true`: say \
                false there to use this tensor, or take it out of the file to use the embedding";
    assert_eq!(tied(&made), Err(said.to_owned()));
}

#[test]
fn shards_are_found_by_their_index() {
    let made = model(&config(false));
    let map: Map<String, Value> = made
        .iter()
        .enumerate()
        .map(|(i, it)| (it.0.clone(), if i < 4 { "a.safetensors" } else { "b.safetensors" }.into()))
        .collect();
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string().into_bytes();
    let parts = [("model.safetensors.index.json", index), ("a.safetensors", file(&made[..4]))];
    let why = open(false, &parts).unwrap_err();
    assert_eq!(
        why,
        "`model.safetensors.index.json`: tensor `lm_head.weight` should be in \
         `b.safetensors`, which is missing"
    );
    let [index, a] = parts;
    let b = ("b.safetensors", file(&made[4..]));
    let files = open(false, &[index.clone(), a.clone(), b]).unwrap();
    assert_eq!(files.tensor("lm_head.weight").unwrap().shape, [5, 4]);
    let b = ("b.safetensors", file(&made[5..]));
    let why = open(false, &[index.clone(), a.clone(), b]).unwrap_err();
    assert_eq!(why, format!("`b.safetensors`: tensor `{}` is missing", made[4].0));
    let b = ("b.safetensors", file(&made[3..]));
    let why = open(false, &[index, a, b]).unwrap_err();
    assert_eq!(
        why,
        format!("`b.safetensors`: tensor `{}` is in `a.safetensors` as well", made[3].0)
    );
}

#[test]
fn a_shard_outside_of_the_folder_is_refused() {
    let index = json!({"weight_map": {"x": "../a.safetensors"}}).to_string().into_bytes();
    assert_eq!(
        open(false, &[("model.safetensors.index.json", index)]).unwrap_err(),
        "`model.safetensors.index.json`: `weight_map.x` is `../a.safetensors`, not the name of a \
         file beside it"
    );
}

#[test]
fn tensors_that_do_not_fit_the_configuration_are_named() {
    let made = model(&config(false));
    let q = "model.layers.0.self_attn.q_proj.weight";
    assert_eq!(made[2].0, q);
    let said = |fault: &str| format!("`model.safetensors`: tensor `{q}` {fault}");

    let mut missing = made.clone();
    missing.remove(2);
    assert_eq!(refused(&missing), said("is missing"));
    let mut turned = made.clone();
    turned[2].2 = vec![2, 8];
    let fault = "has shape [2, 8], and the configuration asks for [4, 4]";
    assert_eq!(refused(&turned), said(fault));
    let mut whole = made.clone();
    whole[2].1 = "I32";
    assert_eq!(refused(&whole), said("has dtype `I32`, which is none of F32, BF16, F16"));
    let mut other = made.clone();
    other.push(("model.layers.0.self_attn.q_proj.bias".into(), "F32", vec![1], vec![0; 4]));
    assert!(refused(&other).ends_with("q_proj.bias` has no place in the model"));
    let mut spare = made;
    spare.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), "F32", vec![1], vec![0; 4]));
    open_one(file(&spare)).unwrap();
}

#[test]
fn numbers_that_are_not_finite_are_named_with_their_index() {
    let mut made = model(&config(false));
    made[3].3[20..24].copy_from_slice(&f32::NAN.to_le_bytes());
    let files = open_one(file(&made)).unwrap();
    let why = files.read_f32(&made[3].0, 1..2, &mut [0.0; 4]).unwrap_err();
    assert!(why.to_string().ends_with("k_proj.weight` has NaN at index 5"), "{why}");
    let why = files.read_bf16(&made[3].0, 0..2, &mut [bf16::ZERO; 8]).unwrap_err();
    assert!(why.to_string().ends_with("k_proj.weight` has NaN at index 5"), "{why}");
    files.read_f32(&made[3].0, 0..1, &mut [0.0; 4]).unwrap();
}

#[test]
fn headers_that_cannot_be_true_are_refused() {
    let entry = |at: [u64; 2]| json!({"dtype": "F32", "shape": [2], "data_offsets": at});
    let two = |a, b| json!({"a": entry(a), "b": entry(b)}).to_string();
    let huge = json!({"a": {"dtype": "F32", "shape": [1u64 << 62, 8], "data_offsets": [0, 8]}});
    let twice = "{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},\"a\":1}";
    let cases: &[(Vec<u8>, &str)] = &[
        (vec![], "the file has 0 bytes, and its header says that it has at least 8"),
        (
            vec![9, 0, 0, 0, 0, 0, 0, 0, 1],
            "has 9 bytes, and its header says that it has at least 17",
        ),
        (vec![255; 8], "the header is said to have 18446744073709551615 bytes"),
        (with_header("[]", &[]), "the header is not valid: invalid type: sequence"),
        (with_header("{\"a\":1", &[]), "the header is not valid: "),
        (with_header(&two([0, 8], [4, 12]), &[0; 12]), "tensor `b` shares bytes with `a`"),
        (with_header(&two([0, 8], [12, 20]), &[0; 20]), "bytes 8 to 12 belong to no tensor"),
        (with_header(&two([0, 8], [8, 16]), &[0; 17]), "bytes 16 to 17 belong to no tensor"),
        (with_header(&two([0, 8], [8, 16]), &[0; 15]), "tensor `b` lies at bytes 8 to 16 of 15"),
        (with_header(&two([8, 0], [8, 16]), &[0; 16]), "tensor `a` lies at bytes 8 to 0 of 16"),
        (with_header(&huge.to_string(), &[0; 8]), "its shape asks for 18446744073709551615 bytes"),
        (with_header(twice, &[]), "`a` stands there twice"),
    ];
    for (bytes, reason) in cases {
        let why = open_one(bytes.clone()).unwrap_err();
        assert!(why.starts_with("`model.safetensors`: ") && why.contains(reason), "{why}");
    }
}

#[test]
fn a_folder_without_safetensors_says_what_there_is() {
    let why = open(false, &[("pytorch_model.bin", vec![0])]).unwrap_err();
    assert!(why.starts_with("`pytorch_model.bin` holds weights as a Python pickle"), "{why}");
    let why = open(false, &[]).unwrap_err();
    assert!(why.contains("has neither `model.safetensors` nor"), "{why}");
}
