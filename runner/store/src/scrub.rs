//! A share of the objects is read again beside each run, so that rot is found without anybody
//! asking, as a file system that scrubs does.
//!
//! Where the last scrub stopped is remembered in `idx/scrub`, with what it did not spend: an object
//! that is larger than one run's budget is read when enough has been saved for it, and every object
//! gets its turn.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use plan::Digest;

use crate::commit::{list, name_of};
use crate::{Result, Store, Wait, replace};

/// Bytes that are read between two looks at whether to stop.
const PIECE: usize = 1 << 20;

/// What one scrub read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that are damaged: [`Store::take_damaged`] names them.
    pub damaged: u64,
}

/// Where the last scrub stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cursor {
    /// The name of the object that was read last.
    last: Option<Digest>,
    /// Bytes that may be read and were not.
    saved: u64,
}

impl Store {
    /// Re-reads objects from where the last scrub stopped, until `budget` bytes are read, all
    /// objects were, or `stop` says so.
    pub fn scrub(&self, budget: u64, stop: &dyn Fn() -> bool) -> Result<Scrubbed> {
        let path = self.root().join("idx").join("scrub");
        let mut cursor = Cursor::read(&path);
        let mut scrubbed = Scrubbed::default();
        cursor.saved = cursor.saved.saturating_add(budget);
        let mut is_over = true;
        for (digest, path) in self.objects_after(cursor.last)? {
            let size = fs::symlink_metadata(&path).map_or(0, |it| it.len());
            let read = if size > cursor.saved { None } else { digest_unless(&path, stop) };
            let Some(found) = read else {
                is_over = false;
                break;
            };
            cursor.saved -= size;
            cursor.last = Some(digest);
            scrubbed.objects += 1;
            scrubbed.bytes += size;
            match found {
                Ok(found) if found != digest => {
                    scrubbed.damaged += 1;
                    self.damaged().insert(digest);
                }
                Ok(_) => {}
                // Collected meanwhile, or a disk that says itself that it cannot read.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => self.warn(&path, format!("cannot be read: {error}")),
            }
        }
        if is_over {
            cursor.saved = 0;
        }
        // Where it cannot be kept the next scrub begins where this one did.
        if let Err(error) = replace(self.disk(), &path, cursor.text().as_bytes(), Wait::Never) {
            self.warn(&path, error.to_string());
        }
        Ok(scrubbed)
    }

    /// All objects once, from the one after `last` on.
    fn objects_after(&self, last: Option<Digest>) -> Result<Vec<(Digest, PathBuf)>> {
        let mut all = Vec::new();
        for folder in list(&self.root().join("obj"))? {
            let files = if folder.is_dir() { list(&folder)? } else { Vec::new() };
            all.extend(files.into_iter().filter_map(|it| Some((name_of(&it)?, it))));
        }
        let first = last.map_or(0, |last| all.partition_point(|it| it.0 <= last));
        all.rotate_left(first);
        Ok(all)
    }
}

impl Cursor {
    /// A cursor that cannot be read begins anew.
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut words = text.split_whitespace();
        let last = words.next().and_then(|it| it.parse().ok());
        let saved = words.next().and_then(|it| it.parse().ok()).unwrap_or(0);
        Self { last, saved }
    }

    fn text(&self) -> String {
        let last = self.last.map_or_else(|| "-".to_owned(), |it| it.to_string());
        format!("{last} {}\n", self.saved)
    }
}

/// The digest of a file; none: it was time to stop.
fn digest_unless(path: &Path, stop: &dyn Fn() -> bool) -> Option<io::Result<Digest>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return Some(Err(error)),
    };
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), Vec::with_capacity(PIECE));
    loop {
        if stop() {
            return None;
        }
        buffer.clear();
        match file.by_ref().take(PIECE as u64).read_to_end(&mut buffer) {
            Ok(0) => return Some(Ok(Digest(*hasher.finalize().as_bytes()))),
            Ok(_) => drop(hasher.update(&buffer)),
            Err(error) => return Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_gets_its_turn_and_a_large_one_when_enough_is_saved() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut digests: Vec<Digest> = (0..9_u8)
            .map(|it| store.put_bytes(&vec![it; 10 + 100 * usize::from(it / 8)]).unwrap().digest)
            .collect();
        digests.sort();
        let damaged = digests[4];
        let path = store.object_path(&damaged);
        let length = fs::metadata(&path).unwrap().len() as usize;
        fs::remove_file(&path).unwrap();
        fs::write(&path, vec![99; length]).unwrap();
        let (mut objects, mut bytes, mut rounds) = (0, 0, 0);
        while objects < 9 {
            let scrubbed = store.scrub(20, &|| false).unwrap();
            objects += scrubbed.objects;
            bytes += scrubbed.bytes;
            rounds += 1;
            assert!(bytes <= 20 * rounds && rounds < 20, "{bytes} bytes after {rounds} rounds");
        }
        assert_eq!((objects, bytes), (9, 8 * 10 + 110));
        assert_eq!(store.take_damaged().into_iter().collect::<Vec<_>>(), [damaged]);
        assert_eq!(store.scrub(u64::MAX, &|| true).unwrap(), Scrubbed::default());
    }
}
