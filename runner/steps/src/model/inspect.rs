//! What can be said of a model's folder without reading its weights.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::chat::{Chat, LossOn, Sample};
use super::error::TextError;
use super::folder_model::{ModelError, ModelFolder};
use super::record::Columns;
use super::template::Template;
use super::view::{TokenView, view};
use crate::StepError;
use crate::texts::Texts;

/// Facts about a model's folder.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// What is computed: Llama's, of which Yi's is one.
    pub architecture: &'static str,
    /// How many numbers the model has.
    pub parameters: u64,
    /// What they are stored as.
    pub dtype: String,
    /// The bytes of its weight files.
    pub weight_bytes: u64,
    /// Sizes by the names of `config.json`.
    pub sizes: Map<String, Value>,
    /// Whether the output layer is the embedding.
    pub tied: bool,
    /// Bytes of keys and values for each token.
    pub cache_bytes_per_token: u64,
    /// Bytes of weights, gradients and AdamW's moments in f32.
    pub training_bytes: u64,
    /// Tokens of the tokenizer.
    pub tokens: usize,
    /// Its greatest id plus one.
    pub ids: usize,
    /// Rows of the embedding.
    pub rows: usize,
    /// Tokens that the files name, with their ids.
    pub named: Vec<(String, String, Option<u32>)>,
    /// Whether a token is put before every text.
    pub adds_bos: bool,
    /// Tokens that end an answer.
    pub stop: Vec<(u32, String)>,
    /// The file of the chat template.
    pub template: Option<String>,
    /// What will surprise.
    pub warnings: Vec<String>,
}

/// Looks at a folder; its weights are checked against its sizes, and not read.
pub fn inspect(folder: &ModelFolder) -> Result<Inspection, ModelError> {
    let config = &folder.config;
    let weights = folder.weights()?;
    let template = Template::of_folder(&folder.path)?;
    let tokenizer = &folder.tokenizer;
    let named = tokenizer.named();
    let mut stop = named.stop.clone();
    stop.extend(&config.eos);
    stop.sort_unstable();
    stop.dedup();
    let warnings = warnings(folder, template.as_ref(), &stop);
    let parameters = u64::try_from(config.parameters()).unwrap_or(u64::MAX);
    let sizes = serde_json::json!({
        "hidden_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.intermediate,
        "max_position_embeddings": config.max_positions,
        "rope_theta": config.rope_theta,
        "rms_norm_eps": config.rms_norm_eps,
    });
    let name = |id: &u32| (*id, tokenizer.token(*id).unwrap_or("no token").to_owned());
    Ok(Inspection {
        architecture: "LlamaForCausalLM",
        parameters,
        dtype: weights.dtype().word().to_owned(),
        weight_bytes: weights.bytes(),
        sizes: sizes.as_object().cloned().unwrap_or_default(),
        tied: config.tied,
        cache_bytes_per_token: (8 * config.layers * config.kv_heads * config.head_dim) as u64,
        training_bytes: parameters.saturating_mul(16),
        tokens: tokenizer.n_tokens(),
        ids: tokenizer.n_ids(),
        rows: config.vocab,
        named: named
            .texts
            .iter()
            .map(|(name, text)| (name.clone(), text.clone(), tokenizer.id(text)))
            .collect(),
        adds_bos: tokenizer.bos_to_add().is_some(),
        stop: stop.iter().map(name).collect(),
        template: template.map(|it| it.name().to_owned()),
        warnings,
    })
}

fn warnings(folder: &ModelFolder, template: Option<&Template>, stop: &[u32]) -> Vec<String> {
    let (tokenizer, rows) = (&folder.tokenizer, folder.config.vocab);
    let mut all = Vec::new();
    if tokenizer.n_ids() > rows {
        let (first, last) = (rows, tokenizer.n_ids() - 1);
        all.push(format!(
            "the tokenizer has ids {first} to {last}, and the embedding has {rows} rows: a text \
             with one of them is refused"
        ));
    }
    if stop.is_empty() {
        all.push("no token ends an answer: `eos_token_id` is nowhere".to_owned());
    }
    match template {
        None => all.push("there is no chat template".to_owned()),
        Some(template) => {
            let end = Chat { tokenizer, template }.end_token();
            if let Some(id) = end.filter(|it| !stop.contains(it)) {
                let token = tokenizer.token(id).unwrap_or_default();
                all.push(format!(
                    "the template ends answers with `{token}` ({id}), which is not in \
                     `eos_token_id`: other programs may not stop there"
                ));
            }
        }
    }
    all
}

/// The tokens of the first records of a file, with what of them would be trained.
pub fn tokens_of_records(
    folder: &ModelFolder,
    template: Option<&str>,
    file: &Path,
    n: usize,
) -> Result<Vec<Vec<TokenView>>, StepError> {
    let columns = Columns::new();
    let mut texts = Texts::open(file, &columns)?;
    let (mut all, mut opened) = (Vec::new(), None);
    while all.len() < n {
        let read = texts.next(|it| match it.has_text() {
            true => Ok((Some(it.text()?.to_owned()), None)),
            false => Ok((None, Some(it.conversation()?))),
        })?;
        let sample = match read {
            None => break,
            Some((Some(text), _)) => document(folder, &text)?,
            Some((None, None)) => continue,
            Some((None, Some(conversation))) => {
                let template = match &mut opened {
                    Some(it) => it,
                    none => none.insert(folder.template(template)?),
                };
                let chat = Chat { tokenizer: &folder.tokenizer, template };
                chat.sample(&conversation, LossOn::Answer)?
            }
        };
        all.push(view(&folder.tokenizer, &sample)?);
    }
    Ok(all)
}

fn document(folder: &ModelFolder, text: &str) -> Result<Sample, TextError> {
    let ids = folder.tokenizer.encode_document(text)?;
    let trained = vec![true; ids.len()];
    Ok(Sample { ids, trained })
}
