//! What the kinds that work on texts share.

pub mod ledger;
