//! Saves a model as a folder that other programs load: `config.json`, `generation_config.json`,
//! safetensors in one file or in shards with an index, and files that the caller adds, such as the
//! tokenizer's.
//!
//! The folder is written beside its place, synced and then renamed: it is there whole or not at
//! all. Weights are streamed, a few megabytes at a time. The same weights give the same bytes.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::json;

use super::config::{Config, WeightDtype};
use super::error::{Error, Result, TensorFault};
use super::files::{INDEX, SINGLE, WeightFiles};
use super::init::UniformWeights;
use super::layout::{Layout, Tensor};

/// How many numbers are held at once.
const CHUNK: usize = 1 << 20;
/// Encoded chunks that may wait to be written.
const AHEAD: usize = 4;
/// Numbers that are worth a task.
const TASK: usize = 1 << 16;

/// Where weights come from, while they are saved or made ready for a device.
pub trait Weights {
    /// Reads rows of a tensor, which has this index in [`Layout::tensors`]. The numbers of a vector
    /// are rows of one.
    fn read(
        &self,
        index: usize,
        tensor: &Tensor,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<()>;

    /// Where the numbers are random ones that a device can make by itself: how. Then nothing is sent there.
    fn uniform(&self) -> Option<&UniformWeights> {
        None
    }

    /// The same as [`Weights::read`], each number as the nearest in bf16.
    fn read_bf16(
        &self,
        index: usize,
        tensor: &Tensor,
        rows: Range<usize>,
        out: &mut [bf16],
    ) -> Result<()> {
        let mut numbers = vec![0.0; out.len()];
        self.read(index, tensor, rows, &mut numbers)?;
        out.iter_mut().zip(numbers).for_each(|(to, it)| *to = bf16::from_f32(it));
        Ok(())
    }
}

/// All weights in memory, laid out by a [`Layout`].
impl Weights for &[f32] {
    fn read(&self, _: usize, tensor: &Tensor, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let width: usize = tensor.shape[1..].iter().product();
        let all = &self[tensor.range()];
        out.copy_from_slice(&all[rows.start * width..rows.end * width]);
        Ok(())
    }
}

impl Weights for WeightFiles {
    fn read(&self, _: usize, tensor: &Tensor, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.read_f32(&tensor.name, rows, out)
    }

    fn read_bf16(
        &self,
        _: usize,
        tensor: &Tensor,
        rows: Range<usize>,
        out: &mut [bf16],
    ) -> Result<()> {
        WeightFiles::read_bf16(self, &tensor.name, rows, out)
    }
}

/// How a model is saved.
#[derive(Clone, Debug)]
pub struct Save {
    /// What its numbers are stored as.
    pub dtype: WeightDtype,
    /// How many bytes of weights a file may have before there is another.
    pub shard_bytes: u64,
    /// More files of the folder, by name: the tokenizer's, a model card.
    pub files: BTreeMap<String, Extra>,
}

/// A file that is added to a saved model.
#[derive(Clone, Debug)]
pub enum Extra {
    /// A copy of this file.
    Copy(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

impl Save {
    /// One file up to 5 GB, and no more than the model itself.
    pub fn new(dtype: WeightDtype) -> Self {
        Self { dtype, shard_bytes: 5_000_000_000, files: BTreeMap::new() }
    }

    /// Saves a model as a folder, which must not be there, or be empty.
    pub fn write<W: Weights + ?Sized>(
        &self,
        folder: &Path,
        config: &Config,
        weights: &W,
    ) -> Result<()> {
        let beside = beside(folder)?;
        if fs::read_dir(folder).is_ok_and(|mut it| it.next().is_some()) {
            return Err(Error::Ask(format!("`{}` is there and not empty", folder.display())));
        }
        match fs::remove_dir_all(&beside) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                return Err(Error::Write { path: beside, source: why });
            }
            _ => (),
        }
        fs::create_dir_all(&beside).map_err(|it| write_error(&beside, it))?;
        let written = self.fill(&beside, config, weights);
        if let Err(why) = written {
            // The first error is the one to tell; a leftover is removed by the next attempt.
            let _ = fs::remove_dir_all(&beside);
            return Err(why);
        }
        sync(&beside)?;
        fs::rename(&beside, folder).map_err(|it| write_error(folder, it))?;
        sync(parent(folder))
    }

    fn fill<W: Weights + ?Sized>(&self, to: &Path, config: &Config, weights: &W) -> Result<()> {
        write_file(&to.join("config.json"), config.to_json(self.dtype).as_bytes())?;
        let made = "generation_config.json";
        if !self.files.contains_key(made) {
            write_file(&to.join(made), config.generation_json().as_bytes())?;
        }
        for (name, extra) in &self.files {
            let plain = Path::new(name).file_name().is_some_and(|it| it == name.as_str());
            if !plain || name == "config.json" || name.contains(".safetensors") {
                return Err(Error::Ask(format!("`{name}` cannot be added to a model folder")));
            }
            let bytes = match extra {
                Extra::Bytes(bytes) => bytes,
                Extra::Copy(path) => {
                    &fs::read(path).map_err(|source| Error::Read { path: path.clone(), source })?
                }
            };
            write_file(&to.join(name), bytes)?;
        }
        self.write_weights(to, config, weights)
    }

    fn write_weights<W: Weights + ?Sized>(
        &self,
        to: &Path,
        config: &Config,
        weights: &W,
    ) -> Result<()> {
        let layout = Layout::new(config);
        let shards = self.shards(layout.tensors());
        if let [all] = shards.as_slice() {
            let path = to.join(SINGLE);
            let file = self.write_shard(&path, &layout, all.clone(), weights)?;
            return file.sync_all().map_err(|it| write_error(&path, it));
        }
        let (mut map, mut written) = (BTreeMap::new(), Vec::new());
        for (i, range) in shards.iter().enumerate() {
            let name = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
            let path = to.join(&name);
            let file = self.write_shard(&path, &layout, range.clone(), weights)?;
            written.push((path, file));
            map.extend(layout.tensors()[range.clone()].iter().map(|it| (&it.name, name.clone())));
        }
        // Not each as it ends: the disk writes one while the next is encoded.
        for (path, file) in written {
            file.sync_all().map_err(|it| write_error(&path, it))?;
        }
        let total: usize = layout.tensors().iter().map(|it| it.len() * self.dtype.bytes()).sum();
        let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
        write_file(&to.join(INDEX), format!("{index:#}\n").as_bytes())
    }

    /// Which tensors go into which file: as many as fit, and at least one.
    fn shards(&self, tensors: &[Tensor]) -> Vec<Range<usize>> {
        let mut shards = Vec::new();
        let (mut first, mut bytes) = (0, 0);
        for (i, tensor) in tensors.iter().enumerate() {
            let more = (tensor.len() * self.dtype.bytes()) as u64;
            if i > first && bytes + more > self.shard_bytes {
                shards.push(first..i);
                (first, bytes) = (i, 0);
            }
            bytes += more;
        }
        shards.push(first..tensors.len());
        shards
    }

    /// Writes a file, which is not yet on the disk.
    fn write_shard<W: Weights + ?Sized>(
        &self,
        path: &Path,
        layout: &Layout,
        range: Range<usize>,
        weights: &W,
    ) -> Result<File> {
        let tensors = &layout.tensors()[range.clone()];
        let shapes = tensors.iter().map(|it| (it.name.as_str(), it.shape.as_slice()));
        let fail = |it| write_error(path, it);
        let mut file = File::create(path).map_err(fail)?;
        file.write_all(&header(shapes, self.dtype)).map_err(fail)?;
        // A thread of its own writes while the next numbers are read and encoded; buffers go round.
        let (to_writer, encoded) = mpsc::sync_channel::<Vec<u8>>(AHEAD);
        let (to_encoder, written) = mpsc::channel::<Vec<u8>>();
        thread::scope(|scope| {
            let writer = scope.spawn(move || -> io::Result<File> {
                for bytes in encoded {
                    file.write_all(&bytes)?;
                    // The encoder is gone where it has nothing more to encode.
                    let _ = to_encoder.send(bytes);
                }
                Ok(file)
            });
            let mut numbers = Vec::new();
            for (index, tensor) in range.zip(tensors) {
                let width = tensor.shape[1..].iter().product::<usize>();
                let at_once = (CHUNK / width).max(1);
                let mut rows = 0..0;
                while rows.end < tensor.shape[0] {
                    rows = rows.end..(rows.end + at_once).min(tensor.shape[0]);
                    numbers.resize(rows.len() * width, 0.0);
                    weights.read(index, tensor, rows.clone(), &mut numbers)?;
                    let mut bytes = written.try_recv().unwrap_or_default();
                    encode(&numbers, self.dtype, &mut bytes).map_err(|(at, value)| {
                        let fault =
                            TensorFault::NotFinite { index: rows.start * width + at, value };
                        Error::Tensor { path: path.to_owned(), tensor: tensor.name.clone(), fault }
                    })?;
                    if to_writer.send(bytes).is_err() {
                        // The writer has ended with an error, which it gives below.
                        break;
                    }
                }
            }
            drop(to_writer);
            writer.join().expect("writing does not panic").map_err(fail)
        })
    }
}

/// The header of a safetensors file whose tensors lie in this order: length, JSON, and spaces up to
/// a multiple of 8.
pub(crate) fn header<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a [usize])>,
    dtype: WeightDtype,
) -> Vec<u8> {
    // Readers ask for it: without it older versions of `transformers` refuse the file. More than one
    // entry would have no order.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut at = 0;
    let place = |(name, shape): (&str, &[usize])| {
        let end = at + shape.iter().product::<usize>() * dtype.bytes();
        let data_offsets = (at, end);
        at = end;
        (
            name.to_owned(),
            TensorInfo { dtype: dtype.in_header(), shape: shape.to_vec(), data_offsets },
        )
    };
    let header = Metadata::new(Some(format), tensors.map(place).collect())
        .expect("tensors lie one after another, each with the bytes of its shape");
    let mut text = serde_json::to_vec(&header).expect("names and numbers are JSON");
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes(), text.as_slice()].concat()
}

/// The bytes of numbers; or which of them is not finite once it is stored.
fn encode(
    numbers: &[f32],
    dtype: WeightDtype,
    bytes: &mut Vec<u8>,
) -> std::result::Result<(), (usize, f32)> {
    bytes.resize(numbers.len() * dtype.bytes(), 0);
    let all_finite = match dtype {
        WeightDtype::F32 => encode_as(numbers, bytes, |it| (it.to_le_bytes(), it.is_finite())),
        WeightDtype::Bf16 => encode_as(numbers, bytes, |it| {
            // The nearest, ties to even, as `bf16::from_f32`, of numbers that are finite.
            let bits = it.to_bits();
            let near = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
            (near.to_le_bytes(), it.is_finite() && near & 0x7f80 != 0x7f80)
        }),
        WeightDtype::F16 => encode_as(numbers, bytes, |it| {
            let near = f16::from_f32(it);
            (near.to_le_bytes(), near.is_finite())
        }),
    };
    if all_finite {
        return Ok(());
    }
    let stored = |it: f32| match dtype {
        WeightDtype::F32 => it,
        WeightDtype::Bf16 => bf16::from_f32(it).to_f32(),
        WeightDtype::F16 => f16::from_f32(it).to_f32(),
    };
    let at = numbers.iter().position(|it| !stored(*it).is_finite());
    let at = at.expect("one of them was not finite");
    Err((at, stored(numbers[at])))
}

/// Encodes numbers in parallel; whether all of them are finite once they are stored.
fn encode_as<const N: usize>(
    numbers: &[f32],
    bytes: &mut [u8],
    encode: impl Fn(f32) -> ([u8; N], bool) + Sync,
) -> bool {
    let parts = bytes.par_chunks_mut(TASK * N).zip(numbers.par_chunks(TASK));
    let part = |(bytes, numbers): (&mut [u8], &[f32])| {
        // Without a branch, so that it is done many at a time.
        bytes.as_chunks_mut::<N>().0.iter_mut().zip(numbers).fold(true, |all_finite, (to, it)| {
            let (encoded, is_finite) = encode(*it);
            *to = encoded;
            all_finite & is_finite
        })
    };
    parts.map(part).reduce(|| true, |a, b| a & b)
}

fn write_error(path: &Path, source: io::Error) -> Error {
    Error::Write { path: path.to_owned(), source }
}

/// Writes a file and waits until it is on the disk.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|it| write_error(path, it))
}

/// Waits until the names in a folder are on the disk.
pub(crate) fn sync(folder: &Path) -> Result<()> {
    let sync = || File::open(folder)?.sync_all();
    sync().map_err(|it| write_error(folder, it))
}

/// Where a folder is written before it gets its name.
pub(crate) fn beside(folder: &Path) -> Result<PathBuf> {
    match folder.file_name() {
        Some(name) => {
            let mut partial = name.to_owned();
            partial.push(".partial");
            Ok(folder.with_file_name(partial))
        }
        None => Err(Error::Ask(format!("`{}` has no name", folder.display()))),
    }
}

fn parent(folder: &Path) -> &Path {
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_encoded_as_half_rounds_them() {
        let bits = (0..1u32 << 20).map(|it| it.wrapping_mul(0x9e37_79b9));
        let edges = [0, 0x7f7f_8000, 0x7f7f_7fff, 0x3f80_8000, 0x3f81_8000, 1, 0x8000_0001];
        let numbers: Vec<f32> =
            bits.chain(edges).map(f32::from_bits).filter(|it| it.is_finite()).collect();
        let fits = |stored: fn(f32) -> f32| -> Vec<f32> {
            numbers.iter().copied().filter(|it| stored(*it).is_finite()).collect()
        };
        let mut bytes = Vec::new();
        let fitting = fits(|it| bf16::from_f32(it).to_f32());
        encode(&fitting, WeightDtype::Bf16, &mut bytes).unwrap();
        let want: Vec<u8> =
            fitting.iter().flat_map(|it| bf16::from_f32(*it).to_le_bytes()).collect();
        assert!(bytes == want);
        let fitting = fits(|it| f16::from_f32(it).to_f32());
        encode(&fitting, WeightDtype::F16, &mut bytes).unwrap();
        let want: Vec<u8> =
            fitting.iter().flat_map(|it| f16::from_f32(*it).to_le_bytes()).collect();
        assert!(bytes == want);
        encode(&numbers, WeightDtype::F32, &mut bytes).unwrap();
        let want: Vec<u8> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
        assert!(bytes == want);
    }

    #[test]
    fn the_first_number_that_is_not_finite_is_named() {
        for (dtype, too_large) in [
            (WeightDtype::F32, f32::INFINITY),
            (WeightDtype::Bf16, f32::MAX),
            (WeightDtype::F16, 65_520.0),
        ] {
            let mut numbers = vec![0.5; 3 * TASK];
            (numbers[TASK + 7], numbers[2 * TASK]) = (too_large, f32::NAN);
            let (at, value) = encode(&numbers, dtype, &mut Vec::new()).unwrap_err();
            assert_eq!((at, value), (TASK + 7, f32::INFINITY), "{dtype:?}");
            numbers[5] = f32::NAN;
            assert_eq!(encode(&numbers, dtype, &mut Vec::new()).unwrap_err().0, 5, "{dtype:?}");
        }
    }
}
