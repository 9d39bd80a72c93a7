//! What `config.json` says of a model.
//!
//! Read in both spellings of `transformers` (`rope_theta`, and the newer `rope_parameters`) and
//! written in the older one, which both versions load. What would change the numbers and is not
//! done here is refused by name: scaled rotary positions, biases, other activations, other
//! architectures. Sizes are checked before anything is allocated for them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::error::{Error, Result};

/// How large a `config.json` may be.
const MOST_BYTES: u64 = 1 << 20;
/// How many numbers a model may have.
const MOST_PARAMETERS: u128 = 1 << 42;
/// The architectures that are this one.
const ARCHITECTURES: &[&str] = &["LlamaForCausalLM", "YiForCausalLM"];
/// The model types that are this one.
const MODEL_TYPES: &[&str] = &["llama", "Yi", "yi"];

/// The rotary base of a `llama` that does not say it, as in `transformers`.
const LLAMA_THETA: f64 = 10_000.0;

/// The kinds of numbers that weights are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WeightDtype {
    /// 32 bits.
    F32,
    /// 16 bits with the exponent of f32.
    Bf16,
    /// 16 bits, IEEE.
    F16,
}

impl WeightDtype {
    /// The bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            WeightDtype::F32 => 4,
            WeightDtype::Bf16 | WeightDtype::F16 => 2,
        }
    }

    /// The word in `config.json`.
    pub fn word(self) -> &'static str {
        match self {
            WeightDtype::F32 => "float32",
            WeightDtype::Bf16 => "bfloat16",
            WeightDtype::F16 => "float16",
        }
    }

    /// What the header of a file of weights calls it.
    pub fn in_header(self) -> safetensors::Dtype {
        match self {
            WeightDtype::F32 => safetensors::Dtype::F32,
            WeightDtype::Bf16 => safetensors::Dtype::BF16,
            WeightDtype::F16 => safetensors::Dtype::F16,
        }
    }

    /// The kind with that word in a header.
    pub fn from_header(word: &str) -> Option<Self> {
        [WeightDtype::F32, WeightDtype::Bf16, WeightDtype::F16]
            .into_iter()
            .find(|it| it.in_header().to_string() == word)
    }
}

/// The sizes and constants of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Width of the residual stream.
    pub hidden: usize,
    /// How many layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Width inside the feed-forward part.
    pub intermediate: usize,
    /// How many token ids.
    pub vocab: usize,
    /// The base of the rotary positions' wavelengths.
    pub rope_theta: f64,
    /// What RMS norms add below the root.
    pub rms_norm_eps: f64,
    /// How many positions the model was made for.
    pub max_positions: usize,
    /// Whether the output layer is the embedding.
    pub tied: bool,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The tokens that end a text.
    pub eos: Vec<u32>,
    /// The pad token.
    pub pad: Option<u32>,
    /// What the weights are stored as, if it is said.
    pub dtype: Option<WeightDtype>,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
}

impl Config {
    /// Reads `config.json` of a folder.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let read = |source| Error::Read { path: path.clone(), source };
        let bytes = std::fs::metadata(&path).map_err(read)?.len();
        if bytes > MOST_BYTES {
            let reason = format!("{bytes} bytes, more than {MOST_BYTES}");
            return Err(Error::Json { path, reason });
        }
        let text = std::fs::read(&path).map_err(read)?;
        Self::parse(&text, &path)
    }

    /// Reads the text of a `config.json`; `path` is for errors.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self> {
        let map: Map<String, Value> = serde_json::from_slice(text)
            .map_err(|it| Error::Json { path: path.to_owned(), reason: it.to_string() })?;
        let fields = Fields { path, map: &map };
        fields.check_architecture()?;
        fields.check_unsupported()?;
        let (hidden, heads) = (fields.size("hidden_size")?, fields.size("num_attention_heads")?);
        let vocab = fields.size("vocab_size")?;
        let config = Self {
            hidden,
            layers: fields.size("num_hidden_layers")?,
            heads,
            kv_heads: fields.size_or("num_key_value_heads", heads)?,
            head_dim: fields.head_dim(hidden, heads)?,
            intermediate: fields.size("intermediate_size")?,
            vocab,
            rope_theta: fields.rope_theta()?,
            rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
            max_positions: fields.size_or("max_position_embeddings", 2048)?,
            tied: fields.flag("tie_word_embeddings")?,
            bos: fields.one_id("bos_token_id", 1, vocab)?,
            eos: fields.ids("eos_token_id", 2, vocab)?,
            pad: fields.pad(vocab)?,
            dtype: fields.dtype()?,
            initializer_range: fields.number("initializer_range")?.unwrap_or(0.02),
        };
        config.check(path)?;
        Ok(config)
    }

    /// Whether a model can have these sizes; `path` is for errors.
    pub fn check(&self, path: &Path) -> Result<()> {
        let refuse = |field: &str, reason: String| {
            Err(Error::Field { path: path.to_owned(), field: field.to_owned(), reason })
        };
        let sizes = [
            ("hidden_size", self.hidden, 1 << 20),
            ("num_hidden_layers", self.layers, 1 << 12),
            ("num_attention_heads", self.heads, 1 << 14),
            ("num_key_value_heads", self.kv_heads, 1 << 14),
            ("head_dim", self.head_dim, 1 << 12),
            ("intermediate_size", self.intermediate, 1 << 22),
            ("vocab_size", self.vocab, 1 << 24),
            ("max_position_embeddings", self.max_positions, 1 << 30),
        ];
        if let Some((field, size, most)) = sizes.into_iter().find(|it| it.1 == 0 || it.1 > it.2) {
            return refuse(field, format!("is {size}, not between 1 and {most}"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let reason = format!("is {}, which does not divide {}", self.kv_heads, self.heads);
            return refuse("num_key_value_heads", reason);
        }
        if !self.head_dim.is_multiple_of(2) {
            return refuse("head_dim", format!("is {}, which is odd", self.head_dim));
        }
        let numbers = [
            ("rope_theta", self.rope_theta, 1e12),
            ("rms_norm_eps", self.rms_norm_eps, 1.0),
            ("initializer_range", self.initializer_range, 10.0),
        ];
        let wrong = |it: &(&str, f64, f64)| it.1.is_nan() || it.1 <= 0.0 || it.1 > it.2;
        if let Some((field, number, most)) = numbers.into_iter().find(wrong) {
            return refuse(field, format!("is {number}, not above 0 and at most {most}"));
        }
        let parameters = self.parameters();
        if parameters > MOST_PARAMETERS {
            let reason = format!("and the other sizes make {parameters} parameters");
            return refuse("hidden_size", reason);
        }
        Ok(())
    }

    /// How many numbers the model has.
    pub fn parameters(&self) -> u128 {
        let [hidden, wide] = [self.hidden, self.intermediate].map(|it| it as u128);
        let head = if self.tied { 0 } else { hidden * self.vocab as u128 };
        let rows = (2 * self.heads + 2 * self.kv_heads) as u128 * self.head_dim as u128;
        let layer = rows * hidden + 3 * hidden * wide + 2 * hidden;
        self.vocab as u128 * hidden + self.layers as u128 * layer + hidden + head
    }

    /// Rows of the fused query, key and value weight.
    pub fn qkv_rows(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Width of all query heads together.
    pub fn attention_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// The text of `config.json`, in the spelling that old and new readers understand.
    pub fn to_json(&self, dtype: WeightDtype) -> String {
        let value = json!({
            "architectures": [ARCHITECTURES[0]],
            "model_type": MODEL_TYPES[0],
            "vocab_size": self.vocab,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_positions,
            "initializer_range": self.initializer_range,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": null,
            "attention_bias": false,
            "attention_dropout": 0.0,
            "mlp_bias": false,
            "tie_word_embeddings": self.tied,
            "use_cache": true,
            "bos_token_id": self.bos,
            "eos_token_id": ids_json(&self.eos),
            "pad_token_id": self.pad,
            "torch_dtype": dtype.word(),
        });
        format!("{value:#}\n")
    }

    /// The text of `generation_config.json`.
    pub fn generation_json(&self) -> String {
        let mut map = Map::new();
        map.insert("_from_model_config".into(), Value::Bool(false));
        map.extend(self.bos.map(|it| ("bos_token_id".into(), it.into())));
        if !self.eos.is_empty() {
            map.insert("eos_token_id".into(), ids_json(&self.eos));
        }
        map.extend(self.pad.map(|it| ("pad_token_id".into(), it.into())));
        format!("{:#}\n", Value::Object(map))
    }
}

/// One id is a number, several are a list.
fn ids_json(ids: &[u32]) -> Value {
    match ids {
        [] => Value::Null,
        [one] => (*one).into(),
        more => more.into(),
    }
}

/// The fields of a `config.json`.
struct Fields<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
}

impl Fields<'_> {
    fn refuse<T>(&self, field: &str, reason: impl Into<String>) -> Result<T> {
        let path: PathBuf = self.path.to_owned();
        Err(Error::Field { path, field: field.to_owned(), reason: reason.into() })
    }

    /// The field, if it is there and not null.
    fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|it| !it.is_null())
    }

    fn check_architecture(&self) -> Result<()> {
        let model_type = self.get("model_type");
        let named = model_type.and_then(Value::as_str);
        if model_type.is_some() && !named.is_some_and(|it| MODEL_TYPES.contains(&it)) {
            let reason = format!("is {}, not one of {}", short(model_type), MODEL_TYPES.join(", "));
            return self.refuse("model_type", reason);
        }
        let Some(list) = self.get("architectures") else {
            let none = "is missing, and so is `architectures`";
            return if named.is_some() { Ok(()) } else { self.refuse("model_type", none) };
        };
        let known = |it: &Value| it.as_str().is_some_and(|it| ARCHITECTURES.contains(&it));
        match list.as_array().map(Vec::as_slice) {
            Some([one]) if known(one) => Ok(()),
            _ => self.refuse(
                "architectures",
                format!("is {}, not one of {}", short(Some(list)), ARCHITECTURES.join(", ")),
            ),
        }
    }

    fn check_unsupported(&self) -> Result<()> {
        for field in ["attention_bias", "mlp_bias"] {
            if self.flag(field)? {
                return self.refuse(field, "is true, and biases are not supported");
            }
        }
        if let Some(other) = self.get("hidden_act").filter(|it| it.as_str() != Some("silu")) {
            return self.refuse("hidden_act", format!("is {}, not silu", short(Some(other))));
        }
        if self.number("attention_dropout")?.is_some_and(|it| it != 0.0) {
            return self.refuse("attention_dropout", "is not 0");
        }
        if self.get("quantization_config").is_some() {
            return self.refuse("quantization_config", "is there, and its weights are not read");
        }
        for field in ["rope_scaling", "rope_parameters"] {
            let Some(rope) = self.get(field) else { continue };
            let Some(rope) = rope.as_object() else {
                return self.refuse(field, "is not an object");
            };
            for key in ["rope_type", "type"] {
                let kind = rope.get(key).filter(|it| !it.is_null());
                if kind.is_some_and(|it| it.as_str() != Some("default")) {
                    let reason = format!("is {}, not default", short(kind));
                    return self.refuse(&format!("{field}.{key}"), reason);
                }
            }
            if field == "rope_scaling" && rope.get("factor").is_some_and(|it| !it.is_null()) {
                return self.refuse("rope_scaling.factor", "is there, and scaling is not done");
            }
        }
        Ok(())
    }

    fn rope_theta(&self) -> Result<f64> {
        let new = match self.get("rope_parameters").and_then(|it| it.get("rope_theta")) {
            None | Some(Value::Null) => None,
            Some(value) => match value.as_f64() {
                Some(theta) => Some(theta),
                None => return self.refuse("rope_parameters.rope_theta", "is not a number"),
            },
        };
        match (self.number("rope_theta")?, new) {
            (Some(old), Some(new)) if old != new => {
                self.refuse("rope_theta", format!("is {old}, and `rope_parameters` says {new}"))
            }
            (Some(theta), _) | (None, Some(theta)) => Ok(theta),
            // Files older than the field; those of `Yi` always had it, and not this value.
            (None, None) if self.get("model_type").and_then(Value::as_str) == Some("llama") => {
                Ok(LLAMA_THETA)
            }
            (None, None) => {
                self.refuse("rope_theta", "is missing, also as `rope_parameters.rope_theta`")
            }
        }
    }

    fn head_dim(&self, hidden: usize, heads: usize) -> Result<usize> {
        if self.get("head_dim").is_some() {
            return self.size("head_dim");
        }
        if heads == 0 || !hidden.is_multiple_of(heads) {
            let reason = format!("is {heads}, which does not divide {hidden}");
            return self.refuse("num_attention_heads", reason);
        }
        Ok(hidden / heads)
    }

    fn size(&self, field: &str) -> Result<usize> {
        match self.get(field) {
            None => self.refuse(field, "is missing"),
            Some(value) => match value.as_u64().and_then(|it| usize::try_from(it).ok()) {
                Some(size) if size > 0 && size <= 1 << 30 => Ok(size),
                _ => self.refuse(field, format!("is {}, not a size", short(Some(value)))),
            },
        }
    }

    fn size_or(&self, field: &str, default: usize) -> Result<usize> {
        if self.get(field).is_none() { Ok(default) } else { self.size(field) }
    }

    fn number(&self, field: &str) -> Result<Option<f64>> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => self.refuse(field, format!("is {}, not a number", short(Some(value)))),
            },
        }
    }

    fn flag(&self, field: &str) -> Result<bool> {
        match self.get(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => {
                self.refuse(field, format!("is {}, not true or false", short(Some(value))))
            }
        }
    }

    /// One id, several, or none. A missing field means what it means to `transformers`.
    fn ids(&self, field: &str, default: u32, vocab: usize) -> Result<Vec<u32>> {
        let one = |value: &Value| match value.as_u64().and_then(|it| u32::try_from(it).ok()) {
            Some(id) if (id as usize) < vocab => Ok(id),
            Some(id) => self.refuse(field, format!("is {id}, and there are {vocab} ids")),
            None => self.refuse(field, format!("is {}, not an id", short(Some(value)))),
        };
        match self.map.get(field) {
            None => Ok(if (default as usize) < vocab { vec![default] } else { Vec::new() }),
            Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(one).collect(),
            Some(value) => Ok(vec![one(value)?]),
        }
    }

    fn one_id(&self, field: &str, default: u32, vocab: usize) -> Result<Option<u32>> {
        Ok(self.ids(field, default, vocab)?.first().copied())
    }

    /// Old files say -1 for "there is none".
    fn pad(&self, vocab: usize) -> Result<Option<u32>> {
        match self.map.get("pad_token_id") {
            None => Ok(None),
            Some(value) if value.as_i64() == Some(-1) => Ok(None),
            Some(_) => self.one_id("pad_token_id", 0, vocab),
        }
    }

    fn dtype(&self) -> Result<Option<WeightDtype>> {
        let (field, value) = match (self.get("torch_dtype"), self.get("dtype")) {
            (Some(value), _) => ("torch_dtype", value),
            (None, Some(value)) => ("dtype", value),
            (None, None) => return Ok(None),
        };
        let all = [WeightDtype::F32, WeightDtype::Bf16, WeightDtype::F16];
        match all.into_iter().find(|it| value.as_str() == Some(it.word())) {
            Some(dtype) => Ok(Some(dtype)),
            None => self.refuse(
                field,
                format!("is {}, not float32, bfloat16 or float16", short(Some(value))),
            ),
        }
    }
}

/// A value for an error: what there is of it on one line.
fn short(value: Option<&Value>) -> String {
    let text = value.map(Value::to_string).unwrap_or_default();
    if text.chars().count() <= 60 {
        return text;
    }
    format!("{}…", text.chars().take(60).collect::<String>())
}
