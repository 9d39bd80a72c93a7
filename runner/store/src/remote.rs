//! Objects elsewhere: the seam behind which a remote cache fits.
use crate::*;
use plan::Digest;
use std::path::{Path, PathBuf};
/// Something that holds objects by digest.
pub trait Objects: Send + Sync {
    /// Whether it has an object.
    fn has(&self, digest: &Digest) -> Result<bool>;
    /// Writes an object's bytes to a new file, checked on the way.
    fn get(&self, digest: &Digest, to: &Path) -> Result<()>;
    /// Takes a copy of a file that has this digest, checked on the way.
    fn put(&self, digest: &Digest, from: &Path) -> Result<()>;
}
/// Objects in a plain folder, under the names that a store gives them.
#[derive(Clone, Debug)]
pub struct Folder {
    #[expect(dead_code, reason = "stub")]
    root: PathBuf,
}
