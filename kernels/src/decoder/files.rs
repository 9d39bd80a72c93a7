//! The weights of a model folder: `model.safetensors`, or shards with an index.
//!
//! Opening maps the files and checks names, kinds and shapes of all tensors against the
//! configuration; no weight is read. Reading gives rows as f32 or bf16 and refuses numbers that are
//! not finite, with tensor and index.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use serde::Deserialize;

use super::config::{Config, WeightDtype};
use super::error::{Error, Result, TensorFault};
use super::header::{self, Entry};
use super::layout::Layout;

/// The one file of a model that is not sharded.
pub(super) const SINGLE: &str = "model.safetensors";
/// The table of a sharded model.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// The largest index that is read.
const MOST_INDEX_BYTES: u64 = 64 << 20;
/// The output layer's name.
const HEAD: &str = "lm_head.weight";
/// The embedding's name.
const EMBED: &str = "model.embed_tokens.weight";

/// A tensor as it lies in its file.
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    /// Its kind of numbers.
    pub dtype: WeightDtype,
    /// Its shape.
    pub shape: &'a [usize],
    /// Its numbers, little-endian, row by row; not aligned.
    pub bytes: &'a [u8],
}

/// The weights of a folder.
#[derive(Debug)]
pub struct WeightFiles {
    files: Vec<(PathBuf, Mmap)>,
    tensors: BTreeMap<String, Place>,
    tied: bool,
}

#[derive(Debug)]
struct Place {
    file: usize,
    dtype: WeightDtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl WeightFiles {
    /// Opens the weights of a folder and checks that they are those of the configuration.
    pub fn open(folder: &Path, config: &Config) -> Result<Self> {
        let (names, index) = weight_files(folder)?;
        let mut found = BTreeMap::<String, (usize, Entry)>::new();
        let mut files: Vec<(PathBuf, Mmap)> = Vec::new();
        for name in names {
            let path = folder.join(name);
            let map = map(&path)?;
            for (tensor, entry) in header::read(&map, &path)? {
                if let Some((other, _)) = found.get(&tensor) {
                    let fault = TensorFault::Twice { other: files[*other].0.clone() };
                    return Err(Error::Tensor { path, tensor, fault });
                }
                found.insert(tensor, (files.len(), entry));
            }
            files.push((path, map));
        }
        if let Some(index) = index {
            check_index(folder, &index, &found, &files)?;
        }
        let tensors = check(folder, config, found, &files)?;
        Ok(Self { files, tensors, tied: config.tied })
    }

    /// The tensor of that name. A tied output layer is the embedding.
    pub fn tensor(&self, name: &str) -> Result<TensorRef<'_>> {
        let place = self.place(name)?;
        let bytes = &self.files[place.file].1[place.bytes.clone()];
        Ok(TensorRef { dtype: place.dtype, shape: &place.shape, bytes })
    }

    /// The kind of numbers that all tensors have, or the widest of them.
    pub fn dtype(&self) -> WeightDtype {
        let mut kinds: Vec<_> = self.tensors.values().map(|it| it.dtype).collect();
        kinds.sort();
        kinds.dedup();
        match kinds.as_slice() {
            [one] => *one,
            _ => WeightDtype::F32,
        }
    }

    /// How many bytes the files have.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|it| it.1.len() as u64).sum()
    }

    /// The files, in the order of their names.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|it| it.0.as_path())
    }

    /// Reads rows of a tensor as f32; `out` has room for exactly those rows. The numbers of a
    /// vector are rows of one.
    pub fn read_f32(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let first = rows.start;
        let (tensor, bytes) = self.rows(name, rows, out.len())?;
        match tensor.dtype {
            WeightDtype::F32 => fill(bytes, out, |it: [u8; 4]| f32::from_le_bytes(it)),
            WeightDtype::Bf16 => fill(bytes, out, |it: [u8; 2]| bf16::from_le_bytes(it).to_f32()),
            WeightDtype::F16 => fill(bytes, out, |it: [u8; 2]| f16::from_le_bytes(it).to_f32()),
        }
        let bad = out.iter().position(|it| !it.is_finite());
        bad.map_or(Ok(()), |at| Err(self.not_finite(name, first, at, out[at])))
    }

    /// Reads rows of a tensor as bf16, rounded to the nearest where the file has more.
    pub fn read_bf16(&self, name: &str, rows: Range<usize>, out: &mut [bf16]) -> Result<()> {
        let first = rows.start;
        let (tensor, bytes) = self.rows(name, rows, out.len())?;
        match tensor.dtype {
            WeightDtype::F32 => {
                fill(bytes, out, |it: [u8; 4]| bf16::from_f32(f32::from_le_bytes(it)));
            }
            WeightDtype::Bf16 => fill(bytes, out, bf16::from_le_bytes),
            WeightDtype::F16 => {
                fill(bytes, out, |it: [u8; 2]| bf16::from_f32(f16::from_le_bytes(it).to_f32()));
            }
        }
        let bad = out.iter().position(|it| !it.is_finite());
        bad.map_or(Ok(()), |at| Err(self.not_finite(name, first, at, out[at].to_f32())))
    }

    fn place(&self, name: &str) -> Result<&Place> {
        let name = if self.tied && name == HEAD { EMBED } else { name };
        let path = &self.files[0].0;
        self.tensors.get(name).ok_or_else(|| refuse(path, name, TensorFault::Missing))
    }

    /// The bytes of some rows, which must be as many numbers as the caller has room for.
    fn rows(&self, name: &str, rows: Range<usize>, room: usize) -> Result<(TensorRef<'_>, &[u8])> {
        let tensor = self.tensor(name)?;
        let width = tensor.shape[1..].iter().product::<usize>();
        let fits = rows.start <= rows.end && rows.end <= tensor.shape[0];
        if !fits || rows.len() * width != room {
            let shape = tensor.shape;
            return Err(Error::Ask(format!(
                "rows {rows:?} of tensor `{name}` with shape {shape:?} do not fill {room} numbers"
            )));
        }
        let row_bytes = width * tensor.dtype.bytes();
        Ok((tensor, &tensor.bytes[rows.start * row_bytes..rows.end * row_bytes]))
    }

    fn not_finite(&self, name: &str, first_row: usize, at: usize, value: f32) -> Error {
        let place = match self.place(name) {
            Ok(place) => place,
            Err(why) => return why,
        };
        let index = first_row * place.shape[1..].iter().product::<usize>() + at;
        refuse(&self.files[place.file].0, name, TensorFault::NotFinite { index, value })
    }
}

fn refuse(path: &Path, tensor: &str, fault: TensorFault) -> Error {
    Error::Tensor { path: path.to_owned(), tensor: tensor.to_owned(), fault }
}

/// The bytes have as many numbers as `out`: [`WeightFiles::rows`] saw to it.
fn fill<T, const N: usize>(bytes: &[u8], out: &mut [T], number: impl Fn([u8; N]) -> T) {
    let (chunks, _) = bytes.as_chunks::<N>();
    for (out, chunk) in out.iter_mut().zip(chunks) {
        *out = number(*chunk);
    }
}

/// The names of the files that hold the weights, and the index if there is one.
fn weight_files(folder: &Path) -> Result<(BTreeSet<String>, Option<Index>)> {
    if folder.join(SINGLE).is_file() {
        return Ok((BTreeSet::from([SINGLE.to_owned()]), None));
    }
    let path = folder.join(INDEX);
    let read = |source| Error::Read { path: path.clone(), source };
    let size = match std::fs::metadata(&path) {
        Ok(it) => it.len(),
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Err(no_weights(folder)),
        Err(why) => return Err(read(why)),
    };
    if size > MOST_INDEX_BYTES {
        let reason = format!("{size} bytes, more than {MOST_INDEX_BYTES}");
        return Err(Error::Json { path, reason });
    }
    let index: Index = serde_json::from_slice(&std::fs::read(&path).map_err(read)?)
        .map_err(|it| Error::Json { path: path.clone(), reason: it.to_string() })?;
    for (tensor, file) in &index.weight_map {
        let plain = Path::new(file).file_name().is_some_and(|it| it == file.as_str());
        if !plain {
            let field = format!("weight_map.{tensor}");
            let reason = format!("is `{file}`, not the name of a file beside it");
            return Err(Error::Field { path, field, reason });
        }
        if !folder.join(file).is_file() {
            let fault = TensorFault::MissingShard { file: file.clone() };
            return Err(refuse(&path, tensor, fault));
        }
    }
    let names: BTreeSet<String> = index.weight_map.values().cloned().collect();
    if names.is_empty() {
        let reason = "names no tensor".to_owned();
        return Err(Error::Field { path, field: "weight_map".to_owned(), reason });
    }
    Ok((names, Some(index)))
}

fn no_weights(folder: &Path) -> Error {
    let pickle = |name: &str| {
        name.ends_with(".bin") && name.starts_with("pytorch_model") || name.ends_with(".pth")
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|it| it.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    match names.iter().find(|it| pickle(it)) {
        Some(name) => Error::Pickle { path: folder.join(name) },
        None => Error::NoWeights { folder: folder.to_owned() },
    }
}

fn map(path: &Path) -> Result<Mmap> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read)?;
    // SAFETY: the map is only read. That nobody cuts or changes the file meanwhile is asked of the
    // user as for any program that maps its model; all that is done with the bytes is to take them
    // as numbers, for which every bit pattern is valid.
    unsafe { Mmap::map(&file) }.map_err(read)
}

/// What the index says is in a file is there.
fn check_index(
    folder: &Path,
    index: &Index,
    found: &BTreeMap<String, (usize, Entry)>,
    files: &[(PathBuf, Mmap)],
) -> Result<()> {
    for (tensor, file) in &index.weight_map {
        let path = folder.join(file);
        if found.get(tensor).is_none_or(|(it, _)| files[*it].0 != path) {
            return Err(refuse(&path, tensor, TensorFault::Missing));
        }
    }
    Ok(())
}

/// The tensors are those of the configuration, and no others.
fn check(
    folder: &Path,
    config: &Config,
    mut found: BTreeMap<String, (usize, Entry)>,
    files: &[(PathBuf, Mmap)],
) -> Result<BTreeMap<String, Place>> {
    let layout = Layout::new(config);
    let mut tensors = BTreeMap::new();
    for tensor in layout.tensors() {
        let Some((file, entry)) = found.remove(&tensor.name) else {
            let path = if files.len() == 1 { &files[0].0 } else { &folder.join(INDEX) };
            return Err(refuse(path, &tensor.name, TensorFault::Missing));
        };
        let refuse = |fault| Err(refuse(&files[file].0, &tensor.name, fault));
        let want: Vec<u64> = tensor.shape.iter().map(|it| *it as u64).collect();
        let dtype = match entry.dtype {
            Ok(dtype) => dtype,
            Err(got) => return refuse(TensorFault::Dtype { got }),
        };
        if entry.shape != want {
            return refuse(TensorFault::Shape { got: entry.shape, want });
        }
        let (shape, bytes) = (tensor.shape.clone(), entry.start..entry.end);
        tensors.insert(tensor.name.clone(), Place { file, dtype, shape, bytes });
    }
    if config.tied
        && let Some((file, head)) = found.get(HEAD)
    {
        let embedding = &tensors[EMBED];
        let bytes = |file: usize, at: Range<usize>| &files[file].1[at];
        let same = head.dtype.as_ref().is_ok_and(|it| *it == embedding.dtype)
            && bytes(*file, head.start..head.end) == bytes(embedding.file, embedding.bytes.clone());
        if !same {
            let fault = TensorFault::NotTied { embedding: EMBED };
            return Err(refuse(&files[*file].0, HEAD, fault));
        }
    }
    // Old files store tables that follow from the configuration, and tied weights twice.
    let spare = |name: &str| name.ends_with(".rotary_emb.inv_freq") || config.tied && name == HEAD;
    match found.iter().find(|it| !spare(it.0)) {
        Some((name, (file, _))) => Err(refuse(&files[*file].0, name, TensorFault::Unknown)),
        None => Ok(tensors),
    }
}
