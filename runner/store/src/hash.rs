//! The digest of a file's bytes: positioned reads into small buffers, all cores for big files.
//!
//! No memory maps: a file that somebody cuts short while it is read would end the process with a
//! bus error. Here it is [`Error::Changing`].

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use plan::Digest;

use crate::error::At;
use crate::{Error, Result};

/// Bytes that one task reads and hashes: a power of two, and small enough for a core's own cache.
const PIECE: u64 = 256 * 1024;

/// Files from this length on are hashed by all cores.
const BIG: u64 = 2 * 1024 * 1024;

/// Buffers of threads that hash.
type Buffer = Vec<u8>;

/// The digest and the length of a file.
pub fn hash_file(path: &Path) -> Result<(Digest, u64)> {
    let file = File::open(path).at("open", path)?;
    let length = file.metadata().at("look at", path)?.len();
    hash_open(&file, path, length)
}

/// The digest and the length of an open file whose length is known.
pub(crate) fn hash_open(file: &File, path: &Path, length: u64) -> Result<(Digest, u64)> {
    if length >= BIG {
        let hash = hash_big(file, length).map_err(|source| ended(path, source))?;
        return Ok((Digest(*hash.as_bytes()), length));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    let mut reader = file;
    reader.read_to_end(&mut bytes).at("read", path)?;
    Ok((Digest::of(&bytes), bytes.len() as u64))
}

fn ended(path: &Path, source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::UnexpectedEof {
        return Error::Changing { path: path.to_owned() };
    }
    Error::Io { verb: "read", path: path.to_owned(), source }
}

fn hash_big(file: &File, length: u64) -> io::Result<blake3::Hash> {
    let left_len = blake3::hazmat::left_subtree_len(length);
    let (left, right) =
        rayon::join(|| subtree(file, 0, left_len), || subtree(file, left_len, length - left_len));
    Ok(merge_subtrees_root(&left?, &right?, Mode::Hash))
}

/// The chaining value of `length` bytes from `offset` on, which are no whole file.
fn subtree(file: &File, offset: u64, length: u64) -> io::Result<ChainingValue> {
    if length <= PIECE {
        return leaf(file, offset, length);
    }
    let left_len = blake3::hazmat::left_subtree_len(length);
    let (left, right) = rayon::join(
        || subtree(file, offset, left_len),
        || subtree(file, offset + left_len, length - left_len),
    );
    Ok(merge_subtrees_non_root(&left?, &right?, Mode::Hash))
}

fn leaf(file: &File, offset: u64, length: u64) -> io::Result<ChainingValue> {
    thread_local! {
        static BUFFER: std::cell::RefCell<Buffer> = const { std::cell::RefCell::new(Vec::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(PIECE as usize, 0);
        let piece = &mut buffer[..length as usize];
        file.read_exact_at(piece, offset)?;
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(offset);
        hasher.update(piece);
        Ok(hasher.finalize_non_root())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_has_the_digest_that_blake3_gives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let bytes: Vec<u8> = (0..(BIG + 3 * PIECE + 7)).map(|it| (it % 251) as u8).collect();
        let big = BIG as usize;
        let piece = PIECE as usize;
        for length in
            [0, 1, 1023, 1024, 1025, big - 1, big, big + 1, big + 1024, big + piece, bytes.len()]
        {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let digest = Digest::of(&bytes[..length]);
            assert_eq!(hash_file(&path).unwrap(), (digest, length as u64), "{length}");
        }
    }

    #[test]
    fn a_file_that_ends_too_early_is_said_to_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, b"short").unwrap();
        let file = File::open(&path).unwrap();
        let error = hash_open(&file, &path, BIG * 2).unwrap_err();
        assert!(matches!(error, Error::Changing { path: it } if it == path));
    }
}
