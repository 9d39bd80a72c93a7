//! The environment variables that the program itself looks at, each once.

/// Where the store is, if not in the project.
pub(crate) const STORE: &str = "KUN_STORE";

/// How many bytes of the store a run re-reads.
pub(crate) const SCRUB: &str = "KUN_SCRUB";

/// Makes the n-th change to the disk fail: `call:number:errno`. For tests. It does not reach the
/// workers, whose environment is empty: what they write of the store, the rows, has tests of its
/// own there.
pub(crate) const FAULT: &str = "KUN_FAULT";
