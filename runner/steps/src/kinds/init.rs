//! `init`: a model with fresh weights, in the shape of Yi's, for a tokenizer.
//!
//! ```toml
//! [steps.fresh]
//! op   = "init"
//! in   = { tokenizer = "${steps.words.tokenizer}" }
//! with = { hidden_size = 256, num_hidden_layers = 4, num_attention_heads = 8,
//!          num_key_value_heads = 2, intermediate_size = 688 }
//! ```
//!
//! The names are those of `config.json`, and so are their meanings. The vocabulary has one row for
//! each id of the tokenizer, or `vocab_size`, where that is more. Matrices are drawn from a normal
//! distribution with `initializer_range` as its deviation, the gains of norms are 1.
//!
//! The folder has the tokenizer's files with it; `transformers`, vLLM and llama.cpp's converter load
//! it. The number at each place is a function of the seed and the place: neither threads nor the
//! machine change it.

use std::path::Path;

use kernels::decoder::{Config, Fresh, Save, WeightDtype};
use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{self, Template};
use crate::page::page;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Init;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// Width of the stream between layers.
    #[schemars(range(min = 1))]
    hidden_size: usize,
    /// How many layers.
    #[schemars(range(min = 1))]
    num_hidden_layers: usize,
    /// Query heads.
    #[schemars(range(min = 1))]
    num_attention_heads: usize,
    /// Key and value heads; nothing: as many as query heads.
    #[schemars(range(min = 1))]
    num_key_value_heads: Option<usize>,
    /// Width of a head; nothing: `hidden_size` through `num_attention_heads`.
    #[schemars(range(min = 1))]
    head_dim: Option<usize>,
    /// Width inside the feed-forward part.
    #[schemars(range(min = 1))]
    intermediate_size: usize,
    /// Rows of the embedding; nothing: one for each id of the tokenizer.
    #[schemars(range(min = 1))]
    vocab_size: Option<usize>,
    /// The longest text.
    #[serde(default = "default_positions")]
    #[schemars(range(min = 1))]
    max_position_embeddings: usize,
    /// The base of the rotary positions.
    #[serde(default = "default_theta")]
    rope_theta: f64,
    /// What norms add below the root.
    #[serde(default = "default_eps")]
    rms_norm_eps: f64,
    /// Whether the output layer is the embedding.
    #[serde(default)]
    tie_word_embeddings: bool,
    /// The deviation of fresh weights.
    #[serde(default = "default_deviation")]
    initializer_range: f64,
    /// What the numbers are stored as.
    #[serde(default)]
    dtype: Dtype,
}

/// How numbers are stored.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dtype {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the exponent of f32.
    Bf16,
}

impl Dtype {
    pub(crate) fn weights(self) -> WeightDtype {
        match self {
            Dtype::F32 => WeightDtype::F32,
            Dtype::Bf16 => WeightDtype::Bf16,
        }
    }
}

fn default_positions() -> usize {
    4096
}

fn default_theta() -> f64 {
    10_000.0
}

fn default_eps() -> f64 {
    1e-5
}

fn default_deviation() -> f64 {
    0.02
}

impl Kind for Init {
    const SPEC: KindSpec = KindSpec {
        name: "init",
        version: 1,
        about: "make a model with fresh weights for a tokenizer",
        page: page!("init.rs"),
        inputs: &[Port { name: "tokenizer", arity: Arity::One, about: "a tokenizer's folder" }],
        outputs: &[Slot { name: "model", form: Form::Model, about: "the model" }],
        draws: true,
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let folder = cx.input("tokenizer")?.to_owned();
        let tokenizer = model::Tokenizer::open(&folder)?;
        let config = config(params, &tokenizer)?;
        let mut save = Save::new(params.dtype.weights());
        let template = Template::of_folder(&folder)?;
        save.files = model::text_files(&folder, template.as_ref())?;
        cx.check_stop()?;
        save.write(cx.output("model")?, &config, &Fresh::new(&config, cx.seed()?))?;
        cx.count("parameters", u64::try_from(config.parameters()).unwrap_or(u64::MAX));
        cx.count("vocab", config.vocab as u64);
        Ok(())
    }
}

fn config(params: &Params, tokenizer: &model::Tokenizer) -> Result<Config, StepError> {
    let n_ids = tokenizer.n_ids();
    let vocab = params.vocab_size.unwrap_or(n_ids);
    let wrong = |reason: String| StepError::Params { kind: "init", reason };
    if vocab < n_ids {
        return Err(wrong(format!("`vocab_size` is {vocab}, and the tokenizer has {n_ids} ids")));
    }
    let heads = params.num_attention_heads;
    let head_dim = match params.head_dim {
        Some(it) => it,
        None if params.hidden_size.is_multiple_of(heads) => params.hidden_size / heads,
        None => {
            let reason = "`num_attention_heads` does not divide `hidden_size`; say `head_dim`";
            return Err(wrong(reason.to_owned()));
        }
    };
    let named = tokenizer.named();
    let config = Config {
        hidden: params.hidden_size,
        layers: params.num_hidden_layers,
        heads,
        kv_heads: params.num_key_value_heads.unwrap_or(heads),
        head_dim,
        intermediate: params.intermediate_size,
        vocab,
        rope_theta: params.rope_theta,
        rms_norm_eps: params.rms_norm_eps,
        max_positions: params.max_position_embeddings,
        tied: params.tie_word_embeddings,
        bos: named.bos,
        eos: named.stop.clone(),
        pad: named.pad,
        dtype: Some(params.dtype.weights()),
        initializer_range: params.initializer_range,
    };
    config.check(Path::new("config.json"))?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Kit;
    use crate::model::tests::fixture;

    const SMALL: &str = "hidden_size = 32\nnum_hidden_layers = 2\nnum_attention_heads = 4\n\
                         num_key_value_heads = 2\nintermediate_size = 48";

    fn made(with: &str, seed: u64) -> Result<Kit, StepError> {
        let mut kit = Kit::new("init");
        kit.seed = Some(seed);
        kit.run_at(with, &[("tokenizer", vec![fixture("made")])])?;
        Ok(kit)
    }

    fn bytes(kit: &Kit) -> Vec<u8> {
        std::fs::read(kit.folder.path().join("model/model.safetensors")).unwrap()
    }

    #[test]
    fn the_folder_has_config_weights_and_tokenizer() {
        let kit = made(SMALL, 7).unwrap();
        let folder = kit.folder.path().join("model");
        let mut names: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|it| it.unwrap().file_name().display().to_string())
            .collect();
        names.sort();
        let want = [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json",
        ];
        assert_eq!(names, want);
        let it = model::ModelFolder::open(&folder).unwrap();
        assert_eq!(it.config.vocab, it.tokenizer.n_ids());
        assert_eq!((it.config.bos, it.config.eos.as_slice()), (Some(1), &[2][..]));
        assert_eq!(it.weights().unwrap().dtype(), WeightDtype::F32);
        assert_eq!(Some(it.config.parameters() as u64), kit.count("parameters"));
        let template = it.template(None).unwrap();
        assert_eq!(it.stop_ids(&template), [2, 7]);
    }

    #[test]
    fn the_seed_decides_about_the_weights() {
        let first = bytes(&made(SMALL, 7).unwrap());
        assert_eq!(first, bytes(&made(SMALL, 7).unwrap()));
        assert_ne!(first, bytes(&made(SMALL, 8).unwrap()));
        let half = bytes(&made(&format!("{SMALL}\ndtype = 'bf16'"), 7).unwrap());
        assert!(half.len() < first.len() * 6 / 10);
    }

    #[test]
    fn sizes_that_cannot_be_are_named() {
        let error = |with: &str| made(with, 1).err().unwrap().to_string();
        let all = [
            error(&format!("{SMALL}\nvocab_size = 500")),
            error(&SMALL.replace("num_attention_heads = 4", "num_attention_heads = 5")),
            error(&SMALL.replace("num_key_value_heads = 2", "num_key_value_heads = 3")),
            error(&format!("{SMALL}\nhead_dim = 7")),
            error(&format!("{SMALL}\nrope_theta = -1.0")),
        ];
        insta::assert_snapshot!(all.join("\n"), @r"
        parameters of `init`: `vocab_size` is 500, and the tokenizer has 560 ids
        parameters of `init`: `num_attention_heads` does not divide `hidden_size`; say `head_dim`
        `config.json`: `num_key_value_heads` is 3, which does not divide 4
        `config.json`: `head_dim` is 7, which is odd
        `config.json`: `rope_theta` is -1, not above 0 and at most 1000000000000
        ");
    }
}
