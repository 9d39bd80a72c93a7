//! How much memory a run takes, known before anything is loaded.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result, gib};
use super::settings::Settings;
use crate::Dtype;
use crate::decoder::config::Config;
use crate::decoder::layout::Layout;
use crate::decoder::lora::{Lora, LoraLayout};
use crate::decoder::train::{Precision, Recompute, Sizes};
use crate::ops::adamw::OptimStates;
use crate::ops::cross_entropy::rows_at_once;

/// Bytes by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPlan {
    /// The most tokens that are computed at once.
    pub micro_tokens: usize,
    /// Weights, and the table of rotary positions.
    pub weights: u64,
    /// Gradients of what is trained.
    pub gradients: u64,
    /// OptimStates, and exact weights beside rounded ones.
    pub optimizer: u64,
    /// What the passes keep for one micro-batch.
    pub activations: u64,
    /// Logits of one chunk.
    pub logits: u64,
}

/// What a run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub available: u64,
    /// The most tokens at once: more than that does not make the device faster.
    pub micro_tokens: usize,
}

/// What the texts of a run ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The tokens of the longest text, of those for evaluation too.
    pub longest: usize,
    /// The most tokens of one step.
    pub step: usize,
}

impl MemoryPlan {
    /// The memory of a run that computes this many tokens at once.
    pub fn new(
        config: &Config,
        settings: &Settings,
        micro_tokens: usize,
        positions: usize,
    ) -> Self {
        let all = Layout::new(config).len() as u64;
        let lora = settings.lora.as_ref();
        let trained = lora.map_or(all, |it| LoraLayout::new(config, it).len() as u64);
        let adapters = if lora.is_some() { trained } else { 0 };
        let precision = settings.precision;
        let of_master = precision.masters().filter(|_| lora.is_none()).map_or(0, Dtype::bytes);
        let head = if config.tied && lora.is_none() { config.vocab * config.hidden } else { 0 };
        // As many as a device with tensor cores takes, which is more than a processor does.
        let in_place = precision.activations() == Dtype::Bf16;
        let rows = rows_at_once(config.vocab, in_place).min(micro_tokens);
        let sizes = Sizes::new(config, precision, lora);
        let kept = settings.optim_states;
        // Slots of bytes are a little longer, each by less than a line.
        let moments = (kept.len(trained as usize) * kept.dtype().bytes()) as u64;
        Self {
            micro_tokens,
            weights: all * precision.weights().bytes() as u64
                + 4 * adapters
                + 4 * (positions * config.head_dim) as u64,
            gradients: 4 * (trained + head as u64),
            optimizer: 2 * moments + trained * of_master as u64,
            activations: sizes.bytes_per_token(settings.recompute) * micro_tokens as u64,
            logits: 4 * (rows * (config.vocab + 2 * config.hidden)) as u64,
        }
    }

    /// The plan with the largest micro-batches that fit, or why none does.
    pub fn choose(
        config: &Config,
        settings: &Settings,
        demand: Demand,
        limits: Limits,
    ) -> Result<Self> {
        let plan = |tokens| Self::new(config, settings, tokens, demand.longest);
        let most = settings.micro_tokens.unwrap_or(limits.micro_tokens);
        let most = most.min(demand.step).max(demand.longest);
        let whole = plan(most);
        if whole.total() <= limits.available {
            return Ok(whole);
        }
        let least = plan(demand.longest);
        // All else is no larger than for the whole.
        let room = limits.available.saturating_sub(whole.total() - whole.activations);
        let tokens = (room / plan(1).activations.max(1)) as usize;
        if tokens >= demand.longest {
            return Ok(plan(tokens.min(most)));
        }
        let savings = savings(config, settings, demand, limits);
        let available = limits.available;
        Err(Error::NoRoom { plan: Box::new(least), available, savings })
    }

    /// How long a token takes, for comparing plans of one run: what is recomputed, and what each
    /// micro-batch costs however large it is, mostly the gradients that it is added to.
    fn cost(&self, recompute: Recompute) -> f64 {
        /// As if each micro-batch had so many tokens more; doc/decisions/0013-cuda.md.
        const MORE_TOKENS: f64 = 500.0;
        let tokens = self.micro_tokens as f64;
        recompute.work() * (tokens + MORE_TOKENS) / tokens
    }

    /// The plan that makes a run fastest, with its level of recomputation, which is one of these; of equally
    /// fast ones the first.
    pub fn fastest(
        config: &Config,
        settings: &Settings,
        levels: &[Recompute],
        (demand, limits): (Demand, Limits),
    ) -> Result<(Recompute, Self)> {
        let mut best: Option<(Recompute, Self)> = None;
        let mut refused = Error::Setting { field: "recompute", reason: "has no level".to_owned() };
        for level in levels {
            let settings = Settings { recompute: *level, ..settings.clone() };
            match Self::choose(config, &settings, demand, limits) {
                Ok(plan) if best.is_none_or(|it| plan.cost(*level) < it.1.cost(it.0)) => {
                    best = Some((*level, plan));
                }
                Ok(_) => (),
                Err(it) => refused = it,
            }
        }
        best.ok_or(refused)
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.gradients + self.optimizer + self.activations + self.logits
    }
}

/// A change of settings that takes less memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saving {
    /// More is recomputed.
    Recompute(Recompute),
    /// Weights and activations in bf16.
    Bf16,
    /// Masters that are the bits which weights lack.
    MasterWeights,
    /// OptimStates in less.
    OptimStates(OptimStates),
    /// Adapters in place of the weights.
    Lora,
    /// Texts that are shorter.
    Shorter,
}

impl Saving {
    /// All changes of settings, what costs least first.
    const OF_SETTINGS: [Self; 7] = [
        Saving::Recompute(Recompute::Selective),
        Saving::Recompute(Recompute::Full),
        Saving::Bf16,
        Saving::MasterWeights,
        Saving::OptimStates(OptimStates::Bf16),
        Saving::OptimStates(OptimStates::EightBit),
        Saving::Lora,
    ];

    /// The settings with this change; none where it is none of theirs.
    fn made(self, settings: &Settings) -> Option<Settings> {
        let mut other = settings.clone();
        match self {
            Saving::Recompute(it) => other.recompute = it,
            Saving::Bf16 => other.precision = Precision::Bf16,
            Saving::MasterWeights if settings.precision == Precision::Bf16 => {
                other.precision = Precision::Bf16Split;
            }
            Saving::OptimStates(it) => other.optim_states = it,
            Saving::Lora if settings.lora.is_none() => other.lora = Some(Lora::of_all(16)),
            Saving::MasterWeights | Saving::Lora | Saving::Shorter => return None,
        }
        Some(other)
    }
}

/// What would make a run fit, alone; or all that takes less, where no single change does.
fn savings(config: &Config, settings: &Settings, demand: Demand, limits: Limits) -> Vec<Saving> {
    let needs = |settings: &Settings| {
        MemoryPlan::new(config, settings, demand.longest, demand.longest).total()
    };
    let all = Saving::OF_SETTINGS.into_iter();
    let needed = all.filter_map(|it| Some((it, needs(&it.made(settings)?))));
    let less: Vec<_> = needed.filter(|it| it.1 < needs(settings)).collect();
    let enough = less.iter().filter(|it| it.1 <= limits.available);
    let enough: Vec<_> = enough.map(|it| it.0).collect();
    if !enough.is_empty() {
        return enough;
    }
    less.into_iter().map(|it| it.0).chain([Saving::Shorter]).collect()
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("activations", self.activations),
            ("logits", self.logits),
        ];
        for (name, bytes) in parts {
            writeln!(f, "{name:<12} {:>10}", gib(bytes))?;
        }
        let tokens = self.micro_tokens;
        write!(f, "{:<12} {:>10}, {tokens} tokens at once", "total", gib(self.total()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn yi_6b() -> Config {
        let text = r#"{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
            "vocab_size": 64000, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 4, "rope_theta": 5000000}"#;
        Config::parse(text.as_bytes(), Path::new("c")).unwrap()
    }

    fn choose(settings: &Settings, available: u64) -> Result<MemoryPlan> {
        let demand = Demand { longest: 1024, step: 1 << 15 };
        MemoryPlan::choose(&yi_6b(), settings, demand, Limits { available, micro_tokens: 8192 })
    }

    #[test]
    fn a_full_run_of_yi_6b_is_as_large_as_computed_by_hand() {
        let settings = Settings { precision: Precision::Bf16, ..Settings::new() };
        let plan = MemoryPlan::new(&yi_6b(), &settings, 8192, 1024);
        // 18 bytes for each of 6.061 billion parameters.
        assert_eq!((plan.weights + plan.gradients + plan.optimizer) >> 30, 101);
        // 117,376 bytes for each token and layer, and what is needed once.
        assert_eq!(plan.activations >> 30, 29);
        let light = Settings { recompute: Recompute::Selective, ..settings };
        assert_eq!(MemoryPlan::new(&yi_6b(), &light, 8192, 1024).activations >> 30, 20);
    }

    #[test]
    fn micro_batches_shrink_until_the_run_fits() {
        let settings = Settings { precision: Precision::Bf16, ..Settings::new() };
        let roomy = choose(&settings, 200 << 30).unwrap();
        assert_eq!(roomy.micro_tokens, 8192);
        let tight = choose(&settings, 120 << 30).unwrap();
        assert!((1024..8192).contains(&tight.micro_tokens));
        assert!(tight.total() <= 120 << 30);
    }

    #[test]
    fn a_run_that_does_not_fit_is_refused_with_what_would_help() {
        let settings = Settings { precision: Precision::Bf16, ..Settings::new() };
        let why = choose(&settings, 102 << 30).unwrap_err();
        let Error::NoRoom { savings, .. } = &why else { panic!("{why}") };
        let [halves, bytes] = [OptimStates::Bf16, OptimStates::EightBit].map(Saving::OptimStates);
        assert_eq!(savings, &[Saving::MasterWeights, halves, bytes, Saving::Lora]);
        let why = choose(&settings, 40 << 30).unwrap_err();
        let Error::NoRoom { savings, .. } = &why else { panic!("{why}") };
        assert_eq!(savings, &[Saving::Lora]);
        let why = choose(&settings, 8 << 30).unwrap_err();
        let Error::NoRoom { savings, .. } = &why else { panic!("{why}") };
        assert_eq!(savings.len(), 7, "{savings:?}");
        // What is done already is not advised.
        let lora = Settings { lora: Some(Lora::of_all(64)), ..settings.clone() };
        let why = choose(&lora, 8 << 30).unwrap_err();
        let Error::NoRoom { savings, .. } = &why else { panic!("{why}") };
        assert!(!savings.contains(&Saving::Lora) && !savings.contains(&Saving::Bf16));
        let why = choose(&settings, 102 << 30).unwrap_err();
        let (says, ends) = (why.to_string(), "GiB, and there are 102.00 GiB");
        assert!(says.starts_with("a run needs 105.") && says.ends_with(ends), "{says}");
        let settings = Settings { lora: Some(Lora::of_all(16)), ..settings };
        assert!(choose(&settings, 24 << 30).unwrap().weights >> 30 == 11);
    }

    #[test]
    fn what_is_computed_again_follows_from_the_memory_of_the_device() {
        const ALL: [Recompute; 3] = [Recompute::None, Recompute::Selective, Recompute::Full];
        let demand = Demand { longest: 512, step: 16 * 512 };
        let fastest = |settings: &Settings, gib: u64| {
            let limits = Limits { available: gib << 30, micro_tokens: 8192 };
            MemoryPlan::fastest(&yi_6b(), settings, &ALL, (demand, limits))
        };
        let full = Settings { precision: Precision::Bf16, ..Settings::new() };
        let level = |settings: &Settings, gib| {
            let (level, plan) = fastest(settings, gib).unwrap();
            assert!(plan.total() <= gib << 30);
            (level, plan.micro_tokens)
        };
        // Yi-6B in full: an H200 with all of its memory, with nine tenths, and with other programs.
        assert_eq!(level(&full, 139), (Recompute::None, 8192));
        assert_eq!(level(&full, 125), (Recompute::Selective, 8192));
        assert_eq!(level(&full, 110), (Recompute::Selective, 3138));
        let halves = Settings { precision: Precision::Bf16Split, ..full.clone() };
        assert_eq!(level(&halves, 125), (Recompute::None, 8192));
        assert!(fastest(&full, 80).is_err());
        // OptimStates in bytes: all weights on cards of 80 GiB.
        let bytes = Settings { optim_states: OptimStates::EightBit, ..halves };
        assert_eq!(level(&bytes, 72), (Recompute::Selective, 5985));
        // Adapters: a card of 24 GiB and one of 80.
        let adapters = Settings { lora: Some(Lora::of_all(16)), ..full };
        assert_eq!(level(&adapters, 22), (Recompute::Selective, 3848));
        assert_eq!(level(&adapters, 72), (Recompute::None, 8192));
    }
}
