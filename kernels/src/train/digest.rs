//! A checksum against damage: XXH64, which anybody can compute again.

const PRIMES: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];
const BLOCK: usize = 32;

/// Bytes are given to it in parts; how they are cut does not matter.
#[derive(Clone, Debug)]
pub struct Digest {
    lanes: [u64; 4],
    rest: [u8; BLOCK],
    n_rest: usize,
    len: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

impl Digest {
    /// Of nothing yet.
    pub fn new() -> Self {
        let [a, b, ..] = PRIMES;
        let lanes = [a.wrapping_add(b), b, 0, 0u64.wrapping_sub(a)];
        Self { lanes, rest: [0; BLOCK], n_rest: 0, len: 0 }
    }

    /// The checksum of some bytes.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut digest = Self::new();
        digest.update(bytes);
        digest.finish()
    }

    /// Takes more bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len() as u64;
        if self.n_rest > 0 {
            let more = bytes.len().min(BLOCK - self.n_rest);
            self.rest[self.n_rest..self.n_rest + more].copy_from_slice(&bytes[..more]);
            (self.n_rest, bytes) = (self.n_rest + more, &bytes[more..]);
            if self.n_rest < BLOCK {
                return;
            }
            let block = self.rest;
            self.block(&block);
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        blocks.iter().for_each(|it| self.block(it));
        self.rest[..rest.len()].copy_from_slice(rest);
        self.n_rest = rest.len();
    }

    fn block(&mut self, block: &[u8; BLOCK]) {
        let (words, _) = block.as_chunks::<8>();
        for (lane, word) in self.lanes.iter_mut().zip(words) {
            *lane = mixed(*lane, u64::from_le_bytes(*word));
        }
    }

    /// The checksum of all bytes so far.
    pub fn finish(&self) -> u64 {
        let [a, b, c, d] = self.lanes;
        let mut all = if self.len >= BLOCK as u64 {
            let sum = [(a, 1), (b, 7), (c, 12), (d, 18)]
                .iter()
                .fold(0u64, |sum, it| sum.wrapping_add(it.0.rotate_left(it.1)));
            self.lanes.iter().fold(sum, |all, lane| {
                (all ^ mixed(0, *lane)).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3])
            })
        } else {
            PRIMES[4]
        };
        all = all.wrapping_add(self.len);
        let (words, rest) = self.rest[..self.n_rest].as_chunks::<8>();
        for word in words {
            all ^= mixed(0, u64::from_le_bytes(*word));
            all = all.rotate_left(27).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]);
        }
        let (halves, rest) = rest.as_chunks::<4>();
        for half in halves {
            all ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(PRIMES[0]);
            all = all.rotate_left(23).wrapping_mul(PRIMES[1]).wrapping_add(PRIMES[2]);
        }
        for byte in rest {
            all ^= u64::from(*byte).wrapping_mul(PRIMES[4]);
            all = all.rotate_left(11).wrapping_mul(PRIMES[0]);
        }
        all = (all ^ all >> 33).wrapping_mul(PRIMES[1]);
        all = (all ^ all >> 29).wrapping_mul(PRIMES[2]);
        all ^ all >> 32
    }
}

fn mixed(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(PRIMES[1])).rotate_left(31).wrapping_mul(PRIMES[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_published_function() {
        // Given by the reference implementation's tests and by `xxhsum -H64`.
        assert_eq!(Digest::of(b""), 0xef46_db37_51d8_e999);
        assert_eq!(Digest::of(b"abc"), 0x44bc_2cf5_ad77_0999);
        let long = b"Nobody inspects the spammish repetition";
        assert_eq!(Digest::of(long), 0xfbce_a83c_8a37_8bf1);
    }

    #[test]
    fn parts_make_the_same_as_the_whole_and_every_byte_counts() {
        let bytes: Vec<u8> = (0..200u8).collect();
        for cut in 0..bytes.len() {
            let mut digest = Digest::new();
            digest.update(&bytes[..cut]);
            digest.update(&bytes[cut..]);
            assert_eq!(digest.finish(), Digest::of(&bytes));
            let mut other = bytes.clone();
            other[cut] ^= 1;
            assert_ne!(Digest::of(&other), Digest::of(&bytes));
        }
    }
}
