//! Compiled kernels on disk: a file for each text, options, architecture and version of NVRTC.
//!
//! A file holds all of what it was made from, which is compared when it is read, and a checksum. What
//! does not fit or is damaged is made again; a cache that cannot be written is no cache.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::compile::{Arch, Compiled, compile, nvrtc_version, options};
use super::source::{HEADERS, Variant};
use crate::Result;
use crate::train::Digest;

/// What files begin with; another number for another layout.
const MARK: &[u8; 8] = b"kuncuda1";

/// Where they are kept, unless somebody says otherwise: `KUN_CUDA_CACHE`, or the user's cache.
pub(super) fn folder() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    from("KUN_CUDA_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|it| it.join("kun/cuda")))
        .or_else(|| from("HOME").map(|it| it.join(".cache/kun/cuda")))
}

/// The machine code of a variant: from the folder, or compiled and put there.
pub(super) fn image(folder: Option<&Path>, variant: &Variant, arch: Arch) -> Result<Vec<u8>> {
    let key = key(variant, arch);
    let path = folder.map(|it| it.join(format!("{:016x}", Digest::of(&key))));
    if let Some(image) = path.as_deref().and_then(|it| read(it, &key)) {
        return Ok(image);
    }
    let Compiled { image, .. } = compile(variant, arch)?;
    if let Some(path) = path {
        // Without the file the kernel is compiled again next time, which is all that is lost.
        let _ = write(&path, &key, &image);
    }
    Ok(image)
}

/// Compiles a variant into a folder ahead of time; a device that is opened with it as its cache waits for no
/// compiler. Nothing is made again that is there already.
pub fn compile_into(folder: &Path, variant: &Variant, arch: Arch) -> Result<Vec<u8>> {
    image(Some(folder), variant, arch)
}

/// All that machine code follows from.
fn key(variant: &Variant, arch: Arch) -> Vec<u8> {
    let version = nvrtc_version().unwrap_or_default();
    let mut parts = vec![format!("{version:?}"), options(variant, arch).join(" ")];
    parts.push(variant.name.to_owned());
    parts.push(variant.text.clone());
    parts.extend(HEADERS.iter().flat_map(|(name, text)| [(*name).to_owned(), (*text).to_owned()]));
    let sized = |it: String| [&(it.len() as u64).to_le_bytes(), it.as_bytes()].concat();
    parts.into_iter().flat_map(sized).collect()
}

/// `MARK`, the key's length, the key, the image's checksum, the image.
fn read(path: &Path, key: &[u8]) -> Option<Vec<u8>> {
    let bytes = fs::read(path).ok()?;
    let rest = bytes.strip_prefix(MARK)?.strip_prefix(&(key.len() as u64).to_le_bytes())?;
    let (checksum, image) = rest.strip_prefix(key)?.split_first_chunk::<8>()?;
    (Digest::of(image) == u64::from_le_bytes(*checksum)).then(|| image.to_vec())
}

fn write(path: &Path, key: &[u8], image: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // A name nobody else has, then the right one at once: a reader sees all of it or nothing.
    let own =
        path.with_extension(format!("{}-{:?}", std::process::id(), std::thread::current().id()));
    let mut file = fs::File::create(&own)?;
    let checksum = Digest::of(image).to_le_bytes();
    for part in [&MARK[..], &(key.len() as u64).to_le_bytes(), key, &checksum, image] {
        file.write_all(part)?;
    }
    fs::rename(&own, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_or_foreign_file_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        write(&path, b"key", b"image").unwrap();
        assert_eq!(read(&path, b"key").as_deref(), Some(&b"image"[..]));
        assert_eq!(read(&path, b"kex"), None);
        let whole = fs::read(&path).unwrap();
        for n in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[n] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert_eq!(read(&path, b"key"), None, "byte {n}");
            fs::write(&path, &whole[..n]).unwrap();
            assert_eq!(read(&path, b"key"), None, "{n} bytes");
        }
    }

    #[test]
    fn the_key_knows_text_options_and_architecture() {
        let variant = |text: &str, value: &str| Variant {
            name: "it",
            text: text.to_owned(),
            defines: vec![("E", value.to_owned())],
            hopper: false,
        };
        let keys = [
            key(&variant("a", "float"), Arch::Sm80),
            key(&variant("b", "float"), Arch::Sm80),
            key(&variant("a", "bf16"), Arch::Sm80),
            key(&variant("a", "float"), Arch::Sm90),
        ];
        for i in 0..keys.len() {
            assert!(keys[..i].iter().all(|it| *it != keys[i]), "{i}");
        }
    }
}
