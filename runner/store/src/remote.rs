//! Objects elsewhere: the seam behind which a remote cache fits.
//!
//! Whoever is behind it is not trusted: bytes are checked against their name on the way, in both
//! directions, and what is wrong gets no name.

use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use plan::Digest;

use crate::attempt::host;
use crate::error::At;
use crate::store::{make_dirs, split};
use crate::{Disk, Error, Presence, RealDisk, Result, Store};

/// Bytes that are copied at once.
const COPY: usize = 1024 * 1024;

/// Numbers the temporary names of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Something that holds objects by digest.
pub trait Objects: Send + Sync + fmt::Debug {
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
    root: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Folder {
    /// Objects below `root`; nothing is made there before the first object comes.
    pub fn new(root: &Path) -> Folder {
        Folder { root: root.to_owned(), disk: Arc::new(RealDisk) }
    }

    /// The same, with another disk.
    pub fn on(self, disk: Arc<dyn Disk>) -> Folder {
        Folder { disk, ..self }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        split(&self.root.join("obj"), &digest.hex())
    }
}

impl Objects for Folder {
    fn has(&self, digest: &Digest) -> Result<bool> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::Io { verb: "look at", path, source }),
        }
    }

    fn get(&self, digest: &Digest, to: &Path) -> Result<()> {
        copy_checked(&*self.disk, digest, &self.path(digest), to).map(|_| ())
    }

    fn put(&self, digest: &Digest, from: &Path) -> Result<()> {
        let path = self.path(digest);
        let folder = path.parent().unwrap_or(&self.root);
        make_dirs(&*self.disk, folder)?;
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let beside = folder.join(format!(".{}.{}.{n}", host(), std::process::id()));
        let put = copy_checked(&*self.disk, digest, from, &beside).and_then(|file| {
            self.disk.sync(&file, &beside).at("sync", &beside)?;
            self.disk.set_mode(&beside, 0o444).at("make read-only", &beside)?;
            self.disk.rename(&beside, &path).at("rename to", &path)?;
            let opened = File::open(folder).at("open", folder)?;
            self.disk.sync(&opened, folder).at("sync", folder)
        });
        if put.is_err() {
            let _ = self.disk.unlink(&beside);
        }
        put
    }
}

impl Objects for Store {
    fn has(&self, digest: &Digest) -> Result<bool> {
        Ok(self.present_bytes(digest, None) == Presence::Present)
    }

    fn get(&self, digest: &Digest, to: &Path) -> Result<()> {
        copy_checked(self.disk(), digest, &self.object_path(digest), to).map(|_| ())
    }

    fn put(&self, digest: &Digest, from: &Path) -> Result<()> {
        let scratch = self.scratch()?;
        copy_checked(self.disk(), digest, from, &scratch)?;
        self.take_file(&scratch).map(|_| ())
    }
}

/// Copies to a new file, which is there afterwards only if its bytes have this digest.
fn copy_checked(disk: &dyn Disk, digest: &Digest, from: &Path, to: &Path) -> Result<File> {
    let mut source = match File::open(from) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::Missing { digest: *digest });
        }
        other => other.at("open", from)?,
    };
    let mut target = disk.create(to).at("create", to)?;
    let copied = copy_hashed(disk, &mut source, from, (&mut target, to)).and_then(|found| {
        if found == *digest {
            return Ok(());
        }
        let why = format!("`{}` has the digest `{found}`", from.display());
        Err(Error::Damaged { digest: *digest, why })
    });
    match copied {
        Ok(()) => Ok(target),
        Err(error) => {
            let _ = disk.unlink(to);
            Err(error)
        }
    }
}

fn copy_hashed(
    disk: &dyn Disk,
    source: &mut File,
    from: &Path,
    (target, to): (&mut File, &Path),
) -> Result<Digest> {
    let mut buffer = vec![0; COPY];
    let mut hasher = blake3::Hasher::new();
    loop {
        let got = source.read(&mut buffer).at("read", from)?;
        if got == 0 {
            return Ok(Digest(*hasher.finalize().as_bytes()));
        }
        hasher.update_rayon(&buffer[..got]);
        disk.write(target, to, &buffer[..got]).at("write", to)?;
    }
}
