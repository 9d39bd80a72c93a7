//! The text side of models: tokenizers, chat templates, and which tokens are trained.
//!
//! What comes in are texts and conversations, what goes out are token ids; no numbers of a model
//! pass here.

mod chat;
mod control;
mod definition;
mod disguise;
mod error;
mod folder;
mod python_json;
mod sentencepiece;
mod stream;
mod template;
#[cfg(test)]
mod tests;
mod tokenizer;
mod view;

pub use chat::{Ask, Chat, Conversation, LossOn, Sample};
pub use error::TextError;
pub use stream::Stream;
pub use template::{BUILT_IN, PLAIN, Template, YI_CHATML};
pub use tokenizer::{Controlled, Named, Tokenizer, files_of};
pub use view::{TokenView, marked, view, visible};
