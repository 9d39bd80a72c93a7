//! Pins: named lists of keys that garbage collection keeps, one text file each.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use plan::Key;

use crate::commit::list;
use crate::error::At;
use crate::{Error, Result, Store};

impl Store {
    /// Keeps the records of these keys under a name.
    pub fn pin(&self, name: &str, keys: &[Key]) -> Result<()> {
        let path = self.pin_path(name)?;
        let lines: Vec<String> = keys.iter().map(|it| format!("{it}\n")).collect();
        self.atomic_write(&path, lines.concat().as_bytes())
    }

    /// Forgets a name; says whether it was there.
    pub fn unpin(&self, name: &str) -> Result<bool> {
        let path = self.pin_path(name)?;
        match self.disk().unlink(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::Io { verb: "remove", path, source }),
        }
    }

    /// All names with their keys; lines that are no keys are warnings.
    pub fn pins(&self) -> Result<BTreeMap<String, Vec<Key>>> {
        let mut pins = BTreeMap::new();
        for path in list(&self.root().join("pin"))? {
            let Some(name) = path.file_name().and_then(|it| it.to_str()) else { continue };
            let text = String::from_utf8_lossy(&fs::read(&path).at("read", &path)?).into_owned();
            let mut keys = Vec::new();
            for line in text.lines().map(str::trim).filter(|it| !it.is_empty()) {
                match line.parse::<Key>() {
                    Ok(key) => keys.push(key),
                    Err(_) if line.starts_with('#') => {}
                    Err(error) => self.warn(&path, error.to_string()),
                }
            }
            pins.insert(name.to_owned(), keys);
        }
        Ok(pins)
    }

    fn pin_path(&self, name: &str) -> Result<PathBuf> {
        let plain = |it: char| it.is_ascii_alphanumeric() || "_-.".contains(it);
        if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.chars().all(plain)
        {
            return Err(Error::Name { name: name.to_owned() });
        }
        Ok(self.root().join("pin").join(name))
    }
}
