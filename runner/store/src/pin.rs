//! Pins: named lists of keys that garbage collection keeps.
use crate::*;
use plan::Key;
use std::collections::BTreeMap;
impl Store {
    /// Keeps the records of these keys under a name.
    pub fn pin(&self, name: &str, keys: &[Key]) -> Result<()> {
        let _ = (name, keys);
        todo!()
    }
    /// Forgets a name; says whether it was there.
    pub fn unpin(&self, name: &str) -> Result<bool> {
        let _ = name;
        todo!()
    }
    /// All names with their keys.
    pub fn pins(&self) -> Result<BTreeMap<String, Vec<Key>>> {
        todo!()
    }
}
