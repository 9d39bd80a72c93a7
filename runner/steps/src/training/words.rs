//! What training says, in the words of a manifest: its parameters, and the memory that it takes.

use kernels::decoder::train::Recompute;
use kernels::ops::adamw::OptimStates;
use kernels::train::{Error, MemoryPlan, Saving, gib};

use crate::StepError;

/// An error of a run whose cause is in the parameters of its kind, by their names; another one as it is.
pub(crate) fn refused(kind: &'static str, error: Error) -> StepError {
    let reason = match error {
        Error::Setting { field, reason } => format!("`{}` {reason}", parameter(field)),
        Error::NoRoom { ref plan, ref savings, .. } => {
            let savings: Vec<_> = savings.iter().map(|it| saving(*it)).collect();
            let (parts, savings) = (parts(plan), savings.join(", "));
            format!("{error} ({parts}); what takes less: {savings}")
        }
        other => return other.into(),
    };
    StepError::Params { kind, reason }
}

/// A setting's name in a manifest.
fn parameter(field: &'static str) -> &'static str {
    match field {
        "batch" => "batch_size",
        "length" => "epochs",
        "pack" => "max_seq_len",
        "beta1" => "adam_beta1",
        "eps" => "adam_epsilon",
        "min_ratio" => "min_lr_ratio",
        other => other,
    }
}

/// How a manifest says it.
fn saving(it: Saving) -> &'static str {
    match it {
        Saving::Recompute(Recompute::None) => "`gradient_checkpointing = \"none\"`",
        Saving::Recompute(Recompute::Selective) => "`gradient_checkpointing = \"selective\"`",
        Saving::Recompute(Recompute::Full) => "`gradient_checkpointing = \"full\"`",
        Saving::Bf16 => "`dtype = \"bf16\"`",
        Saving::MasterWeights => "`master_weights = \"bf16_split\"`",
        Saving::OptimStates(OptimStates::F32) => "`optim_states = \"f32\"`",
        Saving::OptimStates(OptimStates::Bf16) => "`optim_states = \"bf16\"`",
        Saving::OptimStates(OptimStates::EightBit) => "`optim_states = \"8bit\"`",
        Saving::Lora => "a table `lora`",
        Saving::Shorter => "a smaller `max_seq_len`",
    }
}

/// What of a run takes how much.
pub(crate) fn parts(plan: &MemoryPlan) -> String {
    let MemoryPlan { weights, gradients, optimizer, activations, logits, .. } = *plan;
    let all = [
        ("weights", weights),
        ("gradients", gradients),
        ("optimizer", optimizer),
        ("activations", activations),
        ("logits", logits),
    ];
    all.map(|(name, bytes)| format!("{name} {}", gib(bytes))).join(", ")
}

#[cfg(test)]
mod tests {
    use kernels::decoder::Config;
    use kernels::decoder::train::Precision;
    use kernels::train::{BatchSize, Demand, Limits, Settings};

    use super::*;

    #[test]
    fn a_run_that_does_not_fit_says_what_takes_less_in_the_words_of_its_kind() {
        let text = r#"{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
            "vocab_size": 64000, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 4, "rope_theta": 5000000}"#;
        let config = Config::parse(text.as_bytes(), "c".as_ref()).unwrap();
        let settings = Settings { precision: Precision::Bf16, ..Settings::new() };
        let demand = Demand { longest: 1024, step: 8192 };
        let limits = Limits { available: 90 << 30, micro_tokens: 8192 };
        let error = MemoryPlan::choose(&config, &settings, demand, limits).unwrap_err();
        insta::assert_snapshot!(refused("sft", error), @r#"parameters of `sft`: a run needs 105.58 GiB, and there are 90.00 GiB (weights 11.29 GiB, gradients 22.58 GiB, optimizer 67.74 GiB, activations 3.69 GiB, logits 282.0 MiB); what takes less: `optim_states = "bf16"`, `optim_states = "8bit"`, a table `lora`"#);
        let wrong = Settings { batch: BatchSize::Tokens(0), ..settings };
        insta::assert_snapshot!(refused("sft", wrong.check().unwrap_err()), @"parameters of `sft`: `batch_size` is 0");
    }
}
