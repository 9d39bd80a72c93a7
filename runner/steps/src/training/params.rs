//! The parameters of training, and what they come to.

use kernels::decoder::lora::{Lora, Target};
use kernels::decoder::train::{Precision, Recompute};
use kernels::decoder::{Config, WeightDtype};
use kernels::ops::adamw::OptimStates;
use kernels::train::{BatchSize, Curve, Length, Schedule, Settings, Warmup};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words::refused;
use crate::StepError;

/// The shape of the learning rate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scheduler {
    /// Always the full rate.
    Constant,
    /// A straight line down.
    Linear,
    /// Half a cosine down.
    #[default]
    Cosine,
}

/// What the backward pass computes again to save memory.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Checkpointing {
    /// As much as it takes to fit.
    #[default]
    Auto,
    /// Nothing.
    None,
    /// Norms and SwiGLU are recomputed.
    Selective,
    /// Everything but the input of each layer is recomputed.
    Full,
}

/// What is trained in.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dtype {
    /// All in 32 bits.
    #[default]
    F32,
    /// Weights and activations in bf16, with f32 master weights.
    Bf16,
}

/// How master weights are kept when training is in bf16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MasterWeights {
    /// In f32, beside the bf16 weights.
    #[default]
    F32,
    /// Split: the bf16 weight is the upper half, and its lower 16 bits are kept beside it. Two bytes less a weight.
    Bf16Split,
}

/// What AdamW's two moments of each weight are kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OptimStatesIn {
    /// f32.
    #[default]
    F32,
    /// bf16: four bytes less a weight.
    Bf16,
    /// 8 bits, with an exponent for every 256: six bytes less a weight.
    #[serde(rename = "8bit")]
    EightBit,
}

/// Adapters.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoraTable {
    rank: usize,
    alpha: Option<f64>,
    #[serde(default)]
    dropout: f64,
    targets: Option<Vec<String>>,
}

/// The parameters that all training kinds have, as they stand in their tables.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) kind: &'static str,
    pub(crate) epochs: Option<u64>,
    pub(crate) max_steps: Option<u64>,
    pub(crate) batch_size: Option<usize>,
    pub(crate) batch_tokens: Option<usize>,
    pub(crate) learning_rate: f64,
    pub(crate) lr_scheduler: Scheduler,
    pub(crate) min_lr_ratio: f64,
    pub(crate) warmup_ratio: Option<f64>,
    pub(crate) warmup_steps: Option<u64>,
    pub(crate) weight_decay: f64,
    pub(crate) adam_beta1: f64,
    pub(crate) adam_beta2: f64,
    pub(crate) adam_epsilon: f64,
    pub(crate) max_grad_norm: f64,
    pub(crate) max_seq_len: Option<usize>,
    pub(crate) packing: bool,
    pub(crate) shuffle: bool,
    pub(crate) dtype: Dtype,
    pub(crate) master_weights: MasterWeights,
    pub(crate) optim_states: OptimStatesIn,
    pub(crate) lora: Option<LoraTable>,
    pub(crate) val_size: f64,
    pub(crate) eval_steps: Option<u64>,
    pub(crate) save_steps: Option<u64>,
    pub(crate) gradient_checkpointing: Checkpointing,
    pub(crate) micro_batch_tokens: Option<usize>,
}

/// Common parameters, checked against each other and the model.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) kind: &'static str,
    pub(crate) settings: Settings,
    /// Levels of recomputation to try, the fastest first.
    pub(crate) levels: Vec<Recompute>,
    pub(crate) max_seq_len: usize,
    pub(crate) val_size: f64,
    pub(crate) eval_steps: Option<u64>,
    pub(crate) save_steps: Option<u64>,
    /// What the model is saved as.
    pub(crate) dtype: WeightDtype,
}

impl Common {
    /// What the parameters come to for a model of these sizes.
    pub(crate) fn settle(&self, config: &Config, seed: u64) -> Result<Settled, StepError> {
        let max_seq_len = self.max_seq_len.unwrap_or(config.max_positions);
        if max_seq_len > config.max_positions {
            let most = config.max_positions;
            return Err(self
                .wrong(format!("`max_seq_len` is {max_seq_len}; the model has {most} positions")));
        }
        let at_least_0 = |it: f64| it >= 0.0 && it.is_finite();
        if !at_least_0(self.val_size) || self.val_size > 1.0 && self.val_size.fract() != 0.0 {
            return Err(
                self.wrong("`val_size` is neither a share nor a number of records".to_owned())
            );
        }
        if !at_least_0(self.max_grad_norm) {
            return Err(self.wrong("`max_grad_norm` is not a number from 0 up".to_owned()));
        }
        let settings = Settings {
            seed,
            length: self.length()?,
            batch: self.batch()?,
            pack: self.packing.then_some(max_seq_len),
            shuffle: self.shuffle,
            learning_rate: self.learning_rate,
            schedule: self.schedule()?,
            beta1: self.adam_beta1,
            beta2: self.adam_beta2,
            eps: self.adam_epsilon,
            weight_decay: self.weight_decay,
            max_grad_norm: (self.max_grad_norm > 0.0).then_some(self.max_grad_norm),
            precision: match (self.dtype, self.master_weights) {
                (Dtype::F32, MasterWeights::F32) => Precision::F32,
                (Dtype::Bf16, MasterWeights::F32) => Precision::Bf16,
                (Dtype::Bf16, MasterWeights::Bf16Split) => Precision::Bf16Split,
                (Dtype::F32, MasterWeights::Bf16Split) => {
                    let reason = "`master_weights = \"bf16_split\"` is for `dtype = \"bf16\"`: in f32 weights are whole";
                    return Err(self.wrong(reason.to_owned()));
                }
            },
            optim_states: match self.optim_states {
                OptimStatesIn::F32 => OptimStates::F32,
                OptimStatesIn::Bf16 => OptimStates::Bf16,
                OptimStatesIn::EightBit => OptimStates::EightBit,
            },
            lora: self.lora()?,
            recompute: Recompute::None,
            micro_tokens: self.micro_batch_tokens,
        };
        settings.check().map_err(|it| refused(self.kind, it))?;
        Ok(Settled {
            kind: self.kind,
            settings,
            levels: match self.gradient_checkpointing {
                Checkpointing::Auto => {
                    vec![Recompute::None, Recompute::Selective, Recompute::Full]
                }
                Checkpointing::None => vec![Recompute::None],
                Checkpointing::Selective => vec![Recompute::Selective],
                Checkpointing::Full => vec![Recompute::Full],
            },
            max_seq_len,
            val_size: self.val_size,
            eval_steps: self.eval_steps,
            save_steps: self.save_steps,
            dtype: match self.dtype {
                Dtype::F32 => WeightDtype::F32,
                Dtype::Bf16 => WeightDtype::Bf16,
            },
        })
    }

    fn wrong(&self, reason: String) -> StepError {
        StepError::Params { kind: self.kind, reason }
    }

    fn both(&self, one: &str, other: &str) -> StepError {
        self.wrong(format!("`{one}` and `{other}` say the same thing; leave one out"))
    }

    fn length(&self) -> Result<Length, StepError> {
        match (self.epochs, self.max_steps) {
            (Some(_), Some(_)) => Err(self.both("epochs", "max_steps")),
            (None, Some(steps)) => Ok(Length::Steps(steps)),
            (epochs, None) => Ok(Length::Epochs(epochs.unwrap_or(1))),
        }
    }

    fn batch(&self) -> Result<BatchSize, StepError> {
        match (self.batch_size, self.batch_tokens) {
            (Some(_), Some(_)) => Err(self.both("batch_size", "batch_tokens")),
            (None, Some(tokens)) => Ok(BatchSize::Tokens(tokens)),
            (rows, None) => Ok(BatchSize::Sequences(rows.unwrap_or(16))),
        }
    }

    fn schedule(&self) -> Result<Schedule, StepError> {
        let warmup = match (self.warmup_ratio, self.warmup_steps) {
            (Some(_), Some(_)) => return Err(self.both("warmup_ratio", "warmup_steps")),
            (Some(it), None) => Warmup::Ratio(it),
            (None, steps) => Warmup::Steps(steps.unwrap_or(0)),
        };
        let curve = match self.lr_scheduler {
            Scheduler::Constant => Curve::Constant,
            Scheduler::Linear => Curve::Linear,
            Scheduler::Cosine => Curve::Cosine,
        };
        Ok(Schedule { curve, warmup, min_ratio: self.min_lr_ratio })
    }

    fn lora(&self) -> Result<Option<Lora>, StepError> {
        let Some(table) = &self.lora else { return Ok(None) };
        let all: Vec<&str> = Target::ALL.iter().map(|it| it.module()).collect();
        let target = |name: &String| {
            let found = Target::ALL.iter().find(|it| it.module() == name).copied();
            let known = all.join("`, `");
            found
                .ok_or_else(|| self.wrong(format!("`lora.targets`: `{name}` is none of `{known}`")))
        };
        let targets = match &table.targets {
            Some(names) => names.iter().map(target).collect::<Result<_, _>>()?,
            None => Target::ALL.to_vec(),
        };
        let alpha = table.alpha.unwrap_or(2.0 * table.rank as f64);
        Ok(Some(Lora { rank: table.rank, alpha, dropout: table.dropout, targets }))
    }
}

/// The table of a training kind: its own fields, and those that all have.
macro_rules! training_params {
    ($kind:literal { $($own:tt)* }) => {
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct Params {
            /// The full learning rate.
            learning_rate: f64,
            /// Times through the data; 1 where neither this nor `max_steps` is said.
            #[schemars(range(min = 1))]
            epochs: Option<u64>,
            /// Steps, in place of `epochs`.
            #[schemars(range(min = 1))]
            max_steps: Option<u64>,
            /// Rows of a step, all together; 16 where neither this nor `batch_tokens` is said. With
            /// `packing` a row holds many samples.
            #[schemars(range(min = 1))]
            batch_size: Option<usize>,
            /// Tokens of a step, in place of `batch_size`.
            #[schemars(range(min = 1))]
            batch_tokens: Option<usize>,
            /// The shape of the learning rate after its warm-up.
            #[serde(default)]
            lr_scheduler: $crate::training::params::Scheduler,
            /// The least learning rate, as a share of the full one.
            #[serde(default)]
            min_lr_ratio: f64,
            /// The share of all steps in which the learning rate rises.
            warmup_ratio: Option<f64>,
            /// The number of them, in place of `warmup_ratio`.
            warmup_steps: Option<u64>,
            /// Decay of matrices; norms have none.
            #[serde(default)]
            weight_decay: f64,
            /// How slowly the mean of gradients forgets.
            #[serde(default = "default_beta1")]
            adam_beta1: f64,
            /// Decay rate of the second moment.
            #[serde(default = "default_beta2")]
            adam_beta2: f64,
            /// Epsilon, added to the denominator.
            #[serde(default = "default_epsilon")]
            adam_epsilon: f64,
            /// Gradients with a larger norm are clipped to it. 0: no clipping.
            #[serde(default = "default_norm")]
            max_grad_norm: f64,
            /// The longest sample, in tokens; nothing: what the model was made for.
            #[schemars(range(min = 2))]
            max_seq_len: Option<usize>,
            /// Whether short samples share rows. They never see each other.
            #[serde(default = "default_true")]
            packing: bool,
            /// Whether each epoch has an order of its own.
            #[serde(default = "default_true")]
            shuffle: bool,
            /// What is trained in, and what the model is saved as.
            #[serde(default)]
            dtype: $crate::training::params::Dtype,
            /// Master weights when `dtype` is `bf16`: `bf16_split` keeps only the 16 bits that the bf16 weight
            /// lacks, two bytes less a weight, and rounds a tie away from zero where `f32` rounds it to even.
            #[serde(default)]
            master_weights: $crate::training::params::MasterWeights,
            /// What AdamW's two moments of each weight are kept in: `bf16` takes four bytes less a weight and
            /// `8bit` six. Both round stochastically, under `seed`, so that small updates survive on average.
            #[serde(default)]
            optim_states: $crate::training::params::OptimStatesIn,
            /// Trains adapters, and adds them to the weights at the end: a table of `rank`, `alpha`
            /// (twice the rank), `dropout` (0) and `targets` (all).
            lora: Option<$crate::training::params::LoraTable>,
            /// Records that are only measured: a share below 1, or a number.
            #[serde(default)]
            val_size: f64,
            /// Steps between measurements; there is one before the first step and one after the last.
            #[schemars(range(min = 1))]
            eval_steps: Option<u64>,
            /// Steps between checkpoints, beside those by time.
            #[schemars(range(min = 1))]
            save_steps: Option<u64>,
            /// What the backward pass computes again, to save memory.
            #[serde(default)]
            gradient_checkpointing: $crate::training::params::Checkpointing,
            /// The most tokens that are computed at once; nothing: what fits.
            #[schemars(range(min = 1))]
            micro_batch_tokens: Option<usize>,
            /// What the data calls the fields, by our names.
            #[serde(default)]
            columns: $crate::model::record::Columns,
            $($own)*
        }

        fn default_beta1() -> f64 {
            0.9
        }

        fn default_beta2() -> f64 {
            0.999
        }

        fn default_epsilon() -> f64 {
            1e-8
        }

        fn default_norm() -> f64 {
            1.0
        }

        fn default_true() -> bool {
            true
        }

        impl Params {
            fn common(&self) -> $crate::training::Common {
                $crate::training::Common {
                    kind: $kind,
                    epochs: self.epochs,
                    max_steps: self.max_steps,
                    batch_size: self.batch_size,
                    batch_tokens: self.batch_tokens,
                    learning_rate: self.learning_rate,
                    lr_scheduler: self.lr_scheduler,
                    min_lr_ratio: self.min_lr_ratio,
                    warmup_ratio: self.warmup_ratio,
                    warmup_steps: self.warmup_steps,
                    weight_decay: self.weight_decay,
                    adam_beta1: self.adam_beta1,
                    adam_beta2: self.adam_beta2,
                    adam_epsilon: self.adam_epsilon,
                    max_grad_norm: self.max_grad_norm,
                    max_seq_len: self.max_seq_len,
                    packing: self.packing,
                    shuffle: self.shuffle,
                    dtype: self.dtype,
                    master_weights: self.master_weights,
                    optim_states: self.optim_states,
                    lora: self.lora.clone(),
                    val_size: self.val_size,
                    eval_steps: self.eval_steps,
                    save_steps: self.save_steps,
                    gradient_checkpointing: self.gradient_checkpointing,
                    micro_batch_tokens: self.micro_batch_tokens,
                }
            }
        }
    };
}
pub(crate) use training_params;
