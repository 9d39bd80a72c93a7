//! The header of a safetensors file: which tensors, of which kind and shape, at which bytes.
//!
//! The file is 8 bytes with the header's length, the header as JSON, and the numbers. All that the
//! header says is checked against the file before anything believes it: every tensor has the bytes
//! that its shape asks for, no two share any, and none are left over.

use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::config::WeightDtype;
use super::error::{Error, HeaderFault, Result, TensorFault};

/// The largest header that is read; the format's own bound.
const MOST_BYTES: u64 = 100_000_000;

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its kind of numbers; a word where it is none that is read here.
    pub(super) dtype: std::result::Result<WeightDtype, String>,
    pub(super) shape: Vec<u64>,
    /// Its first byte and one past its last, counted from the start of the file.
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The tensors by name; a name that stands twice is refused.
struct RawHeader(BTreeMap<String, RawEntry>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<RawHeader, A::Error> {
                let mut tensors = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    match tensors.entry(name) {
                        btree_map::Entry::Vacant(place) => place.insert(map.next_value()?),
                        btree_map::Entry::Occupied(place) => {
                            let name = place.key();
                            return Err(A::Error::custom(format!("`{name}` stands there twice")));
                        }
                    };
                }
                Ok(RawHeader(tensors))
            }
        }
        from.deserialize_map(Names)
    }
}

/// Reads the header of a file that is in memory; `path` is for errors.
pub(super) fn read(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, Entry>> {
    let refuse = |fault| Error::Header { path: path.to_owned(), fault };
    let got = bytes.len() as u64;
    let Some((size, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(refuse(HeaderFault::Truncated { got, want: 8 }));
    };
    let size = u64::from_le_bytes(*size);
    if size > MOST_BYTES {
        return Err(refuse(HeaderFault::Large { bytes: size, most: MOST_BYTES }));
    }
    let Some(text) = rest.get(..size as usize) else {
        return Err(refuse(HeaderFault::Truncated { got, want: 8 + size }));
    };
    let RawHeader(raw) =
        serde_json::from_slice(text).map_err(|it| refuse(HeaderFault::Json(it.to_string())))?;
    let data = Data { path, first: 8 + size as usize, len: (rest.len() - text.len()) as u64 };
    let entries: BTreeMap<String, Entry> = raw
        .into_iter()
        .map(|(name, raw)| {
            let entry = data.entry(&name, raw)?;
            Ok((name, entry))
        })
        .collect::<Result<_>>()?;
    data.check_cover(&entries)?;
    Ok(entries)
}

/// The part of a file after its header.
struct Data<'a> {
    path: &'a Path,
    first: usize,
    len: u64,
}

impl Data<'_> {
    fn refuse(&self, name: &str, fault: TensorFault) -> Error {
        Error::Tensor { path: self.path.to_owned(), tensor: name.to_owned(), fault }
    }

    fn entry(&self, name: &str, raw: RawEntry) -> Result<Entry> {
        let [start, end] = raw.data_offsets;
        let elements = raw.shape.iter().try_fold(1u64, |all, it| all.checked_mul(*it));
        let dtype = WeightDtype::from_header(&raw.dtype).ok_or(raw.dtype);
        // Of other kinds only the order of the bytes is checked; nothing reads them.
        let width = dtype.as_ref().map(|it| it.bytes() as u64).ok();
        let want = match width {
            Some(width) => elements.and_then(|it| it.checked_mul(width)).unwrap_or(u64::MAX),
            None => end.saturating_sub(start),
        };
        if start > end || end > self.len || end - start != want {
            return Err(self.refuse(name, TensorFault::Place { start, end, len: self.len, want }));
        }
        let (start, end) = (self.first + start as usize, self.first + end as usize);
        Ok(Entry { dtype, shape: raw.shape, start, end })
    }

    /// The tensors lie side by side and fill the file.
    fn check_cover(&self, entries: &BTreeMap<String, Entry>) -> Result<()> {
        let hole = |start: usize, end: usize| Error::Header {
            path: self.path.to_owned(),
            fault: HeaderFault::Hole {
                start: (start - self.first) as u64,
                end: (end - self.first) as u64,
            },
        };
        let mut order: Vec<(&String, &Entry)> = entries.iter().collect();
        order.sort_by_key(|it| (it.1.start, it.1.end));
        let mut at = self.first;
        let mut before: Option<&String> = None;
        for (name, entry) in order {
            match before {
                Some(other) if entry.start < at => {
                    return Err(self.refuse(name, TensorFault::Overlap { other: other.clone() }));
                }
                _ if entry.start > at => return Err(hole(at, entry.start)),
                _ => (at, before) = (entry.end, Some(name)),
            }
        }
        let end = self.first + self.len as usize;
        if at < end { Err(hole(at, end)) } else { Ok(()) }
    }
}
