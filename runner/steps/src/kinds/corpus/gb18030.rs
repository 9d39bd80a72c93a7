//! GB18030 into UTF-8, as a stream. What is no character becomes the byte FF, which no UTF-8 text
//! holds: the row that it stands in is refused later, and the rows around it are read.

use std::io::{self, Read};

use encoding_index_simpchinese::{gb18030, gb18030_ranges};

/// Reads GB18030, gives UTF-8.
pub(super) struct Transcoder<R> {
    inner: R,
    /// What was read and not decoded: less than a character once a read is done.
    raw: Vec<u8>,
    ready: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> Transcoder<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, raw: Vec::new(), ready: Vec::new(), at: 0, ended: false }
    }
}

impl<R: Read> Read for Transcoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.ready.len() && !self.ended {
            let before = self.raw.len();
            self.raw.resize(before + (1 << 16), 0);
            let n = self.inner.read(&mut self.raw[before..])?;
            self.raw.truncate(before + n);
            self.ended = n == 0;
            self.ready.clear();
            self.at = 0;
            let used = decode(&self.raw, self.ended, &mut self.ready);
            self.raw.drain(..used);
        }
        let n = out.len().min(self.ready.len() - self.at);
        out[..n].copy_from_slice(&self.ready[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// Decodes all whole characters; how many bytes those were. `last`: no more bytes follow.
pub(super) fn decode(bytes: &[u8], last: bool, out: &mut Vec<u8>) -> usize {
    let mut i = 0;
    while let Some(&first) = bytes.get(i) {
        if first < 0x80 {
            out.push(first);
            i += 1;
            continue;
        }
        let rest = &bytes[i..];
        match character(rest) {
            Some((it, n)) => {
                out.extend_from_slice(it.encode_utf8(&mut [0; 4]).as_bytes());
                i += n;
            }
            None if rest.len() < 4 && !last => break,
            None => {
                out.push(0xff);
                i += 1;
            }
        }
    }
    i
}

/// The character that begins here, and how many bytes it has.
fn character(bytes: &[u8]) -> Option<(char, usize)> {
    let lead = u32::from(*bytes.first()?);
    if lead == 0x80 {
        return Some(('€', 1));
    }
    if lead == 0xff {
        return None;
    }
    let lead = lead - 0x81;
    let second = *bytes.get(1)?;
    if second.is_ascii_digit() {
        let (third, fourth) = (*bytes.get(2)?, *bytes.get(3)?);
        if !(0x81..=0xfe).contains(&third) || !fourth.is_ascii_digit() {
            return None;
        }
        let high = (lead * 10 + u32::from(second - b'0')) * 1260;
        let pointer = high + u32::from(third - 0x81) * 10 + u32::from(fourth - b'0');
        // One code point of the private area stands outside the ranges.
        let code = if pointer == 7457 { 0xe7c7 } else { gb18030_ranges::forward(pointer) };
        return char::from_u32(code).map(|it| (it, 4));
    }
    let offset = match second {
        0x40..=0x7e => 0x40,
        0x80..=0xfe => 0x41,
        _ => return None,
    };
    let pointer = lead * 190 + u32::from(second - offset);
    let code = gb18030::forward(u16::try_from(pointer).ok()?);
    (code != 0xffff).then_some(())?;
    char::from_u32(code).map(|it| (it, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(1);
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn read(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Transcoder::new(Drops(bytes)).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn characters_of_one_two_and_four_bytes_are_read_wherever_a_read_ends() {
        // Made with another implementation: "a中文，㐀😀é€" and U+E7C7.
        let bytes = b"a\xd6\xd0\xce\xc4\xa3\xac\x81\x39\xee\x39\x94\x39\xfc\x36\xa8\xa6\x80";
        assert_eq!(String::from_utf8(read(bytes)).unwrap(), "a中文，㐀😀é€");
    }

    #[test]
    fn what_is_no_character_is_marked_and_reading_goes_on() {
        assert_eq!(read(b"\xd6\xd0\xff\xce\xc4"), b"\xe4\xb8\xad\xff\xe6\x96\x87");
        assert_eq!(read(b"a\xd6"), b"a\xff");
        assert_eq!(read(b"\x81\x30\x20"), b"\xff0 ");
    }
}
