//! The digest of a file's bytes, with all cores where the file is big.
use crate::Result;
use plan::Digest;
use std::path::Path;
/// The digest and the length of a file.
pub fn hash_file(path: &Path) -> Result<(Digest, u64)> {
    let _ = path;
    todo!()
}
