//! Files packed with zstd: one frame after another, as tools that pack on several threads write them.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The first bytes of a frame.
pub(crate) const MAGIC: &[u8] = b"\x28\xb5\x2f\xfd";

/// Unpacks a file. A frame may look back 128 MiB and no further, so a file cannot ask for more memory.
pub(crate) struct Unpacked<R> {
    packed: R,
    frame: FrameDecoder,
    open: bool,
}

impl<R: BufRead> Unpacked<R> {
    pub(crate) fn new(packed: R) -> Self {
        Self { packed, frame: FrameDecoder::new(), open: false }
    }

    /// Opens the next frame; false at the end of the file.
    fn next(&mut self) -> io::Result<bool> {
        while !self.packed.fill_buf()?.is_empty() {
            match self.frame.init(&mut self.packed) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let skipped = (&mut self.packed).take(u64::from(length));
                    if io::copy(&mut { skipped }, &mut io::sink())? < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(it) => return Err(io::Error::other(it)),
            }
        }
        Ok(false)
    }

    fn close(&mut self) -> io::Result<()> {
        self.open = false;
        match (self.frame.get_checksum_from_data(), self.frame.get_calculated_checksum()) {
            (Some(said), Some(found)) if said != found => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum of a frame is wrong"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.open {
                if !self.next()? {
                    return Ok(0);
                }
                self.open = true;
            }
            while self.frame.can_collect() == 0 && !self.frame.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.frame.decode_blocks(&mut self.packed, one).map_err(io::Error::other)?;
            }
            let n = self.frame.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            if self.frame.is_finished() {
                self.close()?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Unpacked::new(bytes).read_to_end(&mut out).map(|_| out)
    }

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        ruzstd::encoding::compress_to_vec(bytes, level)
    }

    #[test]
    fn frames_follow_one_another_and_some_are_passed_over() {
        let long: Vec<u8> = (0..3_000_000_u32).map(|it| (it.wrapping_mul(it) >> 7) as u8).collect();
        let skipped = b"\x53\x2a\x4d\x18\x03\x00\x00\x00abc";
        let file = [&pack(&long)[..], skipped, &pack(b""), &pack(b"end")].concat();
        assert_eq!(unpack(&file).unwrap(), [&long[..], b"end"].concat());
        assert_eq!(unpack(b"").unwrap(), b"");
    }

    #[test]
    fn what_is_cut_or_spoilt_is_an_error_and_never_a_panic() {
        let file = pack(&b"one sentence, and one more sentence, ".repeat(400));
        for n in 1..file.len() {
            assert!(unpack(&file[..n]).is_err(), "{n}");
        }
        let whole = unpack(&file).unwrap();
        for i in 0..file.len() {
            for bit in 0..8 {
                let mut spoilt = file.clone();
                spoilt[i] ^= 1 << bit;
                // The checksum finds what the form does not.
                let found = unpack(&spoilt);
                let unharmed = found.as_ref().is_ok_and(|it| *it == whole);
                assert!(found.is_err() || unharmed || i < 16, "{i} {bit}");
            }
        }
        assert!(unpack(b"\x53\x2a\x4d\x18\xff\x00\x00\x00abc").is_err());
    }
}
