//! The environment variables that the program itself looks at, each once.

/// Where the store is, if not in the project.
pub(crate) const STORE: &str = "KUN_STORE";

/// How steps get their inputs: `reflink`, `mount`, `copy` or `link`. Unset, the best way that this
/// machine has, which `kun doctor` names. `link` is the least safe: what a step does to an object is
/// found when the step has ended.
pub(crate) const INPUTS: &str = "KUN_INPUTS";
/// How many bytes of the store a run re-reads.
pub(crate) const SCRUB: &str = "KUN_SCRUB";

/// Makes the n-th change to the disk fail: `call:number:errno`. For tests. It does not reach the
/// workers, whose environment is empty: what they write of the store, the rows, has tests of its
/// own there.
pub(crate) const FAULT: &str = "KUN_FAULT";
