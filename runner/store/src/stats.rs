//! Digests of the project's files, remembered by what `stat` says of them.
use crate::*;
use plan::Digest;
use std::path::Path;
/// Digests, remembered.
#[derive(Debug)]
pub struct Stats {}
/// Whether what is remembered counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rehash {
    /// A file that looks unchanged is unchanged.
    #[default]
    Trust,
    /// Read every file.
    Paranoid,
}
/// What a file or a tree held, and how it looked then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// Its digest.
    pub digest: Digest,
    /// The bytes of all its files.
    pub size: u64,
    /// File or tree.
    pub shape: Shape,
    /// How it looked.
    pub stamp: Stamp,
}
/// How a file or a tree looked, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(pub(crate) [u8; 32]);
impl Stats {
    /// Reads what is remembered; a damaged or foreign file is an empty memory.
    pub fn open(path: &Path) -> Stats {
        let _ = path;
        todo!()
    }
    /// The same, believing nothing that is remembered where `rehash` says so.
    pub fn open_with(path: &Path, rehash: Rehash) -> Stats {
        let _ = (path, rehash);
        todo!()
    }
    /// The digest of a file.
    pub fn digest_file(&self, path: &Path) -> Result<Hashed> {
        let _ = path;
        todo!()
    }
    /// The digest of a file or a tree.
    pub fn digest_path(&self, path: &Path) -> Result<Hashed> {
        let _ = path;
        todo!()
    }
    /// Whether a file or a tree still looks as it did when it was hashed.
    pub fn unchanged(hashed: &Hashed, path: &Path) -> bool {
        let _ = (hashed, path);
        todo!()
    }
    /// Writes what is remembered, if anything is new.
    pub fn save(&self) -> Result<()> {
        todo!()
    }
}
