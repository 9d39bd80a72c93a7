//! Finds the files that `code` patterns name, by listing folders through [`Files`].
//!
//! `*` and `?` stay within a name, `**` is any number of folders. Hidden names must be written
//! out; links to folders are not walked into.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::files::{Entry, Files};
use crate::glob::matches;

/// Remembers what folders hold and what patterns found.
pub(crate) struct CodeFinder<'a> {
    files: &'a dyn Files,
    /// The folder to which paths are relative, as it was named.
    root: PathBuf,
    folders: HashMap<PathBuf, Rc<Vec<Entry>>>,
    found: HashMap<PathBuf, Rc<Vec<PathBuf>>>,
}

impl<'a> CodeFinder<'a> {
    /// Finds files below a root.
    pub(crate) fn new(files: &'a dyn Files, root: &Path) -> Self {
        let root = root.to_path_buf();
        Self { files, root, folders: HashMap::new(), found: HashMap::new() }
    }

    /// The files that a pattern names, sorted; pattern and files are relative to the root.
    pub(crate) fn find(&mut self, pattern: &Path) -> io::Result<Rc<Vec<PathBuf>>> {
        if let Some(it) = self.found.get(pattern) {
            return Ok(Rc::clone(it));
        }
        let mut parts: Vec<String> =
            pattern.iter().map(|it| it.to_string_lossy().into_owned()).collect();
        parts.dedup_by(|a, b| a == "**" && b == "**");
        let mut walk = Walk { parts, seen: HashSet::new(), out: BTreeSet::new() };
        self.walk(PathBuf::new(), 0, &mut walk)?;
        let found = Rc::new(walk.out.into_iter().collect::<Vec<_>>());
        self.found.insert(pattern.to_path_buf(), Rc::clone(&found));
        Ok(found)
    }

    fn walk(&mut self, dir: PathBuf, i: usize, walk: &mut Walk) -> io::Result<()> {
        if !walk.seen.insert((dir.clone(), i)) {
            return Ok(());
        }
        let Some(part) = walk.parts.get(i).cloned() else { return Ok(()) };
        let last = i + 1 == walk.parts.len();
        if part == "**" && !last {
            self.walk(dir.clone(), i + 1, walk)?;
        }
        for entry in self.list(&dir)?.iter() {
            let hidden = entry.name.starts_with('.') && !part.starts_with('.');
            let fits = if part == "**" { !hidden } else { !hidden && matches(&part, &entry.name) };
            if !fits {
                continue;
            }
            let path = dir.join(&entry.name);
            match (entry.is_dir, part == "**") {
                (false, _) if last => {
                    walk.out.insert(path);
                }
                (true, true) if !entry.is_symlink => self.walk(path, i, walk)?,
                // A folder that is named is all that is in it.
                (true, false) if last => self.below(path, walk)?,
                (true, false) => self.walk(path, i + 1, walk)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn below(&mut self, dir: PathBuf, walk: &mut Walk) -> io::Result<()> {
        let mut open = vec![dir];
        while let Some(dir) = open.pop() {
            for entry in self.list(&dir)?.iter().filter(|it| !it.name.starts_with('.')) {
                let path = dir.join(&entry.name);
                match (entry.is_dir, entry.is_symlink) {
                    (false, _) => {
                        walk.out.insert(path);
                    }
                    (true, false) => open.push(path),
                    (true, true) => {}
                }
            }
        }
        Ok(())
    }

    fn list(&mut self, dir: &Path) -> io::Result<Rc<Vec<Entry>>> {
        if let Some(it) = self.folders.get(dir) {
            return Ok(Rc::clone(it));
        }
        let mut entries = match self.files.list(&self.root.join(dir)) {
            Ok(it) => it,
            Err(it)
                if matches!(it.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                Vec::new()
            }
            Err(it) => return Err(it),
        };
        entries.sort();
        let entries = Rc::new(entries);
        self.folders.insert(dir.to_path_buf(), Rc::clone(&entries));
        Ok(entries)
    }
}

struct Walk {
    parts: Vec<String>,
    /// Folders that were visited with the rest of the pattern.
    seen: HashSet<(PathBuf, usize)>,
    out: BTreeSet<PathBuf>,
}
