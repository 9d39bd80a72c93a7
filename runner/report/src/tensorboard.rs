//! Event files for TensorBoard: a header and one scalar for each point of a curve.
//!
//! A file is records of TFRecord: the length, its checksum, the bytes, their checksum; checksums are CRC-32C,
//! turned and shifted as TFRecord does it. The bytes are the few protobuf fields that scalars need, written by hand.
//! There is no clock: points have the time 0 and are told apart by their steps.

/// The file of these curves: each a name and its points, by step.
pub fn events(curves: &[(&str, &[(f64, f64)])]) -> Vec<u8> {
    let mut out = Vec::new();
    // Event { file_version = 3 }
    record(&field_of_bytes(3, b"brain.Event:2"), &mut out);
    for (name, points) in curves {
        for (step, value) in *points {
            record(&event(name, *step as i64, *value as f32), &mut out);
        }
    }
    out
}

/// `Event { step = 2, summary = 5 { value = 1 { tag = 1, simple_value = 2 } } }`.
fn event(name: &str, step: i64, value: f32) -> Vec<u8> {
    let mut scalar = field_of_bytes(1, name.as_bytes());
    scalar.push((2 << 3) | 5);
    scalar.extend(value.to_le_bytes());
    let summary = field_of_bytes(1, &scalar);
    let mut event = vec![2 << 3];
    varint(step as u64, &mut event);
    event.extend(field_of_bytes(5, &summary));
    event
}

/// A field with bytes, a text or a message.
fn field_of_bytes(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![(number << 3) | 2];
    varint(bytes.len() as u64, &mut out);
    out.extend(bytes);
    out
}

fn varint(mut it: u64, out: &mut Vec<u8>) {
    while it >= 0x80 {
        out.push(it as u8 | 0x80);
        it >>= 7;
    }
    out.push(it as u8);
}

fn record(bytes: &[u8], out: &mut Vec<u8>) {
    let length = (bytes.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(&length).to_le_bytes());
    out.extend(bytes);
    out.extend(masked(bytes).to_le_bytes());
}

/// The checksum as TFRecord stores it: a checksum of bytes that hold checksums is weak otherwise.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32 with Castagnoli's polynomial, bit by bit: files are small.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |it: u32, _| if it & 1 == 1 { (it >> 1) ^ 0x82f6_3b78 } else { it >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_file_is_what_tensorboard_reads() {
        let bytes = events(&[("loss", &[(1.0, 2.5), (300.0, f64::NAN)])]);
        // Read back with the package tensorboard 2.x: loss, steps 1 and 300, values 2.5 and nan.
        let length = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let (mut at, mut records) = (0, Vec::new());
        while at < bytes.len() {
            let n = length(at) as usize;
            let sum = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            assert_eq!(sum(at + 8), masked(&bytes[at..at + 8]));
            assert_eq!(sum(at + 12 + n), masked(&bytes[at + 12..at + 12 + n]));
            records.push(&bytes[at + 12..at + 12 + n]);
            at += n + 16;
        }
        assert_eq!(records[0], b"\x1a\x0dbrain.Event:2");
        assert_eq!(records[1], b"\x10\x01\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\x20\x40");
        assert_eq!(records[2][..3], [0x10, 0xac, 0x02]);
        assert_eq!(records.len(), 3);
    }
}
