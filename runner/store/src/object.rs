//! What the store holds: objects, named by the digest of their content.
//!
//! Only the words; taking, placing and checking objects are in files of their own.

use std::path::PathBuf;

use plan::Digest;
use serde::{Deserialize, Serialize};

/// A file or a tree of files, by content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Object {
    /// The digest of the file's bytes, or of the tree's listing.
    pub digest: Digest,
    /// The bytes of the file, or of all files of the tree.
    pub size: u64,
    /// Which of the two it is.
    pub shape: Shape,
}

/// Whether an object is a file or a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One file.
    File {
        /// Whether its owner may run it.
        executable: bool,
    },
    /// A folder and all that is in it.
    Tree {
        /// How many files and links it has, in all its folders.
        files: u64,
    },
}

impl Shape {
    /// A file that nobody runs.
    pub const PLAIN: Shape = Shape::File { executable: false };
}

/// One line of a tree's listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TreeEntry {
    /// Where it is, from the top of the tree; any bytes but zero.
    pub path: PathBuf,
    /// What it is.
    pub node: Node,
}

/// What a line of a tree's listing stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// A file.
    File {
        /// The digest of its bytes.
        digest: Digest,
        /// Its length.
        size: u64,
        /// Whether its owner may run it.
        executable: bool,
    },
    /// A symbolic link to something inside the tree.
    Link {
        /// What it says.
        target: PathBuf,
    },
    /// A folder with nothing in it.
    EmptyDir,
}

/// Whether an object can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is there, as far as can be told without reading it.
    Present,
    /// It, or a file of the tree, is not in the store.
    Missing,
    /// It, or a file of the tree, is not what its name says.
    Damaged {
        /// What is wrong.
        why: String,
    },
}

/// What an object is put somewhere for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// For a step to read: shared blocks, else a hard link, else a copy.
    Input,
    /// For a person to look at: shared blocks, else a copy of what is small, else a hard link.
    Export,
}

/// How the files of an object were put where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Files that share blocks with the store.
    pub reflinks: u64,
    /// Files that are the store's own, read-only.
    pub links: u64,
    /// Files that were copied.
    pub copies: u64,
    /// The bytes that were copied.
    pub copied_bytes: u64,
}
