//! The kinds, one file each. The head of a file is the kind's reference page.

pub(crate) mod concat;
