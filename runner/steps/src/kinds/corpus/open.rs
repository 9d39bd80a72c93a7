//! A file of a corpus as bytes of UTF-8: unpacked, decoded, its form and encoding found out from
//! its beginning. It guesses nothing from names, which a step does not see.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::gb18030::{Transcoder, decode};
use super::parquet::{self, Parquet};
use super::{Encoding, Format, zstd};
use crate::StepError;

/// How much of a file its form is found out from.
const SAMPLE_BYTES: u64 = 64 << 10;

/// What no reader is there for, by the first bytes of the file.
const UNREAD: [(&[u8], &str); 4] = [
    (b"PK\x03\x04", "is a zip archive, which is not read; unpack it"),
    (b"BZh", "is packed with bzip2, which is not read; unpack it"),
    (b"\xff\xfe", "is UTF-16 by its first bytes FF FE, which is not read; write it as UTF-8"),
    (b"\xfe\xff", "is UTF-16 by its first bytes FE FF, which is not read; write it as UTF-8"),
];

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packed {
    No,
    Gzip,
    Zstd,
    /// The rows of a table, which come as JSON lines.
    Parquet,
}

/// A file that can be read as UTF-8.
pub(crate) struct Opened {
    pub(crate) reader: Box<dyn BufRead>,
    pub(crate) encoding: Encoding,
    pub(crate) packed: Packed,
    /// Columns of a table that are not read.
    pub(crate) without: Vec<String>,
    /// The beginning, as UTF-8.
    pub(crate) sample: Vec<u8>,
}

/// Opens a file.
pub(crate) fn open(path: &Path, wanted: Encoding) -> Result<Opened, StepError> {
    let io = StepError::io;
    let (sample, rest) = begin(File::open(path).map_err(io(path))?).map_err(io(path))?;
    let packed = match () {
        () if sample.starts_with(&[0x1f, 0x8b]) => Packed::Gzip,
        () if sample.starts_with(zstd::MAGIC) => Packed::Zstd,
        () if sample.starts_with(parquet::MAGIC) => Packed::Parquet,
        () => Packed::No,
    };
    let (mut sample, mut rest): (Vec<u8>, Box<dyn Read>) = match packed {
        Packed::No | Packed::Parquet => (sample, Box::new(rest)),
        Packed::Gzip => {
            let packed = BufReader::new(Cursor::new(sample).chain(rest));
            let (sample, rest) = begin(MultiGzDecoder::new(packed)).map_err(io(path))?;
            (sample, Box::new(rest))
        }
        Packed::Zstd => {
            let packed = BufReader::with_capacity(1 << 18, Cursor::new(sample).chain(rest));
            let (sample, rest) = begin(zstd::Unpacked::new(packed)).map_err(io(path))?;
            (sample, Box::new(rest))
        }
    };
    let mut without = Vec::new();
    if packed == Packed::Parquet {
        let mut table = Parquet::open(path).map_err(io(path))?;
        without = std::mem::take(&mut table.without);
        let (start, more) = begin(table).map_err(io(path))?;
        (sample, rest) = (start, Box::new(more));
    }
    if let Some((_, reason)) = UNREAD.iter().find(|(it, _)| sample.starts_with(it)) {
        let reason = (*reason).to_owned();
        return Err(StepError::Record { file: path.to_owned(), line: 1, field: None, reason });
    }
    if sample.starts_with(b"\xef\xbb\xbf") {
        sample.drain(..3);
    }
    let encoding = match wanted {
        Encoding::Detect => detect(&sample),
        it => it,
    };
    let all = Cursor::new(sample.clone()).chain(rest);
    let reader: Box<dyn BufRead> = if encoding == Encoding::Gb18030 {
        let raw = std::mem::take(&mut sample);
        decode(&raw, false, &mut sample);
        Box::new(BufReader::with_capacity(1 << 18, Transcoder::new(all)))
    } else {
        Box::new(BufReader::with_capacity(1 << 18, all))
    };
    Ok(Opened { reader, encoding, packed, without, sample })
}

fn begin<R: Read>(mut reader: R) -> io::Result<(Vec<u8>, R)> {
    let mut sample = Vec::new();
    (&mut reader).take(SAMPLE_BYTES).read_to_end(&mut sample)?;
    Ok((sample, reader))
}

/// GB18030 where most of what is not ASCII is no UTF-8 and nearly all of it is GB18030. A single
/// broken row does not make a file something else.
fn detect(sample: &[u8]) -> Encoding {
    let mut runs = sample.split(u8::is_ascii).filter(|it| !it.is_empty()).peekable();
    if runs.peek().is_none() {
        return Encoding::Utf8;
    }
    let (mut good, mut all) = (0, 0);
    for it in runs {
        all += it.len();
        good += if std::str::from_utf8(it).is_ok() { it.len() } else { 0 };
    }
    // A sample ends anywhere: its last run may be good but for its end.
    let cut = std::str::from_utf8(sample).is_err_and(|it| it.error_len().is_none());
    if cut || good * 2 >= all {
        return Encoding::Utf8;
    }
    let mut decoded = Vec::new();
    decode(sample, false, &mut decoded);
    let bad = decoded.iter().filter(|it| **it == 0xff).count();
    if bad * 50 <= all { Encoding::Gb18030 } else { Encoding::Utf8 }
}

/// The form of a file, from its beginning.
pub(crate) fn format(sample: &[u8], text: Option<&str>) -> Format {
    match sample.iter().find(|it| !it.is_ascii_whitespace()) {
        Some(b'[') => return Format::Json,
        Some(b'{') => return Format::Jsonl,
        _ => {}
    }
    let first = sample.split(|it| *it == b'\n').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    let mut columns = first.split(',').map(|it| it.trim().trim_matches('"'));
    let known = |it: &str| text == Some(it) || super::TEXTS.contains(&it);
    if first.contains(',') && columns.any(known) { Format::Csv } else { Format::Txt }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_place_does_not_change_the_encoding_of_a_file() {
        let good = "中文的一段话，没有别的。\n".repeat(40);
        let mut broken = good.clone().into_bytes();
        broken[3] = 0xff;
        assert_eq!(detect(&broken), Encoding::Utf8);
        assert_eq!(detect(&good.as_bytes()[..good.len() - 3]), Encoding::Utf8);
        assert_eq!(detect(b"plain"), Encoding::Utf8);
        let gb = b"\xd6\xd0\xce\xc4\xb5\xc4\xd2\xbb\xb6\xce\xbb\xb0".repeat(9);
        assert_eq!(detect(&gb), Encoding::Gb18030);
        assert_eq!(detect(&gb[..gb.len() - 1]), Encoding::Gb18030);
        assert_eq!(detect(&[0xff; 90]), Encoding::Utf8);
    }

    #[test]
    fn a_form_is_seen_from_the_beginning() {
        let forms = [" \n[", "{\"text\":1}", "id,text\n1,a", "id,body\n1,a", "第一段", ""];
        let seen: Vec<Format> = forms.iter().map(|it| format(it.as_bytes(), None)).collect();
        use Format::{Csv, Json, Jsonl, Txt};
        assert_eq!(seen, [Json, Jsonl, Csv, Txt, Txt, Txt]);
        assert_eq!(format(b"id,body\n", Some("body")), Csv);
    }
}
