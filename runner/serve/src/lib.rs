//! Serves pages of ours on this machine. What a page says is none of its business.

mod answer;
mod listener;

pub use answer::{Policy, Request, Response};
pub use listener::{Listener, token};
