//! `config.json` in both spellings, and each way in which one is refused.

use std::path::Path;

use kernels::decoder::{Config, WeightDtype};
use serde_json::{Value, json};

/// What Yi-6B's file says.
fn yi_6b() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096,
        "initializer_range": 0.02, "intermediate_size": 11008, "max_position_embeddings": 4096,
        "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 4, "pad_token_id": 0, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_scaling": null, "rope_theta": 5000000.0, "tie_word_embeddings": false,
        "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 64000
    })
}

fn read(value: &Value) -> Result<Config, String> {
    let text = value.to_string();
    Config::parse(text.as_bytes(), Path::new("config.json")).map_err(|it| it.to_string())
}

#[test]
fn yi_6b_has_as_many_parameters_as_its_authors_say() {
    let config = read(&yi_6b()).unwrap();
    assert_eq!(config.parameters(), 6_061_035_520);
    assert_eq!((config.head_dim, config.qkv_rows()), (128, 5120));
    assert_eq!((config.bos, config.eos.as_slice(), config.pad), (Some(1), &[2][..], Some(0)));
    assert_eq!(config.dtype, Some(WeightDtype::Bf16));
}

#[test]
fn the_newer_spelling_says_the_same() {
    let mut new = yi_6b();
    let map = new.as_object_mut().unwrap();
    map.remove("rope_theta");
    map.remove("torch_dtype");
    map.insert("dtype".into(), json!("bfloat16"));
    map.insert("rope_parameters".into(), json!({"rope_theta": 5000000.0, "rope_type": "default"}));
    assert_eq!(read(&new), read(&yi_6b()));
}

#[test]
fn what_is_written_reads_back() {
    let mut config = read(&yi_6b()).unwrap();
    config.eos = vec![2, 7];
    config.pad = None;
    let text = config.to_json(WeightDtype::Bf16);
    assert!(text.contains("\"rope_theta\": 5000000.0") && !text.contains("rope_parameters"));
    assert_eq!(Config::parse(text.as_bytes(), Path::new("config.json")).unwrap(), config);
}

#[test]
fn each_mistake_names_file_and_field() {
    let huge = "is 1099511627776, not a size";
    let cases: &[(&str, Value, &str)] = &[
        ("rope_theta", json!(-1.0), "is -1, not above 0 and at most 1000000000000"),
        ("attention_bias", json!(true), "is true, and biases are not supported"),
        ("mlp_bias", json!(true), "is true, and biases are not supported"),
        ("hidden_act", json!("gelu"), "is \"gelu\", not silu"),
        ("model_type", json!("mistral"), "is \"mistral\", not one of llama, Yi, yi"),
        ("hidden_size", json!(1u64 << 40), huge),
        ("vocab_size", json!("many"), "is \"many\", not a size"),
        ("num_hidden_layers", json!(0), "is 0, not a size"),
        ("num_hidden_layers", json!(100_000), "is 100000, not between 1 and 4096"),
        ("num_key_value_heads", json!(5), "is 5, which does not divide 32"),
        ("num_attention_heads", json!(3), "is 3, which does not divide 4096"),
        ("head_dim", json!(33), "is 33, which is odd"),
        ("eos_token_id", json!([2, 64000]), "is 64000, and there are 64000 ids"),
        ("torch_dtype", json!("int8"), "is \"int8\", not float32, bfloat16 or float16"),
        ("quantization_config", json!({}), "is there, and its weights are not read"),
        ("rms_norm_eps", json!(0), "is 0, not above 0 and at most 1"),
    ];
    for (field, value, reason) in cases {
        let mut config = yi_6b();
        config[*field] = value.clone();
        assert_eq!(read(&config), Err(format!("`config.json`: `{field}` {reason}")));
    }
}

#[test]
fn scaled_positions_are_refused_in_either_spelling() {
    for (field, value, wrong) in [
        ("rope_scaling", json!({"type": "linear", "factor": 2.0}), "rope_scaling.type"),
        ("rope_scaling", json!({"factor": 2.0}), "rope_scaling.factor"),
        ("rope_parameters", json!({"rope_type": "yarn"}), "rope_parameters.rope_type"),
        ("rope_parameters", json!({"rope_theta": 1e4}), "rope_theta"),
    ] {
        let mut config = yi_6b();
        config[field] = value;
        assert!(read(&config).unwrap_err().starts_with(&format!("`config.json`: `{wrong}` is")));
    }
}

#[test]
fn sizes_that_together_make_no_model_are_refused() {
    let mut config = yi_6b();
    config["hidden_size"] = json!(1 << 20);
    config["intermediate_size"] = json!(1 << 22);
    config["head_dim"] = json!(128);
    assert!(read(&config).unwrap_err().ends_with("make 422655988596736 parameters"));
}

#[test]
fn what_a_file_leaves_out_is_what_transformers_takes() {
    let config = read(&json!({
        "model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "vocab_size": 2,
        "num_hidden_layers": 1, "num_attention_heads": 2, "rope_theta": 1e4
    }));
    let config = config.unwrap();
    assert_eq!((config.kv_heads, config.rms_norm_eps, config.tied), (2, 1e-6, false));
    assert_eq!((config.bos, config.eos, config.dtype), (Some(1), vec![], None));
}

#[test]
fn a_llama_without_a_rotary_base_has_that_of_transformers() {
    let mut config = yi_6b();
    config["rope_theta"] = Value::Null;
    assert_eq!(read(&config).unwrap().rope_theta, 10_000.0);
    config["rope_parameters"] = json!({"rope_type": "default"});
    assert_eq!(read(&config).unwrap().rope_theta, 10_000.0);
    // The class of `Yi` had another default.
    config["model_type"] = json!("Yi");
    let said = "`config.json`: `rope_theta` is missing, also as `rope_parameters.rope_theta`";
    assert_eq!(read(&config), Err(said.to_owned()));
}
