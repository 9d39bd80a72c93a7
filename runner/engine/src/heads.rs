//! Which key each name had last: how `why` finds what to compare with.
//!
//! A text file of lines `KEY NAME`, the newest last, appended to. Names are properties of a
//! project, so it lies in the project and not in the store. It is never needed for correctness:
//! lines that cannot be read are passed over, and deleting the file only costs reasons.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plan::Key;
use store::{Disk, RealDisk, Wait};

/// The newest key of each name.
#[derive(Debug)]
pub struct Heads {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    newest: BTreeMap<String, Key>,
    lines: usize,
    torn: bool,
    /// Nothing could be added, and that was said.
    broken: bool,
}

impl Heads {
    /// Reads the file; a missing one is empty.
    pub fn open(path: &Path) -> io::Result<Self> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut heads = Self {
            path: path.to_owned(),
            disk: Arc::new(RealDisk),
            newest: BTreeMap::new(),
            lines: 0,
            torn: !text.is_empty() && !text.ends_with('\n'),
            broken: false,
        };
        for line in text.lines() {
            heads.lines += 1;
            let Some((key, name)) = line.split_once(' ') else { continue };
            if let Ok(key) = key.parse() {
                heads.newest.insert(unescaped(name), key);
            }
        }
        Ok(heads)
    }

    /// The same, with another disk to write to.
    pub fn on(self, disk: Arc<dyn Disk>) -> Self {
        Self { disk, ..self }
    }

    /// The key that a name had last.
    pub fn get(&self, name: &str) -> Option<Key> {
        self.newest.get(name).copied()
    }

    /// All names with their newest keys.
    pub fn all(&self) -> impl Iterator<Item = (&str, Key)> {
        self.newest.iter().map(|(name, key)| (name.as_str(), *key))
    }

    /// The names that begin like this, with their newest keys.
    pub fn starting_with(&self, stem: &str) -> impl Iterator<Item = (&str, Key)> {
        let from = self.newest.range::<str, _>((Bound::Included(stem), Bound::Unbounded));
        let stem = stem.to_owned();
        from.take_while(move |(name, _)| name.starts_with(&stem))
            .map(|(name, key)| (name.as_str(), *key))
    }

    /// Remembers keys, in one write; the file is rewritten when most of it is old. When that has
    /// failed once, keys are remembered in memory alone.
    pub fn add(&mut self, news: impl IntoIterator<Item = (String, Key)>) -> io::Result<()> {
        let mut text = String::new();
        for (name, key) in news {
            if self.newest.get(&name) != Some(&key) {
                text.push_str(&line(&name, key));
                self.lines += 1;
                self.newest.insert(name, key);
            }
        }
        if text.is_empty() || self.broken {
            return Ok(());
        }
        let written = self.write(text);
        self.broken = written.is_err();
        written
    }

    fn write(&mut self, mut text: String) -> io::Result<()> {
        if self.lines > 4 * self.newest.len() + 1000 {
            return self.rewrite();
        }
        if std::mem::take(&mut self.torn) {
            text.insert(0, '\n');
        }
        let mut file = self.disk.append(&self.path)?;
        self.disk.write(&mut file, &self.path, text.as_bytes())
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let text: String = self.newest.iter().map(|(name, key)| line(name, *key)).collect();
        store::replace(&*self.disk, &self.path, text.as_bytes(), Wait::Never)
            .map_err(|it| io::Error::other(crate::error::chain(&it)))?;
        self.lines = self.newest.len();
        self.torn = false;
        Ok(())
    }
}

fn line(name: &str, key: Key) -> String {
    let name = name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    format!("{} {name}\n", key.hex())
}

fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut name = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => name.push('\n'),
                Some('r') => name.push('\r'),
                Some(other) => name.push(other),
                None => name.push('\\'),
            },
            other => name.push(other),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_and_survives_a_torn_tail() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heads");
        let mut heads = Heads::open(&path).unwrap();
        heads.add([("a[x\ny\\n]".into(), Key([1; 32])), ("b".into(), Key([2; 32]))]).unwrap();
        heads.add([("b".into(), Key([3; 32]))]).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(b"0a0b torn");
        fs::write(&path, bytes).unwrap();
        let mut heads = Heads::open(&path).unwrap();
        assert_eq!(heads.get("a[x\ny\\n]"), Some(Key([1; 32])));
        assert_eq!(heads.get("b"), Some(Key([3; 32])));
        heads.add([("c".into(), Key([4; 32]))]).unwrap();
        assert_eq!(Heads::open(&path).unwrap().get("c"), Some(Key([4; 32])));
    }

    #[test]
    fn does_not_grow_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heads");
        let mut heads = Heads::open(&path).unwrap();
        for i in 0..3000u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&i.to_le_bytes());
            heads.add([("a".into(), Key(key))]).unwrap();
        }
        assert!(fs::metadata(&path).unwrap().len() < 2000 * 70);
        assert_eq!(Heads::open(&path).unwrap().get("a"), heads.get("a"));
    }
}
