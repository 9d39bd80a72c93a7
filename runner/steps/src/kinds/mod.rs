//! The kinds, one file each. The head of a file is the kind's reference page.

pub(crate) mod anonymize;
pub(crate) mod concat;
pub(crate) mod count;
pub(crate) mod cut;
pub(crate) mod generate;
pub(crate) mod init;
pub(crate) mod map;
pub(crate) mod normalize;
pub(crate) mod pretrain;
pub(crate) mod rules;
pub(crate) mod sample;
pub(crate) mod score_text;
pub(crate) mod segment;
pub(crate) mod sft;
pub(crate) mod split;
pub(crate) mod tokenizer;
pub(crate) mod unique;
