//! People as a part of an experiment: what they are asked, who is asked what, what they said.
//!
//! A *study* is one file of JSON lines: its head (the form and who takes part), the items, and then
//! everything that people did, in order, only ever appended. All else is a function of that file:
//! who sees what next, on which side, and what was said of each item. No model's name leaves this
//! crate towards a browser: see [`view`].

mod assign;
mod bundle;
mod error;
mod export;
mod form;
mod journal;
mod key;
mod page;
mod recovery;
mod seats;
mod server;
mod sides;
mod study;
#[cfg(test)]
mod tests;
pub mod view;
pub mod votes;
mod watched;

pub use bundle::{Taken, bundle, take};
pub use error::AnnotateError;
pub use export::{Format, export};
pub use form::{Choice, Form, Question, SIDES, Shown, Words};
pub use journal::Journal;
pub use key::{Key, key_of};
pub use recovery::{Recovered, recover, recovery_of};
pub use seats::{Did, Place, Role, Said, Seat, Seats};
pub use server::{Server, serve};
pub use sides::Sides;
pub use study::{Draft, Head, Item, Source, Study, Unit, create};
pub use votes::{By, Outside, Vote};
pub use watched::Change;
