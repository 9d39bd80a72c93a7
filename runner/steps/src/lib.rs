//! The step kinds, and what a kind sees of the world.
//!
//! A kind is one file in `kinds/` with one `impl` of [`Kind`] and one line in [`KINDS`]; the
//! manifest check, the schema, `kun kinds` and the completions are made from these. A kind sees
//! its [`Cx`] and nothing else: no store, no key, no engine. It is synchronous, it streams, and
//! what it writes counts only once it has ended well.

mod asking;
mod choosing;
pub mod cx;
pub mod error;
mod exam;
mod filter;
pub mod kind;
mod kinds;
#[cfg(test)]
mod kit;
pub mod model;
mod page;
mod params;
pub mod preview;
mod records;
pub mod reference;
pub mod reporting;
mod served;
mod statistics;
pub mod text;
mod texts;
mod training;
pub mod verdicts;

pub use kernels::machine;

pub use cx::{Cx, Memo, Say, Secret, Server, Shard, processor};
pub use error::StepError;
pub use kind::{AnyKind, Kind};
pub use params::params_of;
pub use training::{UNFINISHED_LOG, damaged_state};

/// Every step kind there is, in the order in which `kun kinds` shows them.
pub const KINDS: &[&dyn AnyKind] = &[
    &kinds::concat::Concat,
    &kinds::split::Split,
    &kinds::sample::Sample,
    &kinds::unique::Unique,
    &kinds::count::Count,
    &kinds::stats::Stats,
    &kinds::lengths::Lengths,
    &kinds::years::Years,
    &kinds::sources::Sources,
    &kinds::corpus::Corpus,
    &kinds::instructions::Instructions,
    &kinds::normalize::Normalize,
    &kinds::anonymize::Anonymize,
    &kinds::segment::Segment,
    &kinds::dedup::Dedup,
    &kinds::decontaminate::Decontaminate,
    &kinds::rules::Rules,
    &kinds::measure::Measure,
    &kinds::cut::Cut,
    &kinds::select::Select,
    &kinds::mix::Mix,
    &kinds::nested::Nested,
    &kinds::deny_overlap::DenyOverlap,
    &kinds::export::Export,
    &kinds::map::Map,
    &kinds::tokenizer::Tokenizer,
    &kinds::init::Init,
    &kinds::pretrain::Pretrain,
    &kinds::sft::Sft,
    &kinds::generate::Generate,
    &kinds::label::Label,
    &kinds::refine::Refine,
    &kinds::answer::AnswerKind,
    &kinds::judge::Judge,
    &kinds::classify::Classify,
    &kinds::categories::Categories,
    &kinds::score_text::ScoreText,
    &kinds::eval::Eval,
    &kinds::export_eval::ExportEval,
    &kinds::compare::Compare,
    &kinds::study::Study,
    &kinds::judge_pairs::JudgePairs,
    &kinds::annotations::Annotations,
    &kinds::report::Report,
];

/// The kind with this name.
pub fn kind(name: &str) -> Option<&'static dyn AnyKind> {
    KINDS.iter().copied().find(|it| it.spec().name == name)
}

/// The numerics class of the processor: results of kinds whose bits depend on the arithmetic are
/// shared only within one class. All processors are one, whatever their instructions.
pub fn numerics() -> String {
    "cpu-f32".to_owned()
}

/// The numerics class of steps that compute in bf16 on this machine's CUDA device: the sums of tensor
/// cores have an order that depends on what the kernels are compiled for.
pub fn numerics_bf16() -> String {
    match kernels::machine::Cuda::here().kernels() {
        Ok(arch) => format!("cuda-bf16-{arch}"),
        // No step computes with them here; whoever plans has to say something.
        Err(_) => "cuda-bf16".to_owned(),
    }
}
