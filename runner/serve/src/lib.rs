//! Serves pages of ours on this machine. What a page says is none of its business.

mod answer;
mod crowd;
mod host;
mod listener;
mod tls;

pub use answer::{Policy, Request, Response};
pub use listener::{Listener, token};
pub use tls::{Tls, TlsError};
