//! Serves pages of ours on this machine: the little of HTTP that they need, with bounds on size, time
//! and number. What a page says is none of its business.

mod http;
mod listener;

pub use http::{Parsed, Policy, Request, Response, parse};
pub use listener::{Listener, token};
