//! A store: one folder, its version, and where everything in it lies.
use crate::{Disk, RealDisk, Result};
use plan::{Digest, Key};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A store. Cheap to clone; all clones are the same store.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    settings: Settings,
}

/// How a store is used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What carries out the changes.
    pub disk: Arc<dyn Disk>,
    /// Whether a commit waits for the disk.
    pub durability: Durability,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { disk: Arc::new(RealDisk), durability: Durability::Full }
    }
}

/// Whether a commit waits for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// What is committed survives a power cut.
    #[default]
    Full,
    /// What is committed survives the end of any process, but not a power cut.
    Fast,
}

/// Something that is not as it should be and did no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

impl Store {
    /// Opens the store in a folder, making it if nothing is there.
    pub fn open(root: &Path) -> Result<Store> {
        Store::open_with(root, Settings::default())
    }
    /// The same, with another disk or durability.
    pub fn open_with(root: &Path, settings: Settings) -> Result<Store> {
        Ok(Store { inner: Arc::new(Inner { root: root.to_owned(), settings }) })
    }
    /// The folder.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }
    /// Where an object's bytes (a tree's listing) are, whether it is there or not.
    pub fn object_path(&self, digest: &Digest) -> PathBuf {
        let _ = digest;
        let _ = &self.inner.settings;
        todo!()
    }
    /// Where a step's resumable state is; nothing is made there.
    pub fn part(&self, key: &Key) -> PathBuf {
        let _ = key;
        todo!()
    }
    /// Makes the folder of a step's resumable state.
    pub fn make_part(&self, key: &Key) -> Result<PathBuf> {
        let _ = key;
        todo!()
    }
    /// Removes a step's resumable state.
    pub fn drop_part(&self, key: &Key) -> Result<()> {
        let _ = key;
        todo!()
    }
    /// What deserved a word since the last time this was asked.
    pub fn warnings(&self) -> Vec<Warning> {
        todo!()
    }
}
