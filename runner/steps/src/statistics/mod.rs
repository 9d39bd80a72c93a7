//! What can be said of shares and differences that were counted: intervals and tests.
//!
//! Everything is a function of the numbers; what is drawn is drawn under a fixed seed.

mod agreement;
mod paired;
mod share;
mod wins;

pub(crate) use agreement::{agreement, cohen};
pub use paired::Paired;
pub(crate) use paired::paired;
pub(crate) use share::{interval, rounded};
pub(crate) use wins::{Met, Ranking};
