//! Frames of append-only files, and the small numbers and texts within them.
//!
//! A frame is its payload's length, the checksum of the payload, and the payload. A length of
//! zero is no frame: a hole that a crash left reads as zeros.

/// The bytes before a payload.
pub(crate) const HEAD: usize = 8;

/// The longest payload.
pub(crate) const MOST: usize = 256 * 1024 * 1024;

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A frame that is as it was written.
    Whole {
        /// What is in it.
        payload: &'a [u8],
        /// The bytes of the frame.
        length: usize,
    },
    /// A frame of a believable length whose checksum is wrong.
    Damaged {
        /// The bytes of the frame.
        length: usize,
    },
    /// The start of a frame, or no frame at all.
    Torn,
}

/// Adds a frame.
pub(crate) fn push(bytes: &mut Vec<u8>, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("payloads are shorter than MOST");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    bytes.extend_from_slice(payload);
}

/// Reads the frame at the start of some bytes.
pub(crate) fn read(bytes: &[u8]) -> Frame<'_> {
    let Some(length) = payload_length(bytes) else { return Frame::Torn };
    let Some(payload) = bytes.get(HEAD..HEAD + length) else { return Frame::Torn };
    let told = bytes.get(4..8).and_then(|it| it.first_chunk::<4>());
    let length = HEAD + length;
    if told.is_some_and(|it| u32::from_le_bytes(*it) == crc32fast::hash(payload)) {
        Frame::Whole { payload, length }
    } else {
        Frame::Damaged { length }
    }
}

/// The length that a frame's head tells of its payload.
pub(crate) fn payload_length(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < HEAD {
        return None;
    }
    let length = u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize;
    (1..=MOST).contains(&length).then_some(length)
}

/// Writes small things one after another.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// What was written.
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(crate) fn digest(&mut self, digest: &[u8; 32]) {
        self.bytes.extend_from_slice(digest);
    }

    /// Seven bits a byte, the lowest first.
    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }
}

/// Reads what [`Writer`] wrote; none at the first thing that it cannot have written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub(crate) fn digest(&mut self) -> Option<[u8; 32]> {
        let (first, rest) = self.rest.split_first_chunk::<32>()?;
        self.rest = rest;
        Some(*first)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut writer = Writer::default();
            writer.number(number);
            assert_eq!(Reader::new(&writer.bytes).number(), Some(number));
        }
    }

    #[test]
    fn a_hole_of_zeros_is_no_frame() {
        assert_eq!(read(&[0; 64]), Frame::Torn);
    }
}
