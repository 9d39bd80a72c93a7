//! Which tensors a model has, under which names, and where each lies in memory.
//!
//! In memory all weights are one arena. Query, key and value weights of a layer are the rows of one
//! matrix, and so are gate and up: one product instead of three and of two. Files know them by
//! their own names; [`Layout::tensors`] is the table between the two. Gradients, moments and master
//! weights have the same layout.

use super::config::Config;

/// Slots begin at multiples of this many elements, so that every matrix is aligned for any device.
const ALIGN: usize = 64;

/// What a slot of the arena is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The embedding; the output layer too, where they are tied.
    Embed,
    /// Gain of the norm before attention.
    InputNorm(usize),
    /// Query, key and value rows.
    Qkv(usize),
    /// The output of attention.
    O(usize),
    /// Gain of the norm before the feed-forward part.
    PostNorm(usize),
    /// Gate rows, then up rows.
    GateUp(usize),
    /// The output of the feed-forward part.
    Down(usize),
    /// Gain of the last norm.
    Norm,
    /// The output layer, where it is not the embedding.
    Head,
}

/// A matrix, or a vector as a matrix of one row, in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// What it is.
    pub part: Part,
    /// Its rows.
    pub rows: usize,
    /// Its columns.
    pub columns: usize,
    /// Where it begins, in elements.
    pub start: usize,
    /// Whether weight decay pulls at it: at matrices, never at gains.
    pub decay: bool,
}

impl Slot {
    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// Whether it has none; sizes are checked, so none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its elements in the arena.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.start..self.start + self.len()
    }
}

/// A tensor as files know it: some rows of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name in files.
    pub name: String,
    /// The slot that it is a part of.
    pub part: Part,
    /// Its first row there.
    pub first_row: usize,
    /// Its shape: one size for a gain, two for a matrix.
    pub shape: Vec<usize>,
    /// Where it begins in the arena, in elements.
    pub start: usize,
}

impl Tensor {
    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has none; sizes are checked, so none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its elements in the arena.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.start..self.start + self.len()
    }
}

/// The place of each weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    slots: Vec<Slot>,
    layers: usize,
    len: usize,
    tensors: Vec<Tensor>,
}

/// How many slots a layer has.
const PER_LAYER: usize = 6;

impl Layout {
    /// The layout of a model. The configuration has been checked.
    pub fn new(config: &Config) -> Self {
        let mut layout =
            Self { slots: Vec::new(), layers: config.layers, len: 0, tensors: Vec::new() };
        let hidden = config.hidden;
        layout.push(Part::Embed, &[("model.embed_tokens.weight".to_owned(), config.vocab)], hidden);
        for layer in 0..config.layers {
            layout.push_layer(config, layer);
        }
        layout.push(Part::Norm, &[("model.norm.weight".to_owned(), 1)], hidden);
        if !config.tied {
            layout.push(Part::Head, &[("lm_head.weight".to_owned(), config.vocab)], hidden);
        }
        layout
    }

    fn push_layer(&mut self, config: &Config, layer: usize) {
        let name = |it: &str| format!("model.layers.{layer}.{it}.weight");
        let (hidden, wide) = (config.hidden, config.intermediate);
        let (q, kv) = (config.attention_width(), config.kv_heads * config.head_dim);
        let names = |all: &[(&str, usize)]| -> Vec<(String, usize)> {
            all.iter().map(|(it, rows)| (name(it), *rows)).collect()
        };
        self.push(Part::InputNorm(layer), &names(&[("input_layernorm", 1)]), hidden);
        let qkv = [("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)];
        self.push(Part::Qkv(layer), &names(&qkv), hidden);
        self.push(Part::O(layer), &names(&[("self_attn.o_proj", hidden)]), q);
        self.push(Part::PostNorm(layer), &names(&[("post_attention_layernorm", 1)]), hidden);
        let gate_up = [("mlp.gate_proj", wide), ("mlp.up_proj", wide)];
        self.push(Part::GateUp(layer), &names(&gate_up), hidden);
        self.push(Part::Down(layer), &names(&[("mlp.down_proj", hidden)]), wide);
    }

    fn push(&mut self, part: Part, tensors: &[(String, usize)], columns: usize) {
        let gain = matches!(part, Part::InputNorm(_) | Part::PostNorm(_) | Part::Norm);
        let rows = tensors.iter().map(|it| it.1).sum();
        let slot = Slot { part, rows, columns, start: self.len, decay: !gain };
        let mut first_row = 0;
        for (name, rows) in tensors {
            self.tensors.push(Tensor {
                name: name.clone(),
                part,
                first_row,
                shape: if gain { vec![columns] } else { vec![*rows, columns] },
                start: slot.start + first_row * columns,
            });
            first_row += rows;
        }
        self.len = (slot.start + slot.len()).next_multiple_of(ALIGN);
        self.slots.push(slot);
    }

    /// All slots, in the order of memory.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot of a part. The output layer of a tied model is its embedding.
    ///
    /// # Panics
    ///
    /// If the model has fewer layers than the part says.
    pub fn slot(&self, part: Part) -> &Slot {
        let of = |layer: usize, within: usize| {
            assert!(layer < self.layers, "layer {layer} of {}", self.layers);
            1 + layer * PER_LAYER + within
        };
        let last = self.slots.len() - 1;
        let index = match part {
            Part::Embed => 0,
            Part::InputNorm(layer) => of(layer, 0),
            Part::Qkv(layer) => of(layer, 1),
            Part::O(layer) => of(layer, 2),
            Part::PostNorm(layer) => of(layer, 3),
            Part::GateUp(layer) => of(layer, 4),
            Part::Down(layer) => of(layer, 5),
            Part::Norm => 1 + self.layers * PER_LAYER,
            Part::Head if last == 1 + self.layers * PER_LAYER => 0,
            Part::Head => last,
        };
        &self.slots[index]
    }

    /// Every tensor of a file, in the order of memory. A tied output layer is not among them.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// How many elements the arena has, with the gaps between slots; gaps hold zeros.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none; sizes are checked, so it never is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn slots_hold_all_parameters_side_by_side_and_tensors_cover_them() {
        for tied in [false, true] {
            let text = format!(
                r#"{{"model_type": "llama", "hidden_size": 12, "intermediate_size": 20,
                "vocab_size": 33, "num_hidden_layers": 3, "num_attention_heads": 6,
                "num_key_value_heads": 2, "rope_theta": 10000, "tie_word_embeddings": {tied}}}"#
            );
            let config = Config::parse(text.as_bytes(), Path::new("c")).unwrap();
            let layout = Layout::new(&config);
            let all: usize = layout.slots().iter().map(Slot::len).sum();
            assert_eq!(all as u128, config.parameters());
            assert_eq!(layout.tensors().iter().map(Tensor::len).sum::<usize>(), all);
            for pair in layout.slots().windows(2) {
                assert!(pair[0].range().end <= pair[1].start && pair[1].start % ALIGN == 0);
            }
            for tensor in layout.tensors() {
                let slot = layout.slot(tensor.part);
                assert_eq!(slot.part, tensor.part);
                assert_eq!(tensor.start, slot.start + tensor.first_row * slot.columns);
                assert_eq!(slot.decay, tensor.shape.len() == 2);
            }
            let head = layout.slot(Part::Head).part;
            assert_eq!(head, if tied { Part::Embed } else { Part::Head });
        }
    }
}
