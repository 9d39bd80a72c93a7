//! Generation: token ids in, token ids and their log-probabilities out.
//!
//! [`Model`] is a folder's weights made ready for inference; [`Generator`] continues many prompts at
//! once with it. Rows come and go at every step; prompts are computed in chunks beside rows that
//! decode; keys and values lie in blocks that rows with the same beginning share.
//!
//! **The result of a row is a function of the model, the request and the instruction set's class of
//! numerics, and of nothing else**: not of the rows beside it, the chunks, the number of threads or
//! how full the cache was. That follows from the contracts of [`crate::ops`], and tests prove it.
//!
//! Text is not known here: stop strings are the business of whoever watches the tokens.

mod blocks;
mod decoder;
mod error;
mod generator;
mod model;
mod request;
mod schedule;
mod sequence;
mod stage;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use blocks::{Blocks, Table};
pub use error::Error;
pub use generator::{Counts, Generator, Settings};
pub(crate) use model::Batch;
pub use model::Model;
pub(crate) use request::check_ids;
pub use request::{Draws, Finish, Flow, Output, Refusal, Request, Token};
pub(crate) use stage::Stage;
