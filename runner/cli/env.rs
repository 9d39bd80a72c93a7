//! The environment variables that the program itself looks at, each once.

/// Where the store is, if not in the project.
pub(crate) const STORE: &str = "KUN_STORE";

/// Makes the n-th change to the disk fail: `call:number:errno`. For tests.
pub(crate) const FAULT: &str = "KUN_FAULT";
