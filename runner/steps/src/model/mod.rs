//! The text side of models: tokenizers, chat templates, and which tokens are trained.
//!
//! What comes in are texts and conversations, what goes out are token ids; no numbers of a model
//! pass here.

mod answers;
mod chat;
mod control;
mod definition;
mod disguise;
mod error;
mod folder;
mod folder_model;
mod inspect;
pub(crate) mod layout;
mod prompt;
mod python_json;
pub(crate) mod record;
mod sandbox;
mod sentencepiece;
mod stream;
pub(crate) mod template;
#[cfg(test)]
pub(crate) mod tests;
mod tokenizer;
pub(crate) mod train;
mod view;

pub use answers::{Answer, Answers, How, context, settings};
pub use chat::{Ask, Chat, Conversation, LossOn, Sample};
pub use error::TextError;
pub(crate) use folder_model::text_files;
pub use folder_model::{ModelError, ModelFolder, template};
pub use inspect::{Inspection, inspect, tokens_of_records};
pub use kernels::ops::sample::Sampling;
pub use prompt::Prompt;
pub use sandbox::{Program, render_apart, serve};
pub use stream::Stream;
pub use template::{BUILT_IN, PLAIN, Template, YI_CHATML};
pub use tokenizer::{Controlled, Named, Tokenizer, files_of};
pub use view::{TokenView, marked, view, visible};
