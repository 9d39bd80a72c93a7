//! Pages as they were before they were packed. Snappy is small enough to be read here.

use std::io::Read;

use super::super::zstd;
use super::Wrong;

/// No page is larger.
pub(super) const LARGEST: usize = 256 << 20;

/// A page of `n` bytes; `codec` is Parquet's number.
pub(super) fn unpack(codec: i64, packed: &[u8], n: usize) -> Result<Vec<u8>, Wrong> {
    if n > LARGEST {
        return Err(Wrong::form("a page is larger than 256 MiB"));
    }
    let mut out = Vec::new();
    match codec {
        0 => out.extend_from_slice(packed),
        1 => out = snappy(packed, n)?,
        2 => {
            let gzip = flate2::read::MultiGzDecoder::new(packed);
            gzip.take(n as u64 + 1).read_to_end(&mut out)?;
        }
        6 => {
            zstd::Unpacked::new(packed).take(n as u64 + 1).read_to_end(&mut out)?;
        }
        other => {
            let names = ["LZO", "Brotli", "LZ4", "", "LZ4"];
            let name = usize::try_from(other - 3).ok().and_then(|it| names.get(it));
            let name = name.filter(|it| !it.is_empty()).copied().unwrap_or("something unknown");
            return Err(Wrong::Form(format!("a page is packed with {name}, which is not read")));
        }
    }
    match out.len() == n {
        true => Ok(out),
        false => Err(Wrong::form("a page is not as long as its header says")),
    }
}

/// <https://github.com/google/snappy/blob/main/format_description.txt>
fn snappy(packed: &[u8], n: usize) -> Result<Vec<u8>, Wrong> {
    let broken = || Wrong::form("a page packed with Snappy is broken");
    let mut at = 0_usize;
    let mut next = |count: usize| {
        let bytes = packed.get(at..at.checked_add(count)?)?;
        at += count;
        Some(bytes)
    };
    let little = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, it| sum << 8 | usize::from(*it));
    let mut length = 0_u64;
    for shift in (0..35).step_by(7) {
        let byte = next(1).ok_or_else(broken)?[0];
        length |= u64::from(byte & 127) << shift;
        if byte < 128 {
            break;
        }
    }
    if length != n as u64 {
        return Err(broken());
    }
    let mut out = Vec::new();
    while let Some(tag) = next(1).map(|it| it[0]) {
        let upper = usize::from(tag >> 2);
        let (count, offset) = match tag & 3 {
            0 => {
                let count = match upper {
                    60..=63 => little(next(upper - 59).ok_or_else(broken)?),
                    _ => upper,
                };
                out.extend_from_slice(next(count + 1).ok_or_else(broken)?);
                continue;
            }
            1 => {
                let low = next(1).ok_or_else(broken)?[0];
                (4 + (upper & 7), (upper >> 3) << 8 | usize::from(low))
            }
            2 => (1 + upper, little(next(2).ok_or_else(broken)?)),
            _ => (1 + upper, little(next(4).ok_or_else(broken)?)),
        };
        if offset == 0 || offset > out.len() || out.len() + count > n {
            return Err(broken());
        }
        // What is copied may be what is being written.
        for i in out.len() - offset..out.len() - offset + count {
            out.push(out[i]);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snappy_copies_from_what_it_writes() {
        // "ab", six bytes from two before, a literal.
        let packed = b"\x0a\x04ab\x09\x02\x04cd";
        assert_eq!(unpack(1, packed, 10).unwrap(), b"abababab\x63\x64");
        for n in 0..packed.len() {
            assert!(unpack(1, &packed[..n], 10).is_err(), "{n}");
        }
        assert!(unpack(1, b"\x04\x09\x02", 4).is_err());
        assert!(unpack(1, b"\xff\xff\xff\xff\x0f\x00a", 1).is_err());
        let named = |codec| match unpack(codec, b"", 0) {
            Err(Wrong::Form(it)) => it,
            _ => String::new(),
        };
        assert!(named(4).contains("Brotli") && named(9).contains("something unknown"));
    }
}
