//! What the kinds that work on texts share: records seen as fields, batches on several threads, the
//! ledger, and what can be counted in a text.

pub(crate) mod fields;
pub mod funnel;
pub mod ledger;
pub(crate) mod lengths;
pub mod lineage;
pub(crate) mod minhash;
pub(crate) mod normal;
pub(crate) mod pair;
pub(crate) mod passages;
pub(crate) mod personal;
pub(crate) mod row;
pub mod shown;
pub(crate) mod stream;
pub(crate) mod words;
